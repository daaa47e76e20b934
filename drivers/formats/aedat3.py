"""AEDAT 3.0 and 3.1 recordings (cAER, IBM's DvsGesture): packets of events, of which polarity is read.

Events of other types and of other sources, and events marked as not valid, are counted and left out
(`others`). A packet's clock is 31 bits and an overflow counter, so times never wrap; a reset of the clock is
told by a special event, and begins an epoch.

A packet is believed when another one begins where it ends. Where none does, the next one is searched: damage
costs what is left of the packet it is in.

?source=ID   events of this source; by default of the first one that sends any
"""

import re
import struct
from collections.abc import Callable, Iterator

import numpy as np

from spikeline.drivers import uri as grammar
from spikeline.drivers.base import Stored
from spikeline.drivers.formats.aedat3_packets import (
    CLOCK_RESET,
    COUNTS,
    FOREIGN,
    HEADER,
    HEADER_BYTES,
    INVALID,
    LAST,
    LEFT,
    ODD,
    OVERFLOW,
    POLARITY,
    REFUSED,
    SKIP,
    SOURCE,
    SPECIAL,
    STATE,
    STRICT,
    find_header,
    has_reset,
    plausible,
    take,
)
from spikeline.drivers.formats.aedat_header import Header, known_sensor, read_header
from spikeline.drivers.formats.records import Bytes, Decoder, Opened, RecordSource, Room, Step, agreed_sensor
from spikeline.pipeline.events import EventPacket, Sensor, SourceError

COUNTED = {
    0: "special event", 2: "frame", 3: "IMU sample (6 axes)", 4: "IMU sample (9 axes)", 5: "ADC sample",
    6: "ear event", 7: "configuration event", 8: "point (1D)", 9: "point (2D)", 10: "point (3D)",
    11: "point (4D)", 12: "spike event", 13: "matrix", INVALID: "event marked as not valid",
    FOREIGN: "event of another source",
}  # fmt: skip
SEARCH_BYTES = 1 << 20
MOST_SPECIALS = 1 << 16  # bytes of a packet of special events that are looked at
_HEADER = struct.Struct("<hhiiiiii")


class Aedat3Source(RecordSource):
    OPTIONS = ("source",)
    FORWARD = False  # a packet is believed when another one begins behind it, which may be far

    format = "AEDAT 3"

    def _open(self, sensor: Sensor | None, options: dict[str, str]) -> Opened:
        header = read_header(self._stored)
        if header.version not in ((3, 0), (3, 1)):
            found = "no AEDAT" if header.version is None else f"AEDAT {header.version[0]}.{header.version[1]}"
            raise SourceError(f"{self.path}: is {found}; wanted AEDAT 3.0 or 3.1")
        self.format = f"AEDAT 3.{header.version[1]}"
        wanted = grammar.whole(options, "source", 0, str(self.path)) if "source" in options else None
        decoder = _Aedat3Decoder(self._stored, header, wanted, self._damaged)
        agreed = agreed_sensor(self.path, _camera(header, decoder.source, wanted is None), sensor)
        decoder.sensor = agreed
        return Opened(agreed, decoder, self._stored.size if header.cut else header.body, cut=header.cut)

    @property
    def _walker(self) -> "_Aedat3Decoder":
        assert isinstance(self._decoder, _Aedat3Decoder)
        return self._decoder

    def _packets(self) -> Iterator[EventPacket]:
        yield from super()._packets()
        if self._walker.missing and not self._admission.report.truncated:
            self._cut_short(self._stored.size, self._stored.size)

    def _cut_short(self, at: int, size: int) -> None:
        self._admission.report.truncated = True
        self._admission.report.bytes = size
        missing = self._walker.missing
        lost = f"{missing - (size - at)} bytes of it are missing" if missing else "within its header"
        self._damaged(f"bytes {at} to {size}: the file ends within a packet ({lost}); {self._last_good()}")

    def _pass_over(self, odd: int) -> int:
        at = self._walker.enter_behind(odd)
        self._note_lost(odd, at)
        return at


def _camera(header: Header, source: int, only: bool) -> Sensor | None:
    """The camera that the header names for this source; `only`: or the only one that it names."""
    named = {}
    for line in header.lines:
        if match := re.match(r"#Source (\d+): *(.*)", line):
            named[int(match[1])] = match[2]
    name = named.get(source, next(iter(named.values())) if only and len(named) == 1 else "")
    return next((sensor for word in re.split(r"[\s,;]+", name) if (sensor := known_sensor(word))), None)


class _Aedat3Decoder(Decoder):
    unit = 8

    def __init__(
        self, stored: Stored, header: Header, source: int | None, tell: Callable[[str], None]
    ) -> None:
        super().__init__()
        self.sensor = Sensor(0, 0)
        self._stored, self._tell = stored, tell
        self._old = header.version == (3, 0)
        self._at = header.body  # the byte that `decode` is given first
        self._state = np.zeros(STATE, np.int64)
        self._state[LAST] = -1
        self.source, self._state[OVERFLOW] = self._first_packet(source)
        self._state[SOURCE] = self.source

    def _first_packet(self, source: int | None) -> tuple[int, int]:
        """Source and clock overflow of the first polarity events (of this source)."""
        ahead = self._stored.at(self._at, SEARCH_BYTES)
        at = 0
        while (at := find_header(np.frombuffer(ahead, np.uint8), at, False)) >= 0:
            kind, sender, size, _, overflow, _, number, _ = _HEADER.unpack_from(ahead, at)
            if kind == POLARITY and source in (None, sender):
                return sender, overflow
            at += HEADER_BYTES + size * number
        return source or 0, 0

    def decode(self, data: Bytes, room: Room, final: bool) -> Step:
        counts = np.zeros(COUNTS, np.int64)
        width, height = self.sensor.width, self.sensor.height
        used, events, why = 0, 0, HEADER
        while why == HEADER:
            more, written, why = take(
                data[used:], width, height, self._old, *room.part(events, len(room.t)), self._state, counts
            )
            used += more
            events += written
            if why == HEADER:
                why = self._enter(self._at + used, counts)
                used += HEADER_BYTES if why != ODD else 0
        for kind, name in COUNTED.items():
            self.count(name, int(counts[kind]))
        self._at += used
        return Step(used, events, why == ODD, int(counts[REFUSED]), clock_reset=why == CLOCK_RESET)

    def _enter(self, at: int, counts: np.ndarray) -> int:
        """Begin the packet whose header is at `at`: HEADER (go on), ODD or CLOCK_RESET."""
        stored, state = self._stored, self._state
        head = stored.at(at, HEADER_BYTES)
        if not plausible(np.frombuffer(head, np.uint8), 0):
            return ODD
        kind, source, size, _, overflow, capacity, number, _ = _HEADER.unpack(head)
        start = at + HEADER_BYTES
        end = start + size * number
        state[STRICT] = skip = 0
        if not self._follows(end):
            found = self._find(start, min(end, stored.size))
            if self._follows(start + size * capacity):
                skip = size * (capacity - number)
            elif found is not None:
                self._tell(
                    f"bytes {at} to {found}: a packet of {number} events, but the next one begins after "
                    f"{(found - start) / size:g}"
                )
                number, skip = (found - start) // size, (found - start) % size
                end, state[STRICT] = found, 1
        state[OVERFLOW] = self._overflow(overflow, end)
        if source == state[SOURCE] and kind == POLARITY:
            state[LEFT], state[SKIP] = number, skip
            return HEADER
        state[SKIP] = size * number + skip
        counts[kind if source == state[SOURCE] else FOREIGN] += number
        if source == state[SOURCE] and kind == SPECIAL:
            specials = np.frombuffer(stored.at(start, min(size * number, MOST_SPECIALS)), np.uint8)
            if has_reset(specials):
                return CLOCK_RESET
        return HEADER

    def _overflow(self, overflow: int, end: int) -> int:
        """The packet's clock overflow, unless it leaps and the next packet (at `end`) is back."""
        before = int(self._state[OVERFLOW])
        if overflow - before not in (0, 1):
            head = self._stored.at(end, HEADER_BYTES)
            if len(head) == HEADER_BYTES and _HEADER.unpack(head)[4] == before:
                self._tell(f"bytes before {end}: a packet's clock says overflow {overflow}; read as {before}")
                return before
        return overflow

    def _follows(self, at: int) -> bool:
        """Whether a packet begins at `at`, or the file ends there (or within that packet's header)."""
        head = self._stored.at(at, HEADER_BYTES)
        if len(head) < HEADER_BYTES:
            return at <= self._stored.size
        return bool(plausible(np.frombuffer(head, np.uint8), 0))

    def _find(self, start: int, stop: int) -> int | None:
        """The first byte from `start` on, before `stop`, where a packet begins."""
        while start < stop:
            ahead = np.frombuffer(self._stored.at(start, SEARCH_BYTES), np.uint8)
            found = find_header(ahead, 0, len(ahead) < SEARCH_BYTES)
            if found >= 0:
                return start + found if start + found < stop else None
            if len(ahead) < SEARCH_BYTES:
                return None
            start += len(ahead) - HEADER_BYTES + 1
        return None

    def enter_behind(self, odd: int) -> int:
        """The byte of the next packet behind damage, or of the file's end; decoding goes on there."""
        found = self._find(odd, self._stored.size)
        self._at = self._stored.size if found is None else found
        self._state[LEFT] = self._state[SKIP] = 0
        return self._at

    @property
    def missing(self) -> int:
        """Bytes of the packet begun last that were not used."""
        return int(8 * self._state[LEFT] + self._state[SKIP])
