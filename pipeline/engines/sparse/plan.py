"""A lowered graph as a list of stages: what spikes feed goes to kernels, the rest to dense arithmetic.

    counts - conv (- average pool) - neurons      CountsConv
    spikes - conv (- average pool) - neurons      SpikeConv; without neurons, a dense current
    spikes - linear (- neurons)                   SpikeLinear
    spikes - max pool, join, global average       on lists of spikes
    dense - neurons                               Fed, or GatedNeurons with attention on the membrane
    anything else                                 Plain and Gate, in NumPy

An average pool behind a convolution is folded into its kernel: fewer weights per spike, and nothing dense.
"""

from dataclasses import dataclass, field

import numpy as np

from spikeline.models.graph import Graph, Node
from spikeline.pipeline.engines.sparse.blocks import Threads
from spikeline.pipeline.engines.sparse.cells import Cell, cell
from spikeline.pipeline.engines.sparse.costs import Costs
from spikeline.pipeline.engines.sparse.counts import CountsConv
from spikeline.pipeline.engines.sparse.dense_stages import DenseGraph, Gate, GatedNeurons, Plain
from spikeline.pipeline.engines.sparse.geometry import Convolution, averaged, expanded
from spikeline.pipeline.engines.sparse.int16 import Whole, whole
from spikeline.pipeline.engines.sparse.pools import SpikeAverage, SpikeJoin, SpikeMaxPool
from spikeline.pipeline.engines.sparse.stages import Neurons, Stage, repeated
from spikeline.pipeline.engines.sparse.weights import Fed, SpikeConv, SpikeConvCurrent, SpikeLinear

TYPICAL = 8  # events of a cell, where the input has no clip, that int16 membranes have room for
LARGEST_VALUE = 8  # of an addition of spikes that is still kept as spikes


@dataclass
class Plan:
    """stages in order; most: node whose spikes are kept as such -> their largest value; layers: those of
    neurons that may leave pixels alone; keep, listed: in what form a node's spikes are wanted."""

    graph: Graph
    stages: list[Stage] = field(default_factory=list)
    most: dict[str, int] = field(default_factory=dict)
    layers: list[Neurons] = field(default_factory=list)
    keep: set[str] = field(default_factory=set)
    listed: set[str] = field(default_factory=set)


def plan(graph: Graph, costs: Costs, form: str = "float32", threads: int = 1) -> Plan:
    """The stages of a graph of form step. form: of the membranes of layers that spikes or counts feed."""
    return _Planner(graph, costs, form, Threads(threads)).plan


class _Planner:
    def __init__(self, graph: Graph, costs: Costs, form: str, threads: Threads) -> None:
        self.graph, self.costs, self.form, self.threads = graph, costs, form, threads
        self.plan = Plan(graph)
        self.dense = DenseGraph(graph)
        self.nodes = {node.name: node for node in graph.nodes}
        self.users: dict[str, list[str]] = {name: [] for name in self.nodes}
        for node in graph.nodes:
            for name in node.inputs:
                self.users[name].append(node.name)
        self.cells = {node.name: cell(kind) for node, kind in graph.neurons}
        self.absorbed = self._absorbed()
        for node in graph.nodes:
            if node.name not in self.absorbed and not self._unseen(node):
                self._add(node)

    def _unseen(self, node: Node) -> bool:
        """The input, where nothing but first layers that take counts look at it."""
        return node.op == "input" and all(name in self.absorbed for name in self.users[node.name])

    def _plain(self, node: Node) -> Cell | None:
        """The numbers of a layer of neurons that needs nothing but its own membrane."""
        attended = node.attrs.get("recall") or node.attrs.get("refine")
        if node.op != "neuron" or attended or node.attrs.get("output", "spikes") != "spikes":
            return None
        return self.cells[node.name]

    def _only_user(self, name: str) -> Node | None:
        users = self.users[name]
        return self.nodes[users[0]] if len(users) == 1 else None

    def _absorbed(self) -> set[str]:
        """Nodes that are computed with the one behind them."""
        found: set[str] = set()
        for node in self.graph.nodes:
            after = self._only_user(node.name)
            if after is None:
                continue
            if node.op in ("conv", "linear") and self._sparse_fed(node):
                if self._averages(after) and node.op == "conv":
                    if self._counts_fed(node):
                        behind = self._only_user(after.name)
                        if behind is not None and self._plain(behind):
                            found |= {node.name, after.name}
                        continue
                    found.add(node.name)
                    node, after = after, self._only_user(after.name)
                if after is not None and self._plain(after):
                    found.add(node.name)
        return found

    def _averages(self, node: Node) -> bool:
        return node.op == "pool" and node.attrs["kind"] == "avg"

    def _counts_fed(self, node: Node) -> bool:
        return node.op == "conv" and self.nodes[node.inputs[0]].op == "input"

    def _sparse_fed(self, node: Node) -> bool:
        """Whether a layer of weights is fed by spikes, or by counts straight into plain neurons."""
        if self._counts_fed(node):
            after = self._only_user(node.name)
            if after is not None and self._averages(after):
                after = self._only_user(after.name)
            return after is not None and self._plain(after) is not None
        return self._spikes(node.inputs[0]) > 0

    def _spikes(self, name: str) -> int:
        """The largest value of a node whose spikes are kept as such; 0: of another."""
        node = self.nodes[name]
        if name not in self.graph.spiking:
            return 0
        if node.op == "neuron":
            return 1
        values = [self._spikes(source) for source in node.inputs]
        if node.op == "pool":
            return values[0]
        if 0 in values:
            return 0
        if node.attrs["kind"] == "add":
            return sum(values) if sum(values) <= LARGEST_VALUE else 0
        return 1 if max(values) == 1 else 0

    def _want(self, name: str, *, keep: bool = False, listed: bool = False) -> None:
        if keep:
            self.plan.keep.add(name)
        if listed:
            self.plan.listed.add(name)

    def _add(self, node: Node) -> None:
        name, stages = node.name, self.plan.stages
        most = self._spikes(name)
        if most:
            self.plan.most[name] = most
            if not self._plain(node):  # which alone can leave out one of the two
                self._want(name, keep=node.op != "pool", listed=True)
        if self._plain(node):
            stages.append(self._neurons(node))
            return
        if node.op == "neuron":
            self._densely(node)
            stages.append(GatedNeurons(self.dense, node, most > 0))
            return
        conv = self.nodes[node.inputs[0]] if node.inputs and node.inputs[0] in self.absorbed else node
        if conv.op == "conv" and self._spikes(conv.inputs[0]) and (conv is node or self._averages(node)):
            self._want(conv.inputs[0], listed=True)
            bias = self.graph.tensor(conv, "bias")
            stages.append(SpikeConvCurrent(name, conv.inputs[0], self._convolution(conv, node), bias))
            return
        source = node.inputs[0] if node.inputs else ""
        if node.op == "linear" and self._spikes(source):
            self._want(source, listed=True)
            stages.append(self._linear(node, None))
        elif node.op == "pool" and self._spikes(source) and node.attrs["kind"] == "max":
            self._want(source, keep=True)
            shapes = self.graph.shapes
            stages.append(SpikeMaxPool(name, source, shapes[source], shapes[name], node.attrs))
        elif node.op == "pool" and self._spikes(source) and node.attrs["kind"] == "global":
            self._want(source, listed=True)
            stages.append(SpikeAverage(name, source))
        elif node.op == "join" and most:
            for name in node.inputs:
                self._want(name, keep=True)
            stages.append(SpikeJoin(node.name, (node.inputs[0], node.inputs[1]), node.attrs["kind"]))
        else:
            self._densely(node)
            stages.append(Gate(self.dense, node) if node.op == "gate" else Plain(self.dense, node))

    def _densely(self, node: Node) -> None:
        """Its inputs are wanted as numbers."""
        for name in node.inputs:
            if self._spikes(name):
                self._want(name, keep=True)

    def _neurons(self, node: Node) -> Stage:
        """Plain neurons, with the weights in front of them where spikes or counts feed those."""
        own = self._plain(node)
        assert own is not None
        source = self.nodes[node.inputs[0]]
        if source.name not in self.absorbed:
            self._densely(node)
            drive = own.drive(np.zeros(self.graph.shapes[node.name][0]))
            return Fed(source.name, self._layer(node, own, drive, None))
        conv = self.nodes[source.inputs[0]] if source.op == "pool" else source
        drive = own.drive(self.graph.tensor(conv, "bias"))
        if conv.op == "linear":
            self._want(conv.inputs[0], listed=True)
            weight = self.graph.tensor(conv, "weight").astype(np.float64) * own.ratio
            most = self._spikes(conv.inputs[0])
            layer = self._layer(node, own, drive, self._whole(own, drive, weight * most, share=0.4))
            self.plan.layers.append(layer)
            return self._linear(conv, layer)
        convolution = self._convolution(conv, source)
        kernel = convolution.kernel.reshape(len(convolution.kernel), -1) * own.ratio
        if self._counts_fed(conv):
            attrs = self.nodes[conv.inputs[0]].attrs
            largest = attrs.get("clip", TYPICAL * attrs["gain"])
            layer = self._layer(node, own, drive, self._whole(own, drive, kernel * largest, share=1.0))
            self.plan.layers.append(layer)
            return CountsConv(layer, convolution, attrs["gain"], attrs.get("clip"), self.costs, self.threads)
        self._want(conv.inputs[0], listed=True)
        most = self._spikes(conv.inputs[0])
        layer = self._layer(node, own, drive, self._whole(own, drive, kernel, most=most))
        self.plan.layers.append(layer)
        return SpikeConv(conv.inputs[0], layer, convolution, self.costs, self.threads)

    def _whole(
        self, own: Cell, drive: np.ndarray, weights: np.ndarray, *, most: int = 1, share: float = 0
    ) -> Whole | None:
        """A layer's whole numbers where they are asked for, and where it has any."""
        if self.form != "int16":
            return None
        return whole(own, drive, weights, most=most, share=share)

    def _layer(self, node: Node, own: Cell, drive: np.ndarray, units: Whole | None) -> Neurons:
        """Neurons with their numbers. Those fed by a dense current are never left alone."""
        fed = self.nodes[node.inputs[0]].name not in self.absorbed
        shape = self.graph.shapes[node.name]
        if units is None:
            lazy = not fed and own.rests(drive)
            return Neurons(node.name, shape, repeated(drive), own.numbers, own.ratio, lazy)
        rows = repeated(units.drive)
        return Neurons(node.name, shape, rows, units.numbers, own.ratio, units.rests(), units)

    def _linear(self, node: Node, neurons: Neurons | None) -> SpikeLinear:
        weight, bias = self.graph.tensor(node, "weight"), self.graph.tensor(node, "bias")
        source = node.inputs[0]
        name = neurons.name if neurons else node.name
        return SpikeLinear(name, source, weight, bias, self.graph.shapes[source], neurons)

    def _convolution(self, conv: Node, last: Node) -> Convolution:
        """A convolution, with the average pool `last` behind it if that is another node."""
        shapes, attrs = self.graph.shapes, conv.attrs
        kernel = expanded(self.graph.tensor(conv, "weight").astype(np.float64), attrs["groups"])
        stride = attrs["stride"]
        if last is not conv:
            kernel, stride = averaged(kernel, stride, last.attrs["size"], last.attrs["stride"])
        before, after = shapes[conv.inputs[0]], shapes[last.name]
        return Convolution(kernel, stride, attrs["padding"], before, after)  # type: ignore[arg-type]
