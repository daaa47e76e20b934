"""A convolution as kernels want it: which taps its weights are of, and what it is with the pool behind it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spikeline.pipeline.engines.sparse.program import padded

Float = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Convolution:
    """kernel (O, I, rows, columns) float64 in the graph's order; shapes (C, H, W) of input and output.

    A linear layer is one too, with a kernel as large as its input.
    """

    kernel: Float
    stride: int
    padding: int
    before: tuple[int, int, int]
    after: tuple[int, int, int]

    @property
    def reach(self) -> int:
        """Weights that an output sums."""
        return int(np.prod(self.kernel.shape[1:]))

    def sizes(self, kinds: int = 1) -> tuple[int, ...]:
        """H, W, Ho, Wo, Cin, C, rows, columns, stride, padding, as kernels_layer.py has them. kinds: channels
        that stand for one of the input's."""
        (Cin, H, W), (C, Ho, Wo) = self.before, self.after
        return H, W, Ho, Wo, Cin * kinds, padded(C), *self.kernel.shape[2:], self.stride, self.padding

    def weights(self) -> Float:
        """(rows columns I + 1, C): taps in rows, what they go to last and filled up, and a row of zeros."""
        out = len(self.kernel)
        rows = np.zeros((self.reach + 1, padded(out)))
        rows[:-1, :out] = self.kernel.transpose(2, 3, 1, 0).reshape(self.reach, out)
        return rows


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
