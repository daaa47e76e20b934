"""Attention gates from the weights of a vector: `ta.sharedMLP`, `ca.sharedMLP`, `sa.conv` under a prefix.

What multiplied a gate's input is read off its output, where the input is largest.
"""

from typing import Any

import torch
from torch import Tensor

from golden.vector import Vector, empty, mlp
from spikeline.models.attention_settings import AttentionSettings
from spikeline.models.network import Network

_POOLED = {"statistics": "pooled", "place": "conv-post", "form": "window", "relu": True}


def attention_of(v: Vector, prefix: str = "", **changes: Any) -> AttentionSettings:
    """The attention whose weights stand under `prefix`: pooled over the window, with the ReLU behind it,
    unless changed."""
    return AttentionSettings(**(_POOLED | sizes_of(v, prefix) | changes))


def sizes_of(v: Vector, prefix: str = "") -> dict[str, Any]:
    """Letters, ratios and kernel of it, as settings."""
    found: dict[str, Any] = {"attention": ""}
    if v.has(f"{prefix}ta."):
        hidden, steps = v.weights[f"{prefix}ta.sharedMLP.0.weight"].shape[:2]
        found |= {"attention": "t", "t_ratio": steps // hidden}
    if v.has(f"{prefix}ca."):
        hidden, channels = v.weights[f"{prefix}ca.sharedMLP.0.weight"].shape[:2]
        found |= {"attention": found["attention"] + "c", "c_ratio": channels // hidden}
    if v.has(f"{prefix}sa."):
        kernel = v.weights[f"{prefix}sa.conv.weight"].shape[-1]
        found |= {"attention": found["attention"] + "s", "kernel": kernel}
    return found | {"attention": found["attention"] or "no"}


def gate_names(v: Vector, prefix: str, ours: str) -> dict[str, str]:
    """Names of those weights in the parts `<ours>_ta`, `<ours>_ca`, `<ours>_sa`."""
    names: dict[str, str] = {}
    for kind in ("ta", "ca"):
        if v.has(f"{prefix}{kind}."):
            names |= mlp(f"parts.{ours}_{kind}.table", f"{prefix}{kind}.sharedMLP")
    if v.has(f"{prefix}sa."):
        names[f"parts.{ours}_sa.table.weight"] = f"{prefix}sa.conv.weight"
    return names


def gated(v: Vector, x: Tensor, settings: AttentionSettings, prefix: str = "") -> Network:
    """A network of nothing but that attention, on frames x (T, B, ...); its parts are x_ta, x_ca, x_sa."""
    net = empty(x)
    settings.gates_before(net, "x", net.frames, letters=settings.attention)
    return v.load(net, gate_names(v, prefix, "x"))


def multiplied(x: Tensor, y: Tensor, axes: tuple[int, ...]) -> Tensor:
    """What x was multiplied by to give y, one number along these axes, which stay with length 1."""
    order = [axis for axis in range(x.ndim) if axis not in axes]
    shape = [1 if axis in axes else n for axis, n in enumerate(x.shape)]
    flat, product = (a.permute(*order, *axes).flatten(len(order)) for a in (x, y))
    largest = flat.abs().argmax(-1, keepdim=True)
    return (product.gather(-1, largest) / flat.gather(-1, largest)).reshape(shape)


def all_multiplied(net: Network, x: Tensor) -> dict[str, Tensor]:
    """Kind -> gate of every part of `gated` without a ReLU: TA (T, B, 1, ...), CA (1, B, C, 1, 1), SA
    (1, B, 1, H, W)."""
    axes = {"ta": tuple(range(2, x.ndim)), "ca": (0, 3, 4), "sa": (0, 2)}
    found = {}
    with torch.no_grad():
        values = net.values(x)
    for name, (before,) in net.inputs.items():
        kind = name.removeprefix("x_")
        found[kind] = multiplied(values[before], values[name], axes[kind])
    return found
