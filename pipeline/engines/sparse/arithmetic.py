"""models/arithmetic.py in NumPy float32 for what is not spikes: values (B, C, H, W), channels last in memory.

Streams are computed apart wherever BLAS is asked, so that a stream's bits do not depend on the others.
"""

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from spikeline.models.arithmetic import adaptive_parts

Array = NDArray[Any]
F = np.float32


class Dense:
    def __init__(self) -> None:
        self._matrices: dict[tuple[int, int], tuple[Array, Array]] = {}

    def mean(self, x: Array, axes: tuple[int, ...], keep: bool = False) -> Array:
        return x.mean(axes, keepdims=keep, dtype=F)

    def sum(self, x: Array, axes: tuple[int, ...]) -> Array:
        return x.sum(axes, dtype=F)

    def amax(self, x: Array, axes: tuple[int, ...]) -> Array:
        return x.max(axes)

    def relu(self, x: Array) -> Array:
        return np.maximum(x, F(0))

    def sigmoid(self, x: Array) -> Array:
        e = np.exp(-np.abs(x))  # at most 1
        return np.where(x >= 0, F(1), e) / (F(1) + e)

    def sqrt(self, x: Array) -> Array:
        return np.sqrt(x)

    def maximum(self, a: Array, b: Array) -> Array:
        return np.maximum(a, b)

    def minimum(self, x: Array, most: float) -> Array:
        return np.minimum(x, F(most))

    def number(self, condition: Array) -> Array:
        return condition.astype(F)

    def at_least(self, x: Array, least: Array | float) -> Array:
        return (x >= least).astype(F)

    def linear(self, x: Array, weight: Array, bias: Array | None = None) -> Array:
        y = _product(x[:, None], weight.T)[:, 0]
        return y if bias is None else y + bias

    def conv(
        self,
        x: Array,
        weight: Array,
        bias: Array | None = None,
        *,
        stride: int = 1,
        pads: tuple[int, int] = (0, 0),
        groups: int = 1,
    ) -> Array:
        out, per, k, _ = weight.shape
        last = x.transpose(0, 2, 3, 1)
        if any(pads):
            last = np.pad(last, ((0, 0), pads, pads, (0, 0)))
        windows = sliding_window_view(last, (k, k), axis=(1, 2))[:, ::stride, ::stride]
        B, Ho, Wo = windows.shape[:3]
        parts = []
        for g in range(groups):
            part = windows[:, :, :, g * per : (g + 1) * per].transpose(0, 1, 2, 4, 5, 3)
            matrix = self._matrix(weight, groups, g)
            parts.append(_product(part.reshape(B, Ho * Wo, k * k * per), matrix))
        y = parts[0] if groups == 1 else np.concatenate(parts, 2)
        if bias is not None:
            y += bias
        return y.reshape(B, Ho, Wo, out).transpose(0, 3, 1, 2)

    def _matrix(self, weight: Array, groups: int, g: int) -> Array:
        """(k k I, O / groups) of a group's kernel; made once, since a graph's tensors stay where they are."""
        key = (id(weight), g)
        if key not in self._matrices:
            out, per, k, _ = weight.shape
            part = weight[g * out // groups : (g + 1) * out // groups]
            self._matrices[key] = (weight, part.transpose(2, 3, 1, 0).reshape(k * k * per, -1))
        return self._matrices[key][1]

    def pool(
        self, x: Array, kind: str, size: int, stride: int, padding: int, shape: tuple[int, ...]
    ) -> Array:
        if kind == "adaptive":
            rows, columns = (adaptive_parts(n, size) for n in shape[1:])
            return np.stack(
                [np.stack([self.mean(x[:, :, a:b, c:d], (2, 3)) for c, d in columns], -1) for a, b in rows], 2
            )
        Ho, Wo = ((n + 2 * padding - size) // stride + 1 for n in shape[1:])
        if padding:
            side = ((padding, padding),) * 2
            x = np.pad(x, ((0, 0), (0, 0), *side), constant_values=-np.inf)
        total = None
        for i in range(size):
            for j in range(size):
                part = x[:, :, i : i + (Ho - 1) * stride + 1 : stride, j : j + (Wo - 1) * stride + 1 : stride]
                if total is None:
                    total = part.copy(order="K")
                elif kind == "max":
                    np.maximum(total, part, out=total)
                else:
                    total += part
        assert total is not None
        return total if kind == "max" else total * F(1 / size**2)

    def flatten(self, x: Array) -> Array:
        return x.reshape(len(x), -1)

    def groups(self, x: Array, size: int, count: int) -> Array:
        return x.reshape(len(x), count, size).mean(2, dtype=F)

    def unsqueeze(self, x: Array, axes: tuple[int, ...]) -> Array:
        return np.expand_dims(x, axes)

    def transpose(self, x: Array) -> Array:
        return x.T

    def concat(self, values: list[Array], axis: int = 1) -> Array:
        return np.concatenate(values, axis)

    def parts(self, x: Array, n: int) -> list[Array]:
        return np.split(x, n)

    def tail(self, x: Array) -> Array:
        return x[:, 1:]

    def rows(self, table: Array, position: Array) -> Array:
        return table[np.minimum(position, len(table) - 1)]

    def smallest(self, x: Array, k: int) -> Array:
        return np.sort(x, 1)[:, k : k + 1]

    def split(self, x: Array, steps: int, shape: tuple[int, ...]) -> Array:
        return x.reshape(steps, -1, *shape)

    def merge(self, x: Array, shape: tuple[int, ...]) -> Array:
        return x.reshape(-1, *shape)


def _product(a: Array, b: Array) -> Array:
    """a b. BLAS reads past short rows and throws away what it finds there, but for a warning of NumPy's."""
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        return np.matmul(a, b)
