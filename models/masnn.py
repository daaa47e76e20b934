"""MA-SNN ("Attention Spiking Neural Networks") and TA-SNN for event frames.

    n x {conv 3x3 - batch norm - average pool - attention - LIF} - m x {linear - batch norm - TA - LIF}

A step gives the spikes of the last layer (B, K), or with `votes` > 1 the mean over each class's neurons.
At the paper's width and K = 11 the three-layer network has 2,324,065 parameters without attention and
106,763 neurons; at its released width the five-layer one 248,064 + K.

Attention is named by its letters, always in the order t, c, s. The paper's form: TA on the current of
the whole window, CA and SA on the membrane of each step before it is thresholded (Activate-PRE, Eq.
10-14). The released code's: all three on the current, pooled over the window, and a ReLU behind them.
"""

from dataclasses import dataclass, field
from typing import Any

from torch import nn

from spikeline.models.attention_settings import AttentionSettings
from spikeline.models.gate_layer import GateLayer
from spikeline.models.network import Network
from spikeline.models.neurons import neuron
from spikeline.models.registry import register
from spikeline.models.spiking_layer import SpikingLayer
from spikeline.models.stateless import Vote, Weighted


@dataclass(frozen=True, kw_only=True)
class MASNNSettings(AttentionSettings):
    """Sizes and constants; the defaults are the paper's three-layer network for DVS128 Gesture."""

    classes: int = 11
    steps: int = 60
    channels: tuple[int, ...] = (64, 128, 128)
    pools: tuple[int, ...] = (1, 2, 2)  # average pool of each conv layer
    hidden: tuple[int, ...] = (256,)  # linear layers before the last
    votes: int = 1  # output neurons per class; more than one vote by their mean (as in PLIF-net)
    grid: tuple[int, int] = (32, 32)  # H, W of a frame
    linear_attention: bool = True  # TA behind the linear layers too, where the letters contain t
    input_attention: bool = False  # TA on the frames too (TA-SNN)
    input_threshold: float | None = None  # which then drops frames of a gate below this, and keeps the others
    input_discard: float = 0.0  # or drops this share of a window's frames (TA-SNN Eq. 7-8; form window)
    neuron: str = "lif_ma"
    constants: dict[str, float] = field(default_factory=dict)  # of the conv layers
    head_constants: dict[str, float] = field(default_factory=dict)  # of the linear layers
    output: str = "spikes"  # or, of the analog LIAF neuron, "membrane" or "excess"
    gain: float = 1.0
    clip: float | None = None
    surrogate: str = "rect"
    surrogate_width: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.pools) != len(self.channels):
            raise ValueError(f"wanted a pool for each of {len(self.channels)} conv layers, got {self.pools}")
        if self.steps < 1 or self.classes < 2 or self.votes < 1:
            raise ValueError(
                f"wanted steps >= 1, classes >= 2, votes >= 1, got {self.steps}, {self.classes}, {self.votes}"
            )
        drops = self.input_threshold is not None, self.input_discard != 0
        if any(drops) and (all(drops) or not self.input_attention):
            raise ValueError("input_threshold or input_discard: wanted one of them, with input_attention")
        if self.input_discard and (self.form != "window" or not 0 < self.input_discard < 1):
            raise ValueError(
                f"input_discard is a share below 1 of a window, got {self.input_discard}, form {self.form}"
            )


def masnn(settings: MASNNSettings) -> Network:
    """The network; layers are called conv1, ..., fc1, ..., what feeds them conv1_current, ..."""
    s = settings
    net = Network(grid=s.grid, steps=s.steps, gain=s.gain, clip=s.clip)
    x = net.frames
    if s.input_attention:
        hard = {} if s.input_threshold is None else {"threshold": s.input_threshold}
        hard |= {"discard": s.input_discard} if s.input_discard else {}
        x = net.add("input_ta", s.input_gate(net.shapes[x], s.steps, **hard), x)
    inputs = 2
    for i, (channels, pool) in enumerate(zip(s.channels, s.pools, strict=True), 1):
        name = f"conv{i}"
        conv = nn.Conv2d(inputs, channels, 3, padding=1)
        x = _layer(net, s, name, x, Weighted(conv, nn.BatchNorm2d(channels), pool), s.attention, s.constants)
        inputs = channels
    for i, units in enumerate((*s.hidden, s.classes * s.votes), 1):
        linear = nn.Linear(_size(net, x), units)
        letters = "t" if s.linear_attention and "t" in s.attention else "no"
        weights = Weighted(linear, nn.BatchNorm1d(units))
        x = _layer(net, s, f"fc{i}", x, weights, letters, s.head_constants)
    if s.votes > 1:
        net.add("vote", Vote(s.votes), x)
    return net


def _layer(
    net: Network,
    s: MASNNSettings,
    name: str,
    x: str,
    weights: Weighted,
    letters: str,
    constants: dict[str, float],
) -> str:
    def neurons(refine: list[GateLayer]) -> SpikingLayer:
        return SpikingLayer(
            neuron(s.neuron, **constants),
            refine,
            surrogate=s.surrogate,
            width=s.surrogate_width,
            output=s.output,
        )

    return s.layer(net, name, x, weights, letters, neurons)


def _size(net: Network, x: str) -> int:
    size = 1
    for n in net.shapes[x]:
        size *= n
    return size


_SMALL: dict[str, Any] = {
    "classes": 3,
    "steps": 6,
    "channels": (6, 8, 8),
    "hidden": (10,),
    "grid": (8, 12),
    "t_ratio": 2,
    "c_ratio": 2,
    "kernel": 3,
}
_RELEASED: dict[str, Any] = {
    "statistics": "pooled",
    "place": "conv-post",
    "relu": True,
    "c_ratio": 8,
    "kernel": 3,
}
_VARIANTS: tuple[dict[str, Any], ...] = (
    {"attention": "no"},
    {"attention": "no", "votes": 3, "output": "excess"},
    *({"attention": letters} for letters in ("c", "s", "cs")),
    *({"attention": letters, "form": "sliding"} for letters in ("t", "tc", "ts", "tcs")),
    *({"attention": "tcs", "form": form} for form in ("window", "prefix")),
    *({"attention": "cs", "channel": kind} for kind in ("eca", "simam")),
    *({"attention": "tcs", "place": place} for place in ("conv-pre", "conv-post")),
    *({"attention": "tcs", "form": form} | _RELEASED for form in ("window", "sliding", "prefix")),
)

register(
    "masnn3",
    MASNNSettings,
    masnn,
    paper="MA-SNN, Table 1",
    about="three-layer attention SNN, 15 ms x 60 frames of 32 x 32",
    variants=tuple(variant | _SMALL for variant in _VARIANTS),
)
register(
    "masnn3-released",
    MASNNSettings,
    masnn,
    paper="MA-SNN, released code for DVS128 Gesture",
    about="the three-layer network with attention pooled over the window, before the neurons",
    published=_RELEASED | {"attention": "tcs"},
    variants=tuple(_SMALL | {"form": form} for form in ("window", "sliding", "prefix")),
)
register(
    "masnn5-released",
    MASNNSettings,
    masnn,
    paper="MA-SNN, released code for DVS128 Gait and CIFAR10-DVS",
    about="five conv layers of 32 to 512 channels on 128 x 128 frames",
    published=_RELEASED
    | {
        "attention": "tcs",
        "channels": (32, 64, 128, 256, 512),
        "pools": (2, 2, 2, 2, 4),
        "grid": (128, 128),
        "steps": 8,
        "classes": 21,
        "t_ratio": 2,
        "surrogate_width": 0.5,
    },
    variants=(
        _SMALL | {"channels": (4, 4, 6, 6, 8), "pools": (2, 1, 2, 1, 1), "form": "sliding"},
        _SMALL | {"channels": (4, 4, 6, 6, 8), "pools": (2, 1, 2, 1, 1), "attention": "no"},
    ),
)
register(
    "tasnn",
    MASNNSettings,
    masnn,
    paper="TA-SNN",
    about="the three-layer network with TA of averages alone on every layer but the input",
    published={"attention": "t", "pools_of_ta": "avg", "place": "conv-post", "t_ratio": 16},
    variants=(
        *(
            _SMALL | {"form": form} | more
            for form in ("window", "sliding", "prefix")
            for more in ({}, {"input_attention": True}, {"input_attention": True, "input_threshold": 0.45})
        ),
        _SMALL | {"form": "window", "input_attention": True, "input_discard": 0.5},
    ),
)
