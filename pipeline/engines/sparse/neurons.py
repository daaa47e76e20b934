"""A layer of neurons that need nothing but their own membrane: what a program's line says of it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeline.pipeline.engines.sparse import kernels_int16
from spikeline.pipeline.engines.sparse.int16 import INT16 as LARGEST
from spikeline.pipeline.engines.sparse.int16 import Whole, rounded
from spikeline.pipeline.engines.sparse.program import BESIDE, FLOAT32, INT16, WIDE, Memory, kind_of, padded
from spikeline.pipeline.engines.sparse.spikes import aligned
from spikeline.pipeline.engines.state import States

Array = NDArray[Any]


@dataclass(slots=True)
class Membranes:
    """One layer's arrays of a state, a row for each stream; channels are filled up to whole vectors.

    seen  (B, P C) float32: what every engine has, right when the state is settled; h is the same array, or of
          int16. due, awake: kernels_layer.py
    """

    h: Array
    seen: Array
    due: Array
    awake: Array


@dataclass(frozen=True)
class Neurons:
    """drive, numbers  what kernels_float.py wants to know of a layer, or with `whole` kernels_int16.py
    ratio          what a weight is in the membrane's measure
    lazy           quiet pixels are left alone
    """

    name: str
    shape: tuple[int, ...]
    drive: Array
    numbers: Array
    ratio: float
    lazy: bool
    whole: Whole | None = None

    @property
    def pixels(self) -> int:
        return int(np.prod(self.shape[1:]))

    @property
    def worth(self) -> Array:
        """(C,), filled up: of a unit of int16, in the membrane's measure."""
        assert self.whole is not None
        return _filled(self.whole.worth, 1)

    @property
    def limit(self) -> Array:
        """(C,), filled up: how far a membrane of int16 may go."""
        return _filled(self.drive[3], LARGEST)

    def weights(self, rows: Array, wide: bool = False) -> Array:
        """Weights (n, C) as the membranes want them, flat. wide: no shorter than int16."""
        own = rows * self.ratio
        if self.whole is None:
            return aligned(own.astype(np.float32).ravel())
        units = rounded(own, self.worth.astype(float)).ravel()
        return aligned(units.astype(np.int16) if wide else units)

    def room(self, lines: Array, states: States, memory: Memory) -> Membranes:
        """Arrays for the lines of these streams; the state's membranes move in."""
        C, wide, P, B = self.shape[0], padded(self.shape[0]), self.pixels, len(lines)
        seen = aligned(np.zeros((B, P * wide), np.float32))
        name = f"{self.name}.h"
        view = seen.reshape(B, *self.shape[1:], wide)[..., :C]
        view = view.transpose(0, 3, 1, 2) if view.ndim == 4 else view
        view[...] = states[name]
        states[name] = view
        h = seen if self.whole is None else aligned(np.zeros(seen.shape, np.int16))
        due, awake = np.zeros((B, P), np.int64), np.ones((B, P + BESIDE), np.uint8)
        own = Membranes(h, seen, due, awake)
        lines["form"] = FLOAT32 if self.whole is None else INT16
        drive, numbers = self._drive(), np.ascontiguousarray(self.numbers)
        lines["drive"], lines["numbers"] = memory(drive), memory(numbers)
        lines["numbers_size"] = len(numbers)
        lines["lazy"], lines["wakeful"] = self.lazy, P
        for b in range(B):
            lines["used"][b] = memory(np.zeros(self.shape[1] if len(self.shape) == 3 else 1, np.uint8))
            for key in ("h", "due", "awake"):
                lines[key][b] = memory(getattr(own, key)[b])
        return own

    def _drive(self) -> Array:
        if self.whole is None:
            return aligned(_filled(self.drive, 0))
        return aligned(
            np.stack(
                [_filled(r, n) for r, n in zip(self.drive, (LARGEST, 0, 0, LARGEST), strict=True)]
            ).ravel()
        )

    def take_in(self, own: Membranes, b: int) -> int:
        """What others left in `seen` becomes the membranes; returns how many were clipped."""
        if self.whole is None:
            return 0
        return int(kernels_int16.take_in(own.seen[b], self.worth, self.limit, own.h[b]))

    def give_out(self, own: Membranes, b: int) -> None:
        """`seen` becomes what the membranes are."""
        if self.whole is not None:
            kernels_int16.give_out(own.h[b], self.worth, own.seen[b])


def enter_weights(lines: Array, weights: Array, memory: Memory, wide: bool = False) -> None:
    """Say in lines where a layer's weights are. wide: their sums are int32, and they int16."""
    lines["weights"], lines["weights_size"] = memory(weights), len(weights)
    lines["weights_kind"] = WIDE if wide else kind_of(weights)


def _filled(row: Array, with_: float) -> Array:
    """(C,) filled up to whole vectors."""
    out = np.full(padded(len(row)), with_, row.dtype)
    out[: len(row)] = row
    return out
