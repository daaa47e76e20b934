"""Building blocks of the torch networks: a spiking layer, and weights followed by batch norm.

A layer's state is its membrane `h`, passed in and returned, never kept. Training runs a layer over all
T steps at once, because batch norm takes its statistics over batch and time (as the papers' code
does); evaluation runs step by step.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from spikeline.models.fused import spikes_over_time
from spikeline.models.neurons import STRICT, Neuron, neuron
from spikeline.models.surrogate import WIDTHS, spike

OUTPUTS = ("spikes", "membrane", "excess")

# paper -> neuron, surrogate, its width, whether the reset is cut off from the gradient
PAPERS: dict[str, tuple[str, str, float, bool]] = {
    "ma": ("lif_ma", "rect", 0.25, False),  # MA-SNN, TA-SNN
    "ms": ("lif_ms", "rect", 0.5, True),  # MS-ResNet, Att-MS-ResNet, GAC on ImageNet
    "gac": ("lif_gac", "triangle", 1.0, False),  # GAC on CIFAR
    "sj": ("lif_sj", "atan", 2.0, True),  # SynA-ResNet, SEW-ResNet
}


class SpikingLayer(nn.Module):
    """Neurons of one kind, with attention gates on the membrane before it is thresholded.

    gates: name -> module, applied in order to u; the gated membrane is what is thresholded and what
    is carried on (MA-SNN Eq. 14, Activate-PRE).
    detach: the spikes that reset the membrane carry no gradient.
    output: "spikes", or of the analog LIAF neuron relu(u) ("membrane", TA-SNN's NTR) or
    relu(u - threshold) ("excess", its TR); the state follows the spikes all the same.
    """

    def __init__(
        self,
        neuron: Neuron,
        gates: dict[str, nn.Module] | None = None,
        *,
        surrogate: str = "rect",
        width: float | None = None,
        detach: bool = False,
        output: str = "spikes",
    ) -> None:
        super().__init__()
        if output not in OUTPUTS:
            raise ValueError(f"output must be one of {', '.join(OUTPUTS)}, got {output!r}")
        self.neuron = neuron
        self.gates = nn.ModuleDict(gates or {})
        self.surrogate = surrogate
        self.width = WIDTHS[surrogate] if width is None else width
        self.detach = detach
        self.output = output

    @property
    def cell(self) -> Neuron:
        """The neuron as this step computes it."""
        return self.neuron

    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """Input current x and membrane h, both (B, ...) -> output and the membrane to carry."""
        cell = self.cell
        u = cell.integrate(h, x)
        for gate in self.gates.values():
            u = gate(u)
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

    def forward(self, x: Tensor, run: Tensor | None = None) -> Tensor:
        """Currents (T, B, ...) from a zero membrane -> outputs (T, B, ...).

        run (T, B) bool: where False the stream idles that step: no spike, only the leak.
        """
        fused = not self.gates and not self.detach and self.output == "spikes" and self.cell is self.neuron
        if fused and x.device.type == "cpu":
            return spikes_over_time(x, run, self.neuron, self.surrogate, self.width)
        return self.plain(x, run)

    def plain(self, x: Tensor, run: Tensor | None = None) -> Tensor:
        """`forward` as a loop over `step`, which gates need."""
        h = torch.zeros_like(x[0])
        spikes = []
        for t, current in enumerate(x.unbind()):  # indexing x[t] would fill a full gradient T times
            s, carried = self.step(current, h)
            if run is not None:
                keep = run[t].view(-1, *(1,) * (h.ndim - 1))
                s = s * keep
                carried = torch.where(keep, carried, self.cell.leak(h))
            spikes.append(s)
            h = carried
        return torch.stack(spikes)


class ParametricLayer(SpikingLayer):
    """PLIF: LIF-SJ with its input decayed and a learned rate sigmoid(w), one w for the whole layer.

    v <- v + (x - (v - v_reset)) sigmoid(w), w = -ln(tau - 1) at the start ("Incorporating Learnable
    Membrane Time Constant"). The rate is read from `w` at every step.
    """

    def __init__(self, tau: float = 2.0, *, detach: bool = True, **constants: float) -> None:
        if tau <= 1:
            raise ValueError(f"tau must be more than 1, got {tau}")
        super().__init__(neuron("lif_sj", rate=1 / tau, **constants), surrogate="atan", detach=detach)
        self.w = nn.Parameter(torch.tensor(-math.log(tau - 1)))

    @property
    def cell(self) -> Neuron:
        constants = dict(self.neuron.constants) | {"rate": torch.sigmoid(self.w)}
        return Neuron(self.neuron.kind, tuple(constants.items()))


def paper_layer(paper: str, gates: dict[str, nn.Module] | None = None, **constants: float) -> SpikingLayer:
    """Neurons as the code of `paper` (a key of PAPERS) has them."""
    if paper not in PAPERS:
        raise ValueError(f"paper must be one of {', '.join(PAPERS)}, got {paper!r}")
    kind, surrogate, width, detach = PAPERS[paper]
    return SpikingLayer(neuron(kind, **constants), gates, surrogate=surrogate, width=width, detach=detach)


def over_steps(module: Any, x: Tensor) -> Tensor:
    """Outputs (T, ...) of `module.step` over x (T, B, ...), from `module.init_state`."""
    state = module.init_state(x[0])
    outputs = []
    for frame in x.unbind():
        y, state = module.step(frame, state)
        outputs.append(y)
    return torch.stack(outputs)


class Weighted(nn.Module):
    """Weights, batch norm and an optional average pool: the input current of a spiking layer."""

    def __init__(self, weights: nn.Module, norm: nn.Module, pool: int = 1) -> None:
        super().__init__()
        self.weights = weights
        self.norm = norm
        self.pool = nn.AvgPool2d(pool) if pool > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.norm(self.weights(x)))

    @classmethod
    def conv(cls, inputs: int, channels: int, kernel: int, stride: int = 1, *, pool: int = 1) -> "Weighted":
        """A convolution without bias (odd kernel, same size at stride 1), `pool` x `pool` means before it."""
        conv = nn.Conv2d(inputs, channels, kernel, stride, kernel // 2, bias=False)
        return cls(nn.Sequential(nn.AvgPool2d(pool), conv) if pool > 1 else conv, nn.BatchNorm2d(channels))

    def over_time(self, x: Tensor, run: Tensor | None = None) -> Tensor:
        """x (T, B, ...) -> currents (T, B, ...); steps that are not run cost nothing and stay 0.

        Batch norm sees only the steps that run, as it will when the network is served.
        """
        flat = x.flatten(0, 1)
        if flat.ndim == 4:  # channels last: several times faster on a CPU
            flat = flat.contiguous(memory_format=torch.channels_last)
        if run is None:
            return self(flat).unflatten(0, x.shape[:2])
        y = self(flat[run.flatten()])
        out = y.new_zeros((*run.shape, *y.shape[1:]))
        out[run] = y
        return out
