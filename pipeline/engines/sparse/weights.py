"""The stages in which spikes meet weights: convolutions and linear layers, with the neurons behind them."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeline.pipeline.engines.sparse import kernels_conv, kernels_float, kernels_form, kernels_spikes
from spikeline.pipeline.engines.sparse.blocks import Block, Threads
from spikeline.pipeline.engines.sparse.costs import Costs
from spikeline.pipeline.engines.sparse.dense_conv import DenseConv
from spikeline.pipeline.engines.sparse.geometry import Convolution
from spikeline.pipeline.engines.sparse.spikes import Spikes
from spikeline.pipeline.engines.sparse.stages import NONE, NONE_AWAKE, Membranes, Neurons, Stage, Step, last
from spikeline.pipeline.engines.state import States

Array = NDArray[Any]
SHORTER = 0.6  # what adding a weight of int8 or int16 costs, of one of float32


class SpikeConv(Stage):
    """A convolution (with the average pool behind it) on spikes, and its neurons."""

    def __init__(
        self, source: str, neurons: Neurons, convolution: Convolution, costs: Costs, threads: Threads
    ) -> None:
        self.name, self.source, self.neurons, self._threads = neurons.name, source, neurons, threads
        weights, self._starts = convolution.weights()
        C = convolution.after[0]
        self._weights = neurons.weights(weights.reshape(-1, C)).reshape(-1)
        kernel = neurons.weights(convolution.kernel.transpose(1, 2, 3, 0)).transpose(3, 0, 1, 2)
        self._costs, self._dense = costs, DenseConv(convolution, kernel)
        inputs = int(np.prod(convolution.before))
        self._adds = self._dense.macs / inputs  # of a spike, or a little fewer at the border
        if neurons.whole is not None:
            self._adds *= SHORTER
        self._often = convolution.often
        self._taps, self._geometry = convolution.taps, convolution.numbers
        _, Ho, Wo = convolution.after
        self._blocks = threads.blocks(Ho, Wo * C)
        self._none = np.zeros(convolution.before[1] * convolution.before[2], np.int32)

    def room(self, batch: int, states: States) -> Membranes:
        return self.neurons.room(batch, states)

    def run(self, step: Step, own: Membranes) -> None:
        source, out = step.rooms.spikes[self.source], step.rooms.spikes[self.name]
        neurons, costs = self.neurons, self._costs
        for b in step.streams:
            silent = source.total[b] == 0
            if silent and neurons.quiet(own, b):
                out.total[b] = 0
                continue
            entries = self._none if silent else source.entries[b]
            now = step.rooms.now[b]
            dense = costs.dense_pays(source.total[b] * self._adds, self._dense.macs, self._dense.values)
            sweep = dense or (neurons.lazy and kernels_spikes.pixels_with_any(entries) > self._often)
            lazy = neurons.begin(own, b, now, sweep)
            if dense:
                planes = self._dense.x.reshape(source.channels, -1)
                kernels_spikes.expand_planes(entries, source.first[b], source.list[b], planes)
                own.clipped[b] += neurons.add_planes(self._dense.run(), own.h[b])
                neurons.finish(own, b, out, NONE, NONE_AWAKE, neurons.zero)
                continue
            work = partial(self._compute, source, entries, own, out, b, lazy, now)
            adds = source.total[b] * self._adds
            found = self._threads.run(work, self._blocks, costs.layer_us(adds, len(own.h[b])))
            neurons.end(own, b, out, found)

    def _compute(
        self,
        source: Spikes,
        entries: Array,
        own: Membranes,
        out: Spikes,
        b: int,
        lazy: bool,
        now: int,
        block: Block,
    ) -> None:
        neurons, (values, words) = self.neurons, block.room(out, b)
        kernels_conv.conv_layer(
            source.first[b], entries, source.list[b],
            self._weights, self._starts, self._taps, self._geometry, block.rows,
            own.h[b], neurons.drive, neurons.numbers, lazy, now,
            own.due[b], own.awake[b], out.keep, values, words, out.listed,
            out.count[b], out.first[b], out.list[b], NONE, NONE_AWAKE, neurons.zero, block.found,
        )  # fmt: skip

    def warm_up(self, own: Membranes) -> None:
        dense, entries = self._dense, self._none
        nothing = np.zeros(8, np.uint16)
        kernels_spikes.expand_planes(entries, entries, nothing, dense.x.reshape(dense.x.shape[1], -1))
        self.neurons.add_planes(dense.run(), np.zeros_like(own.h[0]))


class SpikeConvCurrent(Stage):
    """The same convolution without neurons: a dense current, for whatever stands behind it."""

    def __init__(self, name: str, source: str, convolution: Convolution, bias: Array) -> None:
        self.name, self.source = name, source
        weights, self._starts = convolution.weights()
        self._weights = weights.astype(np.float32)
        self._taps, self._geometry = convolution.taps, convolution.numbers
        C, H, W = convolution.after
        self._rest = np.ascontiguousarray(np.broadcast_to(bias.astype(np.float32), (H, W, C)))

    def room(self, batch: int, states: States) -> Array:
        return np.zeros((batch, *self._rest.shape), np.float32)

    def run(self, step: Step, own: Array) -> None:
        source = step.rooms.spikes[self.source]
        out = own[: len(step.streams)]
        for i, b in enumerate(step.streams):
            out[i] = self._rest
            if source.total[b]:
                kernels_conv.conv_current(
                    source.first[b], source.entries[b], source.list[b],
                    self._weights, self._starts, self._taps, self._geometry, out[i].reshape(-1),
                )  # fmt: skip
        step.dense[self.name] = out.transpose(0, 3, 1, 2)


class SpikeLinear(Stage):
    """A linear layer on spikes; with neurons its spikes, without them its dense values."""

    def __init__(
        self,
        name: str,
        source: str,
        weight: Array,
        bias: Array,
        shape: tuple[int, ...],
        neurons: Neurons | None,
    ) -> None:
        """weight (N, C H W) in the graph's order, shape that of the input."""
        self.name, self.source, self.neurons = name, source, neurons
        N, C = weight.shape[0], shape[0]
        rows = weight.astype(np.float64).reshape(N, C, -1).transpose(2, 1, 0)
        self._weights = (neurons.weights(rows) if neurons else rows.astype(np.float32)).reshape(-1)
        self._channels = C
        self._bias = bias.astype(np.float32)
        self._inputs = weight.shape[1]

    def room(self, batch: int, states: States) -> "LinearRoom":
        N = len(self._bias)
        own = self.neurons.room(batch, states) if self.neurons else None
        places = np.zeros(8 * self._inputs, np.int32)  # values of up to 8
        return LinearRoom(own, places, np.zeros(N, np.int32), np.zeros(1, np.uint8))

    def run(self, step: Step, own: "LinearRoom") -> None:
        source, neurons = step.rooms.spikes[self.source], self.neurons
        if neurons is None:
            values = np.zeros((len(step.streams), len(self._bias)), np.float32)
            for i, b in enumerate(step.streams):
                values[i] = self._bias
                self._add(source, b, own, values[i])
            step.dense[self.name] = values
            return
        out, cells = step.rooms.spikes[self.name], own.membranes
        assert cells is not None
        for b in step.streams:
            if source.total[b] == 0 and neurons.quiet(cells, b):
                out.total[b] = 0
                continue
            lazy = neurons.begin(cells, b, step.rooms.now[b], sweep=False)
            if lazy and cells.due[b][0] < step.rooms.now[b] - 1:
                neurons.settle(cells, b, step.rooms.now[b] - 1)
                neurons.begin(cells, b, step.rooms.now[b], sweep=False)
            if neurons.whole is None:
                self._add(source, b, own, cells.h[b])
                neurons.finish(cells, b, out, NONE, NONE_AWAKE, neurons.zero)
            else:
                self._add(source, b, own, own.sums)
                own.hit[0] = 1
                neurons.finish(cells, b, out, own.sums, own.hit, 0)
            if lazy:
                cells.due[b][0] = step.rooms.now[b]
                again = out.total[b] and kernels_form.fires_again(cells.h[b], neurons.drive, neurons.numbers)
                cells.wakeful[b] = int(again)

    def _add(self, source: Spikes, b: int, own: "LinearRoom", target: Array) -> None:
        if source.total[b]:
            kernels_conv.linear_current(
                source.first[b], source.entries[b], source.list[b], self._channels, self._weights, own.places,
                target,
            )  # fmt: skip


@dataclass(slots=True)
class LinearRoom:
    """Membranes of the neurons behind a linear layer, if any; room for rows of weights, for whole sums."""

    membranes: Membranes | None
    places: Array
    sums: Array
    hit: Array


class Fed(Stage):
    """Plain neurons fed by a dense current."""

    def __init__(self, source: str, neurons: Neurons) -> None:
        self.name, self.source, self.neurons = neurons.name, source, neurons

    def room(self, batch: int, states: States) -> Membranes:
        return self.neurons.room(batch, states)

    def run(self, step: Step, own: Membranes) -> None:
        x = np.ascontiguousarray(last(step.values(self.source)), np.float32)
        out, neurons = step.rooms.spikes[self.name], self.neurons
        for i, b in enumerate(step.streams):
            neurons.begin(own, b, step.rooms.now[b], sweep=True)
            kernels_float.add_scaled(x[i].reshape(-1), np.float32(neurons.ratio), own.h[b])
            neurons.finish(own, b, out, NONE, NONE_AWAKE, neurons.zero)
