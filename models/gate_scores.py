"""What the gates of a lowered graph have in common: their setting, and the scores that gate them.

A score is what its sigmoid, or a threshold, makes a weight of.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from spikeline.models.arithmetic import Arithmetic, Value

States = dict[str, Value]
Change = Callable[..., NDArray[Any]]  # of a NumPy tensor, by whole numbers


class Tensors(Protocol):
    """A node's tensors by role, as values; `change(array, *numbers)` is what is made of the tensor."""

    def __call__(self, role: str, change: Change | None = None, *numbers: int) -> Value: ...
    def shape(self, role: str) -> tuple[int, ...]: ...


@dataclass(frozen=True, slots=True)
class Setting:
    """A gate in its place: attributes, tensors, shape of its input's steps (without B), T."""

    ops: Arithmetic
    attrs: Mapping[str, Any]
    tensor: Tensors
    shape: tuple[int, ...]
    steps: int

    @property
    def pooled(self) -> str:
        """Whose statistics are pooled over steps: ta, ca or sa."""
        return pooled(self.attrs)

    @property
    def averages_only(self) -> bool:
        """TA-SNN's TA: no maxima, but biases."""
        return self.attrs.get("pools") == "avg"

    @property
    def axes(self) -> tuple[int, ...]:
        """All of a step (B, *shape) but the batch."""
        return tuple(range(1, 1 + len(self.shape)))


def pooled(attrs: Mapping[str, Any]) -> str:
    kind = attrs.get("score", attrs["kind"])
    return "ta" if kind == "gau" else kind


def mlp_score(setting: Setting, rows: list[Value]) -> Value:
    """M(avg) + M(max), M(v) = W1 relu(W0 v); TA-SNN: of averages alone, with biases (its Eq. 4-5)."""
    ops, tensor = setting.ops, setting.tensor
    if setting.averages_only:
        hidden = ops.relu(ops.linear(rows[0], tensor("w0"), tensor("b0")))
        return ops.linear(hidden, tensor("w1"), tensor("b1"))
    hidden = ops.relu(ops.linear(rows[0], tensor("w0"))) + ops.relu(ops.linear(rows[1], tensor("w0")))
    return ops.linear(hidden, tensor("w1"))


def plane_score(setting: Setting, avg: Value, peak: Value) -> Value:
    """SA's score (B, 1, H, W) of the planes avg and peak (B, H, W), in that order; MA-SNN Eq. 12."""
    ops = setting.ops
    planes = ops.concat([ops.unsqueeze(avg, (1,)), ops.unsqueeze(peak, (1,))])
    side = setting.tensor.shape("weight")[-1] // 2
    return ops.conv(planes, setting.tensor("weight"), pads=(side, side))


def unit_score(setting: Setting, x: Value) -> Value:
    """SCA of GAC's unit, (B, C, H, W): two convolutions of the same size out, an even kernel padded by one
    more below and to the right."""
    ops = setting.ops
    k = setting.tensor.shape("sca0")[-1]
    pads = ((k - 1) // 2, k // 2)
    hidden = ops.relu(ops.conv(x, setting.tensor("sca0"), pads=pads))
    return ops.conv(hidden, setting.tensor("sca1"), pads=pads)
