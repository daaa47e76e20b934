"""The first layer: a convolution on event counts and its neurons, from a frame or from single events."""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeline.pipeline.engines.sparse import kernels_counts
from spikeline.pipeline.engines.sparse.blocks import Block, Threads
from spikeline.pipeline.engines.sparse.costs import Costs
from spikeline.pipeline.engines.sparse.dense_conv import DenseConv
from spikeline.pipeline.engines.sparse.geometry import Convolution
from spikeline.pipeline.engines.sparse.spikes import Spikes, aligned
from spikeline.pipeline.engines.sparse.stages import NONE, NONE_AWAKE, Membranes, Neurons, Stage, Step
from spikeline.pipeline.engines.state import States

MOST = 255  # events of a cell that the whole numbers are made for, where the input has no clip
EVENT = 4  # what an event's weight costs here, in adds of a spike's: rows are short and read one by one
LARGEST = 2.0**30  # of any sum of whole numbers: int32 holds twice as much


@dataclass(slots=True)
class Early:
    """Events that came before their step: frame (B, 2, H, W), sums (B, Ho Wo C), hit (B, Ho Wo) their pixels;
    used: by the step."""

    frame: NDArray[np.uint16]
    sums: NDArray[np.int32]
    hit: NDArray[np.uint8]
    used: list[bool]

    def clear(self) -> None:
        """After the step, which has taken the sums it used; a stream that idled loses its events."""
        for b in range(len(self.frame)):
            self.forget(b)

    def forget(self, b: int) -> None:
        """One stream's events."""
        if not self.used[b] and self.frame[b].any():
            self.sums[b] = 0
            self.hit[b] = 0
        self.frame[b] = 0
        self.used[b] = False


class CountsConv(Stage):
    """counts - min(gain n, clip) - convolution (and average pool) - neurons.

    Sums of weights are whole numbers of 1 / 2^bits. A frame of so many events that a dense layer is cheaper,
    or without a clip one with more than MOST in a cell, is computed in float32 instead. Where membranes are
    int16, sums are so always, and what a cell has beyond MOST is left out and counted as clipped.
    """

    def __init__(
        self,
        neurons: Neurons,
        convolution: Convolution,
        gain: float,
        clip: float | None,
        costs: Costs,
        threads: Threads,
    ) -> None:
        self.name, self.neurons, self.convolution = neurons.name, neurons, convolution
        self._gain, self._clip, self._costs = gain, clip, costs
        kernel, ratio = convolution.kernel, neurons.ratio
        self._top = 1 << 40 if clip is None else max(1, math.ceil(clip / gain))  # the first count clipped
        largest = gain * MOST if clip is None else clip
        reach = float(np.abs(kernel).sum((1, 2, 3)).max()) * largest
        if neurons.whole is None:
            bits = math.floor(math.log2(LARGEST / max(reach, 1e-6)))
            self._worth: Any = np.float32(ratio * 2.0**-bits)
            unit: Any = 2.0**-bits
        else:
            worth = neurons.whole.worth.astype(np.float64) / ratio
            most = float((np.abs(kernel).sum((1, 2, 3)) * largest / np.abs(worth)).max())
            bits = max(0, min(15, math.floor(math.log2(LARGEST / max(most, 1e-6)))))
            self._worth, unit = bits, worth * 2.0**-bits
            if clip is None:
                self._top = MOST
        weights, self._starts = convolution.weights()
        weights = weights.reshape(-1, convolution.after[0])
        self._plain = aligned(np.rint(weights * gain / unit).astype(np.int32).reshape(-1))
        self._full = aligned(np.rint(weights * largest / unit).astype(np.int32).reshape(-1))
        self._taps, self._geometry = convolution.taps, convolution.numbers
        C, Ho, Wo = convolution.after
        rooms = int(self._taps.max()) + 1
        self._threads = threads
        self._blocks = threads.blocks(
            Ho, Wo * C, lambda: (aligned(np.zeros(rooms * Wo * C, np.int32)), np.zeros(rooms * Wo, np.uint8))
        )
        self._dense = DenseConv(convolution, kernel * ratio)
        self._adds = self._dense.macs / int(np.prod(convolution.before))  # of a cell with events
        self._often = convolution.often

    def room(self, batch: int, states: States) -> Membranes:
        return self.neurons.room(batch, states)

    def early(self, own: Membranes) -> Early:
        """Room for events that come before their step, made when it is first asked for."""
        if own.extra is None:
            C, Ho, Wo = self.convolution.after
            batch = len(own.h)
            frame = np.zeros((batch, *self.convolution.before), np.uint16)
            sums, hit = np.zeros((batch, Ho * Wo * C), np.int32), np.zeros((batch, Ho * Wo), np.uint8)
            own.extra = Early(frame, sums, hit, [False] * batch)
        return own.extra

    def add(
        self, x: Any, y: Any, p: Any, start: int, stop: int, cells: NDArray[np.int32], own: Membranes, b: int
    ) -> None:
        early = self.early(own)
        kernels_counts.add_counts(
            x, y, p, start, stop, cells, early.frame[b], self._top, self._plain, self._full,
            self._starts, self._taps, self._geometry, early.sums[b], early.hit[b],
        )  # fmt: skip

    def forget(self, own: Membranes, streams: Any) -> None:
        """Events of these streams (None: of all) that no step has taken yet."""
        if own.extra is not None:
            for b in range(len(own.h)) if streams is None else streams:
                own.extra.forget(b)

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
            cells = int(np.count_nonzero(frame))
            if self._in_float(cells, top):
                neurons.begin(own, b, now, sweep=True)
                self._add_densely(frame, own, b)
                neurons.finish(own, b, out, NONE, NONE_AWAKE, neurons.zero)
                continue
            if neurons.whole is not None and self._clip is None and top > MOST:
                own.clipped[b] += int(np.count_nonzero(frame > MOST))
            lazy = neurons.begin(own, b, now, cells > self._often)
            work = partial(self._compute, frame, taken, own, out, b, lazy, now)
            expected_us = self._costs.layer_us(EVENT * self._adds * cells, len(own.h[b]))
            found = self._threads.run(work, self._blocks, expected_us)
            if taken:
                own.extra.used[b] = True
            neurons.end(own, b, out, found)

    def _compute(
        self,
        frame: NDArray[np.uint16],
        taken: bool,
        own: Membranes,
        out: Spikes,
        b: int,
        lazy: bool,
        now: int,
        block: Block,
    ) -> None:
        neurons, (values, words) = self.neurons, block.room(out, b)
        sums, hit = (own.extra.sums[b], own.extra.hit[b]) if taken else block.extra
        kernels_counts.counts_layer(
            frame, self._top, taken, self._plain, self._full,
            self._starts, self._taps, self._geometry, block.rows, sums, hit, self._worth,
            own.h[b], neurons.drive, neurons.numbers, lazy, now, own.due[b], own.awake[b],
            out.keep, values, words, out.listed, out.count[b], out.first[b], out.list[b], block.found,
        )  # fmt: skip

    def warm_up(self, own: Membranes) -> None:
        if self.neurons.whole is None:
            self.neurons.add_planes(self._dense.run(), np.zeros_like(own.h[0]))

    def _in_float(self, cells: int, top: int) -> bool:
        """Whether a frame of so many cells with events, at most `top` in one, is computed densely."""
        if self.neurons.whole is not None:
            return False
        often = self._costs.dense_pays(EVENT * self._adds * cells, self._dense.macs, self._dense.values)
        return often or (self._clip is None and top > MOST)

    def _add_densely(self, frame: NDArray[np.uint16], own: Membranes, b: int) -> None:
        x = self._dense.x[0]
        np.multiply(frame, np.float32(self._gain), out=x)
        if self._clip is not None:
            np.minimum(x, np.float32(self._clip), out=x)
        self.neurons.add_planes(self._dense.run(), own.h[b])
