"""The first layer: counts, a convolution and its neurons, from a frame or from events as they come."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeline.pipeline.engines.sparse import kernels_counts
from spikeline.pipeline.engines.sparse.costs import Costs
from spikeline.pipeline.engines.sparse.dense_conv import DenseConv
from spikeline.pipeline.engines.sparse.geometry import Convolution
from spikeline.pipeline.engines.sparse.lines import ROOM, Threads, WeightsLine, enter_sizes
from spikeline.pipeline.engines.sparse.neurons import Neurons, enter_weights
from spikeline.pipeline.engines.sparse.program import BESIDE, COUNTS, NEVER, padded
from spikeline.pipeline.engines.sparse.spikes import aligned
from spikeline.pipeline.engines.sparse.stages import Early, Rooms, Step
from spikeline.pipeline.engines.state import States

Array = NDArray[Any]
MOST = 255  # events of a cell that the whole numbers are made for, where the input has no clip
EVENT = 1.5  # what a cell's weights cost, in those of a spike: a count of three is two entries
LARGEST = 2.0**30  # of any sum of whole numbers: int32 holds twice as much


class CountsLine(WeightsLine):
    """counts - min(gain n, clip) - convolution (and average pool) - neurons.

    Sums of weights are whole numbers of 1 / 2^bits. A frame of so many events that a dense layer is cheaper,
    or without a clip one with more than MOST in a cell, is computed in float32 instead. Where membranes are
    int16, sums are so always, in 1 / 2^bits of a unit, and what a cell has beyond MOST is left out and
    counted as clipped.
    """

    kind = COUNTS

    def __init__(
        self,
        index: int,
        neurons: Neurons,
        convolution: Convolution,
        gain: float,
        clip: float | None,
        costs: Costs,
        threads: Threads,
    ) -> None:
        super().__init__(index, neurons, convolution, costs, threads)
        self._gain, self._clip = gain, clip
        kernel, ratio = convolution.kernel, neurons.ratio
        self._top = NEVER if clip is None else max(1, math.ceil(clip / gain))  # the first count clipped
        self._most = MOST if clip is None else NEVER
        largest = gain * MOST if clip is None else clip
        rows = convolution.weights()
        if neurons.whole is None:
            reach = float(np.abs(kernel).sum((1, 2, 3)).max()) * largest
            bits = math.floor(math.log2(LARGEST / max(reach, 1e-6)))
            self._scale, self._shift, unit = ratio * 2.0**-bits, 0, np.full(rows.shape[1], 2.0**-bits)
        else:
            worth = neurons.worth.astype(np.float64) / ratio
            most = float((np.abs(rows).sum(0) * largest / abs(worth)).max())
            bits = max(0, min(15, math.floor(math.log2(LARGEST / max(most, 1e-6)))))
            self._scale, self._shift, unit = 0.0, bits, worth * 2.0**-bits
        self.kinds, self.weights = self._kinds(rows, gain, largest, unit)
        if neurons.whole is None:
            self._dense = DenseConv(convolution, kernel * ratio)
        Cin, H, W = convolution.before
        self.adds = EVENT * convolution.reach * float(np.prod(convolution.after)) / (Cin * H * W)
        self.offsets = self.width * (convolution.reach * self.kinds + 4) + ROOM

    def _kinds(self, weights: Array, gain: float, largest: float, unit: Array) -> tuple[int, Array]:
        """How many kinds of entries a cell has, and the weights of each: times 1, 2, 4 and so on, and
        clipped.
        """
        bits = max(1, (min(self._top - 1, self._most)).bit_length())
        plain, clipped = (np.rint(weights * n / unit).astype(np.int64) for n in (gain, largest))
        many = [plain << b for b in range(bits)] + [clipped] * (self._clip is not None)
        kinds = bits + 1  # the clipped one has its place in either case
        rows = np.zeros(((len(weights) - 1) * kinds + 1, weights.shape[1]), np.int32)
        for b, part in enumerate(many):
            rows[b:-1:kinds] = part[:-1]
        return kinds, aligned(rows.ravel())

    def enter(self, rooms: Rooms, lines: Array, states: States) -> None:
        super().enter(rooms, lines, states)
        enter_sizes(lines, self.convolution, self.kinds)
        enter_weights(lines, self.weights, rooms.memory)
        lines["scale"], lines["shift"], lines["kinds"] = self._scale, self._shift, self.kinds
        lines["clipped_from"], lines["most"] = self._top, self._most
        Cin, H, W = self.convolution.before
        lines["in_size"] = H * W * Cin * self.kinds + BESIDE
        for name, n in (("in_begin", H * W), ("in_end", H * W), ("in_entries", H * W * Cin * self.kinds)):
            lines[name] = rooms.memory(np.zeros(n + BESIDE, np.int32))

    def early(self, rooms: Rooms) -> Early:
        """Room for events that come before their step, made when it is first asked for."""
        if rooms.early is None:
            C, Ho, Wo = self.convolution.after
            lines = rooms.program[self.index]
            batch = len(lines)
            frame = np.zeros((batch, *self.convolution.before), np.uint16)
            sums = aligned(np.zeros((batch, Ho * Wo * padded(C)), np.int32))
            rooms.early = Early(frame, sums, np.zeros((batch, Ho * Wo + BESIDE), np.uint8))
            for b in range(batch):
                lines["sums"][b] = rooms.memory(rooms.early.sums[b])
                lines["hit"][b] = rooms.memory(rooms.early.hit[b])
        return rooms.early

    def add(
        self, x: Any, y: Any, p: Any, start: int, stop: int, cells: NDArray[np.int32], rooms: Rooms, b: int
    ) -> None:
        """Events start .. stop, of the step to come."""
        early = self.early(rooms)
        kernels_counts.add_counts(
            x, y, p, start, stop, cells, early.frame[b], self._top, self._most, self.kinds, self.weights,
            self.convolution.sizes(self.kinds), early.sums[b], early.hit[b],
        )  # fmt: skip

    def inputs(self, step: Step, b: int) -> int:
        """Cells with events; more where they are too many in one for whole numbers."""
        cells, over = kernels_counts.look(step.frames[b], self._most)
        if self._dense is not None and over:
            return max(cells, int(step.rooms.program["dense_from"][self.index, b]))
        return int(cells)

    def add_densely(self, step: Step, b: int) -> None:
        if step.taken and step.rooms.early is not None:
            step.rooms.early.sums[b], step.rooms.early.hit[b] = 0, 0
        assert self._dense is not None
        x = self._dense.x[0]
        np.multiply(step.frames[b], np.float32(self._gain), out=x)
        if self._clip is not None:
            np.minimum(x, np.float32(self._clip), out=x)
        self.add_planes(self._dense.run(), step.rooms, b)
