"""SynA-ResNet ("Spike-driven ResNet Achieved through OR Residual Connection"), 21 layers.

    stem1 {conv - batch norm - LIF} - max pool - stem2 ... stem5 {conv 3x3 - batch norm - LIF}
    3 blocks, each of twice the channels at half the size:
        main1 {conv 3x3 s2 - BN - LIF} - main2 {conv 3x3 - BN - LIF}      m
        side  {conv 1x1 s2 - BN - LIF}                                    s
        z = m + s - m s (OR) - post1 {conv 3x3 - BN - LIF} - post2 {conv 3x3 - BN - LIF}
    global average - linear; a sample's scores are the means over its steps, of values and not of spikes

On DVS128 Gesture it has 11,179,019 parameters without attention and 811,008 neurons. Other joins of m and
s: add, and, iand (SEW-ResNet). Two baselines of the same depth have no neurons on the side path: `vanilla`
adds it to main2's current, `ms` (MS-ResNet) adds a side path of the current that the block's own input
neurons get.

MA, attention on the backbone, and IA, inhibition on the side path, look along time (t), channels (c) or
pixels (s), between batch norm and neurons. MA stands behind the first (locations a, c) or second (b, d)
convolution of the stem's pairs and the blocks' main paths; at a and b in the posts too. IA multiplies by
0 or 1: whether one LIF step from rest fires at the score (`heaviside`, the released code on a single
sample), or a LIF that runs along the T scores (`lif_time`). The released code also lets the gate's neuron
run along the batch, and evaluates both paths of a block twice; neither is done here.
"""

from dataclasses import dataclass
from typing import Any

from torch import nn

from spikeline.models.attention_settings import STREAMED, hidden_units
from spikeline.models.gate_layer import GateLayer
from spikeline.models.network import Network
from spikeline.models.registry import register
from spikeline.models.spiking_layer import paper_layer
from spikeline.models.stateless import Join, Pool, Weighted

SPIKE_JOINS = ("or", "add", "and", "iand")
SCORES = {"t": "ta", "c": "ca", "s": "sa"}
CHOICES: dict[str, tuple[str, ...]] = {
    "join": (*SPIKE_JOINS, "vanilla", "ms"),
    "ma": ("no", *SCORES),
    "ia": ("no", *SCORES),
    "location": ("a", "b", "c", "d"),
    "ia_mode": ("heaviside", "lif_time"),
    "form": STREAMED,
    "horizon": ("endless", "tumbling"),
}


@dataclass(frozen=True, kw_only=True)
class SynASettings:
    """The defaults are the released network for DVS128 Gesture, d-T."""

    classes: int = 11
    steps: int = 32
    grid: tuple[int, int] = (128, 128)  # H, W of a frame
    inputs: int = 2  # channels of a frame
    channels: tuple[int, int, int, int] = (64, 128, 256, 512)  # of the stem and the three blocks
    resize: int = 0  # averages of the frame to so many values a side come first; 0: none
    stem: tuple[int, int] = (7, 2)  # kernel and stride of the first convolution
    stem_pool: bool = True
    join: str = "or"
    ma: str = "t"
    ia: str = "t"
    location: str = "d"
    ia_mode: str = "heaviside"
    form: str = "window"  # of MA and IA: as published, sliding for endless streams, prefix inside a window
    t_ratio: int = 4  # hidden units along time = T // t_ratio
    c_ratios: tuple[int, int, int, int] = (8, 16, 32, 64)  # along channels, of the stem and the blocks
    kernels: tuple[int, int] = (7, 3)  # over pixels: of the stem's MA, of every other gate
    gain: float = 1.0
    clip: float | None = None
    horizon: str = "endless"

    def __post_init__(self) -> None:
        if self.ia_mode == "batch_leak":
            raise ValueError(
                "ia_mode batch_leak, where samples of a batch change each other, is a fault of released code;"
                " wanted heaviside or lif_time"
            )
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        if self.ia_mode == "lif_time" and self.ia != "t":
            raise ValueError(f"ia_mode lif_time runs along time: wanted ia t, got {self.ia!r}")
        for name, least in (("classes", 2), ("steps", 1), ("inputs", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")

    @property
    def first(self) -> bool:
        """Whether MA stands behind the first convolution of a pair, and not the second."""
        return self.location in "ac"


def syna(settings: SynASettings) -> Network:
    """The network; layers of neurons are stem1 ... stem5, block1_main1, _main2, _side, _post1, _post2 ..."""
    s = settings
    net = Network(grid=s.grid, steps=s.steps, gain=s.gain, clip=s.clip, channels=s.inputs, horizon=s.horizon)
    x = net.frames
    if s.resize:
        x = net.add("resize", Pool("adaptive", s.resize), x)
    kernel, stride = s.stem
    x = _layer(net, s, "stem1", x, Weighted.conv(s.inputs, s.channels[0], kernel, stride))
    if s.stem_pool:
        x = net.add("stem_pool", Pool("max", 3, 2, 1), x)
    for i in range(2, 6):
        weights = Weighted.conv(s.channels[0], s.channels[0], 3)
        x = _layer(net, s, f"stem{i}", x, weights, attended=s.first == (i % 2 == 0))
    for stage in (1, 2, 3):
        x = syna_block(net, s, stage, x)
        for i in (1, 2):
            weights = Weighted.conv(s.channels[stage], s.channels[stage], 3)
            attended = s.location in "ab" and s.first == (i == 1)
            x = _layer(net, s, f"block{stage}_post{i}", x, weights, stage, attended=attended)
    x = net.add("pool", Pool("global"), x)
    net.add("fc", Weighted(nn.Linear(s.channels[3], s.classes)), x)
    return net


def syna_block(net: Network, s: SynASettings, stage: int, x: str, stride: int = 2) -> str:
    """Both paths of a block and their join; returns the last part's name."""
    name, inputs, channels = f"block{stage}", *s.channels[stage - 1 : stage + 1]
    down, same = Weighted.conv(inputs, channels, 3, stride), Weighted.conv(channels, channels, 3)
    main = _layer(net, s, f"{name}_main1", x, down, stage, attended=s.first)
    current = _current(net, s, f"{name}_main2", main, same, stage, attended=not s.first)
    fed_by = net.inputs[x][0] if s.join == "ms" else x
    side = net.add(f"{name}_side_current", Weighted.conv(inputs, channels, 1, stride), fed_by)
    if s.ia != "no":
        side = net.add(f"{name}_side_ia", _gate(net, s, side, s.ia, stage, "ia"), side)
    if s.join in SPIKE_JOINS:
        main = net.add(f"{name}_main2", paper_layer("sj"), current)
        side = net.add(f"{name}_side", paper_layer("sj"), side)
        return net.add(name, Join(s.join), main, side)
    both = net.add(f"{name}_sum", Join("membrane"), current, side)
    return net.add(f"{name}_main2", paper_layer("sj"), both)


def _layer(
    net: Network,
    s: SynASettings,
    name: str,
    x: str,
    weights: Weighted,
    stage: int = 0,
    *,
    attended: bool = False,
) -> str:
    return net.add(name, paper_layer("sj"), _current(net, s, name, x, weights, stage, attended=attended))


def _current(
    net: Network, s: SynASettings, name: str, x: str, weights: Weighted, stage: int, *, attended: bool
) -> str:
    """What a layer's neurons are fed: the weights' current, behind MA where it stands."""
    x = net.add(f"{name}_current", weights, x)
    if attended and s.ma != "no":
        x = net.add(f"{name}_ma", _gate(net, s, x, s.ma, stage, "ma"), x)
    return x


def _gate(net: Network, s: SynASettings, x: str, letter: str, stage: int, role: str) -> GateLayer:
    shape = net.shapes[x]
    if letter == "t":
        sizes = {"hidden": hidden_units(s.steps, s.t_ratio)}
    elif letter == "c":
        sizes = {"hidden": hidden_units(shape[0], s.c_ratios[stage])}
    else:
        sizes = {"kernel": s.kernels[0 if stage == 0 else 1]}
    if role == "ia":
        score = SCORES[letter]
        return GateLayer("ia", s.form, shape, s.steps, sizes=sizes, score=score, mode=s.ia_mode)
    pools: dict[str, Any] = {"pools": "both"} if letter == "t" else {}
    return GateLayer(SCORES[letter], s.form, shape, s.steps, sizes=sizes, relu=True, **pools)


_PLAIN = {"ma": "no", "ia": "no"}
_SMALL = {
    "classes": 3,
    "steps": 6,
    "grid": (16, 16),
    "channels": (4, 6, 6, 8),
    "stem": (3, 1),
    "t_ratio": 2,
    "c_ratios": (2, 2, 2, 2),
}
_VARIANTS = (
    *({"form": form, "location": at} for form, at in zip(STREAMED, "dab", strict=True)),
    *({"ma": "c", "ia": "c", "form": form, "location": "c"} for form in STREAMED),
    *({"ma": "s", "ia": "s", "form": form, "location": "b"} for form in STREAMED),
    *({"ma": "no", "ia_mode": "lif_time", "form": form} for form in STREAMED),
    *(_PLAIN | {"join": join} for join in CHOICES["join"]),
    {"join": "add", "ma": "t", "ia": "c", "form": "sliding", "horizon": "tumbling"},
)

register(
    "syna-gesture",
    SynASettings,
    syna,
    paper="SynA-ResNet, DVS128 Gesture",
    about="21 layers, OR residual connections, attention d-T, 32 frames of 128 x 128",
    variants=tuple(variant | _SMALL for variant in _VARIANTS),
)
register(
    "syna-cifar10dvs",
    SynASettings,
    syna,
    paper="SynA-ResNet, CIFAR10-DVS",
    about="the 21 layers on frames averaged to 48 x 48, attention a-T, 16 steps",
    published={"classes": 10, "steps": 16, "resize": 48, "stem": (3, 2), "location": "a", "kernels": (3, 3)},
    variants=(_SMALL | _PLAIN | {"resize": 12, "grid": (20, 16)}, _SMALL | {"resize": 16, "form": "sliding"}),
)
register(
    "syna-mnist",
    SynASettings,
    syna,
    paper="SynA-ResNet, MNIST and Fashion-MNIST",
    about="the 21 layers on a still image of one channel that every step repeats",
    published=_PLAIN
    | {
        "classes": 10,
        "steps": 16,
        "grid": (28, 28),
        "inputs": 1,
        "stem": (3, 1),
        "stem_pool": False,
        "kernels": (3, 3),
        "gain": 1 / 255,
    },
    variants=(_SMALL | _PLAIN | {"gain": 1.0, "grid": (10, 10)},),
)
