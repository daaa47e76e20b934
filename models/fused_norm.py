"""Batch norm and the average pool behind it, in training on a processor, as one pass each way.

    z = pool(scale (y - mean) / sqrt(var + eps) + shift)        statistics over batch, time and pixels

Both are linear once the statistics are known, so y is read once for its statistics and its pooled values, and
only those are scaled. Sums are carried in float64: torch's own batch norm of values with the channels last
adds them up in float32, one after another, and is wrong in the third digit at a million values a channel.
"""

from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spikeline.models.threads import over_samples


def norm_pool(norm: nn.BatchNorm2d, y: Tensor, pool: int = 1) -> Tensor:
    """What `norm` in training and an average over pool x pool make of y (N, C, H, W) with the channels last;
    its running statistics are updated."""
    z, mean, var = _NormPool.apply(y, norm.weight, norm.bias, norm.eps, pool)
    if norm.track_running_stats:
        count = y.numel() // y.shape[1]
        with torch.no_grad():
            norm.num_batches_tracked += 1
            share = 1 / norm.num_batches_tracked if norm.momentum is None else norm.momentum
            norm.running_mean.lerp_(mean, share)
            norm.running_var.lerp_(var * (count / (count - 1)), share)
    return z


class _NormPool(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, y: Tensor, weight: Tensor, bias: Tensor, eps: float, pool: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        flat = _last(y)
        N, H, W, C = flat.shape
        pooled = flat if pool == 1 else np.empty((N, H // pool, W // pool, C), flat.dtype)
        sums = np.zeros((2, N, C))
        over_samples(lambda a, b: _read(flat, pool, pooled, sums, a, b), N)
        mean, square = sums.sum(1) / (N * H * W)
        var = np.maximum(square - mean * mean, 0)
        steady = 1 / np.sqrt(var + eps)
        scale = weight.detach().numpy() * steady
        shift = bias.detach().numpy() - mean * scale
        z = np.empty_like(pooled)
        line = scale.astype(flat.dtype), shift.astype(flat.dtype)
        over_samples(lambda a, b: _scale(pooled, *line, z, a, b), N)
        ctx.pool, ctx.like, ctx.numbers = pool, y.shape, (mean, steady)
        ctx.save_for_backward(y, weight, *([torch.from_numpy(pooled)] if pool > 1 else []))
        found = torch.from_numpy(mean.astype(flat.dtype)), torch.from_numpy(var.astype(flat.dtype))
        ctx.mark_non_differentiable(*found)
        return torch.from_numpy(z).permute(0, 3, 1, 2), *found

    @staticmethod
    def backward(ctx: Any, gz: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        y, weight, *kept = ctx.saved_tensors
        mean, steady = ctx.numbers
        g, flat = _last(gz), _last(y)
        N, H, W, C = flat.shape
        sums = np.zeros((2, N, C))
        values = kept[0].numpy() if kept else flat
        over_samples(lambda a, b: _sums(g, values, sums, a, b), N)
        by_shift, by_value = sums.sum(1)
        by_scale = (by_value - mean * by_shift) * steady
        scale = weight.detach().numpy() * steady
        a = scale / (ctx.pool * ctx.pool)
        b = -scale * steady * by_scale / (N * H * W)
        c = -scale * by_shift / (N * H * W) - b * mean
        out = np.empty_like(flat)
        plane = [v.astype(flat.dtype) for v in (a, b, c)]
        over_samples(lambda first, end: _spread(g, flat, ctx.pool, *plane, out, first, end), N)
        real = weight.dtype
        return (
            torch.from_numpy(out).permute(0, 3, 1, 2),
            torch.from_numpy(by_scale).to(real),
            torch.from_numpy(by_shift).to(real),
            None,
            None,
        )


def _last(x: Tensor) -> NDArray[Any]:
    """(N, C, H, W) as (N, H, W, C), without a copy where it lies so already."""
    return x.detach().permute(0, 2, 3, 1).contiguous().numpy()


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _read(y, pool, pooled, sums, first, end):
    """pooled (N, H // pool, W // pool, C): means, or with pool 1 y itself; sums (2, N, C): of y and of its
    square, in each sample."""
    _, H, W, C = y.shape
    plain, square = np.empty(C, y.dtype), np.empty(C, y.dtype)
    share = y.dtype.type(1) / y.dtype.type(pool * pool)
    for n in range(first, end):
        for h in range(H):
            plain[:] = 0
            square[:] = 0
            for w in range(W):
                for c in range(C):
                    v = y[n, h, w, c]
                    plain[c] += v
                    square[c] += v * v
            for c in range(C):
                sums[0, n, c] += plain[c]
                sums[1, n, c] += square[c]
        for h in range(H // pool if pool > 1 else 0):
            for w in range(W // pool):
                for c in range(C):
                    pooled[n, h, w, c] = 0
                for i in range(pool):
                    for j in range(pool):
                        for c in range(C):
                            pooled[n, h, w, c] += share * y[n, h * pool + i, w * pool + j, c]


@numba.njit(cache=True, nogil=True)
def _scale(pooled, scale, shift, z, first, end):
    _, H, W, C = pooled.shape
    for n in range(first, end):
        for h in range(H):
            for w in range(W):
                for c in range(C):
                    z[n, h, w, c] = pooled[n, h, w, c] * scale[c] + shift[c]


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _sums(g, pooled, sums, first, end):
    """sums (2, N, C): of g, and of g times the pooled values."""
    _, H, W, C = g.shape
    plain, square = np.empty(C, g.dtype), np.empty(C, g.dtype)
    for n in range(first, end):
        for h in range(H):
            plain[:] = 0
            square[:] = 0
            for w in range(W):
                for c in range(C):
                    v = g[n, h, w, c]
                    plain[c] += v
                    square[c] += v * pooled[n, h, w, c]
            for c in range(C):
                sums[0, n, c] += plain[c]
                sums[1, n, c] += square[c]


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def _spread(g, y, pool, a, b, c, out, first, end):
    """out = a g, at the pixels that g's was pooled from, + b y + c."""
    _, H, W, C = y.shape
    Ho, Wo = g.shape[1], g.shape[2]
    for n in range(first, end):
        for h in range(H):
            for w in range(W):
                hp, wp = h // pool, w // pool
                if hp < Ho and wp < Wo:
                    for k in range(C):
                        out[n, h, w, k] = a[k] * g[n, hp, wp, k] + (b[k] * y[n, h, w, k] + c[k])
                else:
                    for k in range(C):
                        out[n, h, w, k] = b[k] * y[n, h, w, k] + c[k]
