"""A whole sample through one spiking layer in one pass: training's form of `SpikingLayer.step`.

Same neuron, same surrogate, one Numba loop forward and one backward in place of a dozen torch calls a
step. Every neuron of models/neurons.py is linear between spikes, so its formulas are asked for their
coefficients rather than written again:

    u = a h + b x + c       h' = p0 u + q0 without a spike, p1 u + q1 after one       leak: h' = d h + e
"""

from typing import Any, NamedTuple

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spikeline.models.neurons import STRICT, Neuron

KINDS = ("rect", "triangle", "atan", "sigmoid")


class Coefficients(NamedTuple):
    a: float
    b: float
    c: float
    p0: float
    q0: float
    p1: float
    q1: float
    d: float
    e: float


def coefficients(neuron: Neuron) -> Coefficients:
    """The neuron's update as numbers, read off its formulas."""
    c = neuron.integrate(0.0, 0.0)
    q0, q1, e = neuron.carry(0.0, 0.0), neuron.carry(0.0, 1.0), neuron.leak(0.0)
    return Coefficients(
        neuron.integrate(1.0, 0.0) - c,
        neuron.integrate(0.0, 1.0) - c,
        c,
        neuron.carry(1.0, 0.0) - q0,
        q0,
        neuron.carry(1.0, 1.0) - q1,
        q1,
        neuron.leak(1.0) - e,
        e,
    )


def spikes_over_time(x: Tensor, run: Tensor | None, neuron: Neuron, surrogate: str, width: float) -> Tensor:
    """Currents x (T, B, ...) -> spikes (T, B, ...), from a zero membrane; run (T, B) bool or None for all."""
    if run is None:
        run = torch.ones(x.shape[:2], dtype=torch.bool)
    return _Spikes.apply(x, run, neuron, surrogate, width)


class _Spikes(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, run: Tensor, neuron: Neuron, surrogate: str, width: float) -> Tensor:
        flat = _flat(x)
        u, s = np.empty_like(flat), np.zeros_like(flat)
        h = np.zeros(flat.shape[1:], flat.dtype)
        numbers = np.array(coefficients(neuron), flat.dtype)
        ctx.settings = (numbers, neuron["threshold"], KINDS.index(surrogate), width)
        ctx.run = run.numpy()
        _forward(flat, ctx.run, numbers, flat.dtype.type(neuron["threshold"]), neuron.kind in STRICT, h, u, s)
        ctx.u, ctx.s = u, s
        return _shaped(s, x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
        numbers, threshold, kind, width = ctx.settings
        flat = _flat(grad)
        out = np.zeros_like(flat)
        gh = np.zeros(flat.shape[1:], flat.dtype)
        real = flat.dtype.type
        shape = (kind, real(width), real(np.pi / 2))  # all of one dtype, or Numba computes in float64
        _backward(flat, ctx.run, numbers, real(threshold), *shape, ctx.u, ctx.s, gh, out)
        return _shaped(out, grad), None, None, None, None


def _flat(x: Tensor) -> NDArray[Any]:
    """(T, B, ...) as (T, B, values) in channels-last order, without copying where it lies so already."""
    if x.ndim == 5:
        x = x.permute(0, 1, 3, 4, 2)
    return x.contiguous().detach().numpy().reshape(*x.shape[:2], -1)


def _shaped(values: NDArray[Any], like: Tensor) -> Tensor:
    out = torch.from_numpy(values)
    if like.ndim == 5:
        T, B, C, H, W = like.shape
        return out.view(T, B, H, W, C).permute(0, 1, 4, 2, 3)
    return out.view(like.shape)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _forward(x, run, numbers, threshold, strict, h, u, s):
    """x, u, s (T, B, N); h (B, N) zeros; run (T, B)."""
    a, b, c, p0, q0, p1, q1, d, e = numbers
    for t in range(x.shape[0]):
        for k in range(x.shape[1]):
            if run[t, k]:
                for i in range(x.shape[2]):
                    v = a * h[k, i] + b * x[t, k, i] + c
                    fired = v > threshold if strict else v >= threshold
                    u[t, k, i] = v
                    s[t, k, i] = 1 if fired else 0
                    h[k, i] = p1 * v + q1 if fired else p0 * v + q0
            else:
                for i in range(x.shape[2]):
                    u[t, k, i] = 0
                    h[k, i] = d * h[k, i] + e


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _backward(gs, run, numbers, threshold, kind, width, quarter_turn, u, s, gh, gx):
    """Gradient of the loss by the currents, gx (T, B, N), from that by the spikes, gs (T, B, N)."""
    a, b, _, p0, q0, p1, q1, d, _ = numbers
    for t in range(gs.shape[0] - 1, -1, -1):
        for k in range(gs.shape[1]):
            if run[t, k]:
                for i in range(gs.shape[2]):
                    v, carried = u[t, k, i], gh[k, i]
                    by_u = p1 if s[t, k, i] > 0 else p0
                    by_s = (p1 - p0) * v + (q1 - q0)
                    g = carried * by_u + (gs[t, k, i] + carried * by_s) * _slope(
                        v - threshold, kind, width, quarter_turn
                    )
                    gx[t, k, i] = b * g
                    gh[k, i] = a * g
            else:
                for i in range(gs.shape[2]):
                    gh[k, i] *= d


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _slope(x, kind, width, quarter_turn):
    """models/surrogate.py's `slope`, of one value; quarter_turn is pi / 2 in the dtype of x."""
    if kind == 0:
        return 1 / (2 * width) if abs(x) < width else 0 * x
    if kind == 1:
        return max(0 * x, width - abs(x)) / (width * width)
    if kind == 2:
        z = quarter_turn * width * x
        return width / 2 / (1 + z * z)
    q = 1 / (1 + np.exp(-width * x))
    return width * q * (1 - q)
