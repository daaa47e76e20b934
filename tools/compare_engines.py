"""Run every engine against torch on a source and print how far they agree.

python tools/compare_engines.py SOURCE [--model gesture]
"""

import argparse

from spikeline.drivers import open_source
from spikeline.pipeline.agreement import compare
from spikeline.pipeline.engines import ENGINES, open_engine
from spikeline.pipeline.package import load_package
from spikeline.pipeline.run import Pipeline, RunConfig


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source")
    parser.add_argument("--model", default="gesture")
    parser.add_argument("--fit", default="")
    options = parser.parse_args()
    package = load_package(options.model)
    with open_source(options.source) as source:
        pipeline = Pipeline(package, source.sensor, RunConfig(fit=options.fit))
        frames = [result.frame[None].copy() for result in pipeline.run(source)]
    reference = open_engine("torch", pipeline.engine.graph)
    for name in ENGINES:
        if name != "torch":
            found = compare(reference, open_engine(name, pipeline.engine.graph), frames)
            first = "none" if found.first_difference is None else f"at step {found.first_difference}"
            print(f"{name} against torch: {found.steps} steps, {found.spikes:,} spikes")
            print(f"  first difference {first}, scores within {found.score_error:.1e} before it")
            print(f"  {found.differing} differing spikes, {found.per_million:.2f} per million")


if __name__ == "__main__":
    main()
