"""The events of an Event Stream file, byte by byte.

DVS    1..7 step of time, 0 polarity                            then uint16 x, uint16 y
ATIS   2..7 step of time, 1 polarity, 0 exposure, not change    then uint16 x, uint16 y
where an event could begin: DVS 0xff: 127 us more; ATIS 0xfd..0xff: 63 us more, once to three times;
DVS 0xfe, ATIS 0xfc: nothing (resets, so that a reader which is out of step comes into it again)
"""

import numba
import numpy as np

LOOK_BYTES = 4_096  # events are followed so far; a wrong begin left real sensors within 1,200 bytes
AGREE = 16  # events in the sensor, one after the other, that make a begin worth comparing
AGREE_AT_END = 4
ONE, TWO, THREE, FOUR, FIVE = (np.uint64(n) for n in range(1, 6))


@numba.njit(cache=True, nogil=True)
def take(data, width, height, atis, flip_y, t, x, y, p, now, final):
    """Decode events from the begin of `data` (uint8) into t, x, y, p.

    now    the time reached before
    final  nothing comes after `data`

    Returns (bytes used, events written, exposure events, events outside the sensor, time reached, True if
    what follows is no event).
    """
    reset, more_us, shift, exposure = _shape(atis)
    n = np.uint64(len(data))
    room = np.uint64(len(t))
    at = np.uint64(0)  # unsigned: an index that could be negative would take twice the time
    k = np.uint64(0)
    exposures = 0
    refused = 0
    while at < n and k < room:
        first = data[at]
        if first >= reset:
            now += more_us * np.int64(first - reset)
            at += ONE
            continue
        if at + FIVE > n:
            break
        across = np.uint16(data[at + ONE]) | (np.uint16(data[at + TWO]) << np.uint16(8))
        up = np.uint16(data[at + THREE]) | (np.uint16(data[at + FOUR]) << np.uint16(8))
        if across >= width or up >= height:
            if not final and n - at < LOOK_BYTES + 10:
                break
            if not _in_step(data, np.int64(at), width, height, reset):
                return np.int64(at), np.int64(k), exposures, refused, now, True
            refused += 1
            now += np.int64(first >> shift)
            at += FIVE
            continue
        now += np.int64(first >> shift)
        at += FIVE
        if first & exposure:
            exposures += 1
            continue
        t[k] = now
        x[k] = across
        y[k] = np.uint16(height - 1) - up if flip_y else up
        p[k] = (first >> (shift - 1)) & 1
        k += ONE
    return np.int64(at), np.int64(k), exposures, refused, now, False


@numba.njit(cache=True, nogil=True)
def find_events(data, width, height, atis, start, final):
    """The first byte from `start` on where events begin again, or -1: none, as far as can be said.

    Unless `final`, the last 2 * LOOK_BYTES are not searched: more must follow them.
    """
    reset, _, _, _ = _shape(atis)
    stop = len(data) if final else len(data) - 2 * LOOK_BYTES
    for at in range(start, stop):
        length = _follow(data, at, width, height, reset)
        if length >= AGREE or (length >= AGREE_AT_END and len(data) - at < LOOK_BYTES):
            return _best(data, at, width, height, reset)
    return -1


@numba.njit(cache=True, nogil=True)
def _shape(atis):
    """(first reset byte, us that each above it adds, bits below the step of time, bit of exposure events)."""
    return (0xFC, 63, 2, 1) if atis else (0xFE, 127, 1, 0)


@numba.njit(cache=True, nogil=True)
def _follow(data, at, width, height, reset):
    """How many events in the sensor follow each other from `at` on; LOOK_BYTES: until that many bytes."""
    stop = min(len(data), at + LOOK_BYTES)
    events = 0
    while at < stop:
        if data[at] >= reset:
            at += 1
            continue
        if at + 5 > len(data):
            break
        if (
            np.int64(data[at + 1]) + 256 * np.int64(data[at + 2]) >= width
            or np.int64(data[at + 3]) + 256 * np.int64(data[at + 4]) >= height
        ):
            return events
        events += 1
        at += 5
    return LOOK_BYTES if stop < len(data) else events


@numba.njit(cache=True, nogil=True)
def _best(data, at, width, height, reset):
    """Of five bytes from `at` on, the one from which the events go on longest."""
    best = at
    longest = -1
    for begin in range(at, min(at + 5, len(data))):
        length = _follow(data, begin, width, height, reset)
        if length > longest:
            best, longest = begin, length
    return best


@numba.njit(cache=True, nogil=True)
def _in_step(data, at, width, height, reset):
    """Whether the impossible event at byte `at` is damaged alone: those behind it go on best as they are."""
    length = _follow(data, at + 5, width, height, reset)
    if length < AGREE and at + 5 + LOOK_BYTES < len(data):
        return False
    return _follow(data, _best(data, at + 1, width, height, reset), width, height, reset) <= length
