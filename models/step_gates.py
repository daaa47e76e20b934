"""Gates that see their own step alone, x (B, C, H, W): MA-SNN's in its paper's form, and STAA's."""

from collections.abc import Callable
from typing import Any

import numpy as np

from spikeline.models.arithmetic import Arithmetic, Value
from spikeline.models.gate_scores import Setting, Tensors, mlp_score, plane_score


def per_step(setting: Setting, x: Value, position: Value | None) -> Value:
    """x through a gate. position (B,) int64: steps since the network began; None: x is a whole window."""
    kind = setting.attrs["kind"]
    y = position_embedding(setting, x, position) if kind == "pe" else PER_STEP[kind](setting, x)
    return setting.ops.relu(y) if setting.attrs.get("relu") else y


def affine(tensor: Tensors, x: Value, shape: tuple[int, ...]) -> Value:
    """scale x + shift, per channel of x (B, *shape)."""
    rank = len(shape)
    return x * tensor("scale", _per_channel, rank) + tensor("shift", _per_channel, rank)


def normal(ops: Arithmetic, x: Value, axes: tuple[int, ...], eps: float) -> Value:
    """(x - mean) / sqrt(var + eps) over these axes."""
    d = x - ops.mean(x, axes, keep=True)
    return d / ops.sqrt(ops.mean(d * d, axes, keep=True) + eps)


def position_embedding(setting: Setting, x: Value, position: Value | None) -> Value:
    """x + pos[t] per channel; past the last row the position stays there (STAA)."""
    ops, tensor = setting.ops, setting.tensor
    if position is not None:
        return x + ops.unsqueeze(ops.rows(tensor("pos"), position), (2, 3))
    each = ops.unsqueeze(tensor("pos", _first_rows, setting.steps), (1, 3, 4))
    return ops.merge(ops.split(x, setting.steps, setting.shape) + each, setting.shape)


def _ca(setting: Setting, x: Value) -> Value:
    """Channel attention, MA-SNN Eq. 11."""
    ops = setting.ops
    score = mlp_score(setting, [ops.mean(x, (2, 3)), ops.amax(x, (2, 3))])
    return x * ops.unsqueeze(ops.sigmoid(score), (2, 3))


def _sa(setting: Setting, x: Value) -> Value:
    """Spatial attention, MA-SNN Eq. 12."""
    ops = setting.ops
    return x * ops.sigmoid(plane_score(setting, ops.mean(x, (1,)), ops.amax(x, (1,))))


def _eca(setting: Setting, x: Value) -> Value:
    """sigmoid of a correlation of the averages along the channels: a banded matrix times them (ECA-Net)."""
    ops = setting.ops
    score = ops.linear(ops.mean(x, (2, 3)), setting.tensor("weight", _band, setting.shape[0]))
    return x * ops.unsqueeze(ops.sigmoid(score), (2, 3))


def _simam(setting: Setting, x: Value) -> Value:
    """sigmoid((x - m)^2 / (4 (v + lam)) + 1/2), m and v of each channel over (H, W), v over H W - 1."""
    ops = setting.ops
    d = x - ops.mean(x, (2, 3), keep=True)
    square = d * d
    n = setting.shape[1] * setting.shape[2]
    variance = ops.mean(square, (2, 3), keep=True) * (n / (n - 1))
    return x * ops.sigmoid(square / ((variance + setting.attrs["lam"]) * 4.0) + 0.5)


def _gc(setting: Setting, x: Value) -> Value:
    """Global context, x + v relu(LN(q ctx)), ctx the mean or sum over (H, W) of x sigmoid(k x) (STAA)."""
    ops, tensor = setting.ops, setting.tensor
    seen = x * ops.sigmoid(ops.conv(x, tensor("k.weight", _as_kernel), tensor("k.bias")))
    context = ops.mean(seen, (2, 3)) if setting.attrs["context"] == "mean" else ops.sum(seen, (2, 3))
    q = normal(ops, ops.linear(context, tensor("q.weight"), tensor("q.bias")), (1,), setting.attrs["eps"])
    hidden = ops.relu(q * tensor("norm.scale") + tensor("norm.shift"))
    return x + ops.unsqueeze(ops.linear(hidden, tensor("v.weight"), tensor("v.bias")), (2, 3))


def _step(setting: Setting, x: Value) -> Value:
    """Step attention, x sigmoid(W1 relu(W0 alpha avg + b0) + b1), one number a step or a channel (STAA)."""
    ops, tensor = setting.ops, setting.tensor
    if setting.attrs["scope"] == "channel":
        average = ops.mean(x, (2, 3))
    else:
        average = ops.unsqueeze(ops.mean(x, (1, 2, 3)), (1,))
    hidden = ops.relu(ops.linear(average * setting.attrs["alpha"], tensor("w0"), tensor("b0")))
    return x * ops.unsqueeze(ops.sigmoid(ops.linear(hidden, tensor("w1"), tensor("b1"))), (2, 3))


PER_STEP: dict[str, Callable[[Setting, Value], Value]] = {
    "ca": _ca,
    "sa": _sa,
    "eca": _eca,
    "simam": _simam,
    "gc": _gc,
    "step": _step,
    "affine": lambda setting, x: affine(setting.tensor, x, setting.shape),
}


# What is made of a tensor, a NumPy array or in training a torch one: only what both of them know.


def _per_channel(array: Any, rank: int) -> Any:
    return array.reshape(-1, *(1,) * (rank - 1))


def _as_kernel(array: Any) -> Any:
    return array[:, :, None, None]


def _first_rows(array: Any, n: int) -> Any:
    return array[np.minimum(np.arange(n), len(array) - 1)]


def _band(taps: Any, n: int) -> Any:
    """(n, n): the correlation with these taps, zero padded, as a matrix."""
    side = len(taps) // 2
    eyes = np.stack([np.eye(n, k=i - side) for i in range(len(taps))])
    places = eyes.astype(taps.dtype) if isinstance(taps, np.ndarray) else taps.new_tensor(eyes)
    return (taps[:, None, None] * places).sum(0)
