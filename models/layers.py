"""The parts a torch network is made of: weights with batch norm, spiking layers, pools, joins, votes.

A part takes steps x (B, ...) and is asked in three ways, which agree to the bit in evaluation mode:

    step(*inputs, state) -> output, state     one step; the state goes in and out, nothing is kept inside
    idle(state) -> state                      a skipped step: only the leak acts
    over_time(*inputs, run=None) -> output    all steps (T, B, ...) from a zero state, layer by layer:
                                              training's form, since batch norm takes its statistics over
                                              batch and time; run (T, B) bool: where False the stream idles

and says how it is written into the lowered graph (`lower`). A part that needs the whole window has no
`step`, and says so (`causal`).
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spikeline.models.fused import spikes_over_time
from spikeline.models.fused_norm import norm_pool
from spikeline.models.gate_layer import GateLayer
from spikeline.models.lowering import Lowering
from spikeline.models.neurons import STRICT, Neuron, neuron
from spikeline.models.operations import OUTPUTS, join
from spikeline.models.part import Part, Shape, Stateless
from spikeline.models.surrogate import WIDTHS, spike

# paper -> neuron, surrogate, its width, whether the reset is cut off from the gradient
PAPERS: dict[str, tuple[str, str, float, bool]] = {
    "ma": ("lif_ma", "rect", 0.25, False),  # MA-SNN, TA-SNN
    "ms": ("lif_ms", "rect", 0.5, True),  # MS-ResNet, Att-MS-ResNet, GAC on ImageNet
    "gac": ("lif_gac", "triangle", 1.0, False),  # GAC on CIFAR
    "sj": ("lif_sj", "atan", 2.0, True),  # SynA-ResNet, SEW-ResNet
}


class SpikingLayer(Part):
    """Neurons of one kind, with attention on the membrane.

    refine: gates applied in order to u; the gated membrane is what is thresholded and what is carried on
    (MA-SNN Eq. 14, Activate-PRE). recall: gates on the membrane of the step before (STAA).
    detach: the spikes that reset the membrane carry no gradient.
    output: "spikes", or of the analog LIAF neuron relu(u) ("membrane", TA-SNN's NTR) or
    relu(u - threshold) ("excess", its TR); the state follows the spikes all the same.
    """

    def __init__(
        self,
        neuron: Neuron,
        refine: list[GateLayer] | None = None,
        *,
        recall: list[GateLayer] | None = None,
        surrogate: str = "rect",
        width: float | None = None,
        detach: bool = False,
        output: str = "spikes",
    ) -> None:
        super().__init__()
        if output not in OUTPUTS:
            raise ValueError(f"output must be one of {', '.join(OUTPUTS)}, got {output!r}")
        if surrogate not in WIDTHS:
            raise ValueError(f"surrogate must be one of {', '.join(WIDTHS)}, got {surrogate!r}")
        self.neuron = neuron
        self.refine = nn.ModuleList(refine or [])
        self.recall = nn.ModuleList(recall or [])
        self.surrogate = surrogate
        self.width = WIDTHS[surrogate] if width is None else width
        self.detach = detach
        self.output = output

    @property
    def spikes(self) -> bool:
        return self.output == "spikes"

    @property
    def cell(self) -> Neuron:
        """The neuron as this step computes it."""
        rate = self.learned_rate
        if rate is None:
            return self.neuron
        return Neuron(self.neuron.kind, tuple((dict(self.neuron.constants) | {"rate": rate}).items()))

    @property
    def learned_rate(self) -> Tensor | None:
        """A rate that is learned, in the place of the neuron's own."""
        return None

    def init_state(self, batch: int, shape: Shape, like: Tensor) -> Tensor:
        return like.new_zeros((batch, *shape))

    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """Input current x and membrane h, both (B, ...) -> output and the membrane to carry."""
        cell = self.cell
        for gate in self.recall:
            h = gate.alone(h)
        u = cell.integrate(h, x)
        for gate in self.refine:
            u = gate.alone(u)
        return self.fire(u)

    def fire(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Membrane potential before it is thresholded -> output and the membrane to carry."""
        cell = self.cell
        s = spike(
            u,
            threshold=cell["threshold"],
            strict=cell.kind in STRICT,
            kind=self.surrogate,
            width=self.width,
        )
        carried = cell.carry(u, s.detach() if self.detach else s)
        if self.output == "spikes":
            return s, carried
        return torch.relu(u if self.output == "membrane" else u - cell["threshold"]), carried

    def idle(self, h: Tensor) -> Tensor:
        """The gradient is the leak's, also where the membrane is flushed to 0."""
        leaked = self.cell.leak(h)
        return leaked + (self.cell.idle(h) - leaked).detach()

    def stretch(self, *inputs: Tensor, state: Any, run: Tensor | None = None) -> tuple[Tensor, Any]:
        (x,) = inputs
        if len(self.refine) or len(self.recall) or not self.spikes or x.device.type != "cpu":
            return super().stretch(x, state=state, run=run)
        return spikes_over_time(
            x,
            run,
            self.neuron,
            self.surrogate,
            self.width,
            detach=self.detach,
            rate=self.learned_rate,
            start=state,
        )

    def lower(self, name: str, inputs: list[str], into: Lowering) -> str:
        constants = {key: _number(value) for key, value in self.cell.constants}
        attrs: dict[str, Any] = {"kind": self.cell.kind, "constants": constants}
        for place, gates in (("recall", self.recall), ("refine", self.refine)):
            if len(gates):
                attrs[place] = [gate.attrs for gate in gates]
            for gate in gates:
                into.tensors(f"{name}.{place}.{gate.attrs['kind']}", gate.roles())
        if not self.spikes:
            attrs["output"] = self.output
        return into.node(name, "neuron", inputs, attrs)


class ParametricLayer(SpikingLayer):
    """PLIF: LIF-SJ with its input decayed and a learned rate sigmoid(w), one w for the whole layer.

    v <- v + (x - (v - v_reset)) sigmoid(w), w = -ln(tau - 1) at the start ("Incorporating Learnable
    Membrane Time Constant"). The rate is read from `w` at every step.
    """

    def __init__(
        self,
        tau: float = 2.0,
        refine: list[GateLayer] | None = None,
        *,
        detach: bool = True,
        decay_input: bool = True,
        **constants: float,
    ) -> None:
        if tau <= 1:
            raise ValueError(f"tau must be more than 1, got {tau}")
        kind = "lif_sj" if decay_input else "lif_sj_full"
        super().__init__(neuron(kind, rate=1 / tau, **constants), refine, surrogate="atan", detach=detach)
        self.w = nn.Parameter(torch.tensor(-math.log(tau - 1)))

    @property
    def learned_rate(self) -> Tensor:
        return torch.sigmoid(self.w)


def _number(value: float | Tensor) -> float:
    return value.item() if isinstance(value, Tensor) else float(value)


def paper_layer(paper: str, **constants: float) -> SpikingLayer:
    """Neurons as the code of `paper` (a key of PAPERS) has them."""
    if paper not in PAPERS:
        raise ValueError(f"paper must be one of {', '.join(PAPERS)}, got {paper!r}")
    kind, surrogate, width, detach = PAPERS[paper]
    return SpikingLayer(neuron(kind, **constants), surrogate=surrogate, width=width, detach=detach)


class Weighted(Stateless):
    """A convolution or a linear layer, batch norm, and an average pool behind it: a layer's input current.

    before: averages over before x before values ahead of the convolution (MS-ResNet 104's shortcut).
    """

    def __init__(
        self, weights: nn.Module, norm: nn.Module | None = None, pool: int = 1, before: int = 1
    ) -> None:
        super().__init__()
        self.weights = weights
        self.norm = nn.Identity() if norm is None else norm
        self.pool, self.before = pool, before

    @classmethod
    def conv(
        cls, inputs: int, channels: int, kernel: int, stride: int = 1, *, bias: bool = False, **pools: int
    ) -> "Weighted":
        """An odd kernel, same size at stride 1; `pool` and `before` as of the class."""
        conv = nn.Conv2d(inputs, channels, kernel, stride, kernel // 2, bias=bias)
        return cls(conv, nn.BatchNorm2d(channels), **pools)

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(self.weights, nn.Linear):
            x = x.flatten(1)
        x = F.avg_pool2d(x, self.before) if self.before > 1 else x
        x = self.weights(x)
        # A subclass of batch norm computes otherwise, and so does every norm that does not take statistics.
        if type(self.norm) is nn.BatchNorm2d and self.norm.training and x.device.type == "cpu":
            return norm_pool(self.norm, x.to(self.norm.weight.dtype), self.pool)
        x = self.norm(x)
        return F.avg_pool2d(x, self.pool) if self.pool > 1 else x

    def over_time(self, x: Tensor, run: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """Steps that are not run cost nothing and stay 0; batch norm sees only those that run, as it will
        when the network is served."""
        flat = x.flatten(0, 1)
        if flat.ndim == 4:  # channels last: several times faster on a CPU
            flat = flat.contiguous(memory_format=torch.channels_last)
        if run is None:
            return self(flat).unflatten(0, x.shape[:2])
        y = self(flat[run.flatten()])
        out = y.new_zeros((*run.shape, *y.shape[1:]))
        out[run] = y
        return out

    def shape(self, x: Shape) -> Shape:  # type: ignore[override]
        if isinstance(self.weights, nn.Linear):
            return (self.weights.out_features,)
        conv = self.weights
        k, stride, padding = conv.kernel_size[0], conv.stride[0], conv.padding[0]
        sides = (((n // self.before + 2 * padding - k) // stride + 1) // self.pool for n in x[1:])
        return (conv.out_channels, *sides)

    def lower(self, name: str, inputs: list[str], into: Lowering) -> str:
        if self.before > 1:
            inputs = [into.pool(f"{name}.before", inputs, "avg", self.before)]
        inputs = [into.weighted(name, inputs, self.weights, self.norm)]
        return into.pool(f"{name}.pool", inputs, "avg", self.pool) if self.pool > 1 else inputs[0]


class Pool(Stateless):
    """kind: avg, max, global or adaptive (to size x size)."""

    def __init__(self, kind: str, size: int = 1, stride: int | None = None, padding: int = 0) -> None:
        super().__init__()
        self.kind, self.size, self.padding = kind, size, padding
        self.stride = size if stride is None else stride

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "global":
            return x.mean((2, 3))
        if self.kind == "adaptive":
            return F.adaptive_avg_pool2d(x, self.size)
        if self.kind == "max":
            return F.max_pool2d(x, self.size, self.stride, self.padding)
        return F.avg_pool2d(x, self.size, self.stride)

    def shape(self, x: Shape) -> Shape:  # type: ignore[override]
        if self.kind == "global":
            return (x[0],)
        if self.kind == "adaptive":
            return (x[0], self.size, self.size)
        return (x[0], *((n + 2 * self.padding - self.size) // self.stride + 1 for n in x[1:]))

    def lower(self, name: str, inputs: list[str], into: Lowering) -> str:
        return into.pool(name, inputs, self.kind, self.size, self.stride, self.padding)


class Join(Stateless):
    """Two paths as one; see operations.join."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return join(self.kind, a, b)

    def shape(self, a: Shape, b: Shape) -> Shape:  # type: ignore[override]
        if a != b:
            raise ValueError(f"join {self.kind}: found {a} and {b}, wanted equal shapes")
        return a

    def lower(self, name: str, inputs: list[str], into: Lowering) -> str:
        return into.node(name, "join", inputs, {"kind": self.kind})


class Vote(Stateless):
    """Mean over the `size` neurons of each class, (B, K size) -> (B, K) (PLIF-net)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(1, (-1, self.size)).mean(2)

    def shape(self, x: Shape) -> Shape:  # type: ignore[override]
        return (x[0] // self.size,)

    def lower(self, name: str, inputs: list[str], into: Lowering) -> str:
        return into.node(name, "vote", inputs, {"size": self.size})


class Dropout(Stateless):
    """In training, values zeroed with probability `p`, one mask a sample and window; else nothing."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return x

    def over_time(self, x: Tensor, run: Tensor | None = None) -> Tensor:  # type: ignore[override]
        return x * F.dropout(torch.ones_like(x[0]), self.p, self.training) if self.training else x

    def lower(self, name: str, inputs: list[str], into: Lowering) -> str:
        return inputs[0]
