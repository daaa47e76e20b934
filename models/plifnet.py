"""PLIF-net, the five-layer network for event frames that MA-SNN's five-layer results follow.

    5 x {conv 3x3 - batch norm - PLIF - max pool 2} - linear - PLIF - linear - PLIF - vote

A step takes a frame (B, 2, H, W) and gives the mean over each class's `votes` output neurons, (B, K).
At the published size (128 channels, 128 x 128 frames) it has 1,698,311 parameters, and 1,698,933 with
the linear layers' biases that SpikingJelly's version has.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from spikeline.models.attention import ChannelAttention, SpatialAttention
from spikeline.models.layers import ParametricLayer, Weighted

State = dict[str, Tensor]
ATTENTION = ("none", "ca", "sa", "csa")


@dataclass(frozen=True, kw_only=True)
class PLIFNetConfig:
    """Sizes; the defaults are the paper's for DVS128 Gesture."""

    classes: int = 11
    channels: int = 128
    layers: int = 5
    hidden: int = 512
    votes: int = 10
    grid: tuple[int, int] = (128, 128)  # H, W of a frame
    tau: float = 2.0
    bias: bool = True  # of the linear layers
    dropout: float = 0.5
    attention: str = "none"  # on the membrane of the conv layers, at each step (MA-SNN Eq. 10-14)
    ratio: int = 16
    kernel: int = 7

    def __post_init__(self) -> None:
        if self.attention not in ATTENTION:
            raise ValueError(f"attention must be one of {', '.join(ATTENTION)}, got {self.attention!r}")
        if any(n % 2**self.layers for n in self.grid):
            raise ValueError(f"grid must be a multiple of {2**self.layers} both ways, got {self.grid}")


class PLIFNet(nn.Module):
    """The network. Layers are called conv1, ..., fc1, fc2; `shapes` are those of their neurons."""

    def __init__(self, config: PLIFNetConfig) -> None:
        super().__init__()
        self.config = config
        H, W = config.grid
        self.weights = nn.ModuleDict()
        self.neurons = nn.ModuleDict()
        self.shapes: dict[str, tuple[int, ...]] = {}
        inputs = 2
        for i in range(1, config.layers + 1):
            self.weights[f"conv{i}"] = Weighted.conv(inputs, config.channels, 3)
            self.neurons[f"conv{i}"] = self._neurons(conv=True)
            self.shapes[f"conv{i}"] = (config.channels, H, W)
            inputs, H, W = config.channels, H // 2, W // 2
        features = inputs * H * W
        for i, units in enumerate((config.hidden, config.classes * config.votes), 1):
            linear = nn.Linear(features, units, bias=config.bias)
            self.weights[f"fc{i}"] = Weighted(linear, nn.Identity())
            self.neurons[f"fc{i}"] = self._neurons(conv=False)
            self.shapes[f"fc{i}"] = (units,)
            features = units

    def _neurons(self, *, conv: bool) -> ParametricLayer:
        layer, config = ParametricLayer(self.config.tau), self.config
        if conv and config.attention in ("ca", "csa"):
            layer.gates["ca"] = ChannelAttention(config.channels, config.ratio)
        if conv and config.attention in ("sa", "csa"):
            layer.gates["sa"] = SpatialAttention(config.kernel)
        return layer

    def init_state(self, batch: int = 1) -> State:
        """Zero membranes, name -> (B, *layer shape)."""
        like = next(self.parameters())
        return {f"{name}.h": like.new_zeros((batch, *shape)) for name, shape in self.shapes.items()}

    def layer_step(self, frame: Tensor, state: State) -> tuple[dict[str, Tensor], State]:
        """One frame (B, 2, H, W) -> the spikes of every layer, and the next state."""
        x = frame.to(next(self.parameters()).dtype)
        spikes: dict[str, Tensor] = {}
        after: State = {}
        for name in self.shapes:
            if name == "fc1":
                x = x.flatten(1)
            x, after[f"{name}.h"] = self.neurons[name].step(self.weights[name](x), state[f"{name}.h"])
            spikes[name] = x
            if name.startswith("conv"):
                x = nn.functional.max_pool2d(x, 2)
        return spikes, after

    def vote(self, spikes: Tensor) -> Tensor:
        """(..., K * votes) -> (..., K)."""
        return spikes.unflatten(-1, (-1, self.config.votes)).mean(-1)

    def step(self, frame: Tensor, state: State) -> tuple[Tensor, State]:
        """One frame (B, 2, H, W) -> votes (B, K) and the next state."""
        spikes, after = self.layer_step(frame, state)
        return self.vote(spikes["fc2"]), after

    def forward(self, frames: Tensor) -> Tensor:
        """Frames (T, B, 2, H, W) -> votes (T, B, K), one step after another."""
        state = self.init_state(frames.shape[1])
        outputs = []
        for frame in frames:
            output, state = self.step(frame, state)
            outputs.append(output)
        return torch.stack(outputs)

    def over_time(self, frames: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The training form: layer by layer over all steps, one dropout mask a sample and window."""
        x = frames.to(next(self.parameters()).dtype)
        spikes: dict[str, Tensor] = {}
        for name in self.shapes:
            if name == "fc1":
                x = x.flatten(2)
            if name.startswith("fc"):
                x = x * nn.functional.dropout(torch.ones_like(x[0]), self.config.dropout, self.training)
            x = self.neurons[name](self.weights[name].over_time(x))
            spikes[name] = x
            if name.startswith("conv"):
                x = nn.functional.max_pool2d(x.flatten(0, 1), 2).unflatten(0, x.shape[:2])
        return self.vote(x), spikes
