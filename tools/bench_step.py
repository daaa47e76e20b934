"""What one step costs: every engine, and others' work, on the same weights and frames.

Networks of paper width from the registry with seeded weights, and thresholds set layer by layer so that every
layer of weights sees the given share of its inputs firing, behind pools and joins. Frames are seeded: that
share of cells holds 1 to 3 events, anew each frame. Contestants take turns, all frames each; the first two
rounds are thrown away. Times are wall clock and CPU of the process, medians and 99th percentiles.

Of the sparse engine both forms take part, and with --threads its layers are shared out as those of the
others are. `sparse x` says how many times as fast each form is as the best contestant of others, and as ONNX
Runtime in float32. With --source frames are a package's own, of a simulated or recorded stream, looped.

    python tools/bench_step.py [--networks three,five,syna] [--densities 0.01,0.03,0.1] [--threads 1]
                               [--rounds 12] [--streams 8] [--json FILE]
    python tools/bench_step.py --model gesture --source sim:gesture?seed=1 [--steps 200]
"""

import argparse
import json
import os
import platform
import time
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--networks", default="three,five,syna")
parser.add_argument("--densities", default="0.01,0.03,0.1")
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--rounds", type=int, default=12)
parser.add_argument("--streams", type=int, default=0, help="also time a batch of so many streams")
parser.add_argument("--contestants", default="onnx,onnx-int8,torch,spikingjelly,sparse,sparse-int16")
parser.add_argument("--model", default="", help="a package in place of networks with seeded weights")
parser.add_argument("--source", default="sim:gesture?seed=1", help="what --model is shown")
parser.add_argument("--fit", default="", help="how its sensor becomes the model's")
parser.add_argument("--steps", type=int, default=200, help="frames of the source, at most")
parser.add_argument("--json", default="")
options = parser.parse_args()
os.environ["OMP_NUM_THREADS"] = str(options.threads)  # before anything that reads it is imported

import numpy as np  # noqa: E402
import torch  # noqa: E402
from bench_contestants import Repeated, Whole, contestants  # noqa: E402
from bench_networks import NETWORKS, calibrated  # noqa: E402

FLAGS = ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")


def timed(made, frames):
    """Name -> wall and CPU microseconds of every step after the first two rounds, in turns."""
    times = {name: ([], []) for name in made}
    for r in range(options.rounds + 2):
        for name, step in made.items():
            for frame in frames:
                wall, cpu = time.perf_counter_ns(), time.process_time_ns()
                step(frame)
                cpu, wall = time.process_time_ns() - cpu, time.perf_counter_ns() - wall
                if r >= 2:
                    times[name][0].append(wall / 1e3)
                    times[name][1].append(cpu / 1e3)
    return times


def densities(graph, step, frames):
    """Mean share of inputs that are not 0 at each layer of weights that spikes feed, over the frames."""
    found = {name: [] for name in step.engine.meter.fed}
    for frame in frames:
        activity = step(frame).activity
        for i, name in enumerate(found):
            full = (
                int(step.engine.meter.taps[i][1].sum()) * graph.shapes[graph_node(graph, name).inputs[0]][0]
            )
            found[name].append(activity.layer_synops[0, i] / full)
    return {name: round(float(np.mean(values)), 4) for name, values in found.items()}


def graph_node(graph, name):
    return next(node for node in graph.nodes if node.name == name)


def machine():
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = next(
        (line.partition(":")[2].strip() for line in info.splitlines() if line.startswith("model name")), ""
    )
    flags = next((line.split() for line in info.splitlines() if line.startswith("flags")), [])
    return {
        "processor": model or platform.machine(),
        "cores": os.cpu_count(),
        "instructions": [flag for flag in FLAGS if flag in flags],
        "load": os.getloadavg()[0],
        "threads": options.threads,
    }


def percentiles(values):
    return {"median": float(np.median(values)), "p99": float(np.percentile(values, 99))}


def cases():
    """Name, density (None: as it comes), graph and frames of everything that is to be timed."""
    if options.model:
        yield options.model, None, *recorded()
        return
    for network in options.networks.split(","):
        for density in (float(d) for d in options.densities.split(",")):
            name, settings = NETWORKS[network]
            yield network, density, *calibrated(name, settings, density)


def recorded():
    """A package's graph, and the frames it is given of the source."""
    from itertools import islice

    from spikeline.drivers import open_source
    from spikeline.pipeline.package import load_package
    from spikeline.pipeline.run import Pipeline, RunConfig

    package = load_package(options.model)
    with open_source(options.source) as events:
        pipeline = Pipeline(package, events.sensor, RunConfig(engine="onnx", fit=options.fit))
        results = islice(pipeline.run(events), options.steps)
        return pipeline.engine.graph, [result.frame[None].copy() for result in results]


def main():
    torch.set_num_threads(options.threads)
    facts = {"machine": machine(), "seed": 0, "results": []}
    print(json.dumps(facts["machine"]))
    for network, density, graph, frames in cases():
        made = contestants(graph, frames, options.contestants.split(","), options.threads)
        times = timed(made, frames)
        clock = 0 if options.threads > 1 else 1  # CPU time of two threads adds up
        middles = {name: float(np.median(found[clock])) for name, found in times.items()}
        best = min((m for name, m in middles.items() if not name.startswith("sparse")), default=None)
        row = {"network": network, "density": density, "times": {}}
        if "sparse" in made:
            row["inputs"] = densities(graph, made["sparse"], frames)
            row["synops"] = int(np.mean([made["sparse"](f).activity.synops[0] for f in frames]))
        print(network if density is None else f"{network} at {density:.0%}")
        for name, (wall, cpu) in times.items():
            row["times"][name] = {"wall_us": percentiles(wall), "cpu_us": percentiles(cpu)}
            line = (
                f"  {name:13} wall {np.median(wall):8.0f} p99 {np.percentile(wall, 99):8.0f}"
                f"  cpu {np.median(cpu):8.0f} p99 {np.percentile(cpu, 99):8.0f} us"
            )
            if name.startswith("sparse") and best is not None:
                against = {"best": best, "onnx": middles.get("onnx", best)}
                row["times"][name]["times_as_fast"] = {k: v / middles[name] for k, v in against.items()}
                line += "".join(f"  {v / middles[name]:5.2f} x {k}" for k, v in against.items())
            print(line)
        if "inputs" in row:
            print(f"  {row['synops']:,} synaptic operations; inputs {row['inputs']}")
        if options.streams and "sparse" in made:
            engine = made["sparse"].engine
            many = Whole(engine, options.streams)
            batch = timed({"one": made["sparse"], "many": Repeated(many, options.streams)}, frames)
            one, all_ = (float(np.median(batch[k][1])) for k in ("one", "many"))
            row["batch"] = {"streams": options.streams, "factor": one * options.streams / all_}
            factor = row["batch"]["factor"]
            print(f"  a stream in a batch of {options.streams} costs 1 / {factor:.2f} of one alone")
        facts["results"].append(row)
    if options.json:
        Path(options.json).write_text(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
