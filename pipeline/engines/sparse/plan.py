"""A lowered graph as lines of a program, which kernels walk, and stages in Python around them.

    counts - conv (- average pool) - neurons      CountsLine
    spikes - conv (- average pool) or linear - neurons   ConvLine; without neurons CurrentLine
    spikes - max pool, join, global average, vote PoolLine, JoinLine, AverageLine, VoteLine
    counts or spikes - conv or linear - neurons with attention on the membrane   Sweep
    dense - neurons                               FedSweep, behind a TimeGate or not
    counts - conv (- average pool)                ListCounts and CountsCurrentLine, a dense current
    anything else                                 Plain, Gate and GatedNeurons, in NumPy

An average pool behind a convolution is folded into its kernel: fewer weights per spike, and nothing dense.
"""

from dataclasses import dataclass, field

import numpy as np

from spikeline.models.graph import Graph, Node
from spikeline.pipeline.engines.sparse.attention import FedSweep, Sweep, SweptLine
from spikeline.pipeline.engines.sparse.between import AverageLine, JoinLine, PoolLine, ValuesLine, VoteLine
from spikeline.pipeline.engines.sparse.cells import Cell
from spikeline.pipeline.engines.sparse.costs import Costs
from spikeline.pipeline.engines.sparse.counts import CountsLine
from spikeline.pipeline.engines.sparse.counts_current import CountsCurrentLine, ListCounts, ListedCounts
from spikeline.pipeline.engines.sparse.dense_stages import DenseGraph, Gate, GatedNeurons, Plain
from spikeline.pipeline.engines.sparse.geometry import Convolution, averaged, expanded
from spikeline.pipeline.engines.sparse.int16 import Whole, whole
from spikeline.pipeline.engines.sparse.lines import ConvLine, CurrentLine, Line, NeuronsLine, Threads
from spikeline.pipeline.engines.sparse.neurons import Neurons
from spikeline.pipeline.engines.sparse.reading import Reading
from spikeline.pipeline.engines.sparse.stages import Stage, Walk
from spikeline.pipeline.engines.sparse.time_gate import TimeGate, times_only

TYPICAL = 8  # events of a cell, where the input has no clip, that int16 membranes have room for


@dataclass
class Plan:
    """stages in order; lines of the program they walk; layers: of neurons that may leave pixels alone;
    output: the node whose values the readout reads."""

    graph: Graph
    stages: list[Stage] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    layers: list[NeuronsLine] = field(default_factory=list)
    output: str = ""

    def line(self, name: str) -> Line:
        """The line that makes a node's spikes, or its current."""
        return next(line for line in self.lines if line.name == name)


def plan(graph: Graph, costs: Costs, form: str = "float32", threads: int = 1) -> Plan:
    """The stages of a graph of form step. form: of the membranes of layers that spikes or counts feed."""
    return _Planner(graph, costs, form, Threads(threads)).plan


class _Planner(Reading):
    def __init__(self, graph: Graph, costs: Costs, form: str, threads: Threads) -> None:
        super().__init__(graph)
        self.costs, self.form, self.threads = costs, form, threads
        self.plan = Plan(graph)
        self.dense = DenseGraph(graph)
        self.form_of_walks = np.int16(0) if form == "int16" else np.float32(0)
        for node in graph.nodes:
            if node.op == "readout":
                self._read(node.inputs[0])
            elif node.name not in self.absorbed and not self.unseen(node):
                self._add(node)

    def _source(self, name: str) -> Line:
        """The line whose spikes are wanted one by one."""
        line = self.plan.line(name)
        line.listed = True
        return line

    def _walked(self, line: Line) -> None:
        """The next line of a walk, begun anew where a stage in Python came between."""
        stages = self.plan.stages
        self.plan.lines.append(line)
        walk = stages[-1] if stages else None
        if not isinstance(walk, Walk):
            walk = Walk(self.form_of_walks, line.index)
            stages.append(walk)
        walk.lines.append(line)

    def _read(self, name: str) -> None:
        """The node that the readout reads, as values."""
        self.plan.output = name
        if self.spikes_of(name) and len(self.graph.shapes[name]) == 1:
            self.plan.output = f"{name}.values"
            self._walked(ValuesLine(self.plan.output, len(self.plan.lines), self._source(name)))

    def _add(self, node: Node) -> None:
        name, stages, index = node.name, self.plan.stages, len(self.plan.lines)
        shape, most = self.graph.shapes[name], self.spikes_of(name)
        source = self.nodes[node.inputs[0]] if node.inputs else node
        if self.plain(node) and source.name in self.absorbed:
            self._neurons(node)
            return
        if self.swept(node):
            self._swept_neurons(node, source)
            return
        if node.op == "neuron":
            if most:
                self.plan.lines.append(Line(name, index, shape, most))
                self.plan.lines[-1].listed = True
            stages.append(GatedNeurons(self.dense, node, most > 0))
            return
        conv = self.nodes[node.inputs[0]] if node.inputs and node.inputs[0] in self.absorbed else node
        averages = conv is not node and self.averages(node)
        if conv.op in ("conv", "linear") and self.spikes_of(conv.inputs[0]) and (conv is node or averages):
            bias = self.graph.tensor(conv, "bias")
            line = CurrentLine(name, index, self._source(conv.inputs[0]), self._convolution(conv, node), bias)
            line.fed = conv.name
            self._walked(line)
            return
        if self.counts_fed(conv) and (conv is node or averages):
            counts = self._counts(conv)
            bias = self.graph.tensor(conv, "bias")
            convolution = self._convolution(conv, node)
            self._walked(CountsCurrentLine(name, len(self.plan.lines), counts, convolution, bias))
            return
        if node.op == "pool" and most:
            self._walked(PoolLine(name, index, self.plan.line(source.name), shape, node.attrs))
        elif node.op == "pool" and self.spikes_of(source.name) and node.attrs["kind"] == "global":
            self._walked(AverageLine(name, index, self._source(source.name)))
        elif node.op == "vote" and self.spikes_of(source.name):
            self._walked(VoteLine(name, index, self._source(source.name), node.attrs["size"]))
        elif node.op == "gate" and times_only(node) and self._current(source.name):
            stages.append(TimeGate(self.graph, node))
        elif node.op == "join" and most:
            kind = node.attrs["kind"]
            find = self._source if kind == "add" else self.plan.line
            self._walked(
                JoinLine(name, index, (find(node.inputs[0]), find(node.inputs[1])), shape, kind, most)
            )
        else:
            stages.append(Gate(self.dense, node) if node.op == "gate" else Plain(self.dense, node))

    def _current(self, name: str) -> bool:
        """Whether a line of weights leaves a node's values as a current."""
        return any(isinstance(line, CurrentLine) and line.name == name for line in self.plan.lines)

    def _counts(self, conv: Node) -> ListedCounts:
        """The line of the input's events, for what is fed by them but does not take them itself."""
        name = conv.inputs[0]
        known = [line for line in self.plan.lines if isinstance(line, ListedCounts)]
        if known:
            return known[0]
        shape = self.graph.document.input_shape
        line = ListedCounts(f"{name}.events", len(self.plan.lines), self.nodes[name], shape)
        self.plan.lines.append(line)
        self.plan.stages.append(ListCounts(line))
        return line

    def _swept_neurons(self, node: Node, source: Node) -> None:
        """Neurons with attention on their membrane, or fed by a dense current."""
        own = self.swept(node)
        assert own is not None
        lines, stages = self.plan.lines, self.plan.stages
        if source.name not in self.absorbed:
            fed = SweptLine(len(lines), node, self.graph, own)
            lines.append(fed)
            stages.append(FedSweep(source.name, fed))
            return
        conv = self.nodes[source.inputs[0]] if source.op == "pool" else source
        feeding = self._counts(conv) if self.counts_fed(conv) else self._source(conv.inputs[0])
        convolution, bias = self._convolution(conv, source), self.graph.tensor(conv, "bias")
        line = SweptLine(len(lines), node, self.graph, own, feeding, convolution, bias)
        line.fed = conv.name
        lines.append(line)
        stages.append(Sweep(line))

    def _neurons(self, node: Node) -> None:
        """Plain neurons, with the weights in front of them."""
        own, index = self.plain(node), len(self.plan.lines)
        assert own is not None
        source = self.nodes[node.inputs[0]]
        conv = self.nodes[source.inputs[0]] if source.op == "pool" else source
        drive = own.drive(self.graph.tensor(conv, "bias"))
        convolution = self._convolution(conv, source)
        kernel = convolution.kernel.reshape(len(convolution.kernel), -1) * own.ratio
        line: CountsLine | ConvLine
        if self.counts_fed(conv):
            attrs = self.nodes[conv.inputs[0]].attrs
            largest = attrs.get("clip", TYPICAL * attrs["gain"])
            layer = self._layer(node, own, drive, self._whole(own, drive, kernel * largest, share=0.25))
            line = CountsLine(
                index, layer, convolution, attrs["gain"], attrs.get("clip"), self.costs, self.threads
            )
        else:
            feeding = self._source(conv.inputs[0])
            one = convolution.after[1:] == (1, 1)  # a linear layer, or as good as one: sums of int32
            units = (
                self._whole(own, drive, kernel * feeding.most, share=0.4)
                if one
                else self._whole(own, drive, kernel, most=feeding.most)
            )
            layer = self._layer(node, own, drive, units)
            line = ConvLine(index, feeding, layer, convolution, self.costs, self.threads)
        line.fed = conv.name
        self.plan.layers.append(line)
        self._walked(line)

    def _whole(
        self, own: Cell, drive: np.ndarray, weights: np.ndarray, *, most: int = 1, share: float = 0
    ) -> Whole | None:
        """A layer's whole numbers where they are asked for, and where it has any."""
        if self.form != "int16":
            return None
        return whole(own, drive, weights, most=most, share=share)

    def _layer(self, node: Node, own: Cell, drive: np.ndarray, units: Whole | None) -> Neurons:
        """Neurons with their numbers."""
        shape = self.graph.shapes[node.name]
        if units is None:
            return Neurons(node.name, shape, drive, own.numbers, own.ratio, own.rests(drive))
        return Neurons(node.name, shape, units.drive, units.numbers, own.ratio, units.rests(), units)

    def _convolution(self, conv: Node, last: Node) -> Convolution:
        """A convolution, with the average pool `last` behind it if that is another node, or a linear
        layer.
        """
        shapes, attrs = self.graph.shapes, conv.attrs
        weight = self.graph.tensor(conv, "weight").astype(np.float64)
        C, H, W = (*shapes[conv.inputs[0]], 1, 1)[:3]
        if conv.op == "linear":
            return Convolution(weight.reshape(-1, C, H, W), 1, 0, (C, H, W), (len(weight), 1, 1))
        kernel = expanded(weight, attrs["groups"])
        stride = attrs["stride"]
        if last is not conv:
            kernel, stride = averaged(kernel, stride, last.attrs["size"], last.attrs["stride"])
        after = shapes[last.name]
        return Convolution(kernel, stride, attrs["padding"], (C, H, W), after)  # type: ignore[arg-type]
