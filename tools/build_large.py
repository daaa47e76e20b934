"""Build networks at their published input size and run steps: time and peak memory.

    python tools/build_large.py [NAME ...] [--steps N] [--threads N] [--json FILE]

Each network runs in a process of its own a way, so that a peak is its own: `network` is the torch network's
step as training has it, `torch` and `onnx` are the engines on the lowered graph. The input is a random
image of 0 to 255, weights are untrained. The peak is the process's largest resident memory, libraries
included.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

NAMES = ("att-ms-resnet104", "ms-resnet104", "ms-resnet34", "gac-resnet34", "gac-resnet18")
WAYS = ("network", "torch", "onnx")


def measure(name: str, way: str, steps: int, threads: int) -> dict[str, Any]:
    """Build, lower and step one network in this process."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    import numpy as np
    import torch

    from spikeline.models.paper_costs import neurons, parameters
    from spikeline.models.registry import build
    from spikeline.pipeline.engines import open_engine

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    began = time.perf_counter()
    net = build(name).eval()
    built = time.perf_counter()
    shape = net.shapes[net.frames]
    frame = np.random.default_rng(0).integers(0, 256, (1, *shape)).astype(np.uint16)
    facts: dict[str, Any] = {"name": name, "way": way, "input": list(shape), "parameters": parameters(net)}
    facts["build_s"] = built - began
    if way == "network":
        run = network_steps(net, torch.from_numpy(frame.astype(np.float32)))
    else:
        graph = net.lower()
        facts["lower_s"] = time.perf_counter() - built
        facts["neurons"], facts["macs"] = sum(neurons(graph).values()), sum(graph.dense_macs.values())
        del net
        opening = time.perf_counter()
        engine = open_engine(way, graph)
        state = engine.init_state()
        facts["open_s"] = time.perf_counter() - opening

        def run() -> None:
            engine.step(frame, state)

    seconds = []
    for _ in range(steps):
        begin = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begin)
    facts["first_step_s"], facts["step_s"] = seconds[0], statistics.median(seconds[1:] or seconds)
    facts["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return facts


def network_steps(net: Any, frame: Any) -> Callable[[], None]:
    import torch

    state = net.init_state(1)

    def run() -> None:
        nonlocal state
        with torch.inference_mode():
            _, state = net.step(frame, state)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", default=NAMES)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        print(json.dumps(measure(options.names[0], options.way, options.steps, options.threads)))
        return
    print(f"{platform.machine()}, {os.cpu_count()} cores, {options.threads} threads, batch 1, seed 0")
    columns = ("network", "way", "parameters", "build", "first step", "step", "peak")
    print("{:<18} {:<8} {:>12}   {:>6} {:>11} {:>9}      {}".format(*columns))
    results = []
    for name in options.names:
        for way in WAYS:
            results.append(in_a_process(name, way, options.steps, options.threads))
            print(line(results[-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


def in_a_process(name: str, way: str, steps: int, threads: int) -> dict[str, Any]:
    command = [sys.executable, __file__, name, "--way", way, "--steps", str(steps), "--threads", str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if done.returncode:
        sys.exit(f"{name}, {way}: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def line(facts: dict[str, Any]) -> str:
    made = sum(float(facts.get(key, 0)) for key in ("build_s", "lower_s", "open_s"))
    return (
        f"{facts['name']:<18} {facts['way']:<8} {facts['parameters']:>12,} {made:>6.1f} s"
        f" {facts['first_step_s']:>9.2f} s {facts['step_s']:>7.2f} s {facts['peak_mib']:>5.0f} MiB"
    )


if __name__ == "__main__":
    main()
