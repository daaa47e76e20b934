"""MA-SNN's and TA-SNN's conv networks as released: attention over the window, before the neurons.

    n x {conv 3x3 - batch norm - average pool - attention - LIF} - m x {linear - batch norm - TA - LIF}

A sample's score is the mean over T of the last layer's spikes. The attention (models/window_attention.py,
with its ReLU) needs all T steps, so the network takes windows only; models/masnn.py is the paper's form,
which runs one step at a time. Linear layers have TA where the letters contain it, and nothing else.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from spikeline.models.layers import SpikingLayer, Weighted
from spikeline.models.neurons import neuron
from spikeline.models.window_attention import AverageTemporalAttention, Cascade, cascade, hidden_units


@dataclass(frozen=True, kw_only=True)
class WindowNetConfig:
    """Sizes and constants; the defaults are the released three-layer network for DVS128 Gesture."""

    classes: int = 11
    steps: int = 60
    channels: tuple[int, ...] = (64, 128, 128)
    pools: tuple[int, ...] = (1, 2, 2)  # average pool of each conv layer
    hidden: tuple[int, ...] = (256,)  # linear layers before the last
    grid: tuple[int, int] = (32, 32)  # H, W of a frame
    attention: str = "tcs"  # of window_attention.LETTERS, or "tasnn": TA-SNN's TA on all but the input
    linear_attention: bool = True  # TA behind the linear layers too, where the letters contain it
    t_ratio: int = 5
    c_ratio: int = 8
    kernel: int = 3
    threshold: float = 0.3
    decay: float = 0.3
    bias: float = 0.0
    surrogate_width: float = 0.25

    def __post_init__(self) -> None:
        if len(self.pools) != len(self.channels):
            raise ValueError(f"wanted a pool for each of {len(self.channels)} conv layers, got {self.pools}")


class WindowNet(nn.Module):
    """The network; layers are called conv1, ..., fc1, ..."""

    def __init__(self, config: WindowNetConfig) -> None:
        super().__init__()
        self.config = config
        self.weights = nn.ModuleDict()
        self.attention = nn.ModuleDict()
        self.neurons = nn.ModuleDict()
        H, W = config.grid
        inputs = 2
        for i, (channels, pool) in enumerate(zip(config.channels, config.pools, strict=True), 1):
            conv = nn.Conv2d(inputs, channels, 3, padding=1)
            self._add(f"conv{i}", Weighted(conv, nn.BatchNorm2d(channels), pool), channels)
            inputs, H, W = channels, H // pool, W // pool
        features = inputs * H * W
        for i, units in enumerate((*config.hidden, config.classes), 1):
            self._add(f"fc{i}", Weighted(nn.Linear(features, units), nn.BatchNorm1d(units)), 0)
            features = units

    def _add(self, name: str, weights: Weighted, channels: int) -> None:
        config = self.config
        self.weights[name] = weights
        gates = self._attention(channels)
        if gates is not None:
            self.attention[name] = gates
        self.neurons[name] = SpikingLayer(
            neuron("lif_ma", threshold=config.threshold, decay=config.decay, bias=config.bias),
            width=config.surrogate_width,
        )

    def _attention(self, channels: int) -> Cascade | None:
        config = self.config
        if not channels and not config.linear_attention:
            return None
        if config.attention == "tasnn":
            ta = AverageTemporalAttention(config.steps, hidden_units(config.steps, config.t_ratio))
            return Cascade({"ta": ta}, relu=False)
        letters = config.attention
        if not channels:
            letters = "t" if "t" in letters else "no"
        ratios = {"t_ratio": config.t_ratio, "c_ratio": config.c_ratio, "kernel": config.kernel}
        return cascade(letters, steps=config.steps, channels=channels, **ratios)

    def forward(self, frames: Tensor) -> Tensor:
        """Frames (T, B, 2, H, W) -> scores (B, K)."""
        return self.over_time(frames)[0].mean(0)

    def over_time(self, frames: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Frames (T, B, 2, H, W) -> output spikes (T, B, K), and the spikes of every layer."""
        x = frames.to(next(self.parameters()).dtype)
        spikes: dict[str, Tensor] = {}
        for name in self.weights:
            if name == "fc1":
                x = x.flatten(2)
            current = self.weights[name].over_time(x)
            if name in self.attention:
                current = self.attention[name](current)
            x = self.neurons[name](current)
            spikes[name] = x
        return x, spikes
