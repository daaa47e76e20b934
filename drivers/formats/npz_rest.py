"""What is left of an `.npz` that has lost its end, and with it its table of contents.

The entries stand one after another, each behind a header of its own, so those before the cut are there
whole, with their checksums, and of the one that is cut the begin. Events are read as far as all four
columns go. Used by `spikeline info --recover` only: what is left of a column has no checksum.
"""

import io
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikeline.drivers.base import FileSource, Stored
from spikeline.drivers.formats.columns import (
    ALL_ALIASES,
    check_kinds,
    coordinates,
    find_columns,
    polarities,
    signed_polarity,
    times_us,
)
from spikeline.drivers.formats.npy import array_header, checked_sensor
from spikeline.pipeline.events import PACKET_EVENTS, Admission, EventPacket, Sensor, SourceError

LOCAL = struct.Struct(
    "<4s5H3I2H"
)  # signature, ..., CRC-32, sizes packed and unpacked, lengths of name, extra
SIGNATURE = b"PK\x03\x04"
STORED, DEFLATED = 0, 8
UNSAID = 0xFFFFFFFF  # the sizes stand in the extra field
PIECE = 1 << 16


class Entry(NamedTuple):
    column: NDArray[Any]  # as many values as are left
    declared: int  # how many there were
    good: int  # the file is whole up to here: the entry's end, or its begin if it is cut


class NpzRest(FileSource):
    """Events of a cut `.npz`, as one stream."""

    format = "npz"

    def __init__(
        self, path: str | Path, *, sensor: Sensor | None = None, options: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(path)
        try:
            entries = dict(_entries(self._stored))
            names = find_columns(entries.keys() & ALL_ALIASES, str(path))
            self._entries = {ours: entries[name] for ours, name in names.items()}
            check_kinds({ours: entry.column.dtype for ours, entry in self._entries.items()}, str(path))
            self.sensor = checked_sensor(_sensor_of(entries), sensor, str(path))
            self._admission = Admission(self.sensor)
        except BaseException:
            self.close()
            raise

    def _packets(self) -> Iterator[EventPacket]:
        report, columns = self._admission.report, {name: e.column for name, e in self._entries.items()}
        n = min(len(column) for column in columns.values())
        signed = signed_polarity([columns["p"][:n]], str(self.path))
        for first in range(0, n, PACKET_EVENTS):
            s = slice(first, min(n, first + PACKET_EVENTS))
            yield from self._admission.admit(
                times_us(columns["t"][s]),
                coordinates(columns["x"][s]),
                coordinates(columns["y"][s]),
                polarities(columns["p"][s], signed),
            )
        report.bytes = self._stored.size
        report.truncated = True
        lost = max(entry.declared for entry in self._entries.values()) - n
        start = max(entry.good for entry in self._entries.values())
        self._damaged(
            f"bytes {start} to {self._stored.size}: the file ends before its table of contents; "
            f"{lost} events are lost"
        )


def _entries(stored: Stored) -> Iterator[tuple[str, Entry]]:
    """Name and values of every entry, in file order, up to the cut."""
    at = 0
    while (head := stored.at(at, LOCAL.size))[:4] == SIGNATURE and len(head) == LOCAL.size:
        _, _, _, method, _, _, crc, packed, size, name_length, extra_length = LOCAL.unpack(head)
        rest = stored.at(at + LOCAL.size, name_length + extra_length)
        name, extra = rest[:name_length].decode("utf-8", "replace"), rest[name_length:]
        if UNSAID in (packed, size):
            if len(extra) < 20:
                return
            size, packed = struct.unpack_from("<QQ", extra, 4)
        begin = at + LOCAL.size + name_length + extra_length
        cut = begin + packed > stored.size
        data = _unpacked(stored, begin, min(packed, stored.size - begin), method)
        if not cut and (len(data) != size or zlib.crc32(data) != crc):
            raise SourceError(f"{stored.path}: entry {name}: damaged: wrong checksum")
        if name.endswith(".npy") and (
            entry := _array(data, f"{stored.path}: entry {name}", at if cut else begin + packed)
        ):
            yield name[:-4], entry
        at = begin + packed


def _unpacked(stored: Stored, at: int, count: int, method: int) -> bytes:
    """What can be unpacked of these bytes."""
    if method not in (STORED, DEFLATED):
        raise SourceError(f"{stored.path}: an entry packed by method {method}; wanted deflate or none")
    out, unpack, stop = io.BytesIO(), zlib.decompressobj(-15), at + count
    while at < stop:
        piece = stored.at(at, min(PIECE, stop - at))
        if not piece:
            break
        try:
            out.write(piece if method == STORED else unpack.decompress(piece))
        except zlib.error:
            break
        at += len(piece)
    return out.getvalue()


def _array(data: bytes, where: str, good: int) -> Entry | None:
    """The values that are left of an array; None if not even its header is."""
    file = io.BytesIO(data)
    try:
        shape, dtype = array_header(file, where)
    except SourceError:
        return None
    declared = int(np.prod(shape, dtype=object))
    left = min(declared, (len(data) - file.tell()) // dtype.itemsize)
    return Entry(np.frombuffer(data, dtype, left, file.tell()), declared, good)


def _sensor_of(entries: Mapping[str, Entry]) -> Sensor | None:
    sizes = [entries[name].column for name in ("width", "height") if name in entries]
    if len(sizes) < 2 or any(len(s) != 1 or s.dtype.kind not in "iu" for s in sizes):
        return None
    return Sensor(int(sizes[0][0]), int(sizes[1][0]))
