"""Residual blocks: membrane shortcut (MS-ResNet), with attention (Att-MS-ResNet, GAC), and SEW.

A block offers `init_state(x)` for steps shaped like x (B, C, H, W), `step(x, state)` and `forward`
over a window (T, B, C, H, W), from zero membranes. The window is the training form: batch norm takes
its statistics over T and B (tdBN).
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from spikeline.models.attention import StepGates
from spikeline.models.layers import Weighted, paper_layer
from spikeline.models.operations import join

SHORTCUTS = ("conv", "pool")
LOCATIONS = ("residual", "sum")


class BlockState(NamedTuple):
    h1: Tensor  # membrane of the first layer of neurons
    h2: Tensor  # of the second
    shortcut: Tensor  # of the shortcut's neurons; empty where it has none


class MSBlock(nn.Module):
    """y = BN(conv(LIF(BN(conv_s(LIF(x)))))) + shortcut(x): currents in, currents out (MS-ResNet).

    shortcut: where the shape changes, a strided 1 x 1 convolution ("conv": MS-ResNet 18 and 34, GAC) or
    one behind an average pool ("pool": MS-ResNet 104, Att-MS-ResNet), with batch norm.
    attention: a module over a window, on the residual branch ("residual": Att-1) or on the sum ("sum":
    Att-2). Only `StepGates` can run one step at a time.
    paper: whose neurons, a key of layers.PAPERS.
    """

    def __init__(
        self,
        inputs: int,
        channels: int,
        stride: int = 1,
        *,
        shortcut: str = "conv",
        paper: str = "ms",
        attention: nn.Module | None = None,
        location: str = "residual",
    ) -> None:
        super().__init__()
        if shortcut not in SHORTCUTS or location not in LOCATIONS:
            raise ValueError(
                f"shortcut must be one of {', '.join(SHORTCUTS)} and location one of {', '.join(LOCATIONS)}, "
                f"got {shortcut!r}, {location!r}"
            )
        self.first, self.second = paper_layer(paper), paper_layer(paper)
        self.conv1 = Weighted.conv(inputs, channels, 3, stride)
        self.conv2 = Weighted.conv(channels, channels, 3)
        self.shortcut: Weighted | None = None
        if stride != 1 or inputs != channels:
            pooled = shortcut == "pool"
            self.shortcut = Weighted.conv(
                inputs, channels, 1, 1 if pooled else stride, pool=stride if pooled else 1
            )
        self.attention = attention
        self.location = location

    def init_state(self, x: Tensor) -> BlockState:
        return BlockState(torch.zeros_like(x), torch.zeros_like(self.conv1(x)), x.new_zeros(0))

    def step(self, x: Tensor, state: BlockState) -> tuple[Tensor, BlockState]:
        if self.attention is not None and not isinstance(self.attention, StepGates):
            raise ValueError(f"{type(self.attention).__name__} needs the whole window; wanted StepGates")
        s, h1 = self.first.step(x, state.h1)
        s, h2 = self.second.step(self.conv1(s), state.h2)
        side = x if self.shortcut is None else self.shortcut(x)
        return self._sum(self.conv2(s), side, step=True), BlockState(h1, h2, state.shortcut)

    def forward(self, x: Tensor) -> Tensor:
        s = self.second(self.conv1.over_time(self.first(x)))
        side = x if self.shortcut is None else self.shortcut.over_time(x)
        return self._sum(self.conv2.over_time(s), side, step=False)

    def _sum(self, residual: Tensor, side: Tensor, *, step: bool) -> Tensor:
        if self.attention is None:
            return residual + side
        attend = self.attention.step if step else self.attention
        return attend(residual) + side if self.location == "residual" else attend(residual + side)


class SEWBlock(nn.Module):
    """y = g(SN(BN(conv(SN(BN(conv_s x))))), shortcut): spikes in, whole numbers out (SEW-ResNet).

    The shortcut is x itself, or SN(BN(conv1x1_s x)) where the shape changes. With r the residual branch
    and s the shortcut, g is r + s ("add"), r s ("and"), (1 - r) s ("iand") or r + s - r s ("or", SynA).
    """

    def __init__(self, inputs: int, channels: int, stride: int = 1, *, g: str = "add") -> None:
        super().__init__()
        if g not in ("add", "and", "iand", "or"):
            raise ValueError(f"g must be one of add, and, iand, or, got {g!r}")
        self.g = g
        self.conv1 = Weighted.conv(inputs, channels, 3, stride)
        self.conv2 = Weighted.conv(channels, channels, 3)
        self.first, self.second = paper_layer("sj"), paper_layer("sj")
        reshapes = stride != 1 or inputs != channels
        self.shortcut = Weighted.conv(inputs, channels, 1, stride) if reshapes else None
        self.third = paper_layer("sj") if reshapes else None

    def init_state(self, x: Tensor) -> BlockState:
        h = torch.zeros_like(self.conv1(x))
        return BlockState(h, h, x.new_zeros(0) if self.third is None else h)

    def step(self, x: Tensor, state: BlockState) -> tuple[Tensor, BlockState]:
        s, h1 = self.first.step(self.conv1(x), state.h1)
        s, h2 = self.second.step(self.conv2(s), state.h2)
        h3 = state.shortcut
        if self.shortcut is not None and self.third is not None:
            x, h3 = self.third.step(self.shortcut(x), h3)
        return join(self.g, s, x), BlockState(h1, h2, h3)

    def forward(self, x: Tensor) -> Tensor:
        s = self.first(self.conv1.over_time(x))
        s = self.second(self.conv2.over_time(s))
        if self.shortcut is not None and self.third is not None:
            x = self.third(self.shortcut.over_time(x))
        return join(self.g, s, x)
