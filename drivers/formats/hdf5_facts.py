"""What an HDF5 file says about its events besides them: sensor, unit and offset of times, an index.

Each is looked for on the events' own object, then above it.

The sensor's size: attributes `width` and `height`, `geometry` ("1280x720"), `sensor_resolution` (tools
write it either way round; the longer side is the width), or a dataset `calib/resolution`.
"""

import math
import re
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from spikeline.drivers.formats.hdf5_file import SMALL, attribute
from spikeline.drivers.formats.hdf5_layout import Place
from spikeline.pipeline.events import MAX_ABS_US, Sensor, SourceError, Times, foreign_error

MOST_INDEX = 1 << 22  # an hour and ten minutes of milliseconds
LONG_AGO = -(1 << 62)


def known_sensor(file: h5py.File, place: Place) -> Sensor | None:
    """The size that the file says, nearest to the events first."""
    for thing in _upwards(file, place):
        size = _attributes_size(thing.attrs) or _calibrated_size(thing)
        if size is not None and all(0 < side < 65_536 for side in size):
            return Sensor(*size)
    return None


def time_offset_us(file: h5py.File, place: Place, where: str) -> int:
    """DSEC's `t_offset`, 0 where there is none."""
    for thing in _upwards(file, place):
        if isinstance(thing, h5py.Group) and "t_offset" in thing:
            try:
                held = thing["t_offset"]
                value = np.asarray(held[()] if held.nbytes <= SMALL else None)
            except Exception as error:
                raise foreign_error(f"{where}: t_offset", error) from error
            if value.size != 1 or value.dtype.kind not in "iu" or abs(int(value.ravel()[0])) > MAX_ABS_US:
                raise SourceError(f"{where}: t_offset is {value!r}; wanted one whole number of microseconds")
            return int(value.ravel()[0])
    return 0


class MillisecondIndex:
    """DSEC's `ms_to_idx`: entry i is the first row with t >= 1000 i. It is not used, but checked."""

    def __init__(self, entries: NDArray[np.int64]) -> None:
        self._entries = entries
        self._wrong = int(np.count_nonzero(np.diff(entries) < 0))
        self._last_us: int | None = None

    def check(self, t: Times, start: int) -> None:
        """Times of the rows from `start` on, in microseconds without offset."""
        here = np.flatnonzero((self._entries >= start) & (self._entries < start + len(t)))
        at = self._entries[here] - start
        before = t[at - 1]
        before[at == 0] = LONG_AGO if start == 0 or self._last_us is None else self._last_us
        self._wrong += int(np.count_nonzero((t[at] < 1_000 * here) | (before >= 1_000 * here)))
        self._last_us = int(t[-1])

    def finding(self) -> str | None:
        if self._wrong == 0:
            return None
        return (
            f"ms_to_idx: {self._wrong} of {len(self._entries)} entries contradict the times; it is not used"
        )


def millisecond_index(file: h5py.File, place: Place) -> MillisecondIndex | None:
    for thing in _upwards(file, place):
        if isinstance(thing, h5py.Group) and "ms_to_idx" in thing:
            try:
                held = thing["ms_to_idx"]
                if held.ndim == 1 and held.dtype.kind in "iu" and held.size <= MOST_INDEX:
                    return MillisecondIndex(held[()].astype(np.int64))
            except Exception:  # an index that cannot be read is not needed
                return None
    return None


def time_unit(file: h5py.File, place: Place) -> str | None:
    """The unit that an attribute says (eventcv's `timestamp_scale_ms`: milliseconds per tick)."""
    scales = {1_000.0: "s", 1.0: "ms", 0.001: "us", 0.000001: "ns"}
    for thing in _upwards(file, place):
        scale = _number(thing.attrs, "timestamp_scale_ms")
        if scale is not None:
            near = [unit for value, unit in scales.items() if math.isclose(scale, value, rel_tol=1e-6)]
            if not near:
                raise SourceError(f"{place.path}: timestamp_scale_ms is {scale}; say the unit with ?unit=")
            return near[0]
    return None


def _upwards(file: h5py.File, place: Place) -> list[Any]:
    """The events' own object and those above it."""
    paths = [place.path]
    while paths[-1] != "/":
        paths.append(paths[-1].rpartition("/")[0] or "/")
    return [file[path] for path in paths]


def _attributes_size(attrs: Any) -> tuple[int, int] | None:
    width, height = _number(attrs, "width"), _number(attrs, "height")
    if width is not None and height is not None:
        return int(width), int(height)
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", _text(attrs, "geometry"))
    if match:
        return int(match[1]), int(match[2])
    sides = _pair(attribute(attrs, "sensor_resolution"))
    return (max(sides), min(sides)) if sides else None


def _calibrated_size(thing: Any) -> tuple[int, int] | None:
    if not isinstance(thing, h5py.Group):
        return None
    try:
        held = thing["calib/resolution"]
        return _pair(held[()]) if held.nbytes <= SMALL else None
    except Exception:  # mostly: there is none
        return None


def _number(attrs: Any, name: str) -> float | None:
    value = np.asarray(attribute(attrs, name))
    if value.size != 1 or value.dtype.kind not in "iuf" or not np.isfinite(value).all():
        return None
    return float(value.ravel()[0])


def _text(attrs: Any, name: str) -> str:
    value = attribute(attrs, name)
    return value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)


def _pair(value: Any) -> tuple[int, int] | None:
    value = np.asarray(value)
    if value.dtype.kind not in "iu" or value.ndim != 1 or not 2 <= value.size <= 3:
        return None
    return int(value[0]), int(value[1])
