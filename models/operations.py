"""The closed list of operations a lowered graph may use, and the check of a node against it.

models/evaluate.py says what each of them computes, models/gates.py what each gate does.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from spikeline.models.neurons import CONSTANTS, neuron

FORMS = ("per-step", "window", "sliding", "prefix", "static")
OUTPUTS = ("spikes", "membrane", "excess")
IDLES = ("leak", "membrane")
ON_MEMBRANES = ("ca", "sa", "eca", "simam", "gc", "step", "affine")  # gates that see one step alone


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
    # avg | max over size x size (max may be padded by what is smaller than any value), the average over
    # H, W (global), or averages over size x size parts, whatever their number of pixels (adaptive)
    "pool": Operation(
        1,
        {"kind": ("avg", "max", "global", "adaptive"), "size": int, "stride": int, "padding": int},
        optional=("padding",),
    ),
    # a kind of models/neurons.py; state <name>.h. `recall` gates act on the membrane of the step before,
    # `refine` gates on the membrane before it is thresholded (MA-SNN Eq. 10-14, Activate-PRE; STAA).
    # output: spikes, or of the analog LIAF neuron relu(u) (membrane) or relu(u - threshold) (excess)
    # idle: in a skipped step only the leak acts, or its gates do too, on a membrane without input (membrane)
    "neuron": Operation(
        1,
        {
            "kind": tuple(CONSTANTS),
            "constants": dict,
            "recall": list,
            "refine": list,
            "output": OUTPUTS,
            "idle": IDLES,
        },
        optional=("recall", "refine", "output", "idle"),
    ),
    # attention of a kind in GATES, in one of its forms
    "gate": Operation(1),
    # or a + b - ab, and ab, iand (1 - a) b, add a + b, membrane a + b (of currents)
    "join": Operation(2, {"kind": ("or", "and", "iand", "add", "membrane")}),
    # mean over groups of `size` neighbours: size * K values -> K
    "vote": Operation(1, {"size": int}),
    # the graph's output: (K,) values of a step; how steps become scores
    "readout": Operation(1, {"kind": ("mean", "ema"), "rate": float}, optional=("rate",)),
}


@dataclass(frozen=True, slots=True)
class Gate:
    """A kind of attention: the forms it has, its attributes besides `kind`, `form` and `relu`."""

    forms: tuple[str, ...]
    attrs: Mapping[str, type | tuple[str, ...]] = field(default_factory=dict)
    tensors: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()


_STREAMED = ("window", "sliding", "prefix")
GATES: dict[str, Gate] = {
    # temporal: a number a step. pools: averages and maxima (MA-SNN) or averages alone with biases (TA-SNN).
    # threshold: [gate >= threshold] instead of the gate; discard: the same, at that quantile of the window
    "ta": Gate(
        _STREAMED,
        {"pools": ("both", "avg"), "threshold": float, "discard": float},
        ("w0", "w1"),
        ("threshold", "discard"),
    ),
    "ca": Gate(("per-step", *_STREAMED), {}, ("w0", "w1")),  # channel: a number a channel
    "sa": Gate(("per-step", *_STREAMED), {}, ("weight",)),  # spatial: a number a pixel
    "eca": Gate(("per-step",), {}, ("weight",)),
    "simam": Gate(("per-step",), {"lam": float}),
    # SynA's inhibition: relu(x [score fires]), the score that of `score`
    "ia": Gate(_STREAMED, {"score": ("ta", "ca", "sa"), "mode": ("heaviside", "lif_time")}),
    # STAA: global context, position, and the step's attention
    "gc": Gate(
        ("per-step",),
        {"context": ("mean", "sum"), "eps": float},
        ("k.weight", "k.bias", "q.weight", "q.bias", "norm.scale", "norm.shift", "v.weight", "v.bias"),
    ),
    "pe": Gate(("per-step",), {}, ("pos",)),
    "step": Gate(("per-step",), {"scope": ("step", "channel"), "alpha": float}, ("w0", "b0", "w1", "b1")),
    "affine": Gate(("per-step",), {}, ("scale", "shift")),
    # GAC's unit: inputs are the encoder's features and its spikes
    "gau": Gate((*_STREAMED, "static"), {}, ("w0", "w1", "sca0", "sca1")),
}


def join(kind: str, a: Any, b: Any) -> Any:
    """Two paths as one, on arrays, tensors or ONNX values alike (SynA: or; SEW: add, and, iand)."""
    if kind == "or":
        return a + b - a * b
    if kind == "and":
        return a * b
    if kind == "iand":
        return (1 - a) * b
    return a + b


def gates_of(node: Node) -> list[tuple[str, dict[str, Any]]]:
    """The gates a node applies: the prefix of their tensors' and states' roles, and their attributes."""
    if node.op == "gate":
        return [("", node.attrs)]
    return [
        (f"{place}.{attrs['kind']}.", attrs)
        for place in ("recall", "refine")
        for attrs in node.attrs.get(place, [])
    ]


def gate_tensors(attrs: Mapping[str, Any]) -> tuple[str, ...]:
    """Roles of a gate's tensors."""
    kind = attrs["score"] if attrs["kind"] == "ia" else attrs["kind"]
    roles = GATES[kind].tensors
    if kind not in ("ta", "gau"):
        return roles
    means = ("mean_avg", "mean_max") if attrs["form"] in ("sliding", "prefix") else ()
    if attrs.get("pools") == "avg":
        return ("w0", "b0", "w1", "b1", *means[:1])
    return (*roles, *means)


def tensor_roles(node: Node) -> Iterator[str]:
    yield from OPERATIONS[node.op].tensors
    for prefix, attrs in gates_of(node):
        for role in gate_tensors(attrs):
            yield prefix + role


def check_node(node: Node) -> None:
    if node.op not in OPERATIONS:
        raise GraphError(f"node {node.name}: operation {node.op!r} is not one of {', '.join(OPERATIONS)}")
    operation = OPERATIONS[node.op]
    wanted = 2 if node.op == "gate" and node.attrs.get("kind") == "gau" else operation.inputs
    if len(node.inputs) != wanted:
        raise GraphError(f"node {node.name}: found {len(node.inputs)} inputs, wanted {wanted}")
    if node.op == "gate":
        _check_gate(f"node {node.name}", node.attrs)
        return
    _check_attributes(f"node {node.name}", node.op, node.attrs, operation.attrs, operation.optional)
    if node.op == "neuron":
        for place in ("recall", "refine"):
            gates = node.attrs.get(place, [])
            for attrs in gates:
                if not isinstance(attrs, dict):
                    raise GraphError(
                        f"node {node.name}: {place}: found {attrs!r}, wanted attributes of a gate"
                    )
                check_choice(f"node {node.name}: {place}", attrs.get("kind"), ON_MEMBRANES)
                _check_gate(f"node {node.name}: {place}", attrs)
                check_choice(f"node {node.name}: {place}: form", attrs["form"], ("per-step",))
            if len({attrs["kind"] for attrs in gates}) < len(gates):
                raise GraphError(f"node {node.name}: {place}: a kind of gate stands twice")
        try:
            neuron(node.attrs["kind"], **node.attrs["constants"])
        except (TypeError, ValueError) as error:
            raise GraphError(f"node {node.name}: {error}") from error


def _check_gate(where: str, attrs: Mapping[str, Any]) -> None:
    check_choice(f"{where}: gate", attrs.get("kind"), tuple(GATES))
    kind = GATES[attrs["kind"]]
    allowed: dict[str, type | tuple[str, ...]] = {"kind": tuple(GATES), "form": kind.forms, "relu": bool}
    allowed |= kind.attrs
    _check_attributes(where, f"gate {attrs['kind']}", attrs, allowed, ("relu", *kind.optional))
    if "threshold" in attrs and "discard" in attrs:
        raise GraphError(f"{where}: found both threshold and discard, wanted one of them")
    if "discard" in attrs and (attrs["form"] != "window" or not 0 <= attrs["discard"] < 1):
        raise GraphError(
            f"{where}: discard {attrs['discard']} in form {attrs['form']}; wanted 0 to below 1 of a window"
        )
    if attrs.get("mode") == "lif_time" and attrs["score"] != "ta":
        raise GraphError(f"{where}: mode lif_time needs the score ta, found {attrs['score']}")


def _check_attributes(
    where: str,
    what: str,
    attrs: Mapping[str, Any],
    wanted: Mapping[str, type | tuple[str, ...]],
    optional: tuple[str, ...],
) -> None:
    for name in attrs:
        if name not in wanted:
            raise GraphError(f"{where}: {what} has no attribute {name!r}")
    for name, allowed in wanted.items():
        if name not in attrs:
            if name not in optional:
                raise GraphError(f"{where}: attribute {name!r} is missing")
            continue
        value = attrs[name]
        if isinstance(allowed, tuple):
            check_choice(f"{where}: {name}", value, allowed)
        elif allowed is float:
            if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
                raise GraphError(f"{where}: {name} must be a finite number, found {value!r}")
        elif type(value) is not allowed:
            raise GraphError(f"{where}: {name} must be {allowed.__name__}, found {value!r}")
        elif type(value) is int and value < (0 if name == "padding" else 1):
            raise GraphError(f"{where}: {name} must be positive, found {value}")


def check_choice(what: str, found: object, wanted: tuple[str, ...]) -> None:
    if found not in wanted:
        raise GraphError(f"{what}: found {found!r}, wanted one of {', '.join(wanted)}")
