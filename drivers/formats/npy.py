"""One structured numpy array in a file (`.npy`) as packets; and an array's header, which `.npz` has too.

Columns go by name (columns.py). Nothing is unpickled. The file has no checksum, so a damaged value is refused
and counted, and a time that only damage explains is too (settled.py).
"""

import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from spikeline.drivers import uri as grammar
from spikeline.drivers.base import FileSource
from spikeline.drivers.formats.columns import (
    ALL_ALIASES,
    PolarityOf,
    check_kinds,
    coordinates,
    find_columns,
    signed_polarity,
    times_us,
)
from spikeline.drivers.formats.settled import Settled
from spikeline.pipeline.events import PACKET_EVENTS, EventPacket, Sensor, SourceError, foreign_error

MAX_SIDE = 65_535
MOST_DAMAGED = 10  # one in so many polarities


class NpySource(FileSource):
    """A structured array on disk, read piece by piece. `sensor` must be given: the file has none."""

    format = "npy"

    def __init__(
        self, path: str | Path, *, sensor: Sensor | None = None, options: Mapping[str, str] | None = None
    ) -> None:
        grammar.only(options or {}, self.OPTIONS, str(path))
        super().__init__(path)
        try:
            with open(path, "rb") as file:
                self._shape, self._dtype = array_header(file, str(path))
                self._data_at = file.tell()
            fields = self._dtype.fields
            if fields is None or len(self._shape) != 1:
                raise SourceError(
                    f"{path}: holds {self._dtype} of shape {self._shape}; wanted one structured array of "
                    "events with the fields t, x, y, p"
                )
            self._columns = find_columns(_distinct(self._dtype), str(path))
            check_kinds({ours: fields[name][0] for ours, name in self._columns.items()}, str(path))
            self.sensor = checked_sensor(None, sensor, str(path))
            self._admission: Settled = Settled(self.sensor)
        except BaseException:
            self.close()
            raise

    def _packets(self) -> Iterator[EventPacket]:
        report, polarity_of = self._admission.report, PolarityOf()
        size = self._dtype.itemsize
        present = max(0, self._stored.size - self._data_at)
        whole = min(self._shape[0], present // size)
        for piece in self._pieces(whole):
            t, x, y, p = (piece[self._columns[name]] for name in "txyp")
            level = polarity_of(p)
            if report.bytes == 0 and MOST_DAMAGED * np.count_nonzero(level > 1) > len(p):
                signed_polarity([p], str(self.path))  # these are no damage, but another convention
            yield from self._admission.settle(times_us(t), coordinates(x), coordinates(y), level)
            report.bytes += piece.nbytes
        yield from self._admission.finish()
        report.bytes = self._stored.size
        stop = self._data_at + whole * size
        if whole < self._shape[0]:
            report.truncated = True
            self._damaged(
                f"bytes {stop} to {self._stored.size}: the file ends "
                f"after {whole} of {self._shape[0]} records"
            )
        elif stop < self._stored.size:
            self._damaged(f"bytes {stop} to {self._stored.size}: bytes after the last record")

    def _pieces(self, whole: int) -> Iterator[NDArray[Any]]:
        size = self._dtype.itemsize
        for first in range(0, whole, PACKET_EVENTS):
            count = min(PACKET_EVENTS, whole - first)
            data = self._stored.at(self._data_at + first * size, count * size)
            yield np.frombuffer(data, self._dtype, len(data) // size)


def _distinct(dtype: np.dtype[Any]) -> list[str]:
    """Field names, with a title in place of a name we do not know (two names of one field are one)."""
    names = []
    for name in dtype.names or ():
        field: tuple[Any, ...] = dtype.fields[name] if dtype.fields else ()
        title = field[2] if len(field) > 2 else None
        names.append(name if name in ALL_ALIASES or title not in ALL_ALIASES else str(title))
    return names


def array_header(file: IO[bytes], where: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type out of an .npy header; the file is left at the first record."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about headers that Python 2 wrote
            version = np.lib.format.read_magic(file)
            if version not in ((1, 0), (2, 0)):
                raise SourceError(f"{where}: .npy version {version}; wanted 1.0 or 2.0")
            read = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            shape, fortran, dtype = read(file)
    except SourceError:
        raise
    except Exception as error:  # the header is a Python literal: damage to it raises all sorts of things
        raise foreign_error(f"{where}: .npy header", error) from error
    if dtype.hasobject:
        raise SourceError(f"{where}: holds Python objects, which are never loaded; wanted numbers")
    if dtype.itemsize == 0 or any(side < 0 for side in shape) or (fortran and len(shape) > 1):
        raise SourceError(f"{where}: shape {shape} of {dtype}; wanted one row of numbers")
    return shape, dtype


def checked_sensor(own: Sensor | None, given: Sensor | None, where: str) -> Sensor:
    sensor = own or given
    if sensor is None:
        raise SourceError(f"{where}: the file does not say its sensor's size; give it with --sensor WxH")
    if not (0 < sensor.width <= MAX_SIDE and 0 < sensor.height <= MAX_SIDE):
        raise SourceError(
            f"{where}: sensor of {sensor.width}x{sensor.height} pixels; wanted 1x1 to {MAX_SIDE}x{MAX_SIDE}"
        )
    return sensor
