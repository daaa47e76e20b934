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

from spikeline.models.neurons import FLUSH, STRICT, Neuron
from spikeline.models.threads import over_samples

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


def spikes_over_time(
    x: Tensor,
    run: Tensor | None,
    neuron: Neuron,
    surrogate: str,
    width: float,
    *,
    detach: bool = False,
    rate: Tensor | None = None,
    start: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Currents x (T, B, ...) -> spikes (T, B, ...), and the membrane (B, ...) behind them.

    run (T, B) bool or None for all. detach: the spikes that reset the membrane carry no gradient. rate:
    PLIF's learned one, a scalar in the place of the neuron's own; it gets its gradient. start: the membrane
    before the first step, zero without it; no gradient passes to it, nor back from the one returned.
    """
    if run is None:
        run = torch.ones(x.shape[:2], dtype=torch.bool)
    if start is None:
        start = x.new_zeros(x.shape[1:])
    return _Spikes.apply(x, rate, start, run, neuron, surrogate, width, detach)


class _Spikes(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        rate: Tensor | None,
        start: Tensor,
        run: Tensor,
        neuron: Neuron,
        surrogate: str,
        width: float,
        detach: bool,
    ) -> tuple[Tensor, Tensor]:
        flat = _flat(x)
        u, s = np.empty_like(flat), np.zeros_like(flat)
        h = _flat(start[None])[0].copy()
        ctx.by_rate = None
        kept = [start, run]
        if rate is not None:
            slopes = np.subtract(coefficients(_at(neuron, 1.0)), coefficients(_at(neuron, 0.0)))
            ctx.by_rate = slopes.astype(flat.dtype)  # the coefficients are linear in it
            kept.append(x)
            neuron = _at(neuron, rate.item())
        numbers = np.array(coefficients(neuron), flat.dtype)
        ctx.settings = (numbers, neuron["threshold"], KINDS.index(surrogate), width, detach)
        threshold = flat.dtype.type(neuron["threshold"])
        ran, strict = run.numpy(), neuron.kind in STRICT
        over_samples(
            lambda a, b: _forward(flat, ran, numbers, threshold, strict, h, u, s, a, b), flat.shape[1]
        )
        spikes, end = _shaped(s, x), _shaped(h[None], x[:1])[0]
        ctx.save_for_backward(spikes, torch.from_numpy(u), *kept)
        ctx.mark_non_differentiable(end)
        return spikes, end

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        numbers, threshold, kind, width, detach = ctx.settings
        spikes, potential, start, run, *kept = ctx.saved_tensors
        u, s, run = potential.numpy(), _flat(spikes), run.numpy()
        flat = _flat(grad)
        out = np.empty_like(flat)
        gh = np.zeros(flat.shape[1:], flat.dtype)
        real = flat.dtype.type
        shape = (kind, real(width), real(np.pi / 2))  # all of one dtype, or Numba computes in float64
        learns = ctx.by_rate is not None
        scale = real(1) if learns else numbers[1]
        settings = (numbers, real(threshold), *shape, u, s, gh, out, detach, scale, learns)
        over_samples(lambda a, b: _backward(flat, run, *settings, a, b), flat.shape[1])
        by_rate = None
        if learns:
            h = _flat(start[None])[0].copy()
            found = _rate_gradient(out, run, numbers, ctx.by_rate, u, s, _flat(kept[0]), h)
            by_rate = torch.tensor(found, dtype=grad.dtype)
            out *= numbers[1]
            out[~run] = 0
        return _shaped(out, grad), by_rate, None, None, None, None, None, None


def _at(neuron: Neuron, rate: float) -> Neuron:
    return Neuron(neuron.kind, tuple((dict(neuron.constants) | {"rate": rate}).items()))


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
def _forward(x, run, numbers, threshold, strict, h, u, s, first, end):
    """x, u, s (T, B, N); run (T, B); h (B, N), the membrane before and, changed in place, behind. Into u at
    skipped steps: what the leak left. Samples from `first` to before `end`."""
    a, b, c, p0, q0, p1, q1, d, e = numbers
    for t in range(x.shape[0]):
        for k in range(first, end):
            if run[t, k]:
                for i in range(x.shape[2]):
                    v = a * h[k, i] + b * x[t, k, i] + c
                    fired = v > threshold if strict else v >= threshold
                    u[t, k, i] = v
                    s[t, k, i] = 1 if fired else 0
                    h[k, i] = p1 * v + q1 if fired else p0 * v + q0
            else:
                for i in range(x.shape[2]):
                    left = d * h[k, i] + e
                    h[k, i] = 0 if abs(left) < FLUSH else left
                    u[t, k, i] = h[k, i]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _backward(
    gs, run, numbers, threshold, kind, width, quarter_turn, u, s, gh, gx, detach, scale, keep, first, end
):
    """From the gradient of the loss by the spikes, gs (T, B, N), that by the potential u times `scale` into
    gx (T, B, N); with scale b that is the one by the currents. keep: at skipped steps the gradient by the
    membrane that the leak left, else 0. gh (B, N) zeros. Samples from `first` to before `end`."""
    a, _, _, p0, q0, p1, q1, d, _ = numbers
    for t in range(gs.shape[0] - 1, -1, -1):
        for k in range(first, end):
            if run[t, k]:
                for i in range(gs.shape[2]):
                    v, carried = u[t, k, i], gh[k, i]
                    by_u = p1 if s[t, k, i] > 0 else p0
                    by_s = gs[t, k, i]
                    if not detach:
                        by_s += carried * ((p1 - p0) * v + (q1 - q0))
                    g = carried * by_u + by_s * _slope(v - threshold, kind, width, quarter_turn)
                    gx[t, k, i] = scale * g
                    gh[k, i] = a * g
            else:
                for i in range(gs.shape[2]):
                    gx[t, k, i] = gh[k, i] if keep else 0
                    gh[k, i] *= d


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _rate_gradient(g, run, numbers, by_rate, u, s, x, h):
    """Gradient of the loss by PLIF's rate: by_rate holds the coefficients' derivatives, g what `_backward`
    kept. h (B, N) is overwritten: membranes, from those before the first step."""
    _, _, _, p0, q0, p1, q1, _, _ = numbers
    da, db, dc, _, _, _, _, dd, de = by_rate
    total = 0.0
    for t in range(g.shape[0]):
        for k in range(g.shape[1]):
            if run[t, k]:
                for i in range(g.shape[2]):
                    total += g[t, k, i] * (da * h[k, i] + db * x[t, k, i] + dc)
                    v = u[t, k, i]
                    h[k, i] = p1 * v + q1 if s[t, k, i] > 0 else p0 * v + q0
            else:
                for i in range(g.shape[2]):
                    total += g[t, k, i] * (dd * h[k, i] + de)
                    h[k, i] = u[t, k, i]
    return total


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
