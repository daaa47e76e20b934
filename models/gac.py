"""GAC ("Gated Attention Coding"): a gate over time, space and channels on the encoder's spikes.

    gate = sigmoid(ta * sca)      ta (T, B, 1, 1, 1) from the window, sca (T, B, C, H, W) from each step

The encoder repeats a static image for T steps. All its features are then equal, every step's share of
`ta` is known from the first, and the encoder can run one step at a time. On event frames the features
differ, and the unit needs the window. GAC's residual block is models/residual.py's MSBlock with
paper="gac".
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spikeline.models.layers import Weighted, paper_layer
from spikeline.models.window_attention import TemporalAttention, hidden_units


class EncoderState(NamedTuple):
    """An image on its way through the encoder."""

    features: Tensor  # (B, C, H, W), BN(conv(image)), the same at every step
    gates: Tensor  # (T, B, C, H, W)
    position: int  # steps done
    h: Tensor  # (B, C, H, W), membrane


class SpatialChannelScore(nn.Module):
    """SCA: conv_k(relu(conv_k f)), two kernels of their own, no biases, same size out (GAC's code).

    An even kernel is padded by one more value below and to the right than above and to the left.
    """

    def __init__(self, channels: int, kernel: int = 4, ratio: int = 1) -> None:
        super().__init__()
        hidden = hidden_units(channels, ratio)
        self.w0 = nn.Parameter(torch.empty(hidden, channels, kernel, kernel))
        self.w1 = nn.Parameter(torch.empty(channels, hidden, kernel, kernel))
        nn.init.kaiming_uniform_(self.w0, a=5**0.5)
        nn.init.kaiming_uniform_(self.w1, a=5**0.5)

    def forward(self, f: Tensor) -> Tensor:
        """f (B, C, H, W) -> the same shape."""
        k = self.w0.shape[-1]
        pad = ((k - 1) // 2, k // 2) * 2
        return F.conv2d(F.pad(torch.relu(F.conv2d(F.pad(f, pad), self.w0)), pad), self.w1)


class GatedAttentionUnit(nn.Module):
    """GAU: gate = sigmoid(ta * sca), ta = M(avg f) + M(max f) over (C, H, W) without a sigmoid of its own."""

    def __init__(
        self, steps: int, channels: int, *, kernel: int = 4, t_ratio: int = 2, ratio: int = 1
    ) -> None:
        super().__init__()
        self.ta = TemporalAttention(steps, hidden_units(steps, t_ratio))
        self.sca = SpatialChannelScore(channels, kernel, ratio)

    def scores(self, f: Tensor) -> tuple[Tensor, Tensor]:
        """Features of a window (T, B, C, H, W) -> ta (T, B, 1, 1, 1), sca (T, B, C, H, W)."""
        return self.ta.score(f), self.sca(f.flatten(0, 1)).unflatten(0, f.shape[:2])

    def gate(self, f: Tensor) -> Tensor:
        ta, sca = self.scores(f)
        return torch.sigmoid(ta * sca)

    def static_gate(self, f: Tensor) -> Tensor:
        """The gates (T, B, C, H, W) of T equal steps with features f (B, C, H, W); sca is computed once."""
        steps = self.ta.mlp.w0.shape[1]
        return torch.sigmoid(self.ta.score(f.expand(steps, *f.shape)) * self.sca(f))

    def forward(self, f: Tensor, spikes: Tensor) -> Tensor:
        """Features and spikes of a window -> gated spikes, real values in [0, 1)."""
        return self.gate(f) * spikes


class Encoder(nn.Module):
    """GAC's encoder: y_t = gate_t * LIF(BN(conv image)), for a static image (B, C, H, W).

    paper: "gac" for the neurons of the CIFAR code, "ms" for the ImageNet code's.
    """

    def __init__(
        self,
        inputs: int,
        channels: int,
        steps: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        paper: str = "gac",
        gate: GatedAttentionUnit | None = None,
    ) -> None:
        super().__init__()
        self.conv = Weighted.conv(inputs, channels, kernel, stride)
        self.unit = GatedAttentionUnit(steps, channels) if gate is None else gate
        self.neurons = paper_layer(paper)

    def init_state(self, image: Tensor) -> EncoderState:
        """Everything that depends on the image alone."""
        f = self.conv(image)
        return EncoderState(f, self.unit.static_gate(f), 0, torch.zeros_like(f))

    def step(self, state: EncoderState) -> tuple[Tensor, EncoderState]:
        """The next of T gated outputs (B, C, H, W)."""
        s, h = self.neurons.step(state.features, state.h)
        y = state.gates[state.position] * s
        return y, state._replace(position=state.position + 1, h=h)

    def forward(self, image: Tensor) -> Tensor:
        """Image (B, C, H, W) -> gated spikes (T, B, C, H, W)."""
        state = self.init_state(image)
        outputs = []
        for _ in range(len(state.gates)):
            y, state = self.step(state)
            outputs.append(y)
        return torch.stack(outputs)
