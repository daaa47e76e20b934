"""The handful of array operations in which a lowered graph is evaluated.

models/gates.py and models/evaluate.py say what operations and gates compute in these words alone;
NumPy (models/reference.py), torch and ONNX (the engines) each supply them, so that a gate's formula
stands in one place. A `Value` is an array of whoever supplies them, with a leading batch axis B; a
window stands step after step along it, (T B, ...). Values also take + - * / < > and >=.
"""

from typing import Any, Protocol

Value = Any


class Arithmetic(Protocol):
    def mean(self, x: Value, axes: tuple[int, ...], keep: bool = False) -> Value: ...
    def sum(self, x: Value, axes: tuple[int, ...]) -> Value: ...
    def amax(self, x: Value, axes: tuple[int, ...]) -> Value: ...
    def relu(self, x: Value) -> Value: ...
    def sigmoid(self, x: Value) -> Value: ...
    def sqrt(self, x: Value) -> Value: ...
    def maximum(self, a: Value, b: Value) -> Value: ...

    def minimum(self, x: Value, most: float) -> Value: ...

    def number(self, condition: Value) -> Value:
        """1 where true, else 0."""

    def at_least(self, x: Value, least: Value) -> Value:
        """1 where x >= least, else 0; training gives it a surrogate gradient."""

    def linear(self, x: Value, weight: Value, bias: Value | None = None) -> Value:
        """x W^T + b of x (B, N)."""

    def conv(
        self,
        x: Value,
        weight: Value,
        bias: Value | None = None,
        *,
        stride: int = 1,
        pads: tuple[int, int] = (0, 0),
        groups: int = 1,
    ) -> Value:
        """Cross-correlation of x (B, C, H, W), zero padded above and left, below and right by `pads`."""

    def pool(
        self, x: Value, kind: str, size: int, stride: int, padding: int, shape: tuple[int, ...]
    ) -> Value:
        """avg, max or adaptive (to size x size averages) of x (B, *shape)."""

    def flatten(self, x: Value) -> Value:
        """(B, ...) -> (B, N)."""

    def groups(self, x: Value, size: int, count: int) -> Value:
        """Means of neighbours: (B, count size) -> (B, count)."""

    def unsqueeze(self, x: Value, axes: tuple[int, ...]) -> Value:
        """New axes of length 1 at these places of the result."""

    def transpose(self, x: Value) -> Value:
        """Of a matrix."""

    def concat(self, values: list[Value], axis: int = 1) -> Value: ...

    def parts(self, x: Value, n: int) -> list[Value]:
        """n equal parts of x along its first axis: (n B, ...) -> n times (B, ...)."""

    def tail(self, x: Value) -> Value:
        """x[:, 1:]."""

    def rows(self, table: Value, position: Value) -> Value:
        """Rows of a graph's tensor: table[min(position, its last row)], position (B,)."""

    def smallest(self, x: Value, k: int) -> Value:
        """x (B, T) -> (B, 1), its k-th smallest, from 0 on."""

    def split(self, x: Value, steps: int, shape: tuple[int, ...]) -> Value:
        """(T B, *shape) -> (T, B, *shape)."""

    def merge(self, x: Value, shape: tuple[int, ...]) -> Value:
        """(T, B, *shape) -> (T B, *shape)."""


def adaptive_parts(n: int, parts: int) -> list[tuple[int, int]]:
    """Begin and end of each of `parts` stretches that cover n values, as adaptive pooling cuts them.

    >>> adaptive_parts(5, 2)
    [(0, 3), (2, 5)]
    """
    return [(i * n // parts, -(-(i + 1) * n // parts)) for i in range(parts)]
