"""Surrogate gradients: a spike is a step, and its derivative is replaced by a bump around the threshold.

Forward is exact (1 where the neuron fires). Backward uses, with d = u - threshold:
    rect       1 / (2 lens)  where |d| < lens                    (MA-SNN: lens 0.25; MS-ResNet: 0.5)
    triangle   max(0, g - |d|) / g^2                             (GAC on CIFAR: g 1)
    atan       (alpha / 2) / (1 + (pi / 2 alpha d)^2)            (SynA, SEW: alpha 2)
    sigmoid    alpha q (1 - q), q = sigmoid(alpha d)             (SpikingJelly's default: alpha 4)
"""

import math
from typing import Any

import torch
from torch import Tensor

WIDTHS = {"rect": 0.25, "triangle": 1.0, "atan": 2.0, "sigmoid": 4.0}


def slope(d: Tensor, kind: str, width: float) -> Tensor:
    """Derivative used in place of the step's, shape of `d`."""
    if kind == "rect":
        return (d.abs() < width).to(d.dtype) / (2 * width)
    if kind == "triangle":
        return (width - d.abs()).clamp(min=0) / width**2
    if kind == "atan":
        return (width / 2) / (1 + (math.pi / 2 * width * d) ** 2)
    q = torch.sigmoid(width * d)
    return width * q * (1 - q)


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, threshold: float, strict: bool, kind: str, width: float) -> Tensor:
        ctx.save_for_backward(u)
        ctx.settings = (threshold, kind, width)
        return (u > threshold if strict else u >= threshold).to(u.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
        (u,) = ctx.saved_tensors
        threshold, kind, width = ctx.settings
        return grad * slope(u - threshold, kind, width), None, None, None, None


def spike(u: Tensor, *, threshold: float, strict: bool, kind: str = "rect", width: float = 0.25) -> Tensor:
    """Spikes (0 or 1, shape and dtype of `u`), differentiable by the surrogate called `kind`."""
    return _Spike.apply(u, threshold, strict, kind, width)
