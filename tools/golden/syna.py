"""SynA-ResNet: MA, IA and the OR block. Layout [T, N, C, H, W].

Set aside: `y_batch`, where the released gate's neuron runs along the batch, and `y_code`, where both
paths of a block are evaluated twice from one state.
"""

from typing import Any

import torch

from golden.gates import multiplied
from golden.vector import MismatchError, Results, Vector, empty, in_every_form, mlp, swap, weighted
from spikeline.models.gate_layer import GateLayer
from spikeline.models.syna import SynASettings, syna_block

# score -> axes along which it is one number
AXES = {"ta": (2, 3, 4), "ca": (0, 3, 4), "sa": (0, 2)}


def excitation(v: Vector) -> Results:
    kind, sizes, names = _gate(v, "", "parts.gate")
    x = v.tensor("x")
    net = empty(x)
    pools = {"pools": "both"} if kind == "ta" else {}
    gate = GateLayer(kind, "window", net.shapes[net.frames], net.steps, sizes=sizes, relu=True, **pools)
    net.add("gate", gate, net.frames)
    return in_every_form(v.load(net, names), x)


def inhibition(v: Vector) -> Results:
    score, sizes, names = _gate(v, "", "parts.gate")
    x = v.tensor("x")
    net = empty(x)
    shape = net.shapes[net.frames]
    gate = GateLayer("ia", "window", shape, net.steps, sizes=sizes, score=score, mode="heaviside")
    net.add("gate", gate, net.frames)
    v.ignore("y_batch", "its samples influence each other")
    results = in_every_form(v.load(net, names), x, "y_single")
    weights = multiplied(x.clamp(min=0), results["y_single"], AXES[score])
    return results | {"gate_single": swap(weights)}


def or_block(v: Vector) -> Results:
    """`main` and `sample` are Sequentials: which index is what follows from its weights' shapes."""
    convs = [n for n in _indices(v) if v.weights[f"main.{n}.weight"].ndim == 4]
    norms = [n for n in _indices(v) if f"main.{n}.running_mean" in v.weights]
    gated = sorted({int(name.split(".")[1]) for name in v.weights if _is_gate(name) and name[:4] == "main"})
    channels, inputs = v.weights[f"main.{convs[0]}.weight"].shape[:2]
    names = weighted("block1_main1_current", f"main.{convs[0]}", f"main.{norms[0]}")
    names |= weighted("block1_main2_current", f"main.{convs[1]}", f"main.{norms[1]}")
    names |= weighted("block1_side_current", "sample.0", "sample.1")
    settings: dict[str, Any] = {"ma": "no", "ia": "no", "location": "d"}
    if gated:
        at = "a" if gated[0] < convs[1] else "d"
        layer = "main1" if at == "a" else "main2"
        kind, sizes, gate_names = _gate(v, f"main.{gated[0]}.", f"parts.block1_{layer}_ma")
        settings |= {"ma": kind[0], "location": at} | _size(v, kind, sizes, channels)
        names |= gate_names
    if v.has("sample.2."):
        kind, sizes, gate_names = _gate(v, "sample.2.", "parts.block1_side_ia")
        settings |= {"ia": kind[0]} | _size(v, kind, sizes, channels)
        names |= gate_names
    x = v.tensor("x")
    net = empty(x)
    settings |= {"channels": (inputs, channels, channels, channels), "steps": net.steps}
    syna_block(net, SynASettings(**settings), 1, net.frames, v.stride(x, "main"))
    net = v.load(net, names)
    v.ignore("y_code", "its paths are evaluated twice")
    with torch.no_grad():
        values = net.values(x)
    paths = {"main": values["block1_main2"], "sample": values["block1_side"]}
    return paths | in_every_form(net, x, "y_once")


def _gate(v: Vector, prefix: str, ours: str) -> tuple[str, dict[str, int], dict[str, str]]:
    """Kind of the one gate whose weights stand under `prefix`, what its shapes are made from, their names."""
    kinds = [kind for kind in AXES if v.has(f"{prefix}{kind}.")]
    if len(kinds) != 1:
        raise MismatchError(f"wanted one gate under {prefix!r}, found {', '.join(kinds) or 'none'}")
    (kind,) = kinds
    if kind == "sa":
        theirs = f"{prefix}sa.conv.weight"
        return kind, {"kernel": v.weights[theirs].shape[-1]}, {f"{ours}.table.weight": theirs}
    theirs = f"{prefix}{kind}.sharedMLP"
    return kind, {"hidden": v.weights[f"{theirs}.0.weight"].shape[0]}, mlp(f"{ours}.table", theirs)


def _size(v: Vector, kind: str, sizes: dict[str, int], channels: int) -> dict[str, Any]:
    """A gate's size as a setting of the network."""
    if kind == "sa":
        return {"kernels": (sizes["kernel"],) * 2}
    if kind == "ta":
        return {"t_ratio": len(v.arrays["x"]) // sizes["hidden"]}
    return {"c_ratios": (channels // sizes["hidden"],) * 4}


def _indices(v: Vector) -> list[int]:
    """Places in `main` that have a weight of their own: convolutions and batch norms."""
    parts = (name.split(".") for name in v.weights)
    return sorted(int(p[1]) for p in parts if p[0] == "main" and p[2:] == ["weight"])


def _is_gate(name: str) -> bool:
    return name.split(".")[2] in AXES


FAMILIES = {"syna_ma": excitation, "syna_ia": inhibition, "syna_or_block": or_block}
