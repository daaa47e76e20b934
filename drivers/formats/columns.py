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
    "x": ("x", "xs"),
    "y": ("y", "ys"),
    "p": ("p", "polarity", "on", "pol", "ps"),
}
UNITS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}  # in nanoseconds
SECONDS = 10**11  # floats beyond this (the year 5138) are no seconds
MICROSECONDS = 10**17  # integers beyond it no microseconds
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


def check_order(order: str | None, where: str) -> str | None:
    """A user's word for the order of the columns: the four letters t, x, y, p."""
    if order is not None and sorted(order) != sorted("txyp"):
        raise SourceError(f"{where}: order={order}; wanted the letters t, x, y, p in the file's order")
    return order


def check_kinds(dtypes: dict[str, np.dtype], where: str) -> None:
    for name, kinds, wanted in (
        ("t", "iuf", "integers (microseconds) or floats (seconds)"),
        ("x", "iu", "integers"),
        ("y", "iu", "integers"),
        ("p", "biuf", "bool, 0/1 or -1/+1"),
    ):
        if dtypes[name].kind not in kinds:
            raise SourceError(f"{where}: {name} is {dtypes[name]}; wanted {wanted}")


def sure_unit(t: Column, where: str) -> str:
    """Microseconds for integers and seconds for floats, if the first of the times can be that."""
    if len(t) == 0:
        return "s" if t.dtype.kind == "f" else "us"
    middle = float(np.median(t[np.isfinite(t)])) if np.isfinite(t).any() else 0.0
    if t.dtype.kind != "f":
        if abs(middle) <= MICROSECONDS:
            return "us"
        raise SourceError(f"{where}: times near {middle:.0f} are no microseconds; say the unit with ?unit=")
    fractions = bool((t != np.rint(t)).any())
    span = float(np.ptp(t[np.isfinite(t)])) if np.isfinite(t).any() else 0.0
    if abs(middle) > SECONDS or (not fractions and span > 10_000):
        raise SourceError(f"{where}: times near {middle:.17g} are hardly seconds; say the unit with ?unit=")
    return "s"


def times_us(t: Column, unit: str | None = None) -> Times:
    """Integers are microseconds and floats seconds, if `unit` does not say otherwise (see UNITS).

    Floats are rounded to the nearest microsecond; integers of nanoseconds go to the one they lie in.
    """
    if t.dtype.kind == "f":
        with np.errstate(over="ignore", invalid="ignore"):  # a signalling NaN
            us = np.rint(t.astype(np.float64) * (UNITS[unit or "s"] / 1_000))
        good = np.abs(us) <= MAX_ABS_US  # False for NaN
        return np.where(good, np.where(good, us, 0).astype(np.int64), IMPOSSIBLE_US)
    if unit not in (None, "us"):
        return _whole_times(t, UNITS[unit])
    if t.dtype.kind == "u":
        return np.minimum(t, t.dtype.type(min(IMPOSSIBLE_US, np.iinfo(t.dtype).max))).astype(np.int64)
    return t.astype(np.int64)


def _whole_times(t: Column, unit_ns: int) -> Times:
    if unit_ns == 1:
        t = t // t.dtype.type(1_000)
        return times_us(t)
    factor = unit_ns // 1_000
    most = MAX_ABS_US // factor
    t = times_us(t)
    good = np.abs(t) <= most
    return np.where(good, np.where(good, t, 0) * factor, IMPOSSIBLE_US)


def coordinates(column: Column) -> Coordinates:
    if column.dtype == np.uint16:
        return column.astype(np.uint16)
    outside = ~((column >= 0) & (column <= IMPOSSIBLE_XY))  # NaN too
    if column.dtype.kind == "f":
        with np.errstate(invalid="ignore"):  # a signalling NaN
            outside |= column != np.rint(column)
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


class PolarityOf:
    """Polarities as they come: 1 is ON, and the first OFF event says whether OFF is 0 or -1.

    For a column too long to be looked at beforehand. What is neither becomes 2, which `Admission` refuses.
    """

    def __init__(self) -> None:
        self._off: int | None = None

    def __call__(self, p: Column) -> Polarities:
        if p.dtype.kind == "b":
            return p.astype(np.uint8)
        ones, zeros = p == 1, p == 0
        minus = p == -1 if p.dtype.kind != "u" else np.zeros(len(p), np.bool_)
        if self._off is None and (offs := np.flatnonzero(zeros | minus)).size:
            self._off = int(p[offs[0]])
        good = ones | (minus if self._off == -1 else zeros)
        return np.where(good, ones, np.uint8(2)).astype(np.uint8)


def polarities(p: Column, signed: bool) -> Polarities:
    return (p > 0).astype(np.uint8) if signed else p.astype(np.uint8)
