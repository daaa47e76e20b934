"""CA and SA of the code's T-pooled form, one step at a time: pooled over the steps seen so far.

    A_t = A_(t-1) + (avg_t - A_(t-1)) / t      M_t = max(M_(t-1), max_t)      gate_t from A_t and M_t

The weights are those of models/window_attention.py's PooledChannelAttention and PooledSpatialAttention,
whose gate it is at the last step of a window. Each has `init_state(x)` for steps shaped like
x (B, C, H, W), `step(x, state) -> (gated x, state)` and `gate_step`; `forward` takes a window
(T, B, C, H, W). Output t never depends on a later step.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spikeline.models.layers import over_steps
from spikeline.models.window_attention import SharedMLP


class RunningState(NamedTuple):
    count: Tensor  # (B,), steps seen
    avg: Tensor  # (B, C) or (B, H, W), mean of the steps' averages
    peak: Tensor  # the same shape, maximum of the steps' maxima


class RunningCA(nn.Module):
    """CA: statistics of each channel over (H, W)."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.mlp = SharedMLP(channels, hidden)

    def init_state(self, x: Tensor) -> RunningState:
        return _running(x, (2, 3))

    def gate_step(self, x: Tensor, state: RunningState) -> tuple[Tensor, RunningState]:
        """x (B, C, H, W) -> gate (B, C)."""
        state = _update(state, x.mean((2, 3)), x.amax((2, 3)))
        return torch.sigmoid(self.mlp(state.avg) + self.mlp(state.peak)), state

    def step(self, x: Tensor, state: RunningState) -> tuple[Tensor, RunningState]:
        gate, state = self.gate_step(x, state)
        return x * gate[:, :, None, None], state

    def forward(self, x: Tensor) -> Tensor:
        return over_steps(self, x)


class RunningSA(nn.Module):
    """SA: statistics of each pixel over C."""

    def __init__(self, kernel: int = 3) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1, 2, kernel, kernel))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)

    def init_state(self, x: Tensor) -> RunningState:
        return _running(x, (1,))

    def gate_step(self, x: Tensor, state: RunningState) -> tuple[Tensor, RunningState]:
        """x (B, C, H, W) -> gate (B, 1, H, W)."""
        state = _update(state, x.mean(1), x.amax(1))
        planes = torch.stack([state.avg, state.peak], 1)
        return torch.sigmoid(F.conv2d(planes, self.weight, padding=self.weight.shape[-1] // 2)), state

    def step(self, x: Tensor, state: RunningState) -> tuple[Tensor, RunningState]:
        gate, state = self.gate_step(x, state)
        return x * gate, state

    def forward(self, x: Tensor) -> Tensor:
        return over_steps(self, x)


def _running(x: Tensor, axes: tuple[int, ...]) -> RunningState:
    avg = torch.zeros_like(x.mean(axes))
    return RunningState(x.new_zeros(x.shape[0]), avg, torch.full_like(avg, -torch.inf))


def _update(state: RunningState, avg: Tensor, peak: Tensor) -> RunningState:
    count = state.count + 1
    share = count.view(-1, *(1,) * (avg.ndim - 1))
    return RunningState(count, state.avg + (avg - state.avg) / share, torch.maximum(state.peak, peak))
