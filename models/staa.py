"""STAA-SNN ("Spatial-Temporal Attention Aggregator for Spiking Neural Networks"): networks of its neurons.

    staa-vgg13       10 biased convolutions of 64 to 512 channels, averages of 2 x 2 behind each pair
    staa-resnet20    3 convolutions of 64, averages of 2 x 2, 2 + 2 + 2 + 2 basic blocks of 64 to 512 channels
    staa-resnet19    1 convolution of 128, 3 + 3 + 2 blocks of 128 to 512
    staa-resnet18, staa-resnet34    a 7 x 7 stem of stride 2, a pool, 2 + 2 + 2 + 2 or 3 + 4 + 6 + 3 blocks

all convolutions 3 x 3 with batch norm and neurons, then a global average and a linear layer, whose values
are the output. A block's neurons fire after the shortcut is added. Inputs are still images that every step
repeats, 32 x 32 or 224 x 224; with `inputs=2` and another grid, event frames.

The paper prints no code. Where it leaves a size open, the defaults are the ones that give its Table 7's
parameters, which with T = 4 are 12,692,147 (ResNet-20) and 10,665,096 (VGG-13) for 10 classes, 13,200,017
and 11,172,966 for 1000. Its MAC column counts the convolutions behind a pool, so VGG-13's pools are averages.
"""

from dataclasses import dataclass

from torch import nn

from spikeline.models.network import Network
from spikeline.models.neurons import neuron
from spikeline.models.operations import IDLES
from spikeline.models.registry import register
from spikeline.models.spiking_layer import SpikingLayer
from spikeline.models.staa_layer import CONTEXTS, SCOPES, ScaledLayer, STAALayer, scales
from spikeline.models.stateless import Join, Pool, Weighted

CHOICES: dict[str, tuple[str, ...]] = {
    "adaptive_mode": ("attention", "mn", "mn-shared", "no"),
    "context": CONTEXTS,
    "scope": SCOPES,
    "idle": IDLES,
    "horizon": ("endless", "tumbling"),
}


@dataclass(frozen=True, kw_only=True)
class STAASettings:
    """What all its networks share.

    adaptive_mode: how V is made of the current and the membrane of the step before: by attention, by two
    learned numbers a layer (`mn`) or a network (`mn-shared`), or as their plain sum (`no`).
    horizon: past T steps the position stays at the last (`endless`), or everything begins anew (`tumbling`).
    """

    classes: int = 10
    steps: int = 4
    grid: tuple[int, int] = (32, 32)  # H, W of a frame
    inputs: int = 3  # channels of a frame
    adaptive_mode: str = "attention"
    context: str = "mean"  # of the global context blocks, over pixels; or sum
    scope: str = "step"  # step attention: one number a step, or one a channel
    ratio: int = 4  # hidden units of a global context block = channels // ratio
    hidden: int = 16  # of the step attention; where its scope is channel, channels // ratio
    alpha: float = 2.0
    drop: float = 0.1  # TSRD: in training, the share of a layer's steps that add plainly
    threshold: float = 1.0
    gain: float = 1.0
    clip: float | None = None
    idle: str = "leak"  # of a skipped step; see models/staa_layer.py
    horizon: str = "endless"

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        if not 0 <= self.drop < 1:
            raise ValueError(f"drop must be at least 0 and less than 1, got {self.drop}")
        for name, least in (("classes", 2), ("steps", 1), ("inputs", 1), ("ratio", 1), ("hidden", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class VGGSettings(STAASettings):
    """The defaults are VGG-13."""

    channels: tuple[tuple[int, ...], ...] = ((64, 64), (128, 128), (256, 256), (512, 512), (512, 512))
    pool: str = "avg"  # behind each group of layers; or max

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pool not in ("avg", "max"):
            raise ValueError(f"pool must be one of avg, max, got {self.pool!r}")


@dataclass(frozen=True, kw_only=True)
class ResNetSettings(STAASettings):
    """The defaults are ResNet-20.

    stem: kernel, stride and number of the convolutions before the blocks
    stem_pool: averages of 2 x 2 (`avg`), maxima of 3 x 3 at stride 2 (`max`) or no
    shortcut: where the shape changes, a 1 x 1 convolution behind averages (`pool`) or with a stride (`conv`)
    """

    stem: tuple[int, int, int] = (3, 1, 3)
    stem_pool: str = "avg"
    channels: tuple[int, ...] = (64, 128, 256, 512)  # of each stage; the stem has the first's
    blocks: tuple[int, ...] = (2, 2, 2, 2)  # of each stage
    shortcut: str = "pool"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, allowed in (("stem_pool", ("avg", "max", "no")), ("shortcut", ("pool", "conv"))):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        if len(self.blocks) != len(self.channels):
            raise ValueError(f"wanted blocks for each of {len(self.channels)} stages, got {self.blocks}")


class _Builder:
    """A network in the making: adds layers of weights and neurons, all alike."""

    def __init__(self, s: STAASettings) -> None:
        self.s = s
        self.net = Network(
            grid=s.grid, steps=s.steps, gain=s.gain, clip=s.clip, channels=s.inputs, horizon=s.horizon
        )
        self.shared = scales() if s.adaptive_mode == "mn-shared" else None

    def layer(self, name: str, x: str, weights: Weighted) -> str:
        return self.neurons(name, self.net.add(f"{name}_current", weights, x))

    def neurons(self, name: str, current: str) -> str:
        s, shape = self.s, self.net.shapes[current]
        layer: SpikingLayer
        if s.adaptive_mode == "no":
            layer = SpikingLayer(neuron("if", threshold=s.threshold), surrogate="rect", width=0.5)
        elif s.adaptive_mode == "attention":
            layer = STAALayer(
                shape,
                s.steps,
                context=s.context,
                scope=s.scope,
                ratio=s.ratio,
                hidden=s.hidden if s.scope == "step" else None,
                alpha=s.alpha,
                drop=s.drop,
                threshold=s.threshold,
                idle=s.idle,
            )
        else:
            layer = ScaledLayer(shape, self.shared, threshold=s.threshold)
        return self.net.add(name, layer, current)

    def head(self, x: str) -> Network:
        x = self.net.add("pool", Pool("global"), x)
        self.net.add("fc", Weighted(nn.Linear(self.net.shapes[x][0], self.s.classes)), x)
        return self.net


def staa_vgg(settings: VGGSettings) -> Network:
    """Layers are conv1_1, conv1_2, ..., the pools behind them pool1, ..."""
    b = _Builder(settings)
    x, inputs = b.net.frames, settings.inputs
    for i, group in enumerate(settings.channels, 1):
        for j, channels in enumerate(group, 1):
            x = b.layer(f"conv{i}_{j}", x, Weighted.conv(inputs, channels, 3, bias=True))
            inputs = channels
        x = b.net.add(f"pool{i}", Pool(settings.pool, 2), x)
    return b.head(x)


def staa_resnet(settings: ResNetSettings) -> Network:
    """Layers are stem1, ..., stage1_0_lif1, stage1_0_lif2, stage1_1_lif1, ..."""
    s, b = settings, _Builder(settings)
    x, inputs = b.net.frames, s.inputs
    kernel, stride, number = s.stem
    for i in range(1, number + 1):
        x = b.layer(f"stem{i}", x, Weighted.conv(inputs, s.channels[0], kernel, stride))
        inputs = s.channels[0]
    if s.stem_pool != "no":
        x = b.net.add("stem_pool", Pool("avg", 2) if s.stem_pool == "avg" else Pool("max", 3, 2, 1), x)
    for stage, (channels, blocks) in enumerate(zip(s.channels, s.blocks, strict=True), 1):
        for i in range(blocks):
            stride = 2 if stage > 1 and i == 0 else 1
            x = _block(b, f"stage{stage}_{i}", x, channels, stride, s.shortcut)
    return b.head(x)


def _block(b: _Builder, name: str, x: str, channels: int, stride: int, shortcut: str) -> str:
    inputs = b.net.shapes[x][0]
    first = b.layer(f"{name}_lif1", x, Weighted.conv(inputs, channels, 3, stride))
    second = b.net.add(f"{name}_conv2", Weighted.conv(channels, channels, 3), first)
    if stride > 1 or inputs != channels:
        pooled = shortcut == "pool"
        weights = Weighted.conv(inputs, channels, 1, 1 if pooled else stride, before=stride if pooled else 1)
        x = b.net.add(f"{name}_shortcut", weights, x)
    return b.neurons(f"{name}_lif2", b.net.add(f"{name}_lif2_current", Join("membrane"), second, x))


_SMALL = {"classes": 3, "steps": 5, "grid": (12, 8), "inputs": 2, "ratio": 2, "hidden": 4}
_SMALL_VGG = _SMALL | {"channels": ((4, 4), (6,), (8,))}
_SMALL_RESNET = _SMALL | {"channels": (4, 6), "blocks": (2, 1)}
_IMAGENET = {
    "classes": 1000,
    "grid": (224, 224),
    "stem": (7, 2, 1),
    "stem_pool": "max",
    "shortcut": "conv",
}

register(
    "staa-vgg13",
    VGGSettings,
    staa_vgg,
    paper="STAA-SNN, Table 7",
    about="10 biased convolutions, each with attention on current, membrane and step",
    variants=(
        _SMALL_VGG,
        _SMALL_VGG | {"context": "sum", "scope": "channel", "horizon": "tumbling", "pool": "max"},
        _SMALL_VGG | {"idle": "membrane"},
        *(_SMALL_VGG | {"adaptive_mode": mode} for mode in ("mn", "mn-shared", "no")),
    ),
)
register(
    "staa-resnet20",
    ResNetSettings,
    staa_resnet,
    paper="STAA-SNN, Table 7",
    about="3 convolutions and 8 blocks of 64 to 512 channels, the wide ResNet-20",
    variants=(
        _SMALL_RESNET | {"inputs": 3},
        _SMALL_RESNET | {"scope": "channel", "context": "sum", "alpha": 1.0},
    ),
)
register(
    "staa-resnet19",
    ResNetSettings,
    staa_resnet,
    paper="STAA-SNN, CIFAR",
    about="one convolution and 8 blocks of 128 to 512 channels",
    published={
        "stem": (3, 1, 1),
        "stem_pool": "no",
        "channels": (128, 256, 512),
        "blocks": (3, 3, 2),
        "shortcut": "conv",
    },
    variants=(_SMALL_RESNET,),
)
for _depth, _blocks in ((18, (2, 2, 2, 2)), (34, (3, 4, 6, 3))):
    register(
        f"staa-resnet{_depth}",
        ResNetSettings,
        staa_resnet,
        paper="STAA-SNN, ImageNet",
        about=f"ResNet-{_depth} on images of 224 x 224, neurons behind the addition",
        published=_IMAGENET | {"blocks": _blocks},
        variants=(_SMALL_RESNET | {"grid": (20, 24)},),
    )
