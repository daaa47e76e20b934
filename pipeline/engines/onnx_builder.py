"""Lowered graph -> ONNX model, one step long, its state in and out by name.

    inputs    frames (B, 2, H, W) uint16; state_<name> (B, ...) float32 per membrane
    outputs   output (B, K); state_<name>_out; count_<node>: nonzero values over channels

The neurons' formulas are not written again: models/neurons.py runs on `Value`s, whose operators add
ONNX nodes. A gate is expanded into plain operations. Torch's exporter is not used.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from spikeline.models.graph import Graph, Node, gates_of, join

OPSET = 17
IR_VERSION = 8


class Value:
    """A tensor of the model being built. Arithmetic on it adds nodes."""

    def __init__(self, builder: "Builder", name: str) -> None:
        self.builder = builder
        self.name = name

    def __add__(self, other: object) -> "Value":
        return self.builder.add("Add", self, other)

    def __sub__(self, other: object) -> "Value":
        return self.builder.add("Sub", self, other)

    def __rsub__(self, other: object) -> "Value":
        return self.builder.add("Sub", other, self)

    def __mul__(self, other: object) -> "Value":
        return self.builder.add("Mul", self, other)

    __radd__ = __add__
    __rmul__ = __mul__

    def __ge__(self, other: object) -> "Value":
        return self.builder.add("GreaterOrEqual", self, other)

    def __gt__(self, other: object) -> "Value":
        return self.builder.add("Greater", self, other)


class Builder:
    """Collects nodes and constants under names that cannot clash."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}

    def constant(self, array: NDArray[Any]) -> Value:
        name = f"c{len(self.constants)}"
        self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return Value(self, name)

    def add(self, op: str, *inputs: object, out: str | None = None, **attributes: Any) -> Value:
        """One ONNX node; numbers among the inputs become float32 constants."""
        names = [(x if isinstance(x, Value) else self.constant(np.float32(x))).name for x in inputs]  # type: ignore[arg-type]
        out = out or f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, names, [out], **attributes))
        return Value(self, out)

    def gate(self, graph: Graph, node: Node, gate: str, x: Value) -> Value:
        """x multiplied by its channel (ca) or spatial (sa) attention."""
        if gate == "ca":
            w0 = self.constant(graph.tensor(node, "ca.w0").T)
            w1 = self.constant(graph.tensor(node, "ca.w1").T)
            pooled = [self.add(op, x, axes=[2, 3], keepdims=0) for op in ("ReduceMean", "ReduceMax")]
            hidden = [self.add("Relu", self.add("MatMul", v, w0)) for v in pooled]
            weights = self.add("Sigmoid", self.add("MatMul", hidden[0] + hidden[1], w1))
            axes = self.constant(np.array([2, 3], np.int64))
            return x * self.add("Unsqueeze", weights, axes)
        kernel = graph.tensor(node, "sa.weight")
        planes = [self.add(op, x, axes=[1], keepdims=1) for op in ("ReduceMean", "ReduceMax")]
        both = self.add("Concat", *planes, axis=1)
        pads = [kernel.shape[-1] // 2] * 4
        return x * self.add("Sigmoid", self.add("Conv", both, self.constant(kernel), pads=pads))


def build(graph: Graph, counted: list[str]) -> bytes:
    """The ONNX model of one step, serialised; `counted` names the nodes with a count output."""
    builder = Builder()
    neurons = {node.name: neuron for node, neuron in graph.neurons}
    values: dict[str, Value] = {}
    for node in graph.nodes:
        inputs = [values[name] for name in node.inputs]
        if node.op == "input":
            x = builder.add("Cast", Value(builder, "frames"), to=TensorProto.FLOAT) * node.attrs["gain"]
            values[node.name] = builder.add("Min", x, node.attrs["clip"]) if "clip" in node.attrs else x
        elif node.op == "neuron":
            state = f"state_{node.name}.h"
            neuron = neurons[node.name]
            u = neuron.integrate(Value(builder, state), inputs[0])
            for gate in gates_of(node):
                u = builder.gate(graph, node, gate, u)
            s = builder.add("Cast", neuron.fires(u), to=TensorProto.FLOAT)
            values[node.name] = s
            builder.add("Identity", neuron.carry(u, s), out=f"{state}_out")
        else:
            values[node.name] = OPERATIONS[node.op](builder, graph, node, inputs)
    builder.add("Identity", values[graph.nodes[-1].name], out="output")
    axis = builder.constant(np.array([1], np.int64))
    for name in counted:
        builder.add("ReduceSum", _nonzero(builder, values[name]), axis, keepdims=0, out=f"count_{name}")
    return _model(graph, builder, counted)


def _nonzero(builder: Builder, x: Value) -> Value:
    """1 where x is not zero. Binary spikes already are that; the optimiser is not told, so cast once."""
    return builder.add("Cast", builder.add("Cast", x, to=TensorProto.BOOL), to=TensorProto.FLOAT)


def _model(graph: Graph, builder: Builder, counted: list[str]) -> bytes:
    floats = TensorProto.FLOAT

    def info(name: str, shape: tuple[int, ...], kind: int = floats) -> Any:
        return helper.make_tensor_value_info(name, kind, ["B", *shape])

    states = graph.membranes
    inputs = [info("frames", graph.document.input_shape, TensorProto.UINT16)]
    inputs += [info(f"state_{name}", shape) for name, shape in states.items()]
    outputs = [info("output", (graph.classes,))]
    outputs += [info(f"state_{name}_out", shape) for name, shape in states.items()]
    outputs += [info(f"count_{name}", graph.shapes[name][1:]) for name in counted]
    body = helper.make_graph(builder.nodes, "step", inputs, outputs, list(builder.constants.values()))
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    model.producer_name = "spikeline"
    onnx.checker.check_model(model)
    return model.SerializeToString()


def _conv(b: Builder, graph: Graph, node: Node, inputs: list[Value]) -> Value:
    attrs = node.attrs
    weight, bias = b.constant(graph.tensor(node, "weight")), b.constant(graph.tensor(node, "bias"))
    strides, pads = [attrs["stride"]] * 2, [attrs["padding"]] * 4
    return b.add("Conv", inputs[0], weight, bias, strides=strides, pads=pads, group=attrs["groups"])


def _linear(b: Builder, graph: Graph, node: Node, inputs: list[Value]) -> Value:
    weight, bias = b.constant(graph.tensor(node, "weight")), b.constant(graph.tensor(node, "bias"))
    return b.add("Gemm", b.add("Flatten", inputs[0], axis=1), weight, bias, transB=1)


def _per_channel(b: Builder, graph: Graph, node: Node, role: str) -> Value:
    rank = len(graph.shapes[node.name])
    return b.constant(graph.tensor(node, role).reshape(-1, *(1,) * (rank - 1)))


def _affine(b: Builder, graph: Graph, node: Node, inputs: list[Value]) -> Value:
    return inputs[0] * _per_channel(b, graph, node, "scale") + _per_channel(b, graph, node, "shift")


def _layernorm(b: Builder, graph: Graph, node: Node, inputs: list[Value]) -> Value:
    axes = list(range(1, 1 + len(graph.shapes[node.name])))
    d = inputs[0] - b.add("ReduceMean", inputs[0], axes=axes)
    deviation = b.add("Sqrt", b.add("ReduceMean", d * d, axes=axes) + node.attrs["eps"])
    return _affine(b, graph, node, [b.add("Div", d, deviation)])


def _pool(b: Builder, graph: Graph, node: Node, inputs: list[Value]) -> Value:
    kind, size, stride = node.attrs["kind"], node.attrs["size"], node.attrs["stride"]
    if kind == "global":
        return b.add("ReduceMean", inputs[0], axes=[2, 3], keepdims=0)
    op = "MaxPool" if kind == "max" else "AveragePool"
    return b.add(op, inputs[0], kernel_shape=[size] * 2, strides=[stride] * 2)


def _vote(b: Builder, graph: Graph, node: Node, inputs: list[Value]) -> Value:
    groups = b.constant(np.array([0, graph.shapes[node.name][0], node.attrs["size"]], np.int64))
    return b.add("ReduceMean", b.add("Reshape", inputs[0], groups), axes=[2], keepdims=0)


OPERATIONS: dict[str, Callable[[Builder, Graph, Node, list[Value]], Value]] = {
    "conv": _conv,
    "linear": _linear,
    "affine": _affine,
    "layernorm": _layernorm,
    "pool": _pool,
    "gate": lambda b, graph, node, inputs: b.gate(graph, node, node.attrs["kind"], inputs[0]),
    "join": lambda b, graph, node, inputs: join(node.attrs["kind"], *inputs),
    "vote": _vote,
    "readout": lambda b, graph, node, inputs: inputs[0],
}
