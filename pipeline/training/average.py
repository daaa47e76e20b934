"""Running means of the weights: what is measured and published in place of the last batch's weights.

Batch norm's statistics belong to the weights that made them, so the mean's are taken anew on a few batches.
"""

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from spikeline.models.network import Network
from spikeline.pipeline.training.augment import Batch
from spikeline.pipeline.training.machine import Machine

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


class Average:
    """Means of a network's parameters by `decay` per batch; over all batches while there are few."""

    def __init__(self, network: Network, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.means = {name: p.detach().clone() for name, p in network.named_parameters()}

    def update(self, network: Network) -> None:
        self.updates += 1
        decay = min(self.decay, self.updates / (self.updates + 10))
        with torch.no_grad():
            for name, p in network.named_parameters():
                self.means[name].lerp_(p, 1 - decay)

    def network(self, network: Network, batches: Iterable[Batch], machine: Machine) -> Network:
        """A copy of the network with the mean weights, in evaluation mode."""
        averaged = copy.deepcopy(network).eval()
        with torch.no_grad():
            for name, p in averaged.named_parameters():
                p.copy_(self.means[name])
        machine.share_norms(averaged)
        take_statistics(averaged, batches, machine)
        return averaged

    def state_dict(self) -> dict[str, int | dict[str, Tensor]]:
        return {"updates": self.updates, "means": self.means}

    def load_state_dict(self, state: dict) -> None:
        self.updates = state["updates"]
        for name, mean in state["means"].items():
            self.means[name].copy_(mean)


def take_statistics(network: Network, batches: Iterable[Batch], machine: Machine) -> None:
    """Batch norm's running statistics become the plain means over these batches."""
    norms = [m for m in network.modules() if isinstance(m, NORMS)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean of all batches alike
        norm.train()
    with torch.no_grad():
        for batch in batches:
            run = machine.put(batch.run)
            network.over_time(machine.put(batch.frames).float(), None if batch.run.all() else run)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
