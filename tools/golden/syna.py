"""SynA-ResNet: MA, IA and the OR block. Layout [T, N, C, H, W].

Set aside: `y_batch`, where the released gate's neuron runs along the batch, and `y_code`, where both
branches of a block are evaluated twice from one state.
"""

import torch

from golden.ma import pooled_gates, under
from golden.vector import MismatchError, Results, Vector, swap, weighted
from spikeline.models.layers import over_steps
from spikeline.models.synergy import Inhibition, ORBlock
from spikeline.models.window_attention import Cascade, WindowGate


def _single(v: Vector, prefix: str = "") -> tuple[WindowGate, dict[str, str]]:
    gates, names = pooled_gates(v, prefix)
    if len(gates) != 1:
        raise MismatchError(f"wanted one gate under {prefix!r}, found {len(gates)}")
    ((name, gate),) = gates.items()
    return gate, {ours.removeprefix(f"{name}."): theirs for ours, theirs in names.items()}


def excitation(v: Vector) -> Results:
    gate, names = _single(v)
    module = v.load(Cascade({"ma": gate}), under("gates.ma", names))
    with torch.no_grad():
        return {"y": module(v.tensor("x"))}


def inhibition(v: Vector) -> Results:
    gate, names = _single(v)
    module = v.load(Inhibition(gate), under("scores", names))
    v.ignore("y_batch", "its samples influence each other")
    x = v.tensor("x")
    with torch.no_grad():
        return {"y_single": module(x), "gate_single": swap(module.gate(x))}


def or_block(v: Vector) -> Results:
    """`main` and `sample` are Sequentials: which index is what follows from its weights' shapes."""
    convs = [n for n in _indices(v) if v.weights[f"main.{n}.weight"].ndim == 4]
    norms = [n for n in _indices(v) if f"main.{n}.running_mean" in v.weights]
    gated = sorted({int(name.split(".")[1]) for name in v.weights if _is_gate(name) and name[:4] == "main"})
    channels, inputs = v.weights[f"main.{convs[0]}.weight"].shape[:2]
    x = v.tensor("x")
    names = weighted("conv1", f"main.{convs[0]}", f"main.{norms[0]}")
    names |= weighted("conv2", f"main.{convs[1]}", f"main.{norms[1]}")
    names |= weighted("conv3", "sample.0", "sample.1")
    attention = inhibits = None
    if gated:
        attention, gate_names = _single(v, f"main.{gated[0]}.")
        names |= under("attention.gates.ma", gate_names)
    if v.has("sample.2."):
        scores, gate_names = _single(v, "sample.2.")
        inhibits = Inhibition(scores)
        names |= under("inhibition.scores", gate_names)
    place = "first" if gated and gated[0] < convs[1] else "second"
    stride = v.stride(x, "main")
    block = ORBlock(inputs, channels, stride, attention=attention, place=place, inhibition=inhibits)
    block = v.load(block, names)
    v.ignore("y_code", "its branches are evaluated twice")
    with torch.no_grad():
        main, side = block.branches(x)
        results = {"main": main, "sample": side, "y_once": block(x)}
        if attention is None and inhibits is None:
            results["y_once@step"] = over_steps(block, x)
    return results


def _indices(v: Vector) -> list[int]:
    """Places in `main` that have a weight of their own: convolutions and batch norms."""
    parts = (name.split(".") for name in v.weights)
    return sorted(int(p[1]) for p in parts if p[0] == "main" and p[2:] == ["weight"])


def _is_gate(name: str) -> bool:
    return name.split(".")[2] in ("ta", "ca", "sa")


FAMILIES = {"syna_ma": excitation, "syna_ia": inhibition, "syna_or_block": or_block}
