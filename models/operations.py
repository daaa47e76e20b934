"""The closed list of operations a lowered graph may use, and the check of a node against it.

models/reference.py computes each of them in NumPy.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from spikeline.models.neurons import CONSTANTS, neuron

MEMBRANE_GATES = ("ca", "sa")


class GraphError(ValueError):
    """A network that cannot be what it says: one line naming the node, the value found and wanted."""


class Node(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One operation. Its tensors are in the graph's, as `<name>.<role>`."""

    name: str
    op: str
    inputs: list[str] = []  # names of earlier nodes
    attrs: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Operation:
    """What a node of this kind may carry: attributes with their allowed type, roles of tensors."""

    inputs: int
    attrs: Mapping[str, type | tuple[str, ...]] = field(default_factory=dict)
    tensors: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()  # attributes that may be absent


OPERATIONS: dict[str, Operation] = {
    # x = min(gain * counts, clip); without clip, unbounded.
    "input": Operation(0, {"gain": float, "clip": float}, optional=("clip",)),
    # cross-correlation, batch norm folded in; weight (Cout, Cin / groups, k, k), bias (Cout,)
    "conv": Operation(1, {"stride": int, "padding": int, "groups": int}, ("weight", "bias")),
    # weight (out, in) on the input flattened in C, H, W order
    "linear": Operation(1, {}, ("weight", "bias")),
    # per channel: scale * x + shift
    "affine": Operation(1, {}, ("scale", "shift")),
    # over all of a step's values: (x - mean) / sqrt(var + eps) * scale + shift
    "layernorm": Operation(1, {"eps": float}, ("scale", "shift")),
    # avg | max over size x size, or global (average over H, W)
    "pool": Operation(1, {"kind": ("avg", "max", "global"), "size": int, "stride": int}),
    # a kind of models/neurons.py; `refine` gates act on the membrane before it is thresholded
    # (MA-SNN Eq. 10-14, Activate-PRE); state <name>.h
    "neuron": Operation(
        1, {"kind": tuple(CONSTANTS), "constants": dict, "refine": list}, optional=("refine",)
    ),
    # the same gates on a current (Conv-POST) or on spikes (Conv-PRE), one step at a time
    "gate": Operation(1, {"kind": MEMBRANE_GATES}),
    # or a + b - ab, and ab, iand (1 - a) b, add a + b, membrane a + b (of currents)
    "join": Operation(2, {"kind": ("or", "and", "iand", "add", "membrane")}),
    # mean over groups of `size` neighbours: size * K values -> K
    "vote": Operation(1, {"size": int}),
    # the graph's output: (K,) values of a step; how steps become scores
    "readout": Operation(1, {"kind": ("mean", "ema"), "rate": float}, optional=("rate",)),
}
GATE_TENSORS = {"ca": ("ca.w0", "ca.w1"), "sa": ("sa.weight",)}


def join(kind: str, a: Any, b: Any) -> Any:
    """Two paths as one, on arrays, tensors or ONNX values alike (SynA: or; SEW: add, and, iand)."""
    if kind == "or":
        return a + b - a * b
    if kind == "and":
        return a * b
    if kind == "iand":
        return (1 - a) * b
    return a + b


def gates_of(node: Node) -> list[str]:
    """The attention gates a node applies, in order."""
    return [node.attrs["kind"]] if node.op == "gate" else list(node.attrs.get("refine", []))


def tensor_roles(node: Node) -> Iterator[str]:
    yield from OPERATIONS[node.op].tensors
    for gate in gates_of(node):
        yield from GATE_TENSORS[gate]


def check_node(node: Node) -> None:
    if node.op not in OPERATIONS:
        raise GraphError(f"node {node.name}: operation {node.op!r} is not one of {', '.join(OPERATIONS)}")
    operation = OPERATIONS[node.op]
    if len(node.inputs) != operation.inputs:
        raise GraphError(f"node {node.name}: found {len(node.inputs)} inputs, wanted {operation.inputs}")
    for name in node.attrs:
        if name not in operation.attrs:
            raise GraphError(f"node {node.name}: {node.op} has no attribute {name!r}")
    for name, allowed in operation.attrs.items():
        if name not in node.attrs:
            if name not in operation.optional:
                raise GraphError(f"node {node.name}: attribute {name!r} is missing")
            continue
        value = node.attrs[name]
        if isinstance(allowed, tuple):
            check_choice(f"node {node.name}: {name}", value, allowed)
        elif allowed is float:
            if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
                raise GraphError(f"node {node.name}: {name} must be a finite number, found {value!r}")
        elif type(value) is not allowed:
            raise GraphError(f"node {node.name}: {name} must be {allowed.__name__}, found {value!r}")
        elif isinstance(value, int) and value < (0 if name == "padding" else 1):
            raise GraphError(f"node {node.name}: {name} must be positive, found {value}")
    for gate in gates_of(node):
        check_choice(f"node {node.name}: gate", gate, MEMBRANE_GATES)
    if node.op == "neuron":
        try:
            neuron(node.attrs["kind"], **node.attrs["constants"])
        except (TypeError, ValueError) as error:
            raise GraphError(f"node {node.name}: {error}") from error


def check_choice(what: str, found: object, wanted: tuple[str, ...]) -> None:
    if found not in wanted:
        raise GraphError(f"{what}: found {found!r}, wanted one of {', '.join(wanted)}")
