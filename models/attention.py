"""Attention gates of one step, as torch modules: channel (CA), spatial (SA), ECA and SimAM.

All see one step's membrane or current x (B, C, H, W) and return x multiplied by a gate in (0, 1),
so they are causal: nothing of another step enters (MA-SNN Eq. 10-13, the paper's form; the released
code pools over the whole window instead: models/window_attention.py).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ChannelAttention(nn.Module):
    """g = sigmoid(M(avg x) + M(max x)), M(v) = W1 relu(W0 v), over (H, W); hidden = channels // ratio."""

    def __init__(self, channels: int, ratio: int) -> None:
        super().__init__()
        hidden = channels // ratio
        if hidden < 1:
            raise ValueError(f"channel attention: ratio {ratio} leaves no hidden unit of {channels} channels")
        self.w0 = nn.Parameter(torch.empty(hidden, channels))
        self.w1 = nn.Parameter(torch.empty(channels, hidden))
        nn.init.kaiming_uniform_(self.w0, a=5**0.5)
        nn.init.kaiming_uniform_(self.w1, a=5**0.5)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu(x.mean((2, 3)) @ self.w0.T) + torch.relu(x.amax((2, 3)) @ self.w0.T)
        return x * torch.sigmoid(hidden @ self.w1.T)[:, :, None, None]


class SpatialAttention(nn.Module):
    """g = sigmoid(conv_k([avg over C, max over C])), one k x k kernel without bias, same size out."""

    def __init__(self, kernel: int) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"spatial attention: kernel must be odd, got {kernel}")
        self.weight = nn.Parameter(torch.empty(1, 2, kernel, kernel))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)

    def forward(self, x: Tensor) -> Tensor:
        planes = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
        return x * torch.sigmoid(F.conv2d(planes, self.weight, padding=self.weight.shape[-1] // 2))


class EfficientChannelAttention(nn.Module):
    """g = sigmoid(w * avg x): a k-tap correlation along the channels, zero padded, no bias (ECA-Net).

    MA-SNN's Table 5 puts it in CA's place; the averages are over (H, W).
    """

    def __init__(self, kernel: int = 3) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"ECA: kernel must be odd, got {kernel}")
        self.weight = nn.Parameter(torch.empty(kernel))
        nn.init.uniform_(self.weight, -(kernel**-0.5), kernel**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.weight.shape[0]
        along = F.conv1d(x.mean((2, 3))[:, None], self.weight.view(1, 1, -1), padding=kernel // 2)[:, 0]
        return x * torch.sigmoid(along)[:, :, None, None]


class SimAM(nn.Module):
    """g = sigmoid((x - m)^2 / (4 (v + lam)) + 1/2), m and v of each channel over (H, W); no weights.

    v = sum (x - m)^2 / (H W - 1) (SimAM; in MA-SNN's Table 5 in CA's place).
    """

    def __init__(self, lam: float = 1e-4) -> None:
        super().__init__()
        self.lam = lam

    def forward(self, x: Tensor) -> Tensor:
        square = (x - x.mean((2, 3), keepdim=True)) ** 2
        variance = square.sum((2, 3), keepdim=True) / (x.shape[2] * x.shape[3] - 1)
        return x * torch.sigmoid(square / (4 * (variance + self.lam)) + 0.5)


class StepGates(nn.Module):
    """Gates of one step in order, with the ReLU that MA-SNN's code puts after them where `relu`.

    `step` takes x (B, C, H, W), `forward` a window (T, B, C, H, W): each step on its own.
    """

    def __init__(self, gates: dict[str, nn.Module], *, relu: bool = False) -> None:
        super().__init__()
        self.gates = nn.ModuleDict(gates)
        self.relu = relu

    def step(self, x: Tensor) -> Tensor:
        for gate in self.gates.values():
            x = gate(x)
        return torch.relu(x) if self.relu else x

    def forward(self, x: Tensor) -> Tensor:
        return self.step(x.flatten(0, 1)).unflatten(0, x.shape[:2])
