"""A program's lines as they are planned: each knows its arrays, and what Python does where the walk stops.

COUNTS   counts, convolution (and average pool), neurons
CONV     spikes, convolution (and average pool) or linear layer, neurons
CURRENT  the same without neurons: dense values
POOL, JOIN, AVERAGE, VALUES, VOTE   between layers (between.py)
HELD     spikes, or neurons, that a stage in Python sees to
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeline.pipeline.engines.sparse import kernels_float, kernels_int16, kernels_program, kernels_spikes
from spikeline.pipeline.engines.sparse.costs import Costs
from spikeline.pipeline.engines.sparse.dense_conv import DenseConv
from spikeline.pipeline.engines.sparse.geometry import Convolution
from spikeline.pipeline.engines.sparse.kernels_layer import AWAKE, CLIPPED, SPIKES
from spikeline.pipeline.engines.sparse.neurons import Neurons, enter_weights
from spikeline.pipeline.engines.sparse.program import (
    CONV,
    CURRENT,
    HELD,
    NEVER,
    lanes_of,
    padded,
)
from spikeline.pipeline.engines.sparse.spikes import Spikes, aligned
from spikeline.pipeline.engines.sparse.stages import Rooms, Step
from spikeline.pipeline.engines.state import States

Array = NDArray[Any]
SIZES = (
    *("height", "in_width", "out_height", "width", "in_channels"),
    *("padded", "rows", "columns", "stride", "padding"),
)
PAYS_US = 300.0  # a layer's time from which on a second thread is woken for it
ROOM = 32  # places in `offsets`: some are written beyond what is wanted


class Line:
    """One line. most, listed: of its spikes, if it has any; taps: of its inputs, where somebody counts."""

    kind = HELD
    offsets = ROOM  # that it needs for offsets
    fed = ""  # the layer of weights it is, by name

    def __init__(self, name: str, index: int, shape: tuple[int, ...], most: int = 0) -> None:
        self.name, self.index, self.shape, self.most, self.listed = name, index, shape, most, False
        self.width = self.widest = shape[2] if len(shape) == 3 else 1
        self.taps: Array | None = None

    def enter(self, rooms: Rooms, lines: Array, states: States) -> None:
        """Say what it is in a program's lines, one for each stream, and make its arrays."""
        lines["kind"] = self.kind
        lines["dense_from"] = lines["threads_from"] = NEVER
        if self.most:
            spikes = Spikes(len(lines), self.shape, most=self.most, listed=self.listed)
            spikes.enter(lines, rooms.memory)
            rooms.spikes[self.name] = spikes
        else:
            P, C = int(np.prod(self.shape[1:])), self.shape[0]
            lines["pixels"], lines["width"], lines["channels"] = P, self.width, C
            lines["padded"] = padded(C)
        if self.taps is not None:
            lines["taps"] = rooms.memory(self.taps)

    def by_hand(self, step: Step, b: int) -> None:
        """What the walk leaves to Python, for stream b."""
        raise AssertionError(f"{self.name}: nothing is left to Python")

    def give(self, step: Step) -> None:
        """After the walk: enter dense values among the step's."""
        return None


class NeuronsLine(Line):
    """Neurons, whatever feeds them."""

    def __init__(self, index: int, neurons: Neurons) -> None:
        super().__init__(neurons.name, index, neurons.shape, 1)
        self.neurons = neurons
        self._form: Any = np.float32(0) if neurons.whole is None else np.int16(0)

    def enter(self, rooms: Rooms, lines: Array, states: States) -> None:
        super().enter(rooms, lines, states)
        lines["out_height"] = self.shape[1] if len(self.shape) == 3 else 1
        rooms.membranes[self.name] = self.neurons.room(lines, states, rooms.memory)

    def settle(self, rooms: Rooms, b: int, now: int) -> None:
        """Bring every pixel to step `now`; any may fire again."""
        kernels_program.settle(self._form, rooms.program, self.index, b, now)

    def finish(self, rooms: Rooms, b: int) -> None:
        """A step of every pixel, all of whose input is in its membranes."""
        lines = rooms.program[self.index]
        height = int(lines["out_height"][b])
        now, found = int(rooms.now[b]), rooms.found
        kernels_program.run_block(self._form, rooms.program, b, lines, b, True, 0, height, now, 0, found)
        self.take_over(lines, b, found)

    def take_over(self, lines: Array, b: int, found: Array) -> None:
        """Enter what a kernel found."""
        lines["total"][b], lines["wakeful"][b] = found[SPIKES], found[AWAKE]
        lines["clipped"][b] += found[CLIPPED]

    def add_planes(self, planes: Array, rooms: Rooms, b: int) -> None:
        """Sums of a layer that was computed densely, (C, P), in the membranes' measure."""
        kernels = kernels_float if self.neurons.whole is None else kernels_int16
        h = rooms.membranes[self.name].h[b]
        lost = kernels.add_planes(planes, h, padded(self.shape[0]), self.neurons.numbers)
        rooms.program["clipped"][self.index, b] += lost


class Threads:
    """So many threads for one engine; the first is whoever calls."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.pool = ThreadPoolExecutor(n - 1, thread_name_prefix="spikeline-sparse") if n > 1 else None


class WeightsLine(NeuronsLine):
    """A layer of weights and its neurons: rows of it may be shared out, or all be computed densely.

    Each block of rows is computed by one thread, and each output's sum made in one order: bits do not
    depend on how many there are.
    """

    adds = 0.0  # weights added for an input that is not 0
    weights: Array

    def __init__(
        self, index: int, neurons: Neurons, convolution: Convolution, costs: Costs, threads: Threads
    ) -> None:
        super().__init__(index, neurons)
        self.convolution, self._costs, self._threads = convolution, costs, threads
        self.widest = max(self.width, convolution.before[2])
        self._dense: DenseConv | None = None

    def enter(self, rooms: Rooms, lines: Array, states: States) -> None:
        super().enter(rooms, lines, states)
        costs, neurons = self._costs, int(np.prod(self.shape))
        input_ns = self.adds * costs.add_ns(self.weights.itemsize)
        if self._dense is not None:
            dense_ns = costs.dense_ns(self._dense.macs, self._dense.values)
            lines["dense_from"] = min(NEVER, int(dense_ns / input_ns) + 1)
        if self._threads.pool is not None:
            lines["threads_from"] = max(0, int((1e3 * PAYS_US - neurons * costs.neuron) / input_ns))

    def by_hand(self, step: Step, b: int) -> None:
        rooms = step.rooms
        lines = rooms.program[self.index]
        inputs = self.inputs(step, b)
        if inputs >= lines["dense_from"][b]:
            self.settle(rooms, b, int(rooms.now[b]) - 1)
            self.add_densely(step, b)
            self.finish(rooms, b)
        else:
            taken = step.taken and self.kind != CONV
            self._share(rooms, lines, b, inputs == 0 or taken, taken)

    def inputs(self, step: Step, b: int) -> int:
        """Spikes that feed it, or cells with events."""
        raise NotImplementedError

    def add_densely(self, step: Step, b: int) -> None:
        """Add the weights of all inputs to the membranes."""
        raise NotImplementedError

    def _share(self, rooms: Rooms, lines: Array, b: int, silent: bool, taken: bool) -> None:
        """Rows shared out among threads."""
        rows, now = int(lines["out_height"][b]), int(rooms.now[b])
        n = min(self._threads.n, rows)
        edges = np.linspace(0, rows, n + 1).astype(np.int64).tolist()
        blocks, found = np.repeat(lines[b : b + 1], n), np.zeros((n, 3), np.int64)
        for t, own in enumerate(rooms.of_threads(n)):
            for name, array in own.items():
                blocks[name][t] = array.ctypes.data

        def work(t: int) -> None:
            kernels_program.run_block(
                self._form, rooms.program, b, blocks, t, silent, edges[t], edges[t + 1], now, int(taken),
                found[t],
            )  # fmt: skip

        assert self._threads.pool is not None
        others = [self._threads.pool.submit(work, t) for t in range(1, n)]
        work(0)
        for other in others:
            other.result()
        self.take_over(lines, b, found.sum(0))


class ConvLine(WeightsLine):
    """Spikes, a convolution (with the average pool behind it) or a linear layer, and its neurons."""

    kind = CONV

    def __init__(
        self,
        index: int,
        source: Line,
        neurons: Neurons,
        convolution: Convolution,
        costs: Costs,
        threads: Threads,
    ) -> None:
        super().__init__(index, neurons, convolution, costs, threads)
        self.source = source
        linear = convolution.after[1:] == (1, 1)
        self._wide = linear and neurons.whole is not None  # so many inputs leave int16 no room for sums
        self.weights = neurons.weights(convolution.weights(), self._wide)
        C, H, W = convolution.before
        self.offsets = self.width * (convolution.reach * source.most + 4) + ROOM
        macs = convolution.reach * float(np.prod(convolution.after))
        self.adds = macs / (C * H * W)
        if not linear:  # a linear layer's weights are read once: there is nothing to win
            kernel = convolution.kernel * neurons.ratio
            if neurons.whole is not None:
                worth = neurons.whole.worth.astype(float)[:, None, None, None]
                kernel = np.rint(kernel / worth)
            self._dense = DenseConv(convolution, kernel)

    def enter(self, rooms: Rooms, lines: Array, states: States) -> None:
        super().enter(rooms, lines, states)
        lines["source"] = self.source.index
        enter_sizes(lines, self.convolution)
        enter_weights(lines, self.weights, rooms.memory, self._wide)

    def inputs(self, step: Step, b: int) -> int:
        return int(step.rooms.spikes[self.source.name].total[b])

    def add_densely(self, step: Step, b: int) -> None:
        source, dense = step.rooms.spikes[self.source.name], self._dense
        assert dense is not None
        kernels_spikes.expand_planes(
            source.begin[b], source.end[b], source.entries[b], source.width,
            dense.x.reshape(source.channels, -1),
        )  # fmt: skip
        self.add_planes(dense.run(), step.rooms, b)


class CurrentLine(Line):
    """Spikes and a layer of weights without neurons: dense values, for whatever stands behind it."""

    kind = CURRENT

    def __init__(self, name: str, index: int, source: Line, convolution: Convolution, bias: Array) -> None:
        super().__init__(name, index, convolution.after)
        self.source, self.convolution = source, convolution
        self.weights = aligned(convolution.weights().astype(np.float32).ravel())
        self._bias = np.zeros(padded(len(bias)), np.float32)
        self._bias[: len(bias)] = bias
        self.offsets = self.width * (convolution.reach * source.most + 4) + ROOM

    def enter(self, rooms: Rooms, lines: Array, states: States) -> None:
        super().enter(rooms, lines, states)
        lines["source"], lines["lanes"] = self.source.index, lanes_of(self.shape[0])
        enter_sizes(lines, self.convolution)
        enter_weights(lines, self.weights, rooms.memory)
        lines["bias"] = rooms.memory(self._bias)
        C, H, W = self.shape
        rooms.targets[self.name] = target = aligned(np.zeros((len(lines), H, W, padded(C)), np.float32))
        for b in range(len(lines)):
            lines["target"][b] = rooms.memory(target[b])

    def give(self, step: Step) -> None:
        values = step.rooms.targets[self.name][step.chosen, ..., : self.shape[0]].transpose(0, 3, 1, 2)
        step.dense[self.name] = values.reshape(len(values), -1) if self.linear else values

    @property
    def linear(self) -> bool:
        return self.shape[1:] == (1, 1) and self.convolution.kernel.shape[2:] == self.convolution.before[1:]


def enter_sizes(lines: Array, convolution: Convolution, kinds: int = 1) -> None:
    """Say in lines what a convolution's sizes are."""
    for name, n in zip(SIZES, convolution.sizes(kinds), strict=True):
        lines[name] = n
