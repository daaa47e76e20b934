"""TA that runs one step at a time: over the steps seen so far (prefix), or over the last T (sliding).

The weights are those of models/window_attention.py's TemporalAttention. Each has `init_state(x)` for
steps shaped like x (B, C, H, W), `step(x, state) -> (gated x, state)`, and `gate_step`, which gives the
gate itself; `forward` takes a window (T, B, C, H, W). Output t never depends on a later step. At the last
step of a window the gate equals the window form's, before it does not: train in the form that is served.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from spikeline.models.layers import over_steps
from spikeline.models.window_attention import SharedMLP


class PrefixState(NamedTuple):
    position: Tensor  # (B,) int64, steps seen
    avg: Tensor  # (B, hidden), W0 of the averages so far
    peak: Tensor  # (B, hidden), W0 of the maxima so far


class RingState(NamedTuple):
    avg: Tensor  # (B, T), the last T averages, oldest first
    peak: Tensor  # (B, T)


class PrefixTA(nn.Module):
    """TA of the steps seen so far; those to come stand at their mean (`fill`), or at zero without one.

    p_t = W0 mean + sum over k <= t of W0[:, k] (s_k - mean_k)    gate_t = sigmoid(W1[t] . sum relu(p_t))

    for s the averages and the maxima (MA-SNN's TA with a masked input). `mean_avg`, `mean_max` (T,) are
    the training set's statistics of each step. After T steps the window starts again.
    """

    mean_avg: Tensor
    mean_max: Tensor

    def __init__(self, steps: int, hidden: int) -> None:
        super().__init__()
        self.mlp = SharedMLP(steps, hidden)
        self.register_buffer("mean_avg", torch.zeros(steps))
        self.register_buffer("mean_max", torch.zeros(steps))

    def fill(self, mean_avg: Tensor, mean_max: Tensor) -> None:
        """Set the statistics (T,) that stand for the steps to come."""
        self.mean_avg.copy_(mean_avg)
        self.mean_max.copy_(mean_max)

    def init_state(self, x: Tensor) -> PrefixState:
        hidden = x.new_zeros((x.shape[0], self.mlp.w0.shape[0]))
        return PrefixState(torch.zeros(x.shape[0], dtype=torch.int64, device=x.device), hidden, hidden)

    def gate_step(self, x: Tensor, state: PrefixState) -> tuple[Tensor, PrefixState]:
        """x (B, ...) -> gate (B,)."""
        k = state.position % self.mlp.w0.shape[1]
        axes = tuple(range(1, x.ndim))
        avg = self._add(state.avg, x.mean(axes), self.mean_avg, k)
        peak = self._add(state.peak, x.amax(axes), self.mean_max, k)
        score = ((torch.relu(avg) + torch.relu(peak)) * self.mlp.w1[k]).sum(1)
        return torch.sigmoid(score), PrefixState(state.position + 1, avg, peak)

    def step(self, x: Tensor, state: PrefixState) -> tuple[Tensor, PrefixState]:
        gate, state = self.gate_step(x, state)
        return x * gate.view(-1, *(1,) * (x.ndim - 1)), state

    def gate(self, x: Tensor) -> Tensor:
        """Gates (T, B) of a window in one pass, for training: what `gate_step` gives step by step."""
        axes = tuple(range(2, x.ndim))
        hidden = torch.relu(self._sums(x.mean(axes), self.mean_avg))
        hidden = hidden + torch.relu(self._sums(x.amax(axes), self.mean_max))
        return torch.sigmoid((hidden * self.mlp.w1[:, None]).sum(2))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x).reshape(*x.shape[:2], *(1,) * (x.ndim - 2))

    def _add(self, before: Tensor, found: Tensor, mean: Tensor, k: Tensor) -> Tensor:
        before = torch.where((k == 0)[:, None], self.mlp.w0 @ mean, before)
        return before + self.mlp.w0.T[k] * (found - mean[k])[:, None]

    def _sums(self, found: Tensor, mean: Tensor) -> Tensor:
        """found (T, B) -> (T, B, hidden)."""
        terms = (found - mean[:, None])[:, :, None] * self.mlp.w0.T[:, None]
        return torch.cat([terms[:1] + self.mlp.w0 @ mean, terms[1:]]).cumsum(0)


class SlidingTA(nn.Module):
    """TA of the newest of the last T steps: the published gate of a window's last step, for endless streams.

    gate = sigmoid(W1[T] . (relu(W0 a) + relu(W0 m))), a and m the last T averages and maxima, zero before
    the stream began.
    """

    def __init__(self, steps: int, hidden: int) -> None:
        super().__init__()
        self.mlp = SharedMLP(steps, hidden)

    def init_state(self, x: Tensor) -> RingState:
        ring = x.new_zeros((x.shape[0], self.mlp.w0.shape[1]))
        return RingState(ring, ring)

    def gate_step(self, x: Tensor, state: RingState) -> tuple[Tensor, RingState]:
        """x (B, ...) -> gate (B,)."""
        axes = tuple(range(1, x.ndim))
        avg = torch.cat([state.avg[:, 1:], x.mean(axes)[:, None]], 1)
        peak = torch.cat([state.peak[:, 1:], x.amax(axes)[:, None]], 1)
        hidden = torch.relu(avg @ self.mlp.w0.T) + torch.relu(peak @ self.mlp.w0.T)
        return torch.sigmoid(hidden @ self.mlp.w1[-1]), RingState(avg, peak)

    def step(self, x: Tensor, state: RingState) -> tuple[Tensor, RingState]:
        gate, state = self.gate_step(x, state)
        return x * gate.view(-1, *(1,) * (x.ndim - 1)), state

    def forward(self, x: Tensor) -> Tensor:
        return over_steps(self, x)
