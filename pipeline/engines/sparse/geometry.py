"""A convolution seen from its input: where a spike's weights stand and where they go.

A spike at (y, x) reaches the outputs o with o stride + t - padding = y for a tap t of the kernel. Which taps
those are depends on (y + padding) mod stride alone: its class. Weights are laid out so that of one class and
input channel the taps stand in the order of the outputs they go to, channels last: `ny` rows of `nx C`
values, added to `ny` rows of the output without a gap.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Convolution:
    """kernel (O, I, k, k) float64 in the graph's order; shapes (C, H, W) of input and output."""

    kernel: Float
    stride: int
    padding: int
    before: tuple[int, int, int]
    after: tuple[int, int, int]

    @property
    def numbers(self) -> NDArray[np.int64]:
        """What kernels want to know: H, W of input and output, channels, k, stride, padding."""
        _, H, W = self.before
        C, Ho, Wo = self.after
        return np.array([H, W, Ho, Wo, C, self.kernel.shape[-1], self.stride, self.padding], np.int64)

    @property
    def taps(self) -> NDArray[np.int64]:
        """Of each class, how many taps along one axis it has."""
        k, s = self.kernel.shape[-1], self.stride
        return np.array([max(0, -(-(k - r) // s)) for r in range(s)], np.int64)

    @property
    def often(self) -> float:
        """Of so many input pixels with spikes on, so many of the output's pixels are reached that to look at
        each, and to make up for what it has missed, costs more than to sweep them all."""
        _, Ho, Wo = self.after
        return 0.5 * Ho * Wo * (self.stride / self.kernel.shape[-1]) ** 2

    def weights(self) -> tuple[Float, NDArray[np.int64]]:
        """All weights in a row, and where each class (row, column) begins."""
        k, s, taps = self.kernel.shape[-1], self.stride, self.taps
        parts: list[Float] = []
        starts = np.zeros((s, s), np.int64)
        at = 0
        for ry in range(s):
            for rx in range(s):
                rows, columns = (
                    [r + (n - 1 - i) * s for i in range(n)] for r, n in ((ry, taps[ry]), (rx, taps[rx]))
                )
                part = self.kernel[:, :, rows][:, :, :, columns]  # (O, I, ny, nx)
                starts[ry, rx] = at
                parts.append(part.transpose(1, 2, 3, 0).ravel())
                at += part.size
        assert at == self.kernel.size or s > k
        return np.concatenate(parts), starts


def averaged(kernel: Float, stride: int, size: int, step: int) -> tuple[Float, int]:
    """The convolution that a convolution and the average pool (size, step) behind it are together."""
    out, into, k, _ = kernel.shape
    wide = np.zeros((out, into, *(2 * [(size - 1) * stride + k])))
    for i in range(size):
        for j in range(size):
            wide[:, :, i * stride : i * stride + k, j * stride : j * stride + k] += kernel
    return wide / size**2, stride * step


def expanded(kernel: Float, groups: int) -> Float:
    """A grouped kernel (O, I / groups, k, k) as a full one with zeros."""
    every, per, k, _ = kernel.shape
    full = np.zeros((every, per * groups, k, k))
    out = every // groups
    for g in range(groups):
        full[g * out : (g + 1) * out, g * per : (g + 1) * per] = kernel[g * out : (g + 1) * out]
    return full
