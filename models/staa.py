"""STAA-SNN: neurons whose input and membrane pass through attention at every step. Causal throughout.

    X = I + pos[t]      U = GC1(X) + GC2(H)      V = U g(U)      s = [V >= 1]      H' = V (1 - s)

This is STAA-SNN Eq. 6, V = M H + N I, with M and N by attention. What the paper leaves open is a
setting: the context of the global context blocks by "mean" or "sum", and the step attention's gate, one
number a "step" (which gives the published parameter counts) or one a "channel".
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from spikeline.models.layers import over_steps
from spikeline.models.surrogate import spike

CONTEXTS = ("mean", "sum")
GATES = ("step", "channel")


class STAAState(NamedTuple):
    position: Tensor  # (B,) int64, steps seen
    h: Tensor  # (B, C, H, W), membrane after reset


class GlobalContext(nn.Module):
    """GC(z) = z + v relu(LN(q ctx)), ctx = sum or mean over (H, W) of z sigmoid(k z); z (B, C, H, W).

    k, q, v are 1 x 1 convolutions with biases, q to channels // ratio.
    """

    def __init__(self, channels: int, hidden: int, context: str = "mean") -> None:
        super().__init__()
        if context not in CONTEXTS:
            raise ValueError(f"context must be one of {', '.join(CONTEXTS)}, got {context!r}")
        self.context = context
        self.k, self.q, self.v = (
            nn.Linear(channels, 1),
            nn.Linear(channels, hidden),
            nn.Linear(hidden, channels),
        )
        self.norm = nn.LayerNorm(hidden)

    def forward(self, z: Tensor) -> Tensor:
        places = z.flatten(2).mT  # (B, H W, C)
        weighted = places * torch.sigmoid(self.k(places))
        context = weighted.mean(1) if self.context == "mean" else weighted.sum(1)
        return z + self.v(torch.relu(self.norm(self.q(context))))[:, :, None, None]


class StepAttention(nn.Module):
    """V = U sigmoid(conv2(relu(conv1(alpha avg U)))), avg over (H, W) ("channel") or (C, H, W) ("step")."""

    def __init__(self, channels: int, hidden: int, gate: str = "step", alpha: float = 2.0) -> None:
        super().__init__()
        if gate not in GATES:
            raise ValueError(f"gate must be one of {', '.join(GATES)}, got {gate!r}")
        self.axes = (2, 3) if gate == "channel" else (1, 2, 3)
        size = channels if gate == "channel" else 1
        self.first, self.second = nn.Linear(size, hidden), nn.Linear(hidden, size)
        self.alpha = alpha

    def forward(self, u: Tensor) -> Tensor:
        pooled = self.alpha * u.mean(self.axes).view(len(u), -1)
        return u * torch.sigmoid(self.second(torch.relu(self.first(pooled))))[:, :, None, None]


class STAALayer(nn.Module):
    """A layer of STAA neurons, (B, C, H, W) a step.

    `steps` rows of positions: past the last one the position stays there. `drop`: in training, the share
    of steps that add plainly, V = I + H (TSRD); one draw a step.
    """

    def __init__(
        self,
        channels: int,
        steps: int,
        *,
        ratio: int = 4,
        gate: str = "step",
        hidden: int | None = None,
        context: str = "mean",
        alpha: float = 2.0,
        threshold: float = 1.0,
        drop: float = 0.0,
    ) -> None:
        super().__init__()
        if hidden is None:  # 16 is the paper's scaling factor of the step attention
            hidden = channels // ratio if gate == "channel" else 16
        self.pos = nn.Parameter(torch.zeros(steps, channels))
        self.gc1 = GlobalContext(channels, channels // ratio, context)
        self.gc2 = GlobalContext(channels, channels // ratio, context)
        self.attention = StepAttention(channels, hidden, gate, alpha)
        self.threshold = threshold
        self.drop = drop

    def init_state(self, x: Tensor) -> STAAState:
        """For steps shaped like x (B, C, H, W)."""
        return STAAState(torch.zeros(len(x), dtype=torch.int64, device=x.device), torch.zeros_like(x))

    def potential(self, x: Tensor, state: STAAState) -> Tensor:
        """V, the membrane before it is thresholded."""
        if self.training and self.drop > 0 and torch.rand(()) < self.drop:
            return x + state.h
        place = self.pos[state.position.clamp(max=len(self.pos) - 1)]
        return self.attention(self.gc1(x + place[:, :, None, None]) + self.gc2(state.h))

    def step(self, x: Tensor, state: STAAState) -> tuple[Tensor, STAAState]:
        """Current x (B, C, H, W) -> spikes and the next state."""
        v = self.potential(x, state)
        s = spike(v, threshold=self.threshold, strict=False, kind="rect", width=0.5)
        return s, STAAState(state.position + 1, v * (1 - s))

    def forward(self, x: Tensor) -> Tensor:
        """Currents (T, B, C, H, W) from rest -> spikes."""
        return over_steps(self, x)
