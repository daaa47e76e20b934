"""Which attention a network has, in which form, where, and how large: shared by the families.

letters     of t, c, s in that order, or "no"
form        of whatever looks at more than one step: window (as published), sliding (for endless streams) or
            prefix (inside a window)
statistics  of CA and SA: each "step" (MA-SNN's paper) or "pooled" over the window (its code)
place       conv-pre (the layer's input), conv-post (its current) or activate-pre (its membrane before it is
            thresholded, for CA and SA of each step; TA then stays at conv-post, MA-SNN Table 4)
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from spikeline.models.gate_layer import GateLayer
from spikeline.models.network import Network
from spikeline.models.part import Part
from spikeline.models.shapes import Shape

LETTERS = ("no", "t", "c", "s", "tc", "ts", "cs", "tcs")
STREAMED = ("window", "sliding", "prefix")
CHOICES: dict[str, tuple[str, ...]] = {
    "attention": LETTERS,
    "form": STREAMED,
    "statistics": ("step", "pooled"),
    "place": ("conv-pre", "conv-post", "activate-pre"),
    "channel": ("ca", "eca", "simam"),
    "pools_of_ta": ("both", "avg"),
}


@dataclass(frozen=True, kw_only=True)
class AttentionSettings:
    """The defaults are MA-SNN's paper: ratio 16 follows from its Table 5."""

    attention: str = "no"
    form: str = "window"
    statistics: str = "step"
    place: str = "activate-pre"
    channel: str = "ca"  # which channel attention the letter c stands for
    pools_of_ta: str = "both"  # averages and maxima (MA-SNN), or averages alone with biases (TA-SNN)
    t_ratio: int = 5  # hidden units of TA = T // t_ratio
    c_ratio: int = 16  # hidden units of CA = C // c_ratio; 1 where there are fewer channels (frames)
    kernel: int = 7  # of spatial attention
    relu: bool = False  # behind the attention, as in the released code

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        if self.statistics == "pooled" and self.place == "activate-pre" and set(self.attention) & set("cs"):
            raise ValueError("statistics pooled over the window cannot be at activate-pre; wanted conv-post")
        if self.statistics == "pooled" and self.channel != "ca":
            raise ValueError(f"channel {self.channel} has no form pooled over the window; wanted ca")
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ValueError(f"kernel must be a positive odd number, got {self.kernel}")

    def layer(
        self,
        net: Network,
        name: str,
        x: str,
        weights: Part,
        letters: str,
        neurons: Callable[[list[GateLayer]], Part],
    ) -> str:
        """Add a layer, its current `<name>_current` and the attention of these letters at its place;
        `neurons` makes the layer from the gates on its membrane."""
        if self.place == "conv-pre":
            x = self.gates_before(net, name, x, letters=letters)
            letters = "no"
        x = net.add(f"{name}_current", weights, x)
        refine = []
        if self.place == "activate-pre":
            refine = self.membrane_gates(net.shapes[x], letters)
            letters = "t" if "t" in letters else "no"
        x = self.gates_before(net, name, x, letters=letters)
        return net.add(name, neurons(refine), x)

    def membrane_gates(self, shape: Shape, letters: str) -> list[GateLayer]:
        """CA and SA for a layer's membrane, one step at a time."""
        return [
            self._gate(letter, shape, 1, relu=False)
            for letter in letters
            if letter in "cs" and letters != "no"
        ]

    def gates_before(self, net: Network, name: str, x: str, *, letters: str) -> str:
        """Add the gates to the network, each fed by the one before; returns the last one's name."""
        chosen = [] if letters == "no" else list(letters)
        for letter in chosen:
            gate = self._gate(letter, net.shapes[x], net.steps, relu=self.relu and letter == chosen[-1])
            x = net.add(f"{name}_{gate.attrs['kind']}", gate, x)
        return x

    def input_gate(self, shape: Shape, steps: int, **hard: float) -> GateLayer:
        """TA on the frames; `hard`: the threshold, or the share to discard, that makes it 0 or 1."""
        return self._gate("t", shape, steps, relu=False, **hard)

    def _gate(self, letter: str, shape: Shape, steps: int, *, relu: bool, **hard: float) -> GateLayer:
        if letter == "t":
            sizes = {"hidden": hidden_units(steps, self.t_ratio)}
            return GateLayer(
                "ta", self.form, shape, steps, sizes=sizes, relu=relu, pools=self.pools_of_ta, **hard
            )
        form = "per-step" if self.statistics == "step" else self.form
        if letter == "s":
            return GateLayer("sa", form, shape, steps, sizes={"kernel": self.kernel}, relu=relu)
        if self.channel == "simam":
            return GateLayer("simam", form, shape, steps, relu=relu, lam=1e-4)
        if self.channel == "eca":
            return GateLayer("eca", form, shape, steps, sizes={"kernel": eca_kernel(shape[0])}, relu=relu)
        sizes = {"hidden": hidden_units(shape[0], min(self.c_ratio, shape[0]))}
        return GateLayer("ca", form, shape, steps, sizes=sizes, relu=relu)


def hidden_units(size: int, ratio: int) -> int:
    """size // ratio, at least 1."""
    if not 1 <= ratio <= size:
        raise ValueError(f"attention: ratio must be from 1 to {size}, got {ratio}")
    return size // ratio


def eca_kernel(channels: int) -> int:
    """ECA-Net's rule: |log2(C) / 2 + 1 / 2| to the next odd number.

    >>> [eca_kernel(c) for c in (64, 128)]
    [3, 5]
    """
    k = int(abs(math.log2(channels) / 2 + 0.5))
    return k if k % 2 else k + 1
