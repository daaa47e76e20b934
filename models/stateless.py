"""The parts of a torch network that remember nothing from step to step: weights with batch norm, pools,
joins, votes, dropout.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spikeline.models.fused_norm import norm_pool
from spikeline.models.lowering import Lowering
from spikeline.models.operations import join
from spikeline.models.part import Stateless
from spikeline.models.shapes import Shape


class Weighted(Stateless):
    """A convolution or a linear layer, batch norm, and an average pool behind it: a layer's input current.

    before: averages over before x before values ahead of the convolution (MS-ResNet 104's shortcut).
    """

    def __init__(
        self, weights: nn.Module, norm: nn.Module | None = None, pool: int = 1, before: int = 1
    ) -> None:
        super().__init__()
        self.weights = weights
        self.norm = nn.Identity() if norm is None else norm
        self.pool, self.before = pool, before

    @classmethod
    def conv(
        cls, inputs: int, channels: int, kernel: int, stride: int = 1, *, bias: bool = False, **pools: int
    ) -> "Weighted":
        """An odd kernel, same size at stride 1; `pool` and `before` as of the class."""
        conv = nn.Conv2d(inputs, channels, kernel, stride, kernel // 2, bias=bias)
        return cls(conv, nn.BatchNorm2d(channels), **pools)

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(self.weights, nn.Linear):
            x = x.flatten(1)
        x = F.avg_pool2d(x, self.before) if self.before > 1 else x
        x = self.weights(x)
        # A subclass of batch norm computes otherwise, and so does every norm that does not take statistics.
        if type(self.norm) is nn.BatchNorm2d and self.norm.training and x.device.type == "cpu":
            return norm_pool(self.norm, x.to(self.norm.weight.dtype), self.pool)
        x = self.norm(x)
        return F.avg_pool2d(x, self.pool) if self.pool > 1 else x

    def over_time(self, x: Tensor, run: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """Steps that are not run cost nothing and stay 0; batch norm sees only those that run, as it will
        when the network is served."""
        flat = x.flatten(0, 1)
        if flat.ndim == 4:  # channels last: several times faster on a CPU
            flat = flat.contiguous(memory_format=torch.channels_last)
        if run is None:
            return self(flat).unflatten(0, x.shape[:2])
        y = self(flat[run.flatten()])
        out = y.new_zeros((*run.shape, *y.shape[1:]))
        out[run] = y
        return out

    def shape(self, x: Shape) -> Shape:  # type: ignore[override]
        if isinstance(self.weights, nn.Linear):
            return (self.weights.out_features,)
        conv = self.weights
        k, stride, padding = conv.kernel_size[0], conv.stride[0], conv.padding[0]
        sides = (((n // self.before + 2 * padding - k) // stride + 1) // self.pool for n in x[1:])
        return (conv.out_channels, *sides)

    def lower(self, name: str, inputs: list[str], into: Lowering) -> str:
        if self.before > 1:
            inputs = [into.pool(f"{name}.before", inputs, "avg", self.before)]
        inputs = [into.weighted(name, inputs, self.weights, self.norm)]
        return into.pool(f"{name}.pool", inputs, "avg", self.pool) if self.pool > 1 else inputs[0]


class Pool(Stateless):
    """kind: avg, max, global or adaptive (to size x size)."""

    def __init__(self, kind: str, size: int = 1, stride: int | None = None, padding: int = 0) -> None:
        super().__init__()
        self.kind, self.size, self.padding = kind, size, padding
        self.stride = size if stride is None else stride

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "global":
            return x.mean((2, 3))
        if self.kind == "adaptive":
            return F.adaptive_avg_pool2d(x, self.size)
        if self.kind == "max":
            return F.max_pool2d(x, self.size, self.stride, self.padding)
        return F.avg_pool2d(x, self.size, self.stride)

    def shape(self, x: Shape) -> Shape:  # type: ignore[override]
        if self.kind == "global":
            return (x[0],)
        if self.kind == "adaptive":
            return (x[0], self.size, self.size)
        return (x[0], *((n + 2 * self.padding - self.size) // self.stride + 1 for n in x[1:]))

    def lower(self, name: str, inputs: list[str], into: Lowering) -> str:
        return into.pool(name, inputs, self.kind, self.size, self.stride, self.padding)


class Join(Stateless):
    """Two paths as one; see operations.join."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return join(self.kind, a, b)

    def shape(self, a: Shape, b: Shape) -> Shape:  # type: ignore[override]
        if a != b:
            raise ValueError(f"join {self.kind}: found {a} and {b}, wanted equal shapes")
        return a

    def lower(self, name: str, inputs: list[str], into: Lowering) -> str:
        return into.node(name, "join", inputs, {"kind": self.kind})


class Vote(Stateless):
    """Mean over the `size` neurons of each class, (B, K size) -> (B, K) (PLIF-net)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(1, (-1, self.size)).mean(2)

    def shape(self, x: Shape) -> Shape:  # type: ignore[override]
        return (x[0] // self.size,)

    def lower(self, name: str, inputs: list[str], into: Lowering) -> str:
        return into.node(name, "vote", inputs, {"size": self.size})


class Dropout(Stateless):
    """In training, values zeroed with probability `p`, one mask a sample and window; else nothing."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return x

    def over_time(self, x: Tensor, run: Tensor | None = None) -> Tensor:  # type: ignore[override]
        return x * F.dropout(torch.ones_like(x[0]), self.p, self.training) if self.training else x

    def lower(self, name: str, inputs: list[str], into: Lowering) -> str:
        return inputs[0]
