"""Event columns of other people's arrays, found by name, as ours: t int64 us, x, y uint16, p uint8.

Names and conventions differ between tools, so columns are taken by name, never by position. A value
that ours cannot hold becomes one that `Admission` refuses and counts, never a wrapped one.
"""

from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeline.pipeline.events import MAX_ABS_US, Coordinates, Polarities, SourceError, Times

ALIASES = {
    "t": ("t", "timestamp", "timestamps", "ts"),
    "x": ("x",),
    "y": ("y",),
    "p": ("p", "polarity", "on", "pol"),
}
IMPOSSIBLE_US = MAX_ABS_US + 1
IMPOSSIBLE_XY = 65_535  # a sensor is at most this wide, so this lies outside it

ALL_ALIASES = {alias for aliases in ALIASES.values() for alias in aliases}

Column = NDArray[Any]


def find_columns(names: Collection[str], where: str) -> dict[str, str]:
    """Which of the names is t, x, y and p."""
    found = {}
    for ours, aliases in ALIASES.items():
        present = [name for name in aliases if name in names]
        if len(present) != 1:
            state = f"both {' and '.join(present)}" if present else f"no {' or '.join(aliases)}"
            held = ", ".join(sorted(names)) or "nothing"
            raise SourceError(f"{where}: holds {state}; wanted one column each for t, x, y, p; found {held}")
        found[ours] = present[0]
    return found


def check_kinds(dtypes: dict[str, np.dtype], where: str) -> None:
    for name, kinds, wanted in (
        ("t", "iuf", "integers (microseconds) or floats (seconds)"),
        ("x", "iu", "integers"),
        ("y", "iu", "integers"),
        ("p", "biuf", "bool, 0/1 or -1/+1"),
    ):
        if dtypes[name].kind not in kinds:
            raise SourceError(f"{where}: {name} is {dtypes[name]}; wanted {wanted}")


def times_us(t: Column) -> Times:
    """Integers are microseconds; floats are seconds, rounded to the nearest microsecond."""
    if t.dtype.kind == "f":
        with np.errstate(over="ignore"):
            us = np.rint(t.astype(np.float64) * 1e6)
        good = np.abs(us) <= MAX_ABS_US  # False for NaN
        return np.where(good, np.where(good, us, 0).astype(np.int64), IMPOSSIBLE_US)
    if t.dtype.kind == "u":
        return np.minimum(t, t.dtype.type(min(IMPOSSIBLE_US, np.iinfo(t.dtype).max))).astype(np.int64)
    return t.astype(np.int64)


def coordinates(column: Column) -> Coordinates:
    if column.dtype == np.uint16:
        return column.astype(np.uint16)
    outside = (column < 0) | (column > IMPOSSIBLE_XY)
    return np.where(outside, column.dtype.type(0), column).astype(np.uint16) | np.where(
        outside, np.uint16(IMPOSSIBLE_XY), np.uint16(0)
    )


def signed_polarity(columns: Iterable[Column], where: str) -> bool:
    """True for -1/+1, False for 0/1 or bool; all of the column is looked at before any event is given."""
    zero_one = minus_one = True
    for p in columns:
        if p.dtype.kind == "b":
            return False
        ones = p == 1
        zero_one = zero_one and bool((ones | (p == 0)).all())
        minus_one = minus_one and p.dtype.kind != "u" and bool((ones | (p == -1)).all())
        if not (zero_one or minus_one):
            values = np.unique(p)
            shown = ", ".join(str(v) for v in values[:4]) + (", ..." if len(values) > 4 else "")
            raise SourceError(f"{where}: p holds {shown}; wanted bool, 0/1 or -1/+1")
    return not zero_one


def polarities(p: Column, signed: bool) -> Polarities:
    return (p > 0).astype(np.uint8) if signed else p.astype(np.uint8)
