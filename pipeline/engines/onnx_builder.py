"""Lowered graph -> ONNX model: of one step, its state in and out by name, or of a whole window.

    step      frames (B, 2, H, W) uint16; state_<name> (B, ...) float32; position (B,) int64, where some
              gate asks for it -> output (B, K); state_<name>_out; count_<node>
    window    frames (T B, 2, H, W) uint16, step after step -> output (T B, K); count_<node>

count_<node>: nonzero values over channels. No formula is written again: models/evaluate.py walks the graph
on `Value`s, on which every operation adds ONNX nodes. Torch's exporter is not used.
"""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from spikeline.models import evaluate
from spikeline.models.arithmetic import adaptive_parts
from spikeline.models.graph import Graph

OPSET = 17
IR_VERSION = 8
SMALL = 64  # values; constants up to this size are kept once


class Value:
    """A tensor of the model being built. Arithmetic on it adds nodes."""

    def __init__(self, ops: "Onnx", name: str, length: int = 0) -> None:
        self.ops = ops
        self.name = name
        self.length = length  # of the first axis of a constant

    def __add__(self, other: object) -> "Value":
        return self.ops.add("Add", self, other)

    def __sub__(self, other: object) -> "Value":
        return self.ops.add("Sub", self, other)

    def __rsub__(self, other: object) -> "Value":
        return self.ops.add("Sub", other, self)

    def __mul__(self, other: object) -> "Value":
        return self.ops.add("Mul", self, other)

    def __truediv__(self, other: object) -> "Value":
        return self.ops.add("Div", self, other)

    __radd__ = __add__
    __rmul__ = __mul__

    def __ge__(self, other: object) -> "Value":
        return self.ops.add("GreaterOrEqual", self, other)

    def __gt__(self, other: object) -> "Value":
        return self.ops.add("Greater", self, other)

    def __lt__(self, other: object) -> "Value":
        return self.ops.add("Less", self, other)


class Onnx:
    """models/arithmetic.py on the values of a model: collects its nodes and constants."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._known: dict[tuple[Any, ...], Value] = {}

    def constant(self, array: NDArray[Any]) -> Value:
        key = (array.dtype.str, array.shape, array.tobytes()) if array.size <= SMALL else None
        if key in self._known:
            return self._known[key]
        value = Value(self, f"c{len(self.constants)}", len(array) if array.ndim else 0)
        self.constants.append(numpy_helper.from_array(array, value.name))
        if key is not None:
            self._known[key] = value
        return value

    def add(self, op: str, *inputs: object, out: str = "", outputs: int = 1, **attributes: Any) -> Any:
        """Add a node; returns its output, or the list of them. Numbers among the inputs become constants."""
        values = [x if isinstance(x, Value) else self.constant(np.asarray(x, np.float32)) for x in inputs]
        names = [out] if out else [f"v{len(self.nodes)}.{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, [v.name for v in values], names, **attributes))
        found = [Value(self, name) for name in names]
        return found[0] if outputs == 1 else found

    def integers(self, *numbers: int) -> Value:
        return self.constant(np.array(numbers, np.int64))

    def mean(self, x: Value, axes: tuple[int, ...], keep: bool = False) -> Value:
        return self.add("ReduceMean", x, axes=axes, keepdims=int(keep))

    def sum(self, x: Value, axes: tuple[int, ...]) -> Value:
        return self.add("ReduceSum", x, self.integers(*axes), keepdims=0)

    def amax(self, x: Value, axes: tuple[int, ...]) -> Value:
        return self.add("ReduceMax", x, axes=axes, keepdims=0)

    def relu(self, x: Value) -> Value:
        return self.add("Relu", x)

    def sigmoid(self, x: Value) -> Value:
        return self.add("Sigmoid", x)

    def sqrt(self, x: Value) -> Value:
        return self.add("Sqrt", x)

    def maximum(self, a: Value, b: Value) -> Value:
        return self.add("Max", a, b)

    def minimum(self, x: Value, most: float) -> Value:
        return self.add("Min", x, most)

    def number(self, condition: Value) -> Value:
        return self.add("Cast", condition, to=TensorProto.FLOAT)

    def at_least(self, x: Value, least: Value | float) -> Value:
        return self.number(x >= least)

    def linear(self, x: Value, weight: Value, bias: Value | None = None) -> Value:
        return self.add("Gemm", x, weight, *([] if bias is None else [bias]), transB=1)

    def conv(
        self,
        x: Value,
        weight: Value,
        bias: Value | None = None,
        *,
        stride: int = 1,
        pads: tuple[int, int] = (0, 0),
        groups: int = 1,
    ) -> Value:
        inputs = [x, weight] if bias is None else [x, weight, bias]
        sides = [pads[0]] * 2 + [pads[1]] * 2
        return self.add("Conv", *inputs, strides=[stride] * 2, pads=sides, group=groups)

    def pool(
        self, x: Value, kind: str, size: int, stride: int, padding: int, shape: tuple[int, ...]
    ) -> Value:
        if kind == "adaptive":
            rows, columns = (self.constant(_averages(n, size)) for n in shape[1:])
            return self.add("MatMul", self.add("MatMul", rows, x), self.transpose(columns))
        op = "MaxPool" if kind == "max" else "AveragePool"
        sides = [padding] * 4
        return self.add(op, x, kernel_shape=[size] * 2, strides=[stride] * 2, pads=sides)

    def flatten(self, x: Value) -> Value:
        return self.add("Flatten", x, axis=1)

    def groups(self, x: Value, size: int, count: int) -> Value:
        return self.mean(self.add("Reshape", x, self.integers(0, count, size)), (2,))

    def unsqueeze(self, x: Value, axes: tuple[int, ...]) -> Value:
        return self.add("Unsqueeze", x, self.integers(*axes))

    def transpose(self, x: Value) -> Value:
        return self.add("Transpose", x)

    def concat(self, values: list[Value], axis: int = 1) -> Value:
        return self.add("Concat", *values, axis=axis)

    def parts(self, x: Value, n: int) -> list[Value]:
        return [x] if n == 1 else self.add("Split", x, outputs=n)

    def tail(self, x: Value) -> Value:
        return self.add("Slice", x, self.integers(1), self.integers(np.iinfo(np.int64).max), self.integers(1))

    def rows(self, table: Value, position: Value) -> Value:
        return self.add("Gather", table, self.add("Min", position, self.integers(table.length - 1)))

    def smallest(self, x: Value, k: int) -> Value:
        values, _ = self.add("TopK", x, self.integers(k + 1), outputs=2, largest=0)
        return self.add("Slice", values, self.integers(k), self.integers(k + 1), self.integers(1))

    def split(self, x: Value, steps: int, shape: tuple[int, ...]) -> Value:
        return self.add("Reshape", x, self.integers(steps, -1, *shape))

    def merge(self, x: Value, shape: tuple[int, ...]) -> Value:
        return self.add("Reshape", x, self.integers(-1, *shape))


def _averages(n: int, parts: int) -> NDArray[np.float32]:
    """(parts, n): the matrix that takes n values to the averages of adaptive pooling."""
    matrix = np.zeros((parts, n), np.float32)
    for row, (start, stop) in zip(matrix, adaptive_parts(n, parts), strict=True):
        row[start:stop] = 1 / (stop - start)
    return matrix


def build(graph: Graph, counted: list[str]) -> bytes:
    """The ONNX model of one step or window, serialised; `counted` names the nodes with a count output."""
    ops = Onnx()
    tensors = evaluate.Tensors(graph, lambda array: ops.constant(array.astype(np.float32)))
    counts = ops.number(Value(ops, "frames"))
    inputs = [_info("frames", graph.document.input_shape, TensorProto.UINT16)]
    outputs = [_info("output", (graph.classes,))]
    if graph.document.form == "window":
        values = evaluate.run_window(ops, graph, tensors, counts)
    else:
        states = {name: Value(ops, f"state_{name}") for name in graph.states}
        values, after = evaluate.run_step(ops, graph, tensors, counts, states, Value(ops, "position"))
        for name, state in graph.states.items():
            ops.add("Identity", after[name], out=f"state_{name}_out")
            inputs.append(_info(f"state_{name}", state.shape))
            outputs.append(_info(f"state_{name}_out", state.shape))
    if any("position" in node.input for node in ops.nodes):
        inputs.append(_info("position", (), TensorProto.INT64))
    ops.add("Identity", values[graph.nodes[-1].name], out="output")
    for name in counted:
        # 1 where it is not zero. Binary spikes already are that; the optimiser is not told, so cast once
        nonzero = ops.number(ops.add("Cast", values[name], to=TensorProto.BOOL))
        ops.add("ReduceSum", nonzero, ops.integers(1), keepdims=0, out=f"count_{name}")
        outputs.append(_info(f"count_{name}", graph.shapes[name][1:]))
    body = helper.make_graph(ops.nodes, graph.document.form, inputs, outputs, ops.constants)
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    model.producer_name = "spikeline"
    onnx.checker.check_model(model)
    return model.SerializeToString()


def _info(name: str, shape: tuple[int, ...], kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, ["B", *shape])
