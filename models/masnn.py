"""MA-SNN ("Attention Spiking Neural Networks"): the three-layer network for event frames.

    3 x {conv 3x3 - batch norm - (average pool 2 from the second on) - LIF}
    linear - batch norm - LIF - linear - batch norm - LIF

A step takes a count frame (B, 2, H, W) and gives the spikes of the last layer (B, K), or with
`votes` > 1 the mean over the neurons of each class; a sample's score is their mean over T steps.
With `attention="csa"` channel and spatial attention act on the membrane of each conv layer at each
step, before it is thresholded (the paper's Activate-PRE form, Eq. 10-14), so the network stays exact
one step at a time. At the paper's width and K = 11 it has 2,324,065 parameters without attention and
106,763 neurons.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from spikeline.models.attention import ChannelAttention, SpatialAttention
from spikeline.models.layers import SpikingLayer, Weighted
from spikeline.models.neurons import neuron

State = dict[str, Tensor]
ATTENTION = ("none", "ca", "sa", "csa")


@dataclass(frozen=True, kw_only=True)
class ThreeLayerConfig:
    """Sizes and constants; the defaults are the paper's for DVS128 Gesture (T 60, dt 15 ms)."""

    classes: int = 11
    steps: int = 60
    channels: tuple[int, int, int] = (64, 128, 128)
    hidden: int = 256
    votes: int = 1  # output neurons per class; more than one vote by their mean (as in PLIF-net)
    grid: tuple[int, int] = (32, 32)  # H, W of a frame
    attention: str = "none"
    ratio: int = 16  # channel attention: hidden = channels // ratio (16 follows from Table 5)
    kernel: int = 7  # spatial attention
    neuron: str = "lif_ma"
    constants: dict[str, float] = field(default_factory=dict)  # of the conv layers
    head_constants: dict[str, float] = field(default_factory=dict)  # of the linear layers
    gain: float = 1.0
    clip: float | None = None
    surrogate: str = "rect"
    surrogate_width: float = 0.25

    def __post_init__(self) -> None:
        if self.attention not in ATTENTION:
            raise ValueError(f"attention must be one of {', '.join(ATTENTION)}, got {self.attention!r}")
        if self.grid[0] % 4 or self.grid[1] % 4:
            raise ValueError(f"grid must be a multiple of 4 both ways, got {self.grid}")
        if self.steps < 1 or self.classes < 2 or self.votes < 1:
            raise ValueError(
                f"wanted steps >= 1, classes >= 2, votes >= 1, got {self.steps}, {self.classes}, {self.votes}"
            )


class ThreeLayer(nn.Module):
    """The network. `blocks` maps each layer's name to its weights and its neurons, in order."""

    def __init__(self, config: ThreeLayerConfig) -> None:
        super().__init__()
        self.config = config
        H, W = config.grid
        self.weights = nn.ModuleDict()
        self.neurons = nn.ModuleDict()
        self.shapes: dict[str, tuple[int, ...]] = {}
        inputs, pool = 2, 1
        for i, channels in enumerate(config.channels, 1):
            conv = nn.Conv2d(inputs, channels, 3, padding=1)
            self._add(f"conv{i}", Weighted(conv, nn.BatchNorm2d(channels), pool), config.constants, channels)
            H, W = H // pool, W // pool
            self.shapes[f"conv{i}"] = (channels, H, W)
            inputs, pool = channels, 2
        features = inputs * H * W
        for i, units in enumerate((config.hidden, config.classes * config.votes), 1):
            linear = nn.Linear(features, units)
            self._add(f"fc{i}", Weighted(linear, nn.BatchNorm1d(units)), config.head_constants)
            self.shapes[f"fc{i}"] = (units,)
            features = units

    def _add(self, name: str, weights: Weighted, constants: dict[str, float], channels: int = 0) -> None:
        config = self.config
        gates: dict[str, nn.Module] = {}
        if channels and "c" in config.attention.replace("none", ""):
            gates["ca"] = ChannelAttention(channels, config.ratio)
        if channels and "s" in config.attention.replace("none", ""):
            gates["sa"] = SpatialAttention(config.kernel)
        self.weights[name] = weights
        self.neurons[name] = SpikingLayer(
            neuron(config.neuron, **constants),
            gates,
            surrogate=config.surrogate,
            width=config.surrogate_width,
        )

    def init_state(self, batch: int = 1) -> State:
        """Zero membranes, name -> (B, *layer shape)."""
        like = next(self.parameters())
        return {f"{name}.h": like.new_zeros((batch, *shape)) for name, shape in self.shapes.items()}

    def scale(self, frames: Tensor) -> Tensor:
        """Counts to network input: min(gain * counts, clip)."""
        x = frames.to(next(self.parameters()).dtype) * self.config.gain
        return x if self.config.clip is None else x.clamp(max=self.config.clip)

    def step(self, frame: Tensor, state: State) -> tuple[Tensor, State]:
        """One frame of counts (B, 2, H, W) -> output (B, K) and the next state."""
        x = self.scale(frame)
        after: State = {}
        for name in self.shapes:
            if name.startswith("fc"):
                x = x.flatten(1)
            x, after[f"{name}.h"] = self.neurons[name].step(self.weights[name](x), state[f"{name}.h"])
        return self.vote(x), after

    def vote(self, x: Tensor) -> Tensor:
        """Mean over the output neurons of each class, (..., K * votes) -> (..., K)."""
        return x if self.config.votes == 1 else x.unflatten(-1, (-1, self.config.votes)).mean(-1)

    def forward(self, frames: Tensor) -> Tensor:
        """Frames (T, B, 2, H, W) -> outputs (T, B, K), from a zero state, one step after another."""
        state = self.init_state(frames.shape[1])
        outputs = []
        for frame in frames:
            output, state = self.step(frame, state)
            outputs.append(output)
        return torch.stack(outputs)

    def over_time(
        self, frames: Tensor, run: Tensor | None = None, *, bf16: bool = False
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The training form of `forward`: layer by layer over all steps; also each layer's spikes.

        run (T, B) bool: where False the stream idles that step. In evaluation mode it equals `forward`.
        bf16: weights' products and batch norm in bfloat16; membranes stay float32.
        """
        x = self.scale(frames)
        spikes: dict[str, Tensor] = {}
        for name in self.shapes:
            if name.startswith("fc"):
                x = x.flatten(2)
            with torch.autocast(x.device.type, torch.bfloat16, enabled=bf16):
                current = self.weights[name].over_time(x, run)
            x = self.neurons[name](current.to(x.dtype), run)
            spikes[name] = x
        return self.vote(x), spikes
