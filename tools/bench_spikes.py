"""What a spike and a neuron cost in the spike-driven engine, as shares of the limit; and cost against spikes.

    python tools/bench_spikes.py limits
    python tools/bench_spikes.py silence
    python tools/bench_spikes.py line [SOURCE] [--model gesture] [--steps 10000] [--svg FILE]

limits  nanoseconds of a synaptic operation at 2, 5 and 10 % density in layers of several sizes, beside those
        of reading the layer's weights once in order; the update of a layer of neurons beside a loop that
        reads and writes the same memory
silence a silent step of networks of paper width at rest
line    the steps of a recording, looped: CPU time against synaptic operations, a straight line fitted by
        least squares, and the 99th percentile of time / fitted time
"""

import argparse
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numba
import numpy as np

from spikeline.drivers import open_source
from spikeline.pipeline.engines.sparse.calibration import OneLayer, processor, seeded_values
from spikeline.pipeline.engines.sparse.engine import SparseEngine
from spikeline.pipeline.engines.sparse.geometry import Convolution
from spikeline.pipeline.engines.sparse.spikes import aligned
from spikeline.pipeline.package import load_package
from spikeline.pipeline.run import Pipeline, RunConfig

LAYERS = ((64, 32), (128, 64), (128, 32), (128, 16), (256, 8), (512, 4))
ROUNDS = 30
NETWORKS = {"masnn3": {"attention": "no"}, "plifnet": {}, "syna-gesture": {"ma": "no", "ia": "no"}}


def ns(work):
    """Median CPU nanoseconds of a call."""
    work()
    found = []
    for _ in range(ROUNDS):
        start = time.process_time_ns()
        work()
        found.append(time.process_time_ns() - start)
    return float(np.median(found))


@numba.njit(nogil=True, fastmath={"reassoc"})
def read(a):
    total = np.float32(0)
    for i in range(a.shape[0]):
        total += a[i]
    return total


@numba.njit(nogil=True)
def touch(a, times):
    for _ in range(times):
        for i in range(a.shape[0]):
            a[i] = -a[i]


def limits():
    rng = np.random.default_rng(0)
    print(processor())
    for C, side in LAYERS:
        for kind in (np.float32, np.int16, np.int8):
            bound, each = adds(C, side, rng, kind)
            row = "   ".join(f"{d:4.0%} {ns_:.3f} ns ({bound / ns_:4.0%})" for d, ns_ in each.items())
            print(f"  {C:3} -> {C:3} at {side:2} x {side:2}, {kind.__name__:7} read {bound:.3f}: {row}")
    for C, side in ((128, 16), (128, 64), (128, 128)):
        for whole in (False, True):
            bound, update = updates(C, side, whole)
            size, kind = C * side * side * (2 if whole else 4) / 1e6, "int16" if whole else "float32"
            print(f"  {size:4.1f} MB of {kind:7} membranes: update {update:.3f} ns a neuron,", end=" ")
            print(f"read and write {bound:.3f} ({bound / update:.0%})")


def adds(C, side, rng, kind):
    """ns of reading a weight, and density -> ns of adding one, of a layer C -> C with such weights."""
    shape = (C, side, side)
    convolution = Convolution(rng.normal(0, 0.1, (C, C, 3, 3)), 1, 1, shape, shape)
    weights = aligned(np.rint(100 * convolution.weights()).astype(kind).ravel())
    each = {}
    for density in (0.02, 0.05, 0.10):
        each[density] = OneLayer(convolution, seeded_values(shape, rng, density), kind).add_ns(ns)
    return ns(lambda: read(weights.view(np.float32))) / weights.size, each


def updates(C, side, whole):
    """ns of reading and writing a value of so many, and of updating a neuron, in int16 or not."""
    shape, nothing = (C, side, side), np.zeros(side * side, np.float32)
    convolution = Convolution(np.zeros((C, 1, 1, 1)), 1, 0, (1, side, side), shape)
    layer = OneLayer(convolution, nothing, np.int8 if whole else np.float32)
    h = aligned(np.zeros(C * side * side, np.int16 if whole else np.float32))
    return ns(lambda: touch(h, 1)) / h.size, ns(lambda: layer.step(True)) / h.size


def silence():
    """Microseconds of a step without events after a while without any."""
    import torch

    from spikeline.models.registry import build

    for name, settings in NETWORKS.items():
        torch.manual_seed(0)
        graph = build(name, **settings).lower()
        for form in ("float32", "int16"):
            engine = SparseEngine(graph, form=form)
            state = engine.init_state()
            nothing = np.zeros((1, *graph.document.input_shape), np.uint16)
            for _ in range(50):
                fired = engine.step(nothing, state).activity.spikes.sum()
            spent = []
            for _ in range(300):
                start = time.process_time_ns()
                engine.step(nothing, state)
                spent.append((time.process_time_ns() - start) / 1e3)
            p99 = np.percentile(spent, 99)
            print(f"  {name:14} {form:7} {np.median(spent):.0f} us, p99 {p99:.0f}; {fired} spikes")


def line(source, model, steps, svg):
    package = load_package(model)
    with open_source(source) as events:
        pipeline = Pipeline(package, events.sensor, RunConfig(engine="sparse"))
        frames = [result.frame[None].copy() for result in pipeline.run(events)]
    engine = SparseEngine(pipeline.engine.graph)
    state = engine.init_state()
    spent, synops = np.zeros(steps), np.zeros(steps)
    for i in range(-len(frames), steps):
        frame = frames[i % len(frames)]
        start = time.thread_time_ns()
        result = engine.step(frame, state)
        if i >= 0:
            spent[i] = (time.thread_time_ns() - start) / 1e3
            synops[i] = result.activity.synops[0]
    slope, base = np.polyfit(synops, spent, 1)
    ratio = spent / (base + slope * synops)
    print(f"{processor()}; {source}, {model}: {len(frames)} frames, {steps:,} steps")
    print(f"  {base:.1f} us + {1e3 * slope:.4f} ns a synaptic operation; {synops.mean():,.0f} on average")
    print(f"  time / fitted time: median {np.median(ratio):.2f}, p99 {np.percentile(ratio, 99):.2f}")
    again = [np.median(spent[i :: len(frames)]) for i in range(min(len(frames), steps))]
    typical = np.array(again) / (base + slope * synops[: len(again)])
    print(f"  each frame's median over its repetitions / fitted time: p99 {np.percentile(typical, 99):.2f}")
    if svg:
        with open(svg, "w") as file:
            file.write(plot(synops, spent, base, slope))


def plot(synops, spent, base, slope, shown=2000):
    """Points and their line, as SVG."""
    width, height, left, low = 640, 360, 60, 40
    top, right = float(np.percentile(spent, 99.5)), float(synops.max())
    rng = np.random.default_rng(0)

    def at(x, y):
        return left + (width - left - 10) * x / right, height - low - (height - low - 10) * min(y, top) / top

    chosen = rng.choice(len(synops), min(shown, len(synops)), replace=False)
    dots = "".join(
        '<circle cx="{:.1f}" cy="{:.1f}" r="1.2"/>'.format(*at(synops[i], spent[i])) for i in sorted(chosen)
    )
    (x0, y0), (x1, y1) = at(0, base), at(right, base + slope * right)
    labels = ""
    for k in range(5):
        x, y = at(right * k / 4, top * k / 4)
        labels += (
            f'<text x="{x:.0f}" y="{height - low + 16}" text-anchor="middle">{right * k / 4e3:,.0f} k</text>'
        )
        labels += f'<text x="{left - 6}" y="{y + 4:.0f}" text-anchor="end">{top * k / 4:,.0f}</text>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif"'
        f' font-size="11"><rect width="{width}" height="{height}" fill="white"/>'
        f'<g fill="#36c" fill-opacity="0.4">{dots}</g>'
        f'<path d="M{x0:.1f} {y0:.1f}L{x1:.1f} {y1:.1f}" stroke="#c33" stroke-width="1.5"/>{labels}'
        f'<text x="{width / 2}" y="{height - 6}" text-anchor="middle">synaptic operations of a step</text>'
        f'<text x="12" y="{height / 2}" transform="rotate(-90 12 {height / 2})" text-anchor="middle">'
        "CPU time, us</text></svg>\n"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("limits", "silence", "line"))
    parser.add_argument("source", nargs="?", default="sim:gesture?seed=1")
    parser.add_argument("--model", default="gesture")
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--svg", default="")
    options = parser.parse_args()
    if options.what == "limits":
        limits()
    elif options.what == "silence":
        silence()
    else:
        line(options.source, options.model, options.steps, options.svg)


if __name__ == "__main__":
    main()
