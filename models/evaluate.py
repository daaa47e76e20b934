"""A lowered graph, walked: one step at a time, or a whole window layer by layer.

Written once in the words of models/arithmetic.py; the NumPy reference, the torch engine and the ONNX
builder (which traces it) each supply the arithmetic.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeline.models.arithmetic import Arithmetic, Value
from spikeline.models.gate_scores import Change, Setting, States
from spikeline.models.gates import gate_step, gate_window
from spikeline.models.graph import Graph, Node, gates_of, join
from spikeline.models.neurons import FLUSH, Neuron
from spikeline.models.step_gates import affine, normal, per_step

Values = dict[str, Value]


class Tensors:
    """A graph's tensors as values of one arithmetic, each made once and then kept.

    constant: makes a value of its own float type of an array, float32 or float64.
    """

    def __init__(self, graph: Graph, constant: Callable[[NDArray[Any]], Value]) -> None:
        self._graph = graph
        self._constant = constant
        self._made: dict[Any, Value] = {}

    def of(self, node: Node, prefix: str = "") -> "NodeTensors":
        return NodeTensors(self, f"{node.name}.{prefix}")

    def value(self, name: str, change: Change | None, numbers: tuple[int, ...]) -> Value:
        key = (name, change, numbers)
        if key not in self._made:
            array = self._graph.tensors[name]
            if change is not None:  # in float64, so that float32 is rounded to once
                array = change(array.astype(np.float64), *numbers)
            self._made[key] = self._constant(np.ascontiguousarray(array))
        return self._made[key]

    def shape(self, name: str) -> tuple[int, ...]:
        return self._graph.tensors[name].shape


class NodeTensors:
    """The tensors of one node, or of one of its gates, by role."""

    def __init__(self, tensors: Tensors, prefix: str) -> None:
        self._tensors = tensors
        self._prefix = prefix

    def __call__(self, role: str, change: Change | None = None, *numbers: int) -> Value:
        return self._tensors.value(self._prefix + role, change, numbers)

    def shape(self, role: str) -> tuple[int, ...]:
        return self._tensors.shape(self._prefix + role)


def run_step(
    ops: Arithmetic,
    graph: Graph,
    tensors: Tensors,
    counts: Value,
    states: Mapping[str, Value],
    position: Value,
) -> tuple[Values, Values]:
    """One step of counts (B, 2, H, W): the output of every node, and the states to carry.

    counts: already of the arithmetic's float type; position (B,) int64: steps since the reset.
    """
    neurons = {node.name: kind for node, kind in graph.neurons}
    values: Values = {}
    after: Values = {}
    for node in graph.nodes:
        inputs = [values[name] for name in node.inputs]
        if node.op == "neuron":
            h = f"{node.name}.h"
            values[node.name], after[h] = _neuron(
                ops, graph, tensors, node, neurons[node.name], inputs[0], states[h]
            )
        elif node.op == "gate":
            setting = Setting(ops, node.attrs, tensors.of(node), graph.shapes[node.name], graph.steps)
            values[node.name], carried = gate_step(setting, inputs, _own(states, node), position)
            after |= {f"{node.name}.{role}": value for role, value in carried.items()}
        else:
            values[node.name] = _plain(ops, graph, tensors, node, inputs or [counts])
    return values, after


def run_window(ops: Arithmetic, graph: Graph, tensors: Tensors, counts: Value) -> Values:
    """A window of counts (T B, 2, H, W), step after step: the output (T B, ...) of every node."""
    neurons = {node.name: kind for node, kind in graph.neurons}
    values: Values = {}
    for node in graph.nodes:
        inputs = [values[name] for name in node.inputs]
        if node.op == "neuron":
            h = None
            outputs = []
            for x in ops.parts(inputs[0], graph.steps):
                rest = x * 0.0 if h is None else h
                y, h = _neuron(ops, graph, tensors, node, neurons[node.name], x, rest)
                outputs.append(y)
            values[node.name] = ops.concat(outputs, 0)
        elif node.op == "gate":
            setting = Setting(ops, node.attrs, tensors.of(node), graph.shapes[node.name], graph.steps)
            values[node.name] = gate_window(setting, inputs)
        else:
            values[node.name] = _plain(ops, graph, tensors, node, inputs or [counts])
    return values


def _own(states: Mapping[str, Value], node: Node) -> States:
    prefix = f"{node.name}."
    return {name.removeprefix(prefix): value for name, value in states.items() if name.startswith(prefix)}


def _neuron(
    ops: Arithmetic, graph: Graph, tensors: Tensors, node: Node, neuron: Neuron, x: Value, h: Value
) -> tuple[Value, Value]:
    """One step of a layer of neurons: output, and the membrane to carry."""
    h = _gated(ops, graph, tensors, node, "recall", h)
    u = _gated(ops, graph, tensors, node, "refine", neuron.integrate(h, x))
    s = ops.number(neuron.fires(u))
    carried = neuron.carry(u, s)
    output = node.attrs.get("output", "spikes")
    if output == "spikes":
        return s, carried
    return ops.relu(u if output == "membrane" else u - neuron["threshold"]), carried


def idle_membrane(
    ops: Arithmetic, graph: Graph, tensors: Tensors, node: Node, neuron: Neuron, h: Value
) -> Value:
    """A skipped step of a layer whose idle is `membrane`: its gates act, without input and spike (STAA)."""
    h = neuron.idle(_gated(ops, graph, tensors, node, "recall", h))
    u = _gated(ops, graph, tensors, node, "refine", h)
    return u * ops.number(abs(u) >= FLUSH)


def _gated(ops: Arithmetic, graph: Graph, tensors: Tensors, node: Node, place: str, value: Value) -> Value:
    """A membrane through the layer's gates of that place."""
    for prefix, attrs in gates_of(node):
        if prefix.startswith(place):
            own = tensors.of(node, prefix)
            value = per_step(Setting(ops, attrs, own, graph.shapes[node.name], graph.steps), value, None)
    return value


def _plain(ops: Arithmetic, graph: Graph, tensors: Tensors, node: Node, inputs: list[Value]) -> Value:
    """Every operation without a state, on steps (B, ...)."""
    attrs, x, tensor = node.attrs, inputs[0], tensors.of(node)
    if node.op == "input":
        scaled = x * attrs["gain"]
        return ops.minimum(scaled, attrs["clip"]) if "clip" in attrs else scaled
    before = graph.shapes[node.inputs[0]]
    if node.op == "conv":
        pads = (attrs["padding"],) * 2
        return ops.conv(
            x, tensor("weight"), tensor("bias"), stride=attrs["stride"], pads=pads, groups=attrs["groups"]
        )
    if node.op == "linear":
        return ops.linear(ops.flatten(x) if len(before) > 1 else x, tensor("weight"), tensor("bias"))
    if node.op == "affine":
        return affine(tensor, x, before)
    if node.op == "layernorm":
        return affine(tensor, normal(ops, x, tuple(range(1, 1 + len(before))), attrs["eps"]), before)
    if node.op == "pool":
        if attrs["kind"] == "global":
            return ops.mean(x, (2, 3))
        return ops.pool(x, attrs["kind"], attrs["size"], attrs["stride"], attrs.get("padding", 0), before)
    if node.op == "join":
        return join(attrs["kind"], *inputs)
    if node.op == "vote":
        return ops.groups(x, attrs["size"], graph.shapes[node.name][0])
    return x  # readout
