"""A layer in whole numbers: membranes of int16, weights of int8 or int16, in units of one size per channel.

A channel's unit is chosen so that limit + the largest sum of weights that can arrive at a step still fits:
sums never overflow, are exact, and have one value in any order. A membrane that decay leaves beyond `limit`
is clipped there and counted. Weights and thresholds are rounded to units, decay to the nearest at each step.

    g = h / worth      fires = ceil((threshold - drive) / a / worth)      see kernels_int16.py
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeline.pipeline.engines.sparse.cells import Cell

MARGIN = 5.0  # thresholds that a membrane may go beyond 0, either way, before it is clipped
WIDE_MARGIN = 8.0  # the same where sums take no room
COARSER = 1.3  # how much larger a unit may become for weights to fit into a byte: they are read twice as fast
INT16, INT8 = 32_767, 127


@dataclass(frozen=True, slots=True)
class Whole:
    """What kernels_int16.py wants to know of a layer. worth (C,): of a unit, in the membrane's measure."""

    worth: NDArray[np.float32]
    drive: NDArray[np.int16]  # (4, C)
    numbers: NDArray[np.int16]  # (5,)

    def rests(self) -> bool:
        """Whether a neuron that did not fire can never fire without input."""
        keep, rate, half = (int(n) for n in self.numbers[:3])
        fires, rest, _, _ = self.drive.astype(np.int64)
        below = fires - 1
        again = (below & keep) + ((below + half) * rate >> 16) + rest  # monotonic in the membrane
        return bool((fires > 0).all() and (again < fires).all())


def whole(
    cell: Cell, drive: NDArray[Any], weights: NDArray[Any], *, most: int = 1, share: float = 0
) -> Whole | None:
    """A layer's whole numbers, or None where its neurons have none: they grow, or neither reset nor subtract.

    drive    (C,), what enters the membrane at every step
    weights  (C, inputs) of a neuron of channel c, in the membrane's measure; an input is at most `most`
    share    0: sums are made in int16, and all must fit; else in int32, and are clipped beyond that share of
             the membrane's own range
    """
    a, threshold, p0, q0, p1, q1 = (float(n) for n in cell.numbers)
    decay, drive = a * p0, drive.astype(np.float64)
    if a <= 0 or not 0 <= decay <= 1 or p1 not in (0.0, p0):
        return None
    fires, rest = (threshold - drive) / a, p0 * drive + q0
    spike = (q1 - q0) * np.ones_like(drive) if p1 else q1 - rest
    keep, rate, half = _decay(decay)
    level = max(float(np.median(np.abs(fires))), abs(threshold) / a) or 1.0
    margin = WIDE_MARGIN if share else MARGIN
    limit = np.maximum.reduce(
        [margin * level + 0 * fires, 1.25 * np.abs(fires), abs(rest), abs(rest + spike)]
    )
    beside = np.abs(rest) + np.abs(spike)
    room = INT16 - abs(half) - 4
    reach = most * _reach(weights)
    if share:
        reach = np.minimum(reach, share * limit)
    worth = (limit + reach + beside) / room
    largest = np.abs(weights).max(1, initial=0) / INT8
    if not share and (largest <= COARSER * worth).all():
        worth = np.maximum(worth, largest)
    for _ in range(0 if share else 20):  # rounded weights may reach further
        needed = limit + worth * most * _reach(np.rint(weights / worth[:, None])) + beside
        worth = np.where(needed > room * worth, 1.01 * worth, worth)
    worth32 = worth.astype(np.float32)
    worth = worth32.astype(np.float64)
    top = int(room - np.ceil(beside / worth).max())
    carried = np.minimum(np.floor(limit / worth), top)
    if not share:
        carried = np.minimum(carried, top - most * _reach(np.rint(weights / worth[:, None])))
    rows = np.stack([np.ceil(fires / worth - 1e-9), np.rint(rest / worth), np.rint(spike / worth), carried])
    numbers = [keep, rate, half, -1 if p1 else 0, top]
    return Whole(worth32, np.clip(rows, -INT16, INT16).astype(np.int16), np.array(numbers, np.int16))


def rounded(weights: NDArray[Any], worth: NDArray[Any]) -> NDArray[Any]:
    """Weights, the channels they go to last, in units, as int8 where all fit."""
    units = np.clip(np.rint(weights / worth), -INT16, INT16)
    return units.astype(np.int8 if np.abs(units).max(initial=0) <= INT8 else np.int16)


def _reach(weights: NDArray[Any]) -> NDArray[Any]:
    """Of each channel, the largest sum of either sign that some of its weights have."""
    return np.maximum(np.maximum(weights, 0).sum(1), np.maximum(-weights, 0).sum(1))


def _decay(decay: float) -> tuple[int, int, int]:
    """keep, rate, half: g decay = (g & keep) + ((g + half) rate >> 16), rounded to the nearest."""
    keep, rate = (-1, round((decay - 1) * 65_536)) if decay >= 0.5 else (0, round(decay * 65_536))
    rate = min(rate, INT16)
    half = 0 if rate == 0 else max(-2047, min(2047, round(32_768 / rate)))
    return keep, rate, half
