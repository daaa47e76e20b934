"""The stages of a plan on real values: what has no spikes to save by, walked as models/evaluate.py has it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeline.models import evaluate
from spikeline.models.graph import Graph, Node
from spikeline.pipeline.engines.sparse.arithmetic import Dense
from spikeline.pipeline.engines.sparse.stages import Stage, Step, last


class DenseGraph:
    """A graph's tensors and formulas in NumPy, for the stages below."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.ops = Dense()
        self.tensors = evaluate.Tensors(graph, lambda array: np.ascontiguousarray(array, np.float32))
        self.neurons = {node.name: kind for node, kind in graph.neurons}


class Plain(Stage):
    """An operation without a state."""

    def __init__(self, dense: DenseGraph, node: Node) -> None:
        self.name, self._dense, self._node = node.name, dense, node

    def run(self, step: Step) -> None:
        node, dense = self._node, self._dense
        if node.op == "input":
            inputs = [step.frames[step.chosen].astype(np.float32)]
        else:
            inputs = [step.values(name) for name in node.inputs]
        step.dense[self.name] = evaluate._plain(dense.ops, dense.graph, dense.tensors, node, inputs)


class Gate(Stage):
    """Attention, with what it carries from step to step."""

    def __init__(self, dense: DenseGraph, node: Node) -> None:
        self.name, self._dense, self._node = node.name, dense, node
        shape, steps = dense.graph.shapes[node.name], dense.graph.steps
        self._setting = evaluate.Setting(dense.ops, node.attrs, dense.tensors.of(node), shape, steps)
        prefix = f"{node.name}."
        self._states = [name for name in dense.graph.states if name.startswith(prefix)]

    def run(self, step: Step) -> None:
        inputs = [step.values(name) for name in self._node.inputs]
        prefix = f"{self.name}."
        before = {name.removeprefix(prefix): step.states[name][step.chosen] for name in self._states}
        positions = step.positions[step.chosen]
        step.dense[self.name], after = evaluate.gate_step(self._setting, inputs, before, positions)
        for role, value in after.items():
            step.states[prefix + role][step.chosen] = value


class GatedNeurons(Stage):
    """Neurons with attention on their membrane, analog ones, or ones without a memory."""

    def __init__(self, dense: DenseGraph, node: Node, spikes: bool) -> None:
        self.name, self._dense, self._node, self._spikes = node.name, dense, node, spikes
        self._neuron = dense.neurons[node.name]

    def run(self, step: Step) -> None:
        dense, node = self._dense, self._node
        membranes = step.states[f"{self.name}.h"]
        x, h = step.values(node.inputs[0]), membranes[step.chosen]
        y, carried = evaluate._neuron(dense.ops, dense.graph, dense.tensors, node, self._neuron, x, h)
        membranes[step.chosen] = carried
        step.dense[self.name] = y
        if self._spikes:
            collect(step, self.name, y)


def collect(step: Step, name: str, y: NDArray[Any]) -> None:
    """Enter dense spikes y of the step's streams into the room for them."""
    out = step.rooms.spikes[name]
    y = np.ascontiguousarray(last(y), np.float32)
    for i, b in enumerate(step.streams):
        out.collect(b, y[i].reshape(-1))
