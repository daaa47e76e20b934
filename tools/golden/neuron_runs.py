"""Neurons over a window, step by step, with the gradient of sum(y w): what the neuron vectors hold."""

import torch
from torch import Tensor

from golden.vector import Results, Vector
from spikeline.models.spiking_layer import SpikingLayer


def run(
    layer: SpikingLayer, x: Tensor, weights: Tensor, *, start: float = 0.0
) -> tuple[Tensor, Tensor, Tensor]:
    """x, weights (T, B, ...) -> outputs, carried membranes, gradient of sum(outputs weights) by x."""
    x = x.detach().clone().requires_grad_(True)
    h = torch.full_like(x[0], start)
    outputs, carried = [], []
    for current in x.unbind():
        y, h = layer.step(current, h)
        outputs.append(y)
        carried.append(h)
    y = torch.stack(outputs)
    (y * weights).sum().backward()
    return y, torch.stack(carried), x.grad


def window(layer: SpikingLayer, x: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """The same from a zero membrane by the layer's window form -> outputs, gradient."""
    x = x.detach().clone().contiguous().requires_grad_(True)
    y = layer.over_time(x)
    (y * weights).sum().backward()
    return y, x.grad


def both(v: Vector, layer: SpikingLayer, *, batch_first: bool, membrane: str, start: float = 0.0) -> Results:
    """Results of a neuron vector with arrays x, y, w, grad_x and the carried membrane's, in both forms."""
    order = (lambda a: a.transpose(0, 1)) if batch_first else (lambda a: a)
    layer = layer.to(v.dtype)
    x, weights = order(v.tensor("x")), order(v.tensor("w"))
    y, h, grad = run(layer, x, weights, start=start)
    results = {"y": order(y), "grad_x": order(grad)}
    if membrane:
        results[membrane] = order(h)
    if start == 0.0:
        y, grad = window(layer, x, weights)
        results |= {"y@window": order(y), "grad_x@window": order(grad)}
    return results
