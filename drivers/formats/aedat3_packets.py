"""Packets of AEDAT 3, and their polarity events, where all is well; aedat3.py looks after the rest.

    header    int16 type, int16 source, int32 size of an event, offset of its time, overflow of the clock,
              capacity, number of events, number of valid ones: 28 bytes, then number * size bytes
    polarity  uint32: 0 valid, 1 ON, 2..16 y, 17..31 x (3.0: 4..17 y, 18..31 x, y up); int32 time
    special   uint32: 0 valid, 1..7 what (0 the clock wraps, 1 it is reset); int32 time

All numbers are little-endian.
"""

from typing import Any

import numba
import numpy as np

HEADER_BYTES = 28
SPECIAL, POLARITY, FRAME = 0, 1, 2
KINDS = 14
INVALID, FOREIGN, REFUSED = range(KINDS, KINDS + 3)  # counted behind the kinds: not valid, of another source,
COUNTS = KINDS + 3  # without a possible time or place
RESET = 1  # the special event
SIZES = (8, 8, 36, 36, 48, 8, 8, 10)  # of an event, by type; a frame's has its pixels besides
TIMES_AT = (4, 4, 12, 4, 4, 4, 4, 6)
MOST_EVENT = 1 << 26  # bytes of a frame
MOST_OTHER = 1 << 10  # of an event whose size we do not know; a header read two bytes early has more
MOST_OVERFLOW = 1 << 20  # 71 years

LEFT, SKIP, OVERFLOW, STRICT, LAST, SOURCE = range(6)  # see `take`
STATE = 6
MORE, HEADER, ODD, CLOCK_RESET = range(4)  # why `take` stops

ZERO: Any = np.int64(0)  # for a literal 0 Numba compiles every function that is given it once more

DISORDER_US = 1_000
SOON_US = 1_000_000


@numba.njit(cache=True, nogil=True)
def take(data, width, height, old, t, x, y, p, state, counts):
    """Decode packets from the begin of `data` (uint8) into t, x, y, p.

    old     the layout of 3.0        counts  (COUNTS,) int64, raised
    state   (STATE,) int64: events LEFT of this packet, bytes to SKIP behind them, clock OVERFLOW, STRICT: no
            telling how long this packet is, so stop at what is no event; LAST time or -1, SOURCE

    Returns (bytes used, events written, MORE | HEADER | ODD | CLOCK_RESET). HEADER: at one that is wrong, or
    whose packet does not end at another one in `data`.
    """
    n = len(data)
    at = ZERO
    k = ZERO
    while at < n:
        if state[LEFT] > 0:
            m = min(state[LEFT], (n - at) // 8, len(t) - k)
            if m <= 0:
                break
            words = data[at : at + 8 * m].view(np.uint32)
            good = _sound(words, width, height, old, state) if state[STRICT] else m
            k += _events(words[: 2 * good], height, old, state, t[k:], x[k:], y[k:], p[k:], counts)
            at += 8 * good
            state[LEFT] -= good
            if good < m:
                return at, k, ODD
        elif state[SKIP] > 0:
            passed = min(state[SKIP], n - at)
            at += passed
            state[SKIP] -= passed
        elif n - at < HEADER_BYTES:
            break
        elif not _certain(data, at, state[OVERFLOW]):
            return at, k, HEADER
        else:
            kind, source = _int16(data, at), _int16(data, at + 2)
            size, number = _int32(data, at + 4), _int32(data, at + 20)
            at += HEADER_BYTES
            state[OVERFLOW], state[STRICT] = _int32(data, at - 16), 0
            if source == state[SOURCE] and kind == POLARITY:
                state[LEFT] = number
                continue
            state[SKIP] = size * number
            counts[kind if source == state[SOURCE] else FOREIGN] += number
            if source == state[SOURCE] and kind == SPECIAL and has_reset(data[at : at + size * number]):
                return at, k, CLOCK_RESET
    return at, k, MORE


@numba.njit(cache=True, nogil=True)
def plausible(data, at):
    """Whether a packet header stands at byte `at`."""
    kind, source = _int16(data, at), _int16(data, at + 2)
    size, time_at, overflow = _int32(data, at + 4), _int32(data, at + 8), _int32(data, at + 12)
    capacity, number, valid = _int32(data, at + 16), _int32(data, at + 20), _int32(data, at + 24)
    if not (0 <= kind < KINDS and 0 <= source < 1 << 10 and 0 <= overflow < MOST_OVERFLOW):
        return False
    if not 0 <= valid <= number <= capacity:
        return False
    if kind == FRAME:
        return SIZES[FRAME] <= size < MOST_EVENT and time_at in (8, TIMES_AT[FRAME])
    if kind < len(SIZES):
        return size == SIZES[kind] and time_at == TIMES_AT[kind]
    return 8 <= size <= MOST_OTHER and 0 < time_at <= size - 4


@numba.njit(cache=True, nogil=True)
def find_header(data, start, final):
    """The first byte from `start` on where a packet begins that ends where `data` or another one does; or -1.

    Of a packet that goes on behind `data`, its header alone must do.
    """
    for at in range(start, len(data) - HEADER_BYTES + 1):
        if plausible(data, at):
            end = at + HEADER_BYTES + _int32(data, at + 4) * _int32(data, at + 20)
            if end + HEADER_BYTES <= len(data):
                if plausible(data, end):
                    return at
            elif end == len(data) or not final or _int32(data, at + 16) == _int32(data, at + 20):
                return at
    return -1


@numba.njit(cache=True, nogil=True)
def _certain(data, at, overflow):
    """Whether the header at `at` is one, goes on with the clock, and its packet ends at another header."""
    if not plausible(data, at) or not 0 <= _int32(data, at + 12) - overflow <= 1:
        return False
    end = at + HEADER_BYTES + _int32(data, at + 4) * _int32(data, at + 20)
    return end + HEADER_BYTES <= len(data) and plausible(data, end)


@numba.njit(cache=True, nogil=True)
def _events(words, height, old, state, t, x, y, p, counts):
    """The events of `words`; those not valid are counted and left out. Returns how many were written."""
    n = len(words) // 2
    if n == 0:
        return 0
    k = 0 if old else _plain_events(words, state[OVERFLOW] << 31, t[:n], x[:n], y[:n], p[:n])
    if k == 0:
        k = _any_events(words, height, old, state[OVERFLOW] << 31, t, x, y, p, counts)
    if k:
        state[LAST] = t[k - 1]
    return k


@numba.njit(cache=True, nogil=True)
def _plain_events(words, base, t, x, y, p):
    """All events of `words`, or 0: some are not valid, or have a time that no clock counts."""
    right = np.uint32(1)
    for i in range(len(t)):
        word, now = words[2 * i], words[2 * i + 1]
        right &= word & ~(now >> np.uint32(31))
        x[i] = word >> np.uint32(17)
        y[i] = (word >> np.uint32(2)) & np.uint32(0x7FFF)
        p[i] = (word >> np.uint32(1)) & np.uint32(1)
        t[i] = base + np.int64(now)
    return len(t) if right else 0


@numba.njit(cache=True, nogil=True)
def _any_events(words, height, old, base, t, x, y, p, counts):
    k = 0
    for i in range(len(words) // 2):
        word, now = words[2 * i], words[2 * i + 1]
        across, down = _place(word, old)
        if word & np.uint32(1) == 0:
            counts[INVALID] += 1
        elif now >> np.uint32(31) or (old and down >= height):
            counts[REFUSED] += 1
        else:
            t[k], x[k], p[k] = base + np.int64(now), across, (word >> np.uint32(1)) & np.uint32(1)
            y[k] = height - 1 - down if old else down
            k += 1
    return k


@numba.njit(cache=True, nogil=True)
def _sound(words, width, height, old, state):
    """How many records from the first on can be events: in the sensor, their times going on."""
    last = state[LAST]
    for i in range(len(words) // 2):
        across, down = _place(words[2 * i], old)
        now = (state[OVERFLOW] << 31) + np.int64(words[2 * i + 1])
        if across >= width or down >= height or (last >= 0 and not -DISORDER_US <= now - last <= SOON_US):
            return i
        last = max(last, now)
    return len(words) // 2


@numba.njit(cache=True, nogil=True)
def _place(word, old):
    """(x, y as stored); 3.0 has them one and two bits higher."""
    if old:
        return np.int64(word >> np.uint32(18)), np.int64((word >> np.uint32(4)) & np.uint32(0x3FFF))
    return np.int64(word >> np.uint32(17)), np.int64((word >> np.uint32(2)) & np.uint32(0x7FFF))


@numba.njit(cache=True, nogil=True)
def has_reset(data):
    """Whether one of these special events is a valid reset of the clock."""
    found = False
    for i in range(len(data) // SIZES[SPECIAL]):
        found |= data[i * SIZES[SPECIAL]] == (RESET << 1 | 1)
    return found


@numba.njit(cache=True, nogil=True)
def _int16(data, at):
    return np.int64(np.int16(np.uint16(data[at]) | (np.uint16(data[at + 1]) << np.uint16(8))))


@numba.njit(cache=True, nogil=True)
def _int32(data, at):
    low = np.int64(data[at]) | (np.int64(data[at + 1]) << 8) | (np.int64(data[at + 2]) << 16)
    return low | (np.int64(np.int8(data[at + 3])) << 24)
