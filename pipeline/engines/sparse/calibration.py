"""Measuring what costs.py wants to know of this machine: seconds, on one thread, with seeded spikes.

Medians of CPU time, so that others on the machine matter little.
"""

import platform
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from statistics import median

import numpy as np

from spikeline.models.graph import Graph, GraphDocument, Node
from spikeline.pipeline.engines.onnx_engine import OnnxEngine
from spikeline.pipeline.engines.sparse import kernels_conv, kernels_float, kernels_neuron, kernels_spikes
from spikeline.pipeline.engines.sparse.costs import Costs
from spikeline.pipeline.engines.sparse.dense_conv import DenseConv
from spikeline.pipeline.engines.sparse.engine import SparseEngine
from spikeline.pipeline.engines.sparse.geometry import Convolution
from spikeline.pipeline.engines.sparse.spikes import Spikes
from spikeline.pipeline.engines.sparse.stages import NONE, NONE_AWAKE, NONE_DUE

LAYERS = ((64, 32), (128, 16), (256, 8))  # channels, pixels a side
DENSITY, OFTEN = 0.05, 0.3
ROUNDS = 15


def measure_costs() -> Costs:
    """This machine's numbers."""
    rng = np.random.default_rng(0)
    adds, macs, moves = zip(*(_layer(C, side, rng) for C, side in LAYERS), strict=True)
    mac = median(macs)
    whole, multiplied, neurons = _network(rng)
    return Costs(
        add=median(adds),
        mac=mac,
        move=median(moves),
        neuron=_neuron(rng),
        gate=20.0,
        stage_us=_stage(rng),
        onnx_mac=mac,
        onnx_neuron=max(0.1, (whole - multiplied * mac) / neurons),
        machine=processor(),
    )


def _ns(work: Callable[[], object]) -> float:
    """Median CPU nanoseconds of one call."""
    work()
    found = []
    for _ in range(ROUNDS):
        start = time.process_time_ns()
        for _ in range(4):
            work()
        found.append((time.process_time_ns() - start) / 4)
    return median(found)


def _layer(C: int, side: int, rng: np.random.Generator) -> tuple[float, float, float]:
    """ns of a spike's weight, of a multiply-accumulate, and of a value laid out for it and taken back."""
    shape = (C, side, side)
    convolution = Convolution(rng.normal(0, 0.1, (C, C, 3, 3)), 1, 1, shape, shape)
    weights, starts = convolution.weights()
    weights = weights.astype(np.float32)
    spikes, target = seeded_spikes(shape, rng), np.zeros(C * side * side, np.float32)
    taps, numbers = convolution.taps, convolution.numbers

    def add() -> None:
        lists = (spikes.first[0], spikes.entries[0], spikes.list[0])
        kernels_conv.conv_current(*lists, weights, starts, taps, numbers, target)

    dense = DenseConv(convolution, convolution.kernel)

    many = seeded_spikes(shape, rng, OFTEN)
    product = dense.run()

    def move() -> None:
        planes = dense.x.reshape(C, -1)
        kernels_spikes.expand_planes(many.entries[0], many.first[0], many.list[0], planes)
        kernels_float.add_planes(product, target, NONE)

    return _ns(add) / (spikes.total[0] * C * 9), _ns(dense.run) / dense.macs, _ns(move) / dense.values


def seeded_spikes(shape: tuple[int, int, int], rng: np.random.Generator, density: float = DENSITY) -> Spikes:
    spikes = Spikes(1, shape)
    values = (rng.random(int(np.prod(shape))) < density).astype(np.float32)
    spikes.total[0] = kernels_spikes.collect(
        values, shape[0], True, spikes.values[0], spikes.words[0], spikes.count[0], spikes.first[0],
        spikes.entries[0], spikes.list[0],
    )  # fmt: skip
    return spikes


def _neuron(rng: np.random.Generator) -> float:
    C, P = 128, 1024
    out, drive, found = Spikes(1, (C, 32, 32)), np.zeros((1, C), np.float32), np.zeros(3, np.int64)
    h = rng.normal(0, 0.3, C * P).astype(np.float32)
    numbers = np.array([1, 0.7, 1, 0, 1, 0], np.float32)  # nothing changes: as many spikes each time

    def update() -> None:
        kernels_neuron.finish_all(
            NONE, NONE_AWAKE, np.float32(0), h, drive, numbers, True, out.values[0], out.words[0], True,
            out.count[0], out.first[0], out.list[0], NONE_DUE, NONE_AWAKE, found,
        )  # fmt: skip

    return _ns(update) / (C * P)


def _graph(rng: np.random.Generator) -> Graph:
    """input - conv - neurons - conv - neurons - linear, 32 channels on 32 x 32 cells."""
    cell = {"kind": "lif_sj", "constants": {"threshold": 1.0}}
    same = {"stride": 1, "padding": 1, "groups": 1}
    nodes = [
        Node("input", "input", [], {"gain": 1.0}),
        Node("a", "conv", ["input"], same),
        Node("n", "neuron", ["a"], cell),
        Node("b", "conv", ["n"], same),
        Node("m", "neuron", ["b"], cell),
        Node("out", "linear", ["m"]),
        Node("readout", "readout", ["out"], {"kind": "mean"}),
    ]
    shapes = {"a.weight": (32, 2, 3, 3), "b.weight": (32, 32, 3, 3), "out.weight": (4, 32 * 1024)}
    tensors = {name: rng.normal(0, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}
    tensors |= {f"{name}.bias": np.zeros(n, np.float32) for name, n in (("a", 32), ("b", 32), ("out", 4))}
    return Graph(GraphDocument("step", "endless", 4, (2, 32, 32), nodes), tensors)


def _network(rng: np.random.Generator) -> tuple[float, int, int]:
    """ns of a step in ONNX Runtime, its multiply-accumulates and its neurons."""
    graph = _graph(rng)
    engine = OnnxEngine(graph)
    state = engine.init_state()
    frames = rng.poisson(0.05, (1, 2, 32, 32)).astype(np.uint16)
    neurons = sum(int(np.prod(graph.shapes[name])) for name in graph.layers)
    return _ns(lambda: engine.step(frames, state)), sum(graph.dense_macs.values()), neurons


def _stage(rng: np.random.Generator) -> float:
    """us of a silent step, by its stages."""
    engine = SparseEngine(_graph(rng), costs=Costs())
    state = engine.init_state()
    nothing = np.zeros((1, 2, 32, 32), np.uint16)
    return _ns(lambda: engine.step(nothing, state)) / 1e3 / len(engine.plan.stages)


def processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()
