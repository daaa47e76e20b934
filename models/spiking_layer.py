"""Layers of neurons as parts of a torch network: neurons.py with attention on the membrane and a surrogate
gradient, with a fixed rate or one that is learned.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from spikeline.models.fused import spikes_over_time
from spikeline.models.gate_layer import GateLayer
from spikeline.models.lowering import Lowering
from spikeline.models.neurons import STRICT, Neuron, neuron
from spikeline.models.operations import OUTPUTS
from spikeline.models.part import Part
from spikeline.models.shapes import Shape
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
