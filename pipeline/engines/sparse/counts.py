"""The first layer: a convolution on event counts and its neurons, from a frame or from single events."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeline.pipeline.engines.sparse import kernels_counts, kernels_spikes
from spikeline.pipeline.engines.sparse.costs import Costs
from spikeline.pipeline.engines.sparse.dense_conv import DenseConv
from spikeline.pipeline.engines.sparse.geometry import Convolution
from spikeline.pipeline.engines.sparse.stages import Membranes, Neurons, Stage, Step
from spikeline.pipeline.engines.state import States

MOST = 255  # events of a cell that the whole numbers are made for, where the input has no clip
EVENT = 4  # what an event's weight costs here, in adds of a spike's: rows are short and read one by one
LARGEST = 2.0**30  # of any sum of whole numbers: int32 holds twice as much


@dataclass(slots=True)
class Early:
    """Events that came before their step: frame (B, 2, H, W), sums (B, Ho Wo C); used: by the step."""

    frame: NDArray[np.uint16]
    sums: NDArray[np.int32]
    used: list[bool]

    def clear(self) -> None:
        """After the step, which has taken the sums it used; a stream that idled loses its events."""
        for b in range(len(self.frame)):
            if not self.used[b] and self.frame[b].any():
                self.sums[b] = 0
            self.frame[b] = 0
            self.used[b] = False


class CountsConv(Stage):
    """counts - min(gain n, clip) - convolution (and average pool) - neurons.

    Sums of weights are whole numbers of 1 / 2^bits. A frame of so many events that a dense layer is cheaper,
    or without a clip one with more than MOST in a cell, is computed in float32 instead.
    """

    def __init__(
        self, neurons: Neurons, convolution: Convolution, gain: float, clip: float | None, costs: Costs
    ) -> None:
        self.name, self.neurons, self.convolution = neurons.name, neurons, convolution
        self._gain, self._clip = gain, clip
        weights, self._starts = convolution.weights()
        self._top = 1 << 40 if clip is None else max(1, math.ceil(clip / gain))  # the first count clipped
        largest = gain * MOST if clip is None else clip
        reach = float(np.abs(convolution.kernel).sum((1, 2, 3)).max()) * largest
        bits = math.floor(math.log2(LARGEST / max(reach, 1e-6)))
        self._plain = np.rint(weights * gain * 2.0**bits).astype(np.int32)
        self._full = np.rint(weights * largest * 2.0**bits).astype(np.int32)
        self._worth = np.float32(neurons.cell.ratio * 2.0**-bits)
        self._taps, self._geometry = convolution.taps, convolution.numbers
        C, Ho, Wo = convolution.after
        self._rows = np.array([0, Ho], np.int64)
        self._sums = np.zeros((int(self._taps.max()) + 1) * Wo * C, np.int32)
        self._costs, self._dense = costs, DenseConv(convolution, neurons.cell.ratio)
        self._adds = self._dense.macs / int(np.prod(convolution.before))  # of a cell with events

    def room(self, batch: int, states: States) -> Membranes:
        return self.neurons.room(batch, states)

    def early(self, own: Membranes) -> Early:
        """Room for events that come before their step, made when it is first asked for."""
        if own.extra is None:
            C, Ho, Wo = self.convolution.after
            batch = len(own.h)
            frame = np.zeros((batch, *self.convolution.before), np.uint16)
            own.extra = Early(frame, np.zeros((batch, Ho * Wo * C), np.int32), [False] * batch)
        return own.extra

    def add(
        self, x: Any, y: Any, p: Any, start: int, stop: int, cells: NDArray[np.int32], own: Membranes, b: int
    ) -> None:
        early = self.early(own)
        kernels_counts.add_counts(
            x, y, p, start, stop, cells, early.frame[b], self._top, self._plain, self._full,
            self._starts, self._taps, self._geometry, early.sums[b],
        )  # fmt: skip

    def run(self, step: Step, own: Membranes) -> None:
        neurons, out = self.neurons, step.rooms.spikes[self.name]
        taken = own.extra is not None and step.frames is own.extra.frame
        for b in step.streams:
            frame = step.frames[b]
            top = int(frame.max())
            now = step.rooms.now[b]
            if top == 0 and neurons.quiet(own, b):
                out.total[b] = 0
                continue
            adds = EVENT * self._adds * np.count_nonzero(frame)
            often = self._costs.dense_pays(adds, self._dense.macs, self._dense.values)
            if often or (self._clip is None and top > MOST):
                self._in_float(frame, own, b, now, step)
                continue
            kernels_counts.counts_layer(
                frame, self._top, taken, self._plain, self._full,
                self._starts, self._taps, self._geometry, self._rows,
                own.extra.sums[b] if taken else self._sums, self._worth,
                own.h[b], neurons.drive, neurons.cell.numbers, neurons.lazy, now, own.due[b], own.awake[b],
                out.keep, out.values[b], out.words[b], out.listed, out.count[b], out.first[b], out.list[b],
                own.found,
            )  # fmt: skip
            if taken:
                own.extra.used[b] = True
            out.total[b] = int(own.found[0])
            own.wakeful[b] = int(own.found[1])

    def warm_up(self, own: Membranes) -> None:
        kernels_spikes.add_planes(self._dense.run(), np.zeros_like(own.h[0]))

    def _in_float(self, frame: NDArray[np.uint16], own: Membranes, b: int, now: int, step: Step) -> None:
        neurons = self.neurons
        neurons.catch_up(own, b, now)
        x = self._dense.x[0]
        np.multiply(frame, np.float32(self._gain), out=x)
        if self._clip is not None:
            np.minimum(x, np.float32(self._clip), out=x)
        kernels_spikes.add_planes(self._dense.run(), own.h[b])
        neurons.fed(own, b, own.h[b], 0.0, step.rooms.spikes[self.name])
