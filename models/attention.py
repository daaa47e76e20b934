"""Attention gates of one step, as torch modules: channel (CA) and spatial (SA).

Both see one step's membrane or current x (B, C, H, W) and return x multiplied by a gate in (0, 1),
so they are causal: nothing of another step enters (MA-SNN Eq. 10-13, the paper's form; the released
code pools over the whole window instead).
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
