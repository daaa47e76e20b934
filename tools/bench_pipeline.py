"""How fast do events go through the pipeline? Events per second by packet size, and where the time goes.

    python tools/bench_pipeline.py [SOURCE] [--model gesture] [--rounds 5] [--json FILE]

Reads the source once into memory, then runs slicer, binner and engine over it, cut into packets of 1,
10, 100, 1,000 and 10,000 events; rounds interleaved, medians. Without the engine's steps what is left
is the cost of getting events into frames.
"""

import argparse
import json
import platform
import statistics
import time
from pathlib import Path

import numba
import numpy as np
import onnxruntime

from spikeline.drivers import open_source
from spikeline.drivers.wrappers import Cut
from spikeline.pipeline.package import load_package
from spikeline.pipeline.run import Pipeline, RunConfig

SIZES = (1, 10, 100, 1_000, 10_000)


class Recorded:
    """Packets in memory as a source."""

    def __init__(self, packets, source):
        self.packets, self.sensor, self.format = packets, source.sensor, source.format

    def __iter__(self):
        return iter(self.packets)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", nargs="?", default="sim:gesture?seed=1&duration_s=10")
    parser.add_argument("--model", default="gesture")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json")
    options = parser.parse_args()
    package = load_package(options.model)
    with open_source(options.source) as source:
        recorded = Recorded(list(source), source)
    runs = {n: list(Cut(recorded, n)) for n in SIZES}
    events = sum(len(packet) for packet in recorded.packets)
    taken: dict[int, list[tuple[float, float]]] = {n: [] for n in SIZES}
    for _ in range(options.rounds + 1):
        for n, packets in runs.items():
            pipeline = Pipeline(package, recorded.sensor, RunConfig(fit="scale"))
            began = time.perf_counter()
            infer_ns = sum(result.timing.infer_ns for result in pipeline.run(packets))
            taken[n].append((time.perf_counter() - began, infer_ns / 1e9))
    versions = f"numpy {np.__version__}, numba {numba.__version__}, onnxruntime {onnxruntime.__version__}"
    print(f"{platform.machine()}, Python {platform.python_version()}, {versions}")
    print(f"{options.source}: {events:,} events, {pipeline.accounts.windows} windows; wall time, medians")
    names = ("packet_events", "Mevents_per_s", "steps_share")
    names += ("Mevents_per_s_without_steps", "us_per_packet", "spread")
    print(("{:>15s}" * 3 + "{:>29s}" + "{:>15s}" * 2).format(*names))
    rows = []
    for n, rounds in taken.items():
        totals = [total for total, _ in rounds[1:]]
        total = statistics.median(totals)
        steps = statistics.median(s for _, s in rounds[1:])
        values = (
            n,
            events / total / 1e6,
            steps / total,
            events / (total - steps) / 1e6,
            (total - steps) / len(runs[n]) * 1e6,
            (max(totals) - min(totals)) / total,
        )
        rows.append(dict(zip(names, values, strict=True)))
        print("{:15,d}{:15.2f}{:15.0%}{:29.2f}{:15.2f}{:15.0%}".format(*values))
    if options.json:
        Path(options.json).write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
