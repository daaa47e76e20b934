"""The papers' neurons, by name: what one step does to the membrane potential.

Every neuron here carries one array, `h`, from step to step (shape of the layer), and is four short
formulas over it:

    u = integrate(h, x)      membrane potential after the input current x
    s = fire(u)              1 where it spikes, else 0
    h = carry(u, s)          what the next step starts from
    h = idle(h)              a skipped step: no input, no bias, no spike; only the leak acts

They are written with plain arithmetic, so the same lines run on NumPy arrays (the reference) and on
torch tensors (training, the torch engine). `LIF-MS` of the MS-ResNet code keeps (u, s) instead and
applies the reset at the start of the next step; carrying h = decay * u * (1 - s) is the same thing.
"""

from dataclasses import dataclass
from typing import Any

FLUSH = 1e-30  # an idle membrane below this is 0, so that silence ends and no subnormal slows a step

# kind -> names of its constants, with the values of the paper or its released code
CONSTANTS: dict[str, dict[str, float]] = {
    # MA-SNN and TA-SNN as released: after a spike the state is decay * threshold, not 0.
    "lif_ma": {"threshold": 0.3, "decay": 0.3, "bias": 0.0},
    # MA-SNN Eq. 4: hard reset to v_reset, decay = exp(-dt / tau).
    "lif_ma_paper": {"threshold": 0.3, "decay": 0.3, "v_reset": 0.0},
    # MS-ResNet, Att-MS-ResNet, GAC on ImageNet.
    "lif_ms": {"threshold": 0.5, "decay": 0.25},
    # GAC on CIFAR.
    "lif_gac": {"threshold": 1.0, "decay": 0.5},
    # SpikingJelly LIF, input decayed too (SynA, SEW); rate = 1 / tau. PLIF is this with a learned rate.
    "lif_sj": {"threshold": 1.0, "rate": 0.5, "v_reset": 0.0},
    "lif_sj_soft": {"threshold": 1.0, "rate": 0.5, "v_reset": 0.0},
    # The same two with decay_input=False: the leak acts on the membrane, the input enters whole.
    "lif_sj_full": {"threshold": 1.0, "rate": 0.5, "v_reset": 0.0},
    "lif_sj_full_soft": {"threshold": 1.0, "rate": 0.5, "v_reset": 0.0},
    # snnTorch's Leaky: a spike takes the threshold off the next step's membrane, which has leaked by then.
    "lif_subtract": {"threshold": 1.0, "decay": 0.9},
    # Integrate and fire, no leak.
    "if": {"threshold": 1.0, "v_reset": 0.0},
}
SOFT = frozenset({"lif_sj_soft", "lif_sj_full_soft"})  # a spike takes the threshold off the membrane
STRICT = frozenset({"lif_ms", "lif_gac", "lif_subtract"})  # fire at u > threshold, the others at u >= it


@dataclass(frozen=True, slots=True)
class Neuron:
    """A kind of neuron and its constants."""

    kind: str
    constants: tuple[tuple[str, Any], ...]  # numbers; PLIF's rate is a torch scalar

    def __getitem__(self, name: str) -> Any:
        return dict(self.constants)[name]

    @property
    def strict(self) -> bool:
        """Whether it spikes only above its threshold, not at it."""
        return self.kind in STRICT

    def integrate(self, h: Any, x: Any) -> Any:
        """Membrane potential u (shape of `h`) after the input current `x`."""
        if self.kind == "lif_gac":
            return self["decay"] * h + x
        if self.kind in ("lif_sj", "lif_sj_soft"):
            return h + (x - (h - self["v_reset"])) * self["rate"]
        if self.kind in ("lif_sj_full", "lif_sj_full_soft"):
            return h - (h - self["v_reset"]) * self["rate"] + x
        return h + x

    def fires(self, u: Any) -> Any:
        """Where the neuron spikes (bool, shape of `u`)."""
        return u > self["threshold"] if self.kind in STRICT else u >= self["threshold"]

    def carry(self, u: Any, s: Any) -> Any:
        """What is carried to the next step, given the potential and the spikes (0 or 1)."""
        if self.kind == "lif_ma":
            return self["decay"] * (s * self["threshold"] + (1 - s) * u) + self["bias"]
        if self.kind == "lif_ma_paper":
            return self["v_reset"] * s + self["decay"] * u * (1 - s)
        if self.kind == "lif_ms":
            return self["decay"] * u * (1 - s)
        if self.kind == "lif_gac":
            return (1 - s) * u
        if self.kind == "lif_subtract":
            return self["decay"] * u - s * self["threshold"]
        if self.kind in SOFT:
            return u - s * self["threshold"]
        return u * (1 - s) + self["v_reset"] * s

    def leak(self, h: Any) -> Any:
        """What a skipped step leaves of the membrane: no input, no bias, no spike."""
        if self.kind == "if":
            return h
        if self.kind == "lif_ma":
            return self["decay"] * h + self["bias"]
        if self.kind.startswith("lif_sj"):
            return h - (h - self["v_reset"]) * self["rate"]
        return self["decay"] * h

    def idle(self, h: Any) -> Any:
        """One skipped step as served: the leak, and nothing below FLUSH. n of them are n calls: a power
        would differ in float32."""
        h = self.leak(h)
        return h * (abs(h) >= FLUSH)


def neuron(kind: str, **constants: float) -> Neuron:
    """The neuron called `kind` with its published constants, some of them replaced.

    >>> neuron("lif_ma", decay=0.5)["decay"]
    0.5
    """
    if kind not in CONSTANTS:
        raise ValueError(f"neuron kind {kind!r} is not known; choose from {', '.join(CONSTANTS)}")
    known = CONSTANTS[kind]
    for name in constants:
        if name not in known:
            raise ValueError(f"neuron {kind} has no constant {name!r}; it has {', '.join(known)}")
    return Neuron(kind, tuple((known | constants).items()))
