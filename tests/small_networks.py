"""Every registered network, small: what the contract tests run over."""

import functools

import numpy as np
import torch
from torch import nn

from spikeline.models.gate_layer import GateLayer
from spikeline.models.neurons import neuron
from spikeline.models.registry import build, networks
from spikeline.models.spiking_layer import SpikingLayer

CASES = [(name, i) for name, entry in networks().items() for i in range(len(entry.variants))]
IDS = [f"{name}-{i}" for name, i in CASES]
BATCH = 3


def settings_of(case):
    name, i = case
    return networks()[name].variants[i]


@functools.cache
def small_network(case):
    """The network in float64 and evaluation mode, with weights at which its neurons fire.

    Every caller shares it: it must not be changed.
    """
    torch.manual_seed(3)
    net = build(case[0], **settings_of(case))
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.constant_(module.weight, 3.0)
    net.train()
    with torch.no_grad():
        for seed in range(8):  # running statistics that differ from those of a fresh batch norm
            net.over_time(frames_for(net, seed=seed).float())
    net.eval().double()
    _make_every_layer_fire(net)
    return net


def _make_every_layer_fire(net):
    """Lower the threshold of layers that are silent behind their attention, open inhibitions that let nothing
    through, the first ones first."""
    frames = frames_for(net, seed=9)

    def share(name):
        with torch.no_grad():
            return (net.values(frames)[name] > 0).double().mean()

    for name in net.parts:
        part = net.part(name)
        if isinstance(part, GateLayer) and part.attrs["kind"] == "ia":
            weights = part.table["weight" if "weight" in part.table else "w1"].data
            for _ in range(12):
                weights *= -4.0  # in turn, since scores may all be of one sign
                if share(name) > 0.15:
                    break
            weights *= 4.0  # clear of the threshold for other frames too
        elif isinstance(part, SpikingLayer):
            for _ in range(12):
                if share(name) > 0.05:
                    break
                lower = part.neuron["threshold"] / 2
                part.neuron = neuron(part.neuron.kind, **dict(part.neuron.constants) | {"threshold": lower})


def frames_for(net, steps=None, *, seed=100, batch=BATCH):
    """Counts (T, B, C, H, W) float64, about half of them zero."""
    generator = torch.Generator().manual_seed(seed)
    shape = (net.steps if steps is None else steps, batch, *net.shapes[net.frames])
    return torch.poisson(torch.full(shape, 0.7, dtype=torch.float64), generator=generator)


def counts(frames):
    return frames.numpy().astype(np.uint16)
