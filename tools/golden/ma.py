"""MA-SNN: the released attention modules, their per-step form, and the LIF and LIAF neurons.

Original layout [B, T, ...]; weights `ta.sharedMLP`, `ca.sharedMLP`, `sa.conv`.
"""

import torch

from golden.neuron_runs import both
from golden.vector import Results, Vector, mlp, swap
from spikeline.models.attention import ChannelAttention, SpatialAttention, StepGates
from spikeline.models.layers import SpikingLayer
from spikeline.models.neurons import neuron
from spikeline.models.window_attention import (
    Cascade,
    PooledChannelAttention,
    PooledSpatialAttention,
    TemporalAttention,
    WindowGate,
)


def pooled_gates(v: Vector, prefix: str = "") -> tuple[dict[str, WindowGate], dict[str, str]]:
    """The window gates whose weights stand under `prefix`, and the names of those, in the order T, C, S."""
    gates: dict[str, WindowGate] = {}
    names: dict[str, str] = {}
    if v.has(f"{prefix}ta."):
        hidden, steps = v.weights[f"{prefix}ta.sharedMLP.0.weight"].shape[:2]
        gates["ta"] = TemporalAttention(steps, hidden)
        names |= mlp("ta.mlp", f"{prefix}ta.sharedMLP")
    if v.has(f"{prefix}ca."):
        hidden, channels = v.weights[f"{prefix}ca.sharedMLP.0.weight"].shape[:2]
        gates["ca"] = PooledChannelAttention(channels, hidden)
        names |= mlp("ca.mlp", f"{prefix}ca.sharedMLP")
    if v.has(f"{prefix}sa."):
        gates["sa"] = PooledSpatialAttention(v.weights[f"{prefix}sa.conv.weight"].shape[-1])
        names["sa.weight"] = f"{prefix}sa.conv.weight"
    return gates, names


def under(prefix: str, names: dict[str, str]) -> dict[str, str]:
    return {f"{prefix}.{ours}": theirs for ours, theirs in names.items()}


def attention(v: Vector) -> Results:
    gates, names = pooled_gates(v)
    module = v.load(Cascade(gates), under("gates", names))
    x = swap(v.tensor("x"))
    with torch.no_grad():
        results = {"y": swap(module(x))}
        for name, gate in module.gates.items():
            results[f"score_{name}"] = swap(gate.gate(x))
            x = gate(x)
    return results


def spatial_gate(v: Vector) -> Results:
    kernel = v.weights["conv.weight"].shape[-1]
    module = v.load(PooledSpatialAttention(kernel), {"weight": "conv.weight"})
    with torch.no_grad():
        return {"y": swap(module.gate(swap(v.tensor("x"))))}


def per_step(v: Vector) -> Results:
    gates: dict[str, torch.nn.Module] = {}
    names: dict[str, str] = {}
    if v.has("ca."):
        hidden, channels = v.weights["ca.sharedMLP.0.weight"].shape[:2]
        gates["ca"] = ChannelAttention(channels, channels // hidden)
        names |= mlp("gates.ca", "ca.sharedMLP")
    if v.has("sa."):
        gates["sa"] = SpatialAttention(v.weights["sa.conv.weight"].shape[-1])
        names["gates.sa.weight"] = "sa.conv.weight"
    module = v.load(StepGates(gates, relu=True), names)
    x = swap(v.tensor("x"))
    with torch.no_grad():
        return {"y": swap(module(x)), "y@step": swap(torch.stack([module.step(frame) for frame in x]))}


def lif(v: Vector) -> Results:
    config = v.config
    outputs = {"spike": "spikes", "mem": "excess" if config["TR_model"] == "TR" else "membrane"}
    cell = neuron("lif_ma", threshold=config["Vthres"], decay=config["alpha"], bias=config["beta"])
    layer = SpikingLayer(cell, surrogate="rect", width=config["lens"], output=outputs[config["mode"]])
    return both(v, layer, batch_first=True, membrane="h")


FAMILIES = {
    **dict.fromkeys((f"ma_{kind}" for kind in ("ta", "ca", "sa", "tca", "tsa", "csa", "tcsa")), attention),
    **dict.fromkeys((f"ma_{kind}_per_step" for kind in ("ca", "sa", "csa")), per_step),
    "ma_spatial": spatial_gate,
    "ma_lif": lif,
}
