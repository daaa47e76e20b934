"""Messages with events, as ROS serialises them: what they say about themselves, and their payload.

dvs_msgs/EventArray (and prophesee_event_msgs/EventArray): header, height, width, events of x, y, time,
polarity. event_camera_msgs/EventPacket (once event_array_msgs/EventArray): header, height, width, seq,
time_base, encoding, is_bigendian, bytes. ROS 1 packs the fields without gaps; ROS 2 (CDR) has a head of
four bytes, and aligns every field to its own size from there.
"""

import struct
from typing import NamedTuple

import numpy as np

from spikeline.drivers.formats.columns import IMPOSSIBLE_US
from spikeline.drivers.formats.rooms import Room

ARRAYS = ("dvs_msgs/EventArray", "prophesee_event_msgs/EventArray")
PACKETS = ("event_camera_msgs/EventPacket", "event_array_msgs/EventArray")
MOST_ENCODING = 64  # letters

_PLAIN = np.dtype([("x", "<u2"), ("y", "<u2"), ("s", "<i4"), ("ns", "<u4"), ("p", "u1")])


class Packet(NamedTuple):
    """An EventPacket; `payload` is in the camera's own encoding."""

    width: int
    height: int
    seq: int
    time_base: int
    encoding: str
    big_endian: bool
    payload: bytes


class Array(NamedTuple):
    """An EventArray."""

    width: int
    height: int
    events: Room


class _Fields:
    """The fields of one message, one after another; ValueError where it ends too early."""

    def __init__(self, data: bytes | memoryview, form: str) -> None:
        self.data, self._cdr, self._sign = memoryview(data), form == "cdr", "<"
        self.at = self._base = 0
        if self._cdr:
            if len(data) < 4 or data[0] != 0 or data[1] not in (0, 1):
                raise ValueError(f"its CDR head is {bytes(data[:2]).hex()}; wanted 0000 or 0001")
            self._sign = ">" if data[1] == 0 else "<"
            self.at = self._base = 4

    @property
    def big_endian(self) -> bool:
        return self._sign == ">"

    def number(self, kind: str) -> int:
        size = struct.calcsize(f"={kind}")
        self.align(size)
        try:
            (value,) = struct.unpack_from(f"{self._sign}{kind}", self.data, self.at)
        except struct.error:
            raise ValueError(f"it is cut: {len(self.data)} bytes") from None
        self.at += size
        return value

    def align(self, size: int) -> None:
        if self._cdr:
            self.at += -(self.at - self._base) % size

    def text(self, most: int) -> str:
        length = self.number("I")
        if length > most:
            raise ValueError(f"a name of {length} letters; wanted up to {most}")
        return bytes(self.take(length)).rstrip(b"\0").decode("ascii", "replace")

    def take(self, count: int) -> memoryview:
        if count > len(self.data) - self.at:
            raise ValueError(f"{count} bytes in a message that has {len(self.data) - self.at} left")
        self.at += count
        return self.data[self.at - count : self.at]

    def header(self) -> None:
        """std_msgs/Header."""
        if not self._cdr:
            self.number("I")  # seq, which ROS 2 has no more
        self.number("I")
        self.number("I")
        self.take(self.number("I"))


def read_packet(data: bytes | memoryview, form: str) -> Packet:
    """ValueError, in a few words, if it is damaged."""
    fields = _Fields(data, form)
    fields.header()
    height, width = fields.number("I"), fields.number("I")
    seq, time_base = fields.number("Q"), fields.number("Q")
    encoding, big = fields.text(MOST_ENCODING), fields.number("B")
    if big > 1:
        raise ValueError(f"is_bigendian is {big}; wanted 0 or 1")
    return Packet(width, height, seq, time_base, encoding, big == 1, bytes(fields.take(fields.number("I"))))


def read_array(data: bytes | memoryview, form: str) -> Array:
    """ValueError, in a few words, if it is damaged."""
    fields = _Fields(data, form)
    fields.header()
    height, width = fields.number("I"), fields.number("I")
    count = fields.number("I")
    if form != "cdr":
        rows = np.frombuffer(fields.take(count * _PLAIN.itemsize), _PLAIN)
        x, y, s, ns, p = (rows[name] for name in ("x", "y", "s", "ns", "p"))
    else:
        x, y, s, ns, p = _aligned(fields, count)
    t = s.astype(np.int64) * 1_000_000 + ns.astype(np.int64) // 1_000
    t[ns >= 1_000_000_000] = IMPOSSIBLE_US
    return Array(width, height, Room(t, x.astype(np.uint16), y.astype(np.uint16), p.astype(np.uint8)))


def _aligned(fields: _Fields, count: int) -> tuple:
    """x, y, s, ns, p of CDR's events. Alignment puts each x but the first behind the event before:

    x y s  s  n  n  p . | y . s  s  n  n  p . | y ...      in steps of two bytes; the first begins with its x
                    x                     x
    """
    if count == 0:
        return tuple(np.empty(0, kind) for kind in ("u2", "u2", "i4", "u4", "u1"))
    raw = np.frombuffer(bytes(fields.take(16 * count - 3)) + b"\0" * 3, np.uint8).reshape(count, 16)
    sign = ">" if fields.big_endian else "<"

    def column(at: int, kind: str) -> np.ndarray:
        width = np.dtype(kind).itemsize
        return raw[:, at : at + width].copy().view(f"{sign}{kind}")[:, 0]

    y, following = column(0, "u2"), column(14, "u2")
    x = np.concatenate((y[:1], following[:-1]))
    y[0] = column(2, "u2")[0]
    return x, y, column(4, "i4"), column(8, "u4"), raw[:, 12]
