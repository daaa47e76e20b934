"""MS-ResNet and Att-MS-ResNet (MA-SNN's Att-Res-SNN): residual networks whose shortcut carries membranes.

    stem - blocks, each  y = BN(conv3x3(LIF(BN(conv3x3_s(LIF(x)))))) + shortcut(x) - LIF - average - linear

Currents go in and out of a block, so that only zeros and ones are ever convolved but by the stem and the
shortcuts. Att-1 (recommended, and all that is released) has its attention on the residual branch, Att-2 on
the sum. On a static image every step's frame is that image; a sample's score is the mean over T steps.
Currents are called `<neurons>_current`, a block `stage<i>_<j>`.
"""

from dataclasses import dataclass, field
from typing import Any

from torch import nn

from spikeline.models.attention_settings import AttentionSettings
from spikeline.models.network import Network
from spikeline.models.registry import register
from spikeline.models.spiking_layer import paper_layer
from spikeline.models.stateless import Dropout, Join, Pool, Weighted

STEMS = ("conv7", "conv3", "three")
SHORTCUTS = ("conv", "pool")
LOCATIONS = ("residual", "sum")


@dataclass(frozen=True, kw_only=True)
class ResNetSettings:
    """Sizes and constants; the defaults are MS-ResNet-18 on ImageNet.

    stem: a 7 x 7 convolution of stride 2, a 3 x 3 one, or three 3 x 3 ones with biases, the first of
    stride 2 (MS-ResNet-104). shortcut, where the shape changes: a strided 1 x 1 convolution, or one behind
    an average pool.
    """

    classes: int = 1000
    steps: int = 6
    channels: int = 3  # of a frame: 3 of an image, 2 of events
    grid: tuple[int, int] = (224, 224)  # H, W of a frame
    widths: tuple[int, ...] = (64, 128, 256, 512)  # channels of each stage
    blocks: tuple[int, ...] = (2, 2, 2, 2)  # of each stage
    strides: tuple[int, ...] = (2, 2, 2, 2)  # of each stage's first block
    stem: str = "conv7"
    stem_width: int = 64
    shortcut: str = "conv"
    dropout: float = 0.0  # before the last layer
    neurons: str = "ms"  # whose: a key of spiking_layer.PAPERS
    constants: dict[str, float] = field(default_factory=dict)
    norm_scale: float = 0.5  # at the start, of batch norm: the threshold (tdBN)
    branch_scale: float = 0.0  # at the start, of the batch norm that ends a residual branch
    gain: float = 1.0
    clip: float | None = None

    def __post_init__(self) -> None:
        for name, allowed in (("stem", STEMS), ("shortcut", SHORTCUTS)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        if not len(self.widths) == len(self.blocks) == len(self.strides) >= 1:
            raise ValueError(
                f"wanted a width, a number of blocks and a stride for each stage, got {self.widths}, "
                f"{self.blocks}, {self.strides}"
            )
        if self.steps < 1 or self.classes < 2 or min(*self.blocks, *self.strides, *self.widths) < 1:
            raise ValueError(
                f"wanted steps >= 1, classes >= 2 and positive sizes, got {self.steps}, {self.classes}, "
                f"{self.widths}, {self.blocks}, {self.strides}"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be from 0 to below 1, got {self.dropout}")


@dataclass(frozen=True, kw_only=True)
class MSResNetSettings(ResNetSettings, AttentionSettings):
    """location: attention on the "residual" branch (Att-1) or on the "sum" (Att-2)."""

    place: str = "conv-post"
    location: str = "residual"

    def __post_init__(self) -> None:
        ResNetSettings.__post_init__(self)
        AttentionSettings.__post_init__(self)
        if self.location not in LOCATIONS:
            raise ValueError(f"location must be one of {', '.join(LOCATIONS)}, got {self.location!r}")
        if self.place != "conv-post":
            raise ValueError(f"place must be conv-post in a residual network, got {self.place!r}")


def ms_resnet(settings: MSResNetSettings) -> Network:
    """The network with the attention of its settings in every block."""
    s = settings
    net = network(s)
    x = stem(net, s, "stem")
    return head(net, s, stages(net, s, x, attention=s, location=s.location))


def network(s: ResNetSettings) -> Network:
    """With nothing in it yet."""
    return Network(grid=s.grid, steps=s.steps, gain=s.gain, clip=s.clip, channels=s.channels)


def stem(net: Network, s: ResNetSettings, name: str) -> str:
    """Frames to the first current, called `name`."""
    if s.stem != "three":
        kernel, stride = (7, 2) if s.stem == "conv7" else (3, 1)
        weights = Weighted.conv(s.channels, s.stem_width, kernel, stride)
        return net.add(name, scaled(weights, s.norm_scale), net.frames)
    x, inputs = net.frames, s.channels
    for i, stride in enumerate((2, 1), 1):
        conv = nn.Conv2d(inputs, s.stem_width, 3, stride, padding=1)
        x, inputs = net.add(f"{name}_conv{i}", Weighted(conv), x), s.stem_width
    weights = Weighted.conv(inputs, s.stem_width, 3, bias=True)
    return net.add(name, scaled(weights, s.norm_scale), x)


def stages(
    net: Network,
    s: ResNetSettings,
    x: str,
    *,
    attention: AttentionSettings | None = None,
    location: str = "residual",
) -> str:
    """Every block, the first of a stage with its stride; returns the last one's name."""
    for i, (width, blocks, stride) in enumerate(zip(s.widths, s.blocks, s.strides, strict=True), 1):
        for j in range(blocks):
            x = ms_block(
                net,
                f"stage{i}_{j}",
                x,
                width,
                stride if j == 0 else 1,
                s,
                attention=attention,
                location=location,
            )
    return x


def ms_block(
    net: Network,
    name: str,
    x: str,
    channels: int,
    stride: int,
    s: ResNetSettings,
    *,
    attention: AttentionSettings | None = None,
    location: str = "residual",
) -> str:
    """A block on the current x; of `s` it reads the neurons, the shortcut and the scales of batch norm."""
    inputs = net.shapes[x][0]

    def attended(value: str) -> str:
        if attention is None:
            return value
        return attention.gates_before(net, name, value, letters=attention.attention)

    spikes = net.add(f"{name}_lif1", paper_layer(s.neurons, **s.constants), x)
    first = scaled(Weighted.conv(inputs, channels, 3, stride), s.norm_scale)
    current = net.add(f"{name}_lif2_current", first, spikes)
    spikes = net.add(f"{name}_lif2", paper_layer(s.neurons, **s.constants), current)
    second = scaled(Weighted.conv(channels, channels, 3), s.branch_scale)
    residual = net.add(f"{name}_residual", second, spikes)
    if location == "residual":
        residual = attended(residual)
    side = x
    if stride != 1 or inputs != channels:
        pooled = s.shortcut == "pool"
        weights = Weighted.conv(inputs, channels, 1, 1 if pooled else stride, before=stride if pooled else 1)
        side = net.add(f"{name}_shortcut", scaled(weights, s.norm_scale), x)
    total = net.add(name, Join("membrane"), residual, side)
    return attended(total) if location == "sum" else total


def head(net: Network, s: ResNetSettings, x: str) -> Network:
    """Neurons, their average over the image, and a linear layer whose output is a step's."""
    x = net.add("lif", paper_layer(s.neurons, **s.constants), x)
    x = net.add("average", Pool("global"), x)
    if s.dropout:
        x = net.add("dropout", Dropout(s.dropout), x)
    net.add("fc", Weighted(nn.Linear(s.widths[-1], s.classes)), x)
    return net


def scaled(weights: Weighted, scale: float) -> Weighted:
    """With its batch norm's weight at `scale`."""
    nn.init.constant_(weights.norm.weight, scale)
    return weights


_DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 104: (3, 8, 32, 8)}
_ATTENTION = {
    "attention": "cs",
    "c_ratio": 5,
    "shortcut": "pool",
    "dropout": 0.2,
    "branch_scale": 0.1,
    "steps": 4,
}
_SMALL = {
    "classes": 3,
    "steps": 4,
    "channels": 2,
    "grid": (16, 16),
    "widths": (6, 8),
    "blocks": (2, 1),
    "strides": (2, 2),
    "stem_width": 4,
    "t_ratio": 2,
    "c_ratio": 2,
    "kernel": 3,
}
_POOLED = {"statistics": "pooled", "relu": True}
_VARIANTS: dict[str, tuple[dict[str, Any], ...]] = {
    "ms-resnet34": ({"stem": "conv3", "strides": (1, 2)},),
    "ms-resnet104": ({"stem": "three", "shortcut": "pool"},),
    "att-ms-resnet18": ({}, *({"form": form} | _POOLED for form in ("window", "sliding", "prefix"))),
    "att-ms-resnet34": ({"channel": "eca"},),
}


def _register(name: str, paper: str, about: str, published: dict[str, Any]) -> None:
    variants = tuple(_SMALL | variant for variant in _VARIANTS.get(name, ({},)))
    register(
        name, MSResNetSettings, ms_resnet, paper=paper, about=about, published=published, variants=variants
    )


for _depth, _blocks in _DEPTHS.items():
    _deep = {"stem": "three", "shortcut": "pool", "dropout": 0.2} if _depth == 104 else {}
    _register(
        f"ms-resnet{_depth}",
        "MS-ResNet",
        f"membrane shortcuts, depth {_depth}, ImageNet",
        {"blocks": _blocks} | _deep,
    )
    _register(
        f"att-ms-resnet{_depth}",
        "MA-SNN (Att-MS-ResNet)",
        f"MS-ResNet-{_depth} with channel and spatial attention, ImageNet",
        {"blocks": _blocks} | _ATTENTION,
    )
for _number, _location in enumerate(LOCATIONS, 1):
    _VARIANTS[f"att-res-snn{_number}"] = ({}, {"attention": "tcs", "form": "sliding"})
    _register(
        f"att-res-snn{_number}",
        "MA-SNN (Att-Res-SNN)",
        f"Att-MS-ResNet-18 for event frames, attention on the {_location}",
        _ATTENTION | {"location": _location, "channels": 2, "grid": (128, 128), "classes": 11, "steps": 20},
    )
