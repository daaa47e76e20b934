"""SEW-ResNet ("Deep Residual Learning in Spiking Neural Networks"): shortcuts that carry spikes.

    conv7x7 - BN - neurons - max pool - blocks, each  y = g(r, s) - average - linear
    r = SN(BN(conv3x3(SN(BN(conv3x3_s x)))))      s = x, or SN(BN(conv1x1_s x)) where the shape changes

g(r, s) is r + s ("add": whole numbers, not spikes, leave the block), r s ("and") or (1 - r) s ("iand").
Like models/residual.py's, and of its sizes but that the first stage keeps its input's.
"""

from dataclasses import dataclass

from torch import nn

from spikeline.models.network import Network
from spikeline.models.neurons import neuron
from spikeline.models.registry import register
from spikeline.models.spiking_layer import SpikingLayer
from spikeline.models.stateless import Join, Pool, Weighted

G = ("add", "and", "iand", "or")


@dataclass(frozen=True, kw_only=True)
class SEWSettings:
    """Sizes; the defaults are SEW-ResNet-18 on ImageNet. neuron: a kind of models/neurons.py."""

    classes: int = 1000
    steps: int = 4
    channels: int = 3  # of a frame
    grid: tuple[int, int] = (224, 224)  # H, W of a frame
    widths: tuple[int, ...] = (64, 128, 256, 512)
    blocks: tuple[int, ...] = (2, 2, 2, 2)
    g: str = "add"
    neuron: str = "if"
    gain: float = 1.0
    clip: float | None = None

    def __post_init__(self) -> None:
        if self.g not in G:
            raise ValueError(f"g must be one of {', '.join(G)}, got {self.g!r}")
        if len(self.widths) != len(self.blocks) or min(*self.widths, *self.blocks, self.steps) < 1:
            raise ValueError(
                f"wanted a width and a number of blocks for each stage and steps >= 1, got {self.widths}, "
                f"{self.blocks}, {self.steps}"
            )
        if self.classes < 2:
            raise ValueError(f"classes must be at least 2, got {self.classes}")


def sew_resnet(settings: SEWSettings) -> Network:
    """Neurons are called stem, stage1_0_lif1, ..., a block stage1_0."""
    s = settings
    net = Network(grid=s.grid, steps=s.steps, gain=s.gain, clip=s.clip, channels=s.channels)
    x = _neurons(net, "stem", Weighted.conv(s.channels, s.widths[0], 7, 2), net.frames, s.neuron)
    x = net.add("stem_pool", Pool("max", 3, 2, 1), x)
    for i, (width, blocks) in enumerate(zip(s.widths, s.blocks, strict=True), 1):
        for j in range(blocks):
            x = sew_block(
                net, f"stage{i}_{j}", x, width, 2 if i > 1 and j == 0 else 1, g=s.g, neuron=s.neuron
            )
    x = net.add("average", Pool("global"), x)
    net.add("fc", Weighted(nn.Linear(s.widths[-1], s.classes)), x)
    return net


def sew_block(
    net: Network, name: str, x: str, channels: int, stride: int = 1, *, g: str = "add", neuron: str = "lif_sj"
) -> str:
    """A block on spikes x; returns its name."""
    inputs = net.shapes[x][0]
    r = _neurons(net, f"{name}_lif1", Weighted.conv(inputs, channels, 3, stride), x, neuron)
    r = _neurons(net, f"{name}_lif2", Weighted.conv(channels, channels, 3), r, neuron)
    if stride != 1 or inputs != channels:
        x = _neurons(net, f"{name}_side", Weighted.conv(inputs, channels, 1, stride), x, neuron)
    return net.add(name, Join(g), r, x)


def _neurons(net: Network, name: str, weights: Weighted, x: str, kind: str) -> str:
    x = net.add(f"{name}_current", weights, x)
    return net.add(name, SpikingLayer(neuron(kind), surrogate="atan", detach=True), x)


_SMALL = {"classes": 3, "steps": 4, "channels": 2, "grid": (16, 16), "widths": (4, 6), "blocks": (1, 2)}

for _depth, _blocks in ((18, (2, 2, 2, 2)), (34, (3, 4, 6, 3))):
    register(
        f"sew-resnet{_depth}",
        SEWSettings,
        sew_resnet,
        paper="SEW-ResNet",
        about=f"spikes through the shortcuts, depth {_depth}, ImageNet",
        published={"blocks": _blocks},
        variants=(_SMALL, _SMALL | {"g": "iand", "neuron": "lif_sj"})
        if _depth == 18
        else (_SMALL | {"g": "or"},),
    )
