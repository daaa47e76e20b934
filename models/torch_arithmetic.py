"""models/arithmetic.py on torch tensors: for training, where hard decisions have a surrogate gradient, and
for the torch engine."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from spikeline.models.surrogate import spike


class Torch:
    """Works in the dtype and on the device of the tensors it is given."""

    def mean(self, x: Tensor, axes: tuple[int, ...], keep: bool = False) -> Tensor:
        return x.mean(axes, keepdim=keep)

    def sum(self, x: Tensor, axes: tuple[int, ...]) -> Tensor:
        return x.sum(axes)

    def amax(self, x: Tensor, axes: tuple[int, ...]) -> Tensor:
        return x.amax(axes)

    def relu(self, x: Tensor) -> Tensor:
        return torch.relu(x)

    def sigmoid(self, x: Tensor) -> Tensor:
        return torch.sigmoid(x)

    def sqrt(self, x: Tensor) -> Tensor:
        return x.sqrt()

    def maximum(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.maximum(a, b)

    def minimum(self, x: Tensor, most: float) -> Tensor:
        return x.clamp(max=most)

    def number(self, condition: Tensor) -> Tensor:
        return condition.to(torch.get_default_dtype())

    def at_least(self, x: Tensor, least: Any) -> Tensor:
        if not x.requires_grad:
            return (x >= least).to(x.dtype)
        return spike(x - least, threshold=0.0, strict=False, kind="atan", width=2.0)

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return F.linear(x, weight, bias)

    def conv(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        *,
        stride: int = 1,
        pads: tuple[int, int] = (0, 0),
        groups: int = 1,
    ) -> Tensor:
        if pads[0] == pads[1]:
            return F.conv2d(x, weight, bias, stride, pads[0], groups=groups)
        return F.conv2d(F.pad(x, pads * 2), weight, bias, stride, groups=groups)

    def pool(
        self, x: Tensor, kind: str, size: int, stride: int, padding: int, shape: tuple[int, ...]
    ) -> Tensor:
        if kind == "adaptive":
            return F.adaptive_avg_pool2d(x, size)
        return F.max_pool2d(x, size, stride, padding) if kind == "max" else F.avg_pool2d(x, size, stride)

    def flatten(self, x: Tensor) -> Tensor:
        return x.flatten(1)

    def groups(self, x: Tensor, size: int, count: int) -> Tensor:
        return x.unflatten(1, (count, size)).mean(2)

    def unsqueeze(self, x: Tensor, axes: tuple[int, ...]) -> Tensor:
        for axis in axes:
            x = x.unsqueeze(axis)
        return x

    def transpose(self, x: Tensor) -> Tensor:
        return x.T

    def concat(self, values: list[Tensor], axis: int = 1) -> Tensor:
        return torch.cat(values, axis)

    def parts(self, x: Tensor, n: int) -> list[Tensor]:
        return list(x.unflatten(0, (n, -1)).unbind())

    def tail(self, x: Tensor) -> Tensor:
        return x[:, 1:]

    def rows(self, table: Tensor, position: Tensor) -> Tensor:
        return table[position.clamp(max=len(table) - 1)]

    def smallest(self, x: Tensor, k: int) -> Tensor:
        return x.sort(1).values[:, k : k + 1]

    def split(self, x: Tensor, steps: int, shape: tuple[int, ...]) -> Tensor:
        return x.unflatten(0, (steps, -1))

    def merge(self, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        return x.flatten(0, 1)
