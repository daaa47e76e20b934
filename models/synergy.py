"""SynA-ResNet: attention on the backbone (MA), inhibition on the shortcut (IA), and the OR block.

Both kinds of attention take one gate of models/window_attention.py and act on a window
(T, B, C, H, W), after batch norm and before the neurons.

The released code lets its IA gate's neuron run along the batch axis, so that samples influence each
other, and evaluates both branches of an OR block twice. Neither is done here: a gate depends on its
own sample only, and each branch runs once, so the block's output is 0 or 1 as the paper has it.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from spikeline.models.layers import Weighted, paper_layer
from spikeline.models.operations import join
from spikeline.models.surrogate import spike
from spikeline.models.window_attention import Cascade, TemporalAttention, WindowGate

MODES = ("heaviside", "lif_time")
PLACES = ("first", "second")


class ORState(NamedTuple):
    main1: Tensor  # membranes (B, C, H, W) of the main path's neurons
    main2: Tensor
    side: Tensor  # and of the shortcut's


class Inhibition(nn.Module):
    """IA: relu(x g) with a binary gate g, 1 where a LIF fires at the score (SynA-ResNet).

    mode: "heaviside", one LIF step from rest: g = [score / 2 >= 1], the released code on a single sample;
    "lif_time", for a temporal score only: the LIF runs over its T values.
    """

    def __init__(self, scores: WindowGate, mode: str = "heaviside") -> None:
        super().__init__()
        if mode not in MODES:
            raise ValueError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")
        if mode == "lif_time" and not isinstance(scores, TemporalAttention):
            raise ValueError(f"mode lif_time needs a temporal score, got {type(scores).__name__}")
        self.scores = scores
        self.mode = mode
        self.neurons = paper_layer("sj")

    def gate(self, x: Tensor) -> Tensor:
        score = self.scores.score(x)
        if self.mode == "lif_time":
            return self.neurons(score)
        cell = self.neurons.neuron
        return spike(
            cell.integrate(0.0, score), threshold=cell["threshold"], strict=False, kind="atan", width=2.0
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x * self.gate(x))


class ORBlock(nn.Module):
    """z = m + s - m s: main path and shortcut joined by OR (SynA-ResNet).

        m = LIF(BN(conv3x3(LIF(BN(conv3x3_s x)))))    s = LIF(BN(conv1x1_s x))

    attention: MA on the main path, behind its "first" batch norm (the paper's locations a, c) or its
    "second" (b, d); inhibition: on the shortcut. With neither, it runs one step at a time.
    """

    def __init__(
        self,
        inputs: int,
        channels: int,
        stride: int = 2,
        *,
        attention: WindowGate | None = None,
        place: str = "second",
        inhibition: Inhibition | None = None,
    ) -> None:
        super().__init__()
        if place not in PLACES:
            raise ValueError(f"place must be one of {', '.join(PLACES)}, got {place!r}")
        self.conv1 = Weighted.conv(inputs, channels, 3, stride)
        self.conv2 = Weighted.conv(channels, channels, 3)
        self.conv3 = Weighted.conv(inputs, channels, 1, stride)
        self.main1, self.main2, self.side = (paper_layer("sj") for _ in range(3))
        self.attention = None if attention is None else Cascade({"ma": attention})
        self.place = place
        self.inhibition = inhibition

    def init_state(self, x: Tensor) -> ORState:
        h = torch.zeros_like(self.conv1(x))
        return ORState(h, h, h)

    def step(self, x: Tensor, state: ORState) -> tuple[Tensor, ORState]:
        """Spikes x (B, C, H, W) -> spikes z and the next state."""
        if self.attention is not None or self.inhibition is not None:
            raise ValueError("an OR block with MA or IA needs the whole window; call it on (T, B, C, H, W)")
        m, main1 = self.main1.step(self.conv1(x), state.main1)
        m, main2 = self.main2.step(self.conv2(m), state.main2)
        s, side = self.side.step(self.conv3(x), state.side)
        return join("or", m, s), ORState(main1, main2, side)

    def branches(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Spikes of the main path and of the shortcut over a window, each evaluated once."""
        current = self._attend(self.conv1.over_time(x), "first")
        current = self._attend(self.conv2.over_time(self.main1(current)), "second")
        side = self.conv3.over_time(x)
        if self.inhibition is not None:
            side = self.inhibition(side)
        return self.main2(current), self.side(side)

    def forward(self, x: Tensor) -> Tensor:
        return join("or", *self.branches(x))

    def _attend(self, current: Tensor, place: str) -> Tensor:
        return self.attention(current) if self.attention is not None and place == self.place else current
