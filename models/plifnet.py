"""PLIF-net, and MA-SNN's five-layer network, which is PLIF-net with attention.

    5 x {conv 3x3 - BN - [attention] - PLIF - max pool 2} - 2 x {dropout - linear - [TA] - PLIF} - vote

A step gives the mean over each class's `votes` output neurons, (B, K). At the published size (128 channels,
128 x 128 frames) the conv layers have 2,793,472 neurons, which is what MA-SNN's Table 1 counts, and the
network 1,698,311 parameters, 1,698,933 with the linear layers' biases that SpikingJelly's version has. Where
MA-SNN puts its attention is not said; here, as in its three-layer network, before the neurons.
"""

import math
from dataclasses import dataclass

from torch import nn

from spikeline.models.attention_settings import AttentionSettings
from spikeline.models.gate_layer import GateLayer
from spikeline.models.network import Network
from spikeline.models.registry import register
from spikeline.models.spiking_layer import ParametricLayer
from spikeline.models.stateless import Dropout, Pool, Vote, Weighted


@dataclass(frozen=True, kw_only=True)
class PLIFNetSettings(AttentionSettings):
    """Sizes and constants; the defaults are PLIF-net's for DVS128 Gesture."""

    classes: int = 11
    steps: int = 20
    channels: int = 128  # of every conv layer
    layers: int = 5  # conv layers
    hidden: int = 512
    votes: int = 10  # output neurons per class
    grid: tuple[int, int] = (128, 128)  # H, W of a frame
    tau: float = 2.0  # where each layer's time constant starts
    decay_input: bool = True  # False: the leak acts on the membrane alone, the input enters whole
    threshold: float = 1.0
    bias: bool = True  # of the linear layers
    dropout: float = 0.5
    linear_attention: bool = True  # TA behind the linear layers too, where the letters contain t
    gain: float = 1.0
    clip: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1 or self.classes < 2 or self.votes < 1 or self.layers < 1:
            raise ValueError(
                f"wanted steps, votes and layers >= 1, classes >= 2, got {self.steps}, {self.votes}, "
                f"{self.layers}, {self.classes}"
            )
        if any(n % 2**self.layers for n in self.grid):
            raise ValueError(f"grid must be a multiple of {2**self.layers} both ways, got {self.grid}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be from 0 to below 1, got {self.dropout}")


def plifnet(settings: PLIFNetSettings) -> Network:
    """Layers are called conv1, ..., fc1, fc2, what feeds them conv1_current, ..."""
    s = settings
    net = Network(grid=s.grid, steps=s.steps, gain=s.gain, clip=s.clip)

    def neurons(refine: list[GateLayer]) -> ParametricLayer:
        return ParametricLayer(s.tau, refine, decay_input=s.decay_input, threshold=s.threshold)

    x = net.frames
    for i in range(1, s.layers + 1):
        weights = Weighted.conv(net.shapes[x][0], s.channels, 3)
        x = s.layer(net, f"conv{i}", x, weights, s.attention, neurons)
        x = net.add(f"pool{i}", Pool("max", 2), x)
    for i, units in enumerate((s.hidden, s.classes * s.votes), 1):
        if s.dropout:
            x = net.add(f"dropout{i}", Dropout(s.dropout), x)
        linear = Weighted(nn.Linear(math.prod(net.shapes[x]), units, bias=s.bias))
        letters = "t" if s.linear_attention and "t" in s.attention else "no"
        x = s.layer(net, f"fc{i}", x, linear, letters, neurons)
    net.add("vote", Vote(s.votes), x)
    return net


_SMALL = {
    "classes": 3,
    "steps": 5,
    "channels": 6,
    "layers": 2,
    "hidden": 10,
    "votes": 2,
    "grid": (8, 12),
    "t_ratio": 2,
    "c_ratio": 2,
    "kernel": 3,
}

register(
    "plifnet",
    PLIFNetSettings,
    plifnet,
    paper="PLIF (Incorporating Learnable Membrane Time Constant)",
    about="five conv layers of 128 channels, a learned time constant a layer, 128 x 128 frames",
    variants=(_SMALL, _SMALL | {"decay_input": False, "bias": False}),
)
register(
    "masnn5",
    PLIFNetSettings,
    plifnet,
    paper="MA-SNN, Table 1",
    about="five-layer attention SNN, 300 ms x 20 frames of 128 x 128",
    published={"attention": "tcs"},
    variants=(
        _SMALL,
        _SMALL | {"attention": "cs"},
        _SMALL | {"form": "sliding"},
        _SMALL | {"form": "prefix", "place": "conv-post", "statistics": "pooled"},
    ),
)
