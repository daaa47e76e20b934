"""Measuring what costs.py wants to know of this machine: seconds, on one thread, with seeded spikes.

Medians of CPU time, so that others on the machine matter little.
"""

import platform
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeline.models.graph import Graph, GraphDocument, Node
from spikeline.pipeline.engines.onnx_engine import OnnxEngine
from spikeline.pipeline.engines.sparse import kernels_float, kernels_program, kernels_spikes
from spikeline.pipeline.engines.sparse.costs import Costs
from spikeline.pipeline.engines.sparse.dense_conv import DenseConv
from spikeline.pipeline.engines.sparse.engine import SparseEngine
from spikeline.pipeline.engines.sparse.geometry import Convolution
from spikeline.pipeline.engines.sparse.int16 import Whole
from spikeline.pipeline.engines.sparse.lines import ConvLine, Line, Threads
from spikeline.pipeline.engines.sparse.neurons import Neurons
from spikeline.pipeline.engines.sparse.program import NEVER
from spikeline.pipeline.engines.sparse.spikes import Spikes, aligned
from spikeline.pipeline.engines.sparse.stages import Rooms

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
        step_us=_still(rng),
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
    add = OneLayer(convolution, seeded_values(shape, rng)).add_ns(_ns)
    dense, many = DenseConv(convolution, convolution.kernel), Spikes(1, shape)
    many.collect(0, seeded_values(shape, rng, OFTEN))
    product, target = dense.run(), np.zeros(C * side * side, np.float32)

    def move() -> None:
        planes = dense.x.reshape(C, -1)
        kernels_spikes.expand_planes(many.begin[0], many.end[0], many.entries[0], many.width, planes)
        kernels_float.add_planes(product, target, C, target)

    return add, _ns(dense.run) / dense.macs, _ns(move) / dense.values


class OneLayer:
    """A convolution on given spikes, and neurons that leak and never fire: a program of one line.

    kind: of weights; membranes are float32 for float32 weights, else int16
    """

    def __init__(self, convolution: Convolution, values: NDArray[np.float32], kind: Any = np.float32) -> None:
        """values (P Cin,): the spikes"""
        C, form = convolution.after[0], np.float32 if kind is np.float32 else np.int16
        drive, numbers, units = np.zeros(C, np.float32), np.array([0.5, 1e30, 1, 0, 0, 0], np.float32), None
        if form is np.int16:
            never = np.repeat(np.array([[32_767], [0], [0], [32_767]], np.int16), C, axis=1)
            leak = np.array([-1, -32_768, -1, 0, 30_000], np.int16)
            units = Whole(np.full(C, 0.01, np.float32), never, leak)
        neurons = Neurons("n", convolution.after, drive, numbers, 1.0, False, None)
        if units is not None:
            neurons = Neurons("n", convolution.after, units.drive, units.numbers, 1.0, False, units)
        source = Line("in", 0, convolution.before, 1)
        source.listed = True
        line = ConvLine(1, source, neurons, convolution, Costs(), Threads(1))
        line.weights = aligned(line.weights.astype(kind))
        self._rooms = Rooms([source, line], {"n.h": np.zeros((1, *convolution.after), np.float32)}, 1)
        self._rooms.spikes["in"].collect(0, values)
        self._rooms.program["dense_from"] = NEVER
        self._form = form(0)
        self._spikes = int(self._rooms.program["total"][0, 0])
        self._rest = (np.zeros(1, np.int64), 0, self._rooms.now, np.zeros((1, 1, 1, 1), np.uint16), False)
        self.adds = C * _met(convolution, values)
        self.neurons = int(np.prod(convolution.after))

    def step(self, silent: bool = False) -> None:
        """One step, with the spikes or without."""
        rooms = self._rooms
        rooms.program["total"][0, 0] = 0 if silent else self._spikes
        kernels_program.walk(self._form, rooms.program, 1, 2, *self._rest, rooms.found)

    def add_ns(self, clock: Callable[[Callable[[], object]], float]) -> float:
        """ns of a weight added: a step less a silent one, in which neurons are updated all the same."""
        return (clock(self.step) - clock(partial(self.step, True))) / self.adds


def _met(convolution: Convolution, values: NDArray[np.float32]) -> int:
    """Taps that all spikes meet together."""
    C, H, W = convolution.before
    k, s, p = convolution.kernel.shape[-1], convolution.stride, convolution.padding

    def reached(size: int, outputs: int) -> NDArray[np.int64]:
        places = [[y + p - t for t in range(k)] for y in range(size)]
        return np.array([sum(q % s == 0 and 0 <= q // s < outputs for q in row) for row in places])

    count = (values.reshape(H * W, C) != 0).sum(1).reshape(H, W)
    return int(reached(H, convolution.after[1]) @ count @ reached(W, convolution.after[2]))


def seeded_values(
    shape: tuple[int, int, int], rng: np.random.Generator, density: float = DENSITY
) -> NDArray[np.float32]:
    """Of a layer (C, H, W), (P C,): 1 with this probability."""
    return (rng.random(int(np.prod(shape))) < density).astype(np.float32)


def _neuron(rng: np.random.Generator) -> float:
    shape = (128, 32, 32)
    layer = OneLayer(
        Convolution(np.zeros((128, 1, 1, 1)), 1, 0, (1, 32, 32), shape), np.zeros(1024, np.float32)
    )
    return _ns(partial(layer.step, True)) / layer.neurons


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


def _still(rng: np.random.Generator) -> float:
    """us of a silent step."""
    engine = SparseEngine(_graph(rng), costs=Costs())
    state = engine.init_state()
    nothing = np.zeros((1, 2, 32, 32), np.uint16)
    return _ns(lambda: engine.step(nothing, state)) / 1e3


def processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()
