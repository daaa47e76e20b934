"""GAC ("Gated Attention Coding"): a gated encoder of static images in front of MS-ResNet.

    f = BN(conv(image)), the same at every step      y_t = sigmoid(ta_t sca(f)) LIF(f)_t      then the blocks

The gate has no sigmoid but the last: `ta` is TA's score of the step, `sca` two 4 x 4 convolutions with a
ReLU between them. All of an image's steps have equal features, so every gate is known at the first step and
the network runs one step at a time (form static). On event frames, an extension and no published network,
features differ and TA has the forms of every TA. What enters the first block is real-valued.

Neurons differ by data set: the code for CIFAR fires above 1 and decays by 0.5 ("gac"), the one for ImageNet
and the paper's table above 0.5 and by 0.25 ("ms").
"""

from dataclasses import dataclass

from torch import nn

from spikeline.models.attention_settings import hidden_units
from spikeline.models.gate_layer import GateLayer
from spikeline.models.network import Network
from spikeline.models.operations import GATES
from spikeline.models.registry import register
from spikeline.models.residual import ResNetSettings, head, network, stages, stem
from spikeline.models.spiking_layer import paper_layer
from spikeline.models.stateless import Weighted


@dataclass(frozen=True, kw_only=True)
class GACSettings(ResNetSettings):
    """The defaults are the CIFAR-10 network. gated False leaves the gate out: direct coding."""

    classes: int = 10
    grid: tuple[int, int] = (32, 32)
    widths: tuple[int, ...] = (128, 256, 512)
    blocks: tuple[int, ...] = (3, 3, 2)
    strides: tuple[int, ...] = (1, 2, 2)
    stem: str = "conv3"
    neurons: str = "gac"
    norm_scale: float = 1.0
    branch_scale: float = 1.0
    form: str = "static"  # or, of event frames, window, sliding, prefix
    gated: bool = True
    t_ratio: int = 2  # hidden units of TA = T // t_ratio
    c_ratio: int = 1  # channels between SCA's convolutions = channels // c_ratio
    kernel: int = 4  # of both of them
    fan_out: bool = False  # convolutions start from a normal distribution by their fan-out (He)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.form not in GATES["gau"].forms:
            raise ValueError(f"form must be one of {', '.join(GATES['gau'].forms)}, got {self.form!r}")
        if self.kernel < 1:
            raise ValueError(f"kernel must be positive, got {self.kernel}")


def gac_resnet(settings: GACSettings) -> Network:
    """The encoder's current is `encoder_current`, its neurons `encoder`, what it gives `encoder_gate`."""
    s = settings
    net = network(s)
    if s.form == "static":
        net.horizon = "tumbling"  # the next image begins after T steps
    x = encode(net, s, stem(net, s, "encoder_current"))
    net = head(net, s, stages(net, s, x))
    if s.fan_out:
        for part in net.modules():
            if isinstance(part, Weighted) and isinstance(part.weights, nn.Conv2d):
                nn.init.kaiming_normal_(part.weights.weight, mode="fan_out", nonlinearity="relu")
    return net


def encode(net: Network, s: GACSettings, current: str) -> str:
    """Neurons on the current, and the gate of both."""
    x = net.add("encoder", paper_layer(s.neurons, **s.constants), current)
    if not s.gated:
        return x
    shape = net.shapes[current]
    sizes = {
        "hidden": hidden_units(net.steps, s.t_ratio),
        "between": hidden_units(shape[0], s.c_ratio),
        "kernel": s.kernel,
    }
    return net.add("encoder_gate", GateLayer("gau", s.form, shape, net.steps, sizes=sizes), current, x)


_SMALL = {
    "classes": 3,
    "steps": 4,
    "channels": 2,
    "grid": (12, 12),
    "widths": (6, 8),
    "blocks": (2, 1),
    "strides": (1, 2),
    "stem_width": 4,
}
_IMAGENET = {
    "classes": 1000,
    "grid": (224, 224),
    "widths": (64, 128, 256, 512),
    "strides": (2, 2, 2, 2),
    "stem": "conv7",
    "neurons": "ms",
    "norm_scale": 0.5,
    "branch_scale": 0.0,
    "fan_out": True,
}

register(
    "gac-resnet18-cifar",
    GACSettings,
    gac_resnet,
    paper="GAC",
    about="gated encoder before MS-ResNet-18, CIFAR-10 and CIFAR-100",
    variants=(_SMALL, _SMALL | {"gated": False}),
)
for _depth, _blocks in ((18, (2, 2, 2, 2)), (34, (3, 4, 6, 3))):
    register(
        f"gac-resnet{_depth}",
        GACSettings,
        gac_resnet,
        paper="GAC",
        about=f"gated encoder before MS-ResNet-{_depth}, ImageNet",
        published=_IMAGENET | {"blocks": _blocks},
        variants=(_SMALL | {"grid": (16, 16), "strides": (2, 2)},),
    )
register(
    "gac-resnet18-events",
    GACSettings,
    gac_resnet,
    paper="an extension of GAC, which is defined for static images",
    about="gated encoder before MS-ResNet-18 on event frames, TA over the window or causal",
    published=_IMAGENET
    | {
        "blocks": (2, 2, 2, 2),
        "classes": 11,
        "channels": 2,
        "grid": (128, 128),
        "form": "window",
        "steps": 16,
    },
    variants=tuple(_SMALL | {"form": form} for form in ("window", "sliding", "prefix")),
)
