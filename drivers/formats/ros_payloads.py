"""The encodings of event_camera_msgs/EventPacket: bytes to events. State crosses messages.

evt3         the camera's words (evt3.py), sensor time; messages are cut anywhere
libcaer      8 bytes: an AEDAT 3.1 polarity word and int32 us; time_base is the time of 0, in ns. Where the
             camera's time wraps, the driver adds 2^31 us to time_base from the next message on
libcaer_cmp  16-bit words, as EVT3 but with x and y in each other's place; their times begin anew in each
             message, and add to time_base, in us
mono         uint64: polarity 63, y 48..62, x 32..47, ns after time_base 0..31
"""

from abc import ABC, abstractmethod

import numba
import numpy as np

from spikeline.drivers.formats.evt3 import Evt3Decoder
from spikeline.drivers.formats.feed import Feed
from spikeline.drivers.formats.rooms import Room
from spikeline.drivers.formats.ros_messages import Packet

CAER_WRAP_US = 1 << 31


class Payload(ABC):
    """Decoder of one encoding. `events` raises ValueError for a payload that cannot be one.

    refused  events without a time or a place      lost_bytes  taken by damage within payloads
    """

    refused = 0
    lost_bytes = 0

    @abstractmethod
    def events(self, packet: Packet) -> Room: ...

    def gap(self) -> None:  # noqa: B027 - most begin anew in each message
        """Messages are missing before the next."""

    @property
    def end_us(self) -> int | None:
        """The time that the clock has reached, if the payload says so apart from its events."""
        return None


class Evt3(Payload):
    def __init__(self) -> None:
        self._feed = Feed(Evt3Decoder())
        self._lost = False  # after a gap, until the words have told the time again
        self._passed = 0

    def events(self, packet: Packet) -> Room:
        payload = _swapped(packet, 2)
        room = self._feed.events(self._from_known_time(payload) if self._lost else payload)
        self.refused, self.lost_bytes = self._feed.refused, self._feed.lost_bytes + self._passed
        return room

    def _from_known_time(self, payload: bytes) -> bytes:
        """The payload from where both parts of the time are known: its last TIME_HIGH before a TIME_LOW."""
        kinds = np.frombuffer(payload, "<u2", len(payload) // 2) >> 12
        highs, lows = np.flatnonzero(kinds == 8), np.flatnonzero(kinds == 6)
        lows = lows[lows > highs[0]] if len(highs) else lows[:0]
        if len(lows) == 0:
            self._passed += len(payload)
            return b""
        high, low = 2 * int(highs[highs < lows[0]][-1]), 2 * int(lows[0])
        self._passed += low - 2
        self._lost = False
        return payload[high : high + 2] + payload[low:]

    def gap(self) -> None:
        self._feed.gap()
        self._lost = True

    @property
    def end_us(self) -> int | None:
        return self._feed.decoder.end_us


class Mono(Payload):
    def events(self, packet: Packet) -> Room:
        words = np.frombuffer(_swapped(packet, 8), "<u8")
        ns = np.int64(_signed(packet.time_base)) + (words & 0xFFFFFFFF).astype(np.int64)
        x, y = (words >> 32 & 0xFFFF).astype(np.uint16), (words >> 48 & 0x7FFF).astype(np.uint16)
        return Room(ns // 1_000, x, y, (words >> 63).astype(np.uint8))


class Libcaer(Payload):
    def events(self, packet: Packet) -> Room:
        words = np.frombuffer(_swapped(packet, 4), "<u4")
        if len(words) % 2:
            raise ValueError(f"{len(packet.payload)} bytes of libcaer events; wanted 8 for each")
        valid = (words[::2] & 1).astype(np.bool_)
        self.refused += int(len(valid) - valid.sum())
        word, raw = words[::2][valid], words[1::2][valid].view(np.int32).astype(np.int64)
        wraps = np.cumsum(np.diff(raw, prepend=raw[:1]) < -CAER_WRAP_US // 2)
        ns = np.int64(_signed(packet.time_base)) + (raw + wraps * CAER_WRAP_US) * 1_000
        x, y = (word >> 17).astype(np.uint16), (word >> 2 & 0x7FFF).astype(np.uint16)
        return Room(ns // 1_000, x, y, (word >> 1 & 1).astype(np.uint8))


class LibcaerCmp(Payload):
    def events(self, packet: Packet) -> Room:
        words = np.frombuffer(_swapped(packet, 2), "<u2")
        most = 8 * len(words)
        room = Room(*(np.empty(most, kind) for kind in ("i8", "u2", "u2", "u1")))
        n, refused = decode_cmp(words, *room, np.int64(_signed(packet.time_base)))
        self.refused += refused
        return room.part(0, n)


@numba.njit(cache=True, nogil=True)
def decode_cmp(words, t, x, y, p, base_us):
    """Fill t, x, y, p with the events of one message: (events, events without a place).

    type 12..15   0 TIME_HIGH, 1 TIME_LOW   2 ADDR_X   3 ADDR_Y: an event (y 0..10, p 11)
                  4 VECT_BASE_Y (y, p)   5 VECT_8: an event for each bit; the base moves on by 8
    """
    high, low = np.int64(0), np.int64(0)
    column, base, base_p = np.int64(-1), np.int64(-1), np.int64(0)
    n, refused = 0, 0
    for i in range(words.shape[0]):
        kind, value = words[i] >> 12, np.int64(words[i] & 0xFFF)
        now = base_us + (high << 12 | low)
        if kind == 0:
            high = value
        elif kind == 1:
            low = value
        elif kind == 2:
            column = value & 2047
        elif kind == 3:
            if column < 0:
                refused += 1
            else:
                t[n], x[n], y[n], p[n] = now, column, value & 2047, value >> 11
                n += 1
        elif kind == 4:
            base, base_p = value & 2047, value >> 11
        elif kind == 5:
            for j in range(8):
                if value >> j & 1:
                    if column < 0 or base < 0:
                        refused += 1
                    else:
                        t[n], x[n], y[n], p[n] = now, column, base + j, base_p
                        n += 1
            if base >= 0:
                base = min(base + 8, np.int64(60_000))
    return n, refused


def _swapped(packet: Packet, size: int) -> bytes:
    """The payload as little-endian words of `size` bytes."""
    if size > 2 and len(packet.payload) % size:
        raise ValueError(f"{len(packet.payload)} bytes of {packet.encoding} events; wanted {size} for each")
    if not packet.big_endian:
        return packet.payload
    whole = len(packet.payload) // size * size
    return np.frombuffer(packet.payload[:whole], f">u{size}").astype(f"<u{size}").tobytes()


def _signed(value: int) -> int:
    """A uint64 as int64: a time base beyond 292 years is damage, and refused as such."""
    return value if value < 1 << 62 else 1 << 62


ENCODINGS: dict[str, type[Payload]] = {
    "evt3": Evt3,
    "mono": Mono,
    "libcaer": Libcaer,
    "libcaer_cmp": LibcaerCmp,
}
