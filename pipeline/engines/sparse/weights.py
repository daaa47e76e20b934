"""The stages in which spikes meet weights: convolutions and linear layers, with the neurons behind them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeline.pipeline.engines.sparse import kernels_conv, kernels_neuron, kernels_spikes
from spikeline.pipeline.engines.sparse.costs import Costs
from spikeline.pipeline.engines.sparse.dense_conv import DenseConv
from spikeline.pipeline.engines.sparse.geometry import Convolution
from spikeline.pipeline.engines.sparse.spikes import Spikes
from spikeline.pipeline.engines.sparse.stages import NONE, Membranes, Neurons, Stage, Step, last
from spikeline.pipeline.engines.state import States

Array = NDArray[Any]


class SpikeConv(Stage):
    """A convolution (with the average pool behind it) on spikes, and its neurons."""

    def __init__(self, source: str, neurons: Neurons, convolution: Convolution, costs: Costs) -> None:
        self.name, self.source, self.neurons = neurons.name, source, neurons
        self._costs, self._dense = costs, DenseConv(convolution, neurons.cell.ratio)
        inputs = int(np.prod(convolution.before))
        self._adds = self._dense.macs / inputs  # of a spike, or a little fewer at the border
        weights, self._starts = convolution.weights()
        self._weights = (weights * neurons.cell.ratio).astype(np.float32)
        self._taps, self._geometry = convolution.taps, convolution.numbers
        self._rows = np.array([0, convolution.after[1]], np.int64)
        self._none = np.zeros(convolution.before[1] * convolution.before[2], np.int32)

    def room(self, batch: int, states: States) -> Membranes:
        return self.neurons.room(batch, states)

    def run(self, step: Step, own: Membranes) -> None:
        source, out = step.rooms.spikes[self.source], step.rooms.spikes[self.name]
        neurons = self.neurons
        for b in step.streams:
            silent = source.total[b] == 0
            if silent and neurons.quiet(own, b):
                out.total[b] = 0
                continue
            if self._costs.dense_pays(source.total[b] * self._adds, self._dense.macs, self._dense.values):
                self._densely(step, own, b)
                continue
            kernels_conv.conv_layer(
                source.first[b], self._none if silent else source.entries[b], source.list[b],
                self._weights, self._starts, self._taps, self._geometry, self._rows,
                own.h[b], neurons.drive, neurons.cell.numbers, neurons.lazy, step.rooms.now[b],
                own.due[b], own.awake[b], out.keep, out.values[b], out.words[b], out.listed,
                out.count[b], out.first[b], out.list[b], NONE, own.found,
            )  # fmt: skip
            out.total[b] = int(own.found[0])
            own.wakeful[b] = int(own.found[1])

    def warm_up(self, own: Membranes) -> None:
        dense, entries = self._dense, self._none
        nothing = np.zeros(8, np.uint16)
        kernels_spikes.expand_planes(entries, entries, nothing, dense.x.reshape(dense.x.shape[1], -1))
        kernels_spikes.add_planes(dense.run(), np.zeros_like(own.h[0]))

    def _densely(self, step: Step, own: Membranes, b: int) -> None:
        """The layer at a step of very many spikes."""
        source, neurons, dense = step.rooms.spikes[self.source], self.neurons, self._dense
        kernels_spikes.expand_planes(
            source.entries[b], source.first[b], source.list[b], dense.x.reshape(source.channels, -1)
        )
        neurons.catch_up(own, b, step.rooms.now[b])
        kernels_spikes.add_planes(dense.run(), own.h[b])
        neurons.fed(own, b, own.h[b], 0.0, step.rooms.spikes[self.name])


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
        rows = weight.astype(np.float64).reshape(N, C, -1).transpose(2, 1, 0).reshape(-1)
        self._weights = (rows * (neurons.cell.ratio if neurons else 1.0)).astype(np.float32)
        self._channels = C
        self._bias = bias.astype(np.float32)
        self._inputs = weight.shape[1]

    def room(self, batch: int, states: States) -> Membranes:
        if self.neurons:
            own = self.neurons.room(batch, states)
        else:
            own = Membranes([], [], [], [], np.zeros(0, np.int64))
        own.extra = np.zeros(8 * self._inputs, np.int32)  # values of up to 8
        return own

    def run(self, step: Step, own: Membranes) -> None:
        source = step.rooms.spikes[self.source]
        if self.neurons is None:
            values = np.zeros((len(step.streams), len(self._bias)), np.float32)
            for i, b in enumerate(step.streams):
                values[i] = self._bias
                self._add(source, b, own, values[i])
            step.dense[self.name] = values
            return
        out = step.rooms.spikes[self.name]
        for b in step.streams:
            if source.total[b] == 0 and self.neurons.quiet(own, b):
                out.total[b] = 0
                continue
            if self.neurons.lazy and own.due[b][0] < step.rooms.now[b] - 1:
                self.neurons.settle(own, b, step.rooms.now[b] - 1)
            self._add(source, b, own, own.h[b])
            self.neurons.fed(own, b, own.h[b], 0.0, out)
            if self.neurons.lazy:
                own.due[b][0] = step.rooms.now[b]
                again = out.total[b] and kernels_neuron.fires_again(
                    own.h[b], self.neurons.drive, *self.neurons.cell.numbers[:2]
                )
                own.wakeful[b] = int(again)

    def _add(self, source: Spikes, b: int, own: Membranes, target: Array) -> None:
        if source.total[b]:
            kernels_conv.linear_current(
                source.first[b], source.entries[b], source.list[b], self._channels, self._weights, own.extra,
                target,
            )  # fmt: skip


class Fed(Stage):
    """Plain neurons fed by a dense current."""

    def __init__(self, source: str, neurons: Neurons) -> None:
        self.name, self.source, self.neurons = neurons.name, source, neurons

    def room(self, batch: int, states: States) -> Membranes:
        return self.neurons.room(batch, states)

    def run(self, step: Step, own: Membranes) -> None:
        x = np.ascontiguousarray(last(step.values(self.source)), np.float32)
        for i, b in enumerate(step.streams):
            out = step.rooms.spikes[self.name]
            self.neurons.fed(own, b, x[i].reshape(-1), self.neurons.cell.ratio, out)
