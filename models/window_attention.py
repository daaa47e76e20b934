"""Attention that needs a whole window: gates from statistics pooled over its T steps.

This is how MA-SNN, TA-SNN, SynA and SpikingJelly's code computes attention, so none of it can run one
step at a time; models/causal_attention.py has the forms that can, over the same weights. Windows are
x (T, B, C, H, W), or (T, B, N) behind a linear layer. A gate's `score` is what its sigmoid is taken
of, shaped to multiply x: TA (T, B, 1, ...), CA (1, B, C, 1, 1), SA (1, B, 1, H, W).
"""

from abc import ABC, abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LETTERS = ("no", "t", "c", "s", "tc", "ts", "cs", "tcs")  # always in this order


class SharedMLP(nn.Module):
    """M(v) = W1 relu(W0 v) along the last axis of v (..., size), no biases."""

    def __init__(self, size: int, hidden: int) -> None:
        super().__init__()
        self.w0 = nn.Parameter(torch.empty(hidden, size))
        self.w1 = nn.Parameter(torch.empty(size, hidden))
        nn.init.kaiming_uniform_(self.w0, a=5**0.5)
        nn.init.kaiming_uniform_(self.w1, a=5**0.5)

    def forward(self, v: Tensor) -> Tensor:
        return torch.relu(v @ self.w0.T) @ self.w1.T


class WindowGate(nn.Module, ABC):
    """x times sigmoid(score(x))."""

    @abstractmethod
    def score(self, x: Tensor) -> Tensor: ...

    def gate(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.score(x))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)


class TemporalAttention(WindowGate):
    """TA: score = M(avg) + M(max) in R^T, pooled over all but T and B (MA-SNN, code and paper).

    SpikingJelly calls it TemporalWiseAttention; GAC uses the score itself.
    """

    def __init__(self, steps: int, hidden: int) -> None:
        super().__init__()
        self.mlp = SharedMLP(steps, hidden)

    def score(self, x: Tensor) -> Tensor:
        axes = tuple(range(2, x.ndim))
        both = self.mlp(x.mean(axes).T) + self.mlp(x.amax(axes).T)  # (B, T)
        return both.T.reshape(*x.shape[:2], *(1,) * len(axes))


class AverageTemporalAttention(WindowGate):
    """TA-SNN's TA: averages only, two linear layers with biases (TA-SNN Eq. 4-5)."""

    def __init__(self, steps: int, hidden: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(steps, hidden), nn.Linear(hidden, steps)

    def score(self, x: Tensor) -> Tensor:
        axes = tuple(range(2, x.ndim))
        both = self.second(torch.relu(self.first(x.mean(axes).T)))
        return both.T.reshape(*x.shape[:2], *(1,) * len(axes))

    def kept(self, x: Tensor, threshold: float | Tensor) -> Tensor:
        """Steps that inference keeps, (T, B) bool: gate >= threshold, a number or (B,) (TA-SNN Eq. 6)."""
        return self.gate(x).view(x.shape[:2]) >= threshold

    def threshold(self, x: Tensor, discard: float) -> Tensor:
        """The gate (B,) under which at most a share `discard` of each window's gates lies."""
        return self.gate(x).view(x.shape[:2]).quantile(discard, 0, interpolation="lower")


class PooledChannelAttention(WindowGate):
    """CA of MA-SNN's code: one channel vector a window, pooled over (T, H, W)."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.mlp = SharedMLP(channels, hidden)

    def score(self, x: Tensor) -> Tensor:
        both = self.mlp(x.mean((0, 3, 4))) + self.mlp(x.amax((0, 3, 4)))
        return both[None, :, :, None, None]


class PooledSpatialAttention(WindowGate):
    """SA of MA-SNN's code: one map a window, average and maximum over (T, C), then a k x k convolution."""

    def __init__(self, kernel: int = 3) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1, 2, kernel, kernel))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)

    def score(self, x: Tensor) -> Tensor:
        planes = torch.stack([x.mean((0, 2)), x.amax((0, 2))], 1)
        return F.conv2d(planes, self.weight, padding=self.weight.shape[-1] // 2)[None]


class Cascade(nn.Module):
    """Gates in order, each fed by the one before, then the ReLU of MA-SNN's code unless `relu` is False."""

    def __init__(self, gates: dict[str, Any], *, relu: bool = True) -> None:
        super().__init__()
        self.gates = nn.ModuleDict(gates)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        for gate in self.gates.values():
            x = gate(x)
        return torch.relu(x) if self.relu else x


def hidden_units(size: int, ratio: int) -> int:
    """size // ratio, at least 1."""
    if not 1 <= ratio <= size:
        raise ValueError(f"attention: ratio must be from 1 to {size}, got {ratio}")
    return size // ratio


def cascade(
    letters: str, *, steps: int, channels: int, t_ratio: int = 5, c_ratio: int = 8, kernel: int = 3
) -> Cascade | None:
    """The attention of MA-SNN's code by its letters (of LETTERS), its Gesture settings as defaults."""
    if letters not in LETTERS:
        raise ValueError(f"attention must be one of {', '.join(LETTERS)}, got {letters!r}")
    gates: dict[str, WindowGate] = {}
    if "t" in letters:
        gates["ta"] = TemporalAttention(steps, hidden_units(steps, t_ratio))
    if "c" in letters:
        gates["ca"] = PooledChannelAttention(channels, hidden_units(channels, c_ratio))
    if "s" in letters:
        gates["sa"] = PooledSpatialAttention(kernel)
    return Cascade(gates) if gates else None
