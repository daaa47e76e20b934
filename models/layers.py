"""Building blocks of the torch networks: a spiking layer, and weights followed by batch norm.

A layer's state is its membrane `h`, passed in and returned, never kept. Training runs a layer over all
T steps at once, because batch norm takes its statistics over batch and time (as the papers' code
does); evaluation runs step by step.
"""

import torch
from torch import Tensor, nn

from spikeline.models.fused import spikes_over_time
from spikeline.models.neurons import STRICT, Neuron
from spikeline.models.surrogate import WIDTHS, spike


class SpikingLayer(nn.Module):
    """Neurons of one kind, with attention gates on the membrane before it is thresholded.

    gates: name -> module, applied in order to u; the gated membrane is what is thresholded and what
    is carried on (MA-SNN Eq. 14, Activate-PRE).
    """

    def __init__(
        self,
        neuron: Neuron,
        gates: dict[str, nn.Module] | None = None,
        *,
        surrogate: str = "rect",
        width: float | None = None,
    ) -> None:
        super().__init__()
        self.neuron = neuron
        self.gates = nn.ModuleDict(gates or {})
        self.surrogate = surrogate
        self.width = WIDTHS[surrogate] if width is None else width

    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """Input current x and membrane h, both (B, ...) -> spikes and the membrane to carry."""
        u = self.neuron.integrate(h, x)
        for gate in self.gates.values():
            u = gate(u)
        s = spike(
            u,
            threshold=self.neuron["threshold"],
            strict=self.neuron.kind in STRICT,
            kind=self.surrogate,
            width=self.width,
        )
        return s, self.neuron.carry(u, s)

    def forward(self, x: Tensor, run: Tensor | None = None) -> Tensor:
        """Currents (T, B, ...) from a zero membrane -> spikes (T, B, ...).

        run (T, B) bool: where False the stream idles that step: no spike, only the leak.
        """
        if not self.gates and x.device.type == "cpu":
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
                carried = torch.where(keep, carried, self.neuron.leak(h))
            spikes.append(s)
            h = carried
        return torch.stack(spikes)


class Weighted(nn.Module):
    """Weights, batch norm and an optional average pool: the input current of a spiking layer."""

    def __init__(self, weights: nn.Module, norm: nn.Module, pool: int = 1) -> None:
        super().__init__()
        self.weights = weights
        self.norm = norm
        self.pool = nn.AvgPool2d(pool) if pool > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.norm(self.weights(x)))

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
