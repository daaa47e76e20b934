"""Prophesee DAT recordings: a text header, two bytes that name the records, then 8 bytes an event.

    bits 0..31 t in us, wraps after 71.6 min    32..45 x    46..59 y    60..63 p    (version 2)
    bits 0..31 t                                32..40 x    41..48 y    49     p    (version 1)

Types 0x00 (2d) and 0x0C (CD) have the same layout. Files older than the two bytes begin with records.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from spikeline.drivers.formats.prophesee_header import (
    Header,
    checked_size,
    read_header,
    shift_of,
    whole_of,
)
from spikeline.drivers.formats.records import (
    Bytes,
    Decoder,
    Opened,
    RecordSource,
    Room,
    Step,
    agreed_sensor,
)
from spikeline.drivers.formats.times import follow
from spikeline.pipeline.events import REORDER_US, Sensor, SourceError

EVENT_TYPES = {0x00: "2d", 0x0C: "CD"}
OTHER_TYPES = {0x0E: "external triggers", 0x28: "optical flow"}
RECORD = 8
WRAP_US = 1 << 32
BITS = {1: (9, 8, 1), 2: (14, 14, 4)}  # version: bits of x, y, p
SIDE = 2_048  # coordinates of a camera are smaller
LOOK_RECORDS = 32  # behind one whose time leaps
FEW = 8  # one in so many may be wrong
LEAP_US = 1_000_000  # a step of time that is looked at: damage may have made it
LONG_US = 60_000_000  # a step back that is a wrap, but then so long, is more probably damage
NEAR = 1_024  # records that span less than this have no such step

LAST, STEP = 0, 1  # what the state holds: the last time, unwrapped; what to do with the next
CHECK, TAKE, FIRST, NEW = range(4)


class DatSource(RecordSource):
    """A DAT file. N-Cars files and old ones do not say the sensor's size: give `sensor`."""

    format = "DAT"

    def _open(self, sensor: Sensor | None, options: dict[str, str]) -> Opened:
        header = read_header(self._stored)
        size = agreed_sensor(self.path, self._size(header), sensor)
        version = whole_of(header.fields.get("version", "2"))
        if version not in BITS:
            raise SourceError(f"{self.path}: DAT version {header.fields['version']}; wanted 1 or 2")
        body = header.body + (self._check_type(header) if header.found and not header.cut else 0)
        shift_us, notes = shift_of(header)
        cut = header.cut or body > self._stored.size
        return Opened(size, DatDecoder(version, shift_us), body, (*header.notes, *notes), cut)

    def _size(self, header: Header) -> Sensor | None:
        if "width" not in header.fields or "height" not in header.fields:
            return None
        width, height = (whole_of(header.fields[key]) for key in ("width", "height"))
        if width is None or height is None:
            found = f"{header.fields['width']!r} x {header.fields['height']!r}"
            raise SourceError(f"{self.path}: size {found} in the header; wanted whole numbers")
        return checked_size(width, height, str(self.path))

    def _check_type(self, header: Header) -> int:
        """The two bytes behind the header: what the records are, and how long."""
        kind = self._stored.at(header.body, 2)
        if len(kind) == 2 and (kind[0] not in EVENT_TYPES or kind[1] != RECORD):
            found = OTHER_TYPES.get(kind[0], "records of a kind we do not know")
            raise SourceError(
                f"{self.path}: holds {found} (type 0x{kind[0]:02X}, {kind[1]} bytes each); "
                f"wanted 2d or CD events (type 0x00 or 0x0C, {RECORD} bytes each)"
            )
        return 2


class DatDecoder(Decoder):
    """State: the clock, and what to do with the next time."""

    unit = RECORD
    wrap_us = WRAP_US

    def __init__(self, version: int = 2, shift_us: int = 0) -> None:
        super().__init__()
        self._bits = BITS[version]
        self._shift_us = shift_us
        self._state = np.array([0, NEW], np.int64)

    def decode(self, data: Bytes, room: Room, final: bool) -> Step:
        n = min(len(data) // RECORD, len(room.t))
        words = data[: n * RECORD].view("<u8")
        if self._bits == BITS[2] and n >= NEAR and _plain(words, *room, self._state, self._shift_us):
            return Step(n * RECORD, n, ordered=True)
        done = _careful(words, *room, self._state, self._shift_us, *self._bits)
        return Step(done * RECORD, done, done < n)

    def good(self, data: Bytes) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        records = data.view("<u4").reshape(-1, 2) if len(data) else np.empty((0, 2), np.uint32)
        wide, high, levels = self._bits
        where = records[:, 1]
        x, y = where & ((1 << wide) - 1), (where >> wide) & ((1 << high) - 1)
        ok = (x < SIDE) & (y < SIDE) & ((where >> (wide + high)) & ((1 << levels) - 1) <= 1)
        return ok, records[:, 0].astype(np.int64)

    def judge(self, ahead: Bytes, final: bool) -> int | None:
        """A record whose time leaps is taken if those behind it go on from there, and left out if they go
        on from before it. One that cannot be an event, or is followed by disorder, is damage."""
        ok, t = self.good(ahead[: min(len(ahead) // RECORD, LOOK_RECORDS) * RECORD])
        if not len(ok) or not ok[0] or np.count_nonzero(~ok) > len(ok) // FEW:
            return None
        new = self._state[STEP] == NEW
        t = t[ok]
        before = np.array([] if new else [self._state[LAST] % WRAP_US], np.int64)
        with_it = _steps_back(np.append(before, t))
        without = _steps_back(np.append(before, t[1:]))
        if without < with_it and without <= len(t) // FEW:
            self.count("event of a damaged time", 1)
            self.refused += 1
            return RECORD
        if with_it - 1 > len(t) // FEW:
            return None
        self._state[STEP] = FIRST if new else TAKE
        return 0


def _steps_back(t: NDArray[np.int64]) -> int:
    """A wrap is none, if it is not also a long time."""
    return int(np.count_nonzero((np.diff(t) < -REORDER_US) & (np.diff(t) % WRAP_US > LONG_US)))


@numba.njit(cache=True, nogil=True)
def _plain(words, t, x, y, p, state, shift_us):
    """All records, where times rise without leap or wrap and polarities are 0 or 1; else False.

    words (n,) uint64, n >= NEAR. One pass without branches, which the compiler makes into vectors.
    """
    n = words.shape[0]
    base = state[LAST] - state[LAST] % WRAP_US + shift_us
    before = state[LAST] % WRAP_US
    back = np.int64(words[0] & np.uint64(0xFFFF_FFFF)) - before
    if state[STEP] != CHECK or back > LEAP_US:
        return False
    every = np.uint64(0)
    for i in range(n):
        word = words[i]
        raw = np.int64(word & np.uint64(0xFFFF_FFFF))
        t[i] = base + raw
        x[i] = (word >> np.uint64(32)) & np.uint64(0x3FFF)
        y[i] = (word >> np.uint64(46)) & np.uint64(0x3FFF)
        p[i] = word >> np.uint64(60)
        every |= word
        back |= raw - before
        before = raw
    if back < 0 or every >> np.uint64(61) or t[n - 1] - t[n - NEAR] > LEAP_US:
        return False
    state[LAST] = t[n - 1] - shift_us
    return True


@numba.njit(cache=True, nogil=True)
def _careful(words, t, x, y, p, state, shift_us, x_bits, y_bits, p_bits):
    """Records until one that no camera sends, or whose time leaps; returns how many."""
    for i in range(words.shape[0]):
        raw = np.int64(words[i] & np.uint64(0xFFFF_FFFF))
        where = np.int64(words[i] >> np.uint64(32))
        level = (where >> (x_bits + y_bits)) & ((1 << p_bits) - 1)
        x[i] = where & ((1 << x_bits) - 1)
        y[i] = (where >> x_bits) & ((1 << y_bits) - 1)
        p[i] = level
        if level > 1 or x[i] >= SIDE or y[i] >= SIDE:
            return i
        if state[STEP] == NEW:
            return i
        now = raw if state[STEP] == FIRST else follow(raw, state[LAST], WRAP_US)
        if state[STEP] == CHECK and abs(now - state[LAST]) > LEAP_US:
            return i
        t[i] = now + shift_us
        state[LAST], state[STEP] = now, CHECK
    return words.shape[0]
