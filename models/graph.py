"""The lowered form of a network: a flat list of plain operations with named state.

Written once from a torch module (models/lowering.py), read by every engine, by the ONNX builder and
by the package loader. Nothing here imports torch. A graph is checked whole when it is made: an
operation that is not in the closed list of models/operations.py, a tensor missing, left over or of the
wrong shape is a `GraphError` that names it.

Axes: a step's input is a count frame (B, 2, H, W); shapes below leave out the batch axis B.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import msgspec
import numpy as np
from numpy.typing import NDArray

from spikeline.models.neurons import Neuron, neuron
from spikeline.models.operations import (
    GraphError,
    Node,
    check_choice,
    check_node,
    gates_of,
    join,
    tensor_roles,
)

__all__ = ["Graph", "GraphDocument", "GraphError", "Node", "Shape", "gates_of", "join"]

Shape = tuple[int, ...]
FORMS = ("step", "window")
HORIZONS = ("endless", "tumbling")


class GraphDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The graph without its tensors, as it stands in a package's manifest."""

    form: str
    horizon: str
    steps: int
    input_shape: tuple[int, int, int]
    nodes: list[Node]


@dataclass(frozen=True)
class Graph:
    """A network. `steps` is T, the steps that make one sample; float32 tensors by name."""

    document: GraphDocument
    tensors: Mapping[str, NDArray[np.float32]]

    def __post_init__(self) -> None:
        doc = self.document
        check_choice("form", doc.form, FORMS)
        check_choice("horizon", doc.horizon, HORIZONS)
        if doc.form != "step":
            raise GraphError("form 'window' is not run by this version; wanted 'step'")
        if doc.steps < 1:
            raise GraphError(f"steps must be at least 1, found {doc.steps}")
        if not doc.nodes or doc.nodes[0].op != "input" or doc.nodes[-1].op != "readout":
            raise GraphError("a graph starts with an input node and ends with a readout node")
        for name, tensor in self.tensors.items():
            if tensor.dtype != np.float32:
                raise GraphError(f"tensor {name}: found {tensor.dtype}, wanted float32")
            if not np.isfinite(tensor).all():
                raise GraphError(f"tensor {name}: found a value that is not finite")
        used: set[str] = set()
        for node in doc.nodes:
            check_node(node)
            used.update(f"{node.name}.{role}" for role in tensor_roles(node))
        if extra := sorted(set(self.tensors) - used):
            raise GraphError(f"tensor {extra[0]}: no node uses it")
        if missing := sorted(used - set(self.tensors)):
            raise GraphError(f"tensor {missing[0]}: missing")
        _ = self.shapes

    @property
    def nodes(self) -> list[Node]:
        return self.document.nodes

    @property
    def steps(self) -> int:
        return self.document.steps

    @property
    def tumbling(self) -> bool:
        return self.document.horizon == "tumbling"

    def tensor(self, node: Node, role: str) -> NDArray[np.float32]:
        return self.tensors[f"{node.name}.{role}"]

    def with_horizon(self, horizon: str) -> "Graph":
        return Graph(msgspec.structs.replace(self.document, horizon=horizon), self.tensors)

    def with_input(self, *, gain: float) -> "Graph":
        """The same network with its counts scaled by a further `gain` (another sensor's cell area)."""
        first, *rest = self.nodes
        scaled = msgspec.structs.replace(
            first, attrs=first.attrs | {"gain": float(first.attrs["gain"]) * gain}
        )
        return Graph(msgspec.structs.replace(self.document, nodes=[scaled, *rest]), self.tensors)

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """Shape of every node's output, without the batch axis."""
        shapes: dict[str, Shape] = {}
        for node in self.nodes:
            for name in node.inputs:
                if name not in shapes:
                    raise GraphError(f"node {node.name}: input {name!r} is not an earlier node")
            if node.name in shapes:
                raise GraphError(f"node {node.name}: the name stands twice")
            shapes[node.name] = self._shape(node, [shapes[name] for name in node.inputs])
        return shapes

    @cached_property
    def neurons(self) -> list[tuple[Node, Neuron]]:
        """The layers of spiking neurons in graph order: the order of every list of spikes."""
        return [
            (node, neuron(node.attrs["kind"], **node.attrs["constants"]))
            for node in self.nodes
            if node.op == "neuron"
        ]

    @property
    def layers(self) -> list[str]:
        return [node.name for node, _ in self.neurons]

    @property
    def classes(self) -> int:
        return self.shapes[self.nodes[-1].name][0]

    @cached_property
    def membranes(self) -> dict[str, Shape]:
        """Name and shape of each membrane state, float32, zero at the start."""
        return {f"{node.name}.h": self.shapes[node.name] for node, _ in self.neurons}

    @cached_property
    def spiking(self) -> set[str]:
        """Names of the nodes whose output is spikes (small whole numbers), not real values."""
        names: set[str] = set()
        for node in self.nodes:
            from_spikes = bool(node.inputs) and all(name in names for name in node.inputs)
            if (
                node.op == "neuron"
                or (node.op == "pool" and node.attrs["kind"] == "max" and from_spikes)
                or (node.op == "join" and node.attrs["kind"] != "membrane" and from_spikes)
            ):
                names.add(node.name)
        return names

    def _shape(self, node: Node, inputs: list[Shape]) -> Shape:
        attrs = node.attrs
        if node.op == "input":
            return self.document.input_shape
        x = inputs[0]
        if node.op == "conv":
            weight = self._shaped(node, "weight", (None, None, None, None))
            _volume(node, x)
            out, per_group, k, k2 = weight
            if per_group * attrs["groups"] != x[0] or k != k2:
                raise GraphError(f"{node.name}.weight: found {weight}, wanted {x[0]} input channels, square")
            self._shaped(node, "bias", (out,))
            return (out, *(_slots(node, n + 2 * attrs["padding"], k, attrs["stride"]) for n in x[1:]))
        if node.op == "linear":
            out, _ = self._shaped(node, "weight", (None, int(np.prod(x))))
            self._shaped(node, "bias", (out,))
            return (out,)
        if node.op in ("affine", "layernorm"):
            self._shaped(node, "scale", (x[0],))
            self._shaped(node, "shift", (x[0],))
            return x
        if node.op == "pool":
            _volume(node, x)
            if attrs["kind"] == "global":
                return (x[0],)
            return (x[0], *(_slots(node, n, attrs["size"], attrs["stride"]) for n in x[1:]))
        if node.op in ("neuron", "gate"):
            for gate in gates_of(node):
                self._gate_shapes(node, gate, x)
            return x
        if node.op == "join" and inputs[1] != x:
            raise GraphError(f"node {node.name}: joins {inputs[0]} with {inputs[1]}; wanted equal shapes")
        if node.op == "vote":
            if len(x) != 1 or x[0] % attrs["size"]:
                raise GraphError(f"node {node.name}: found {x}, wanted a multiple of {attrs['size']} values")
            return (x[0] // attrs["size"],)
        if node.op == "readout" and len(x) != 1:
            raise GraphError(f"node {node.name}: found values of shape {x}, wanted one per class")
        return x

    def _gate_shapes(self, node: Node, gate: str, x: Shape) -> None:
        _volume(node, x)
        if gate == "ca":
            hidden, _ = self._shaped(node, "ca.w0", (None, x[0]))
            self._shaped(node, "ca.w1", (x[0], hidden))
        else:
            _, _, k, _ = self._shaped(node, "sa.weight", (1, 2, None, None))
            if k % 2 == 0:
                raise GraphError(f"{node.name}.sa.weight: found a {k} x {k} kernel, wanted an odd size")

    def _shaped(self, node: Node, role: str, wanted: tuple[int | None, ...]) -> Shape:
        shape = self.tensor(node, role).shape
        if len(shape) != len(wanted) or any(
            w is not None and n != w for n, w in zip(shape, wanted, strict=True)
        ):
            text = " x ".join("any" if w is None else str(w) for w in wanted)
            raise GraphError(f"tensor {node.name}.{role}: found shape {shape}, wanted {text}")
        return shape


def _volume(node: Node, x: Shape) -> None:
    if len(x) != 3:
        raise GraphError(f"node {node.name}: its input has shape {x}, wanted (C, H, W)")


def _slots(node: Node, n: int, size: int, stride: int) -> int:
    if size > n:
        raise GraphError(f"node {node.name}: a window of {size} does not fit into {n}")
    return (n - size) // stride + 1
