"""EVT2 words (32 bits) to events.

    type 28..31    0 OFF, 1 ON    22..27 low bits of t    11..21 x    0..10 y
                   8 TIME_HIGH    0..27 = t >> 6          A external trigger, E other, F continued, D IMU

t = (TIME_HIGH << 6) + low, in us, 34 bits. If the low bits fall under one TIME_HIGH, one was lost: then
64 us are added for each fall, up to the time of the next TIME_HIGH.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from spikeline.drivers.formats.evt_words import (
    BEFORE,
    CAP,
    CHANGED,
    CHUNK,
    DAMAGED,
    EXTRA,
    HIGH,
    KNOWN,
    LENIENT,
    LOST,
    MORE,
    NEVER,
    ODD,
    OWN,
    SET,
    STRICT,
    TAKE,
    Layout,
    WordDecoder,
    add_lost,
    take_high,
)
from spikeline.drivers.formats.records import Room
from spikeline.pipeline.events import REORDER_US

HIGH_US = 64
WRAP_US = 1 << 34
LAYOUT = Layout(28, 0, 0xFFF_FFFF, HIGH_US, WRAP_US, REORDER_US)
GROUP = 32  # words looked at together
LOW, LAST = OWN, OWN + 1  # the last low bits under this TIME_HIGH; the last event's time


class Evt2Decoder(WordDecoder):
    unit = 4
    dtype = "<u4"
    wrap_us = WRAP_US
    layout = LAYOUT
    strange = (2, 3, 4, 5, 6, 7, 9, 0xB, 0xC)
    names = {  # noqa: RUF012
        0xA: "external trigger",
        0xD: "IMU",
        0xE: "other",
        0xF: "continued",
        LOST: "lost time word",
        DAMAGED: "damaged time word",
    }

    def __init__(self, shift_us: int = 0) -> None:
        super().__init__(2, shift_us)
        self._state[LAST] = -NEVER

    def _split(self, words: NDArray) -> tuple[NDArray, NDArray, NDArray]:
        types = (words >> 28).astype(np.uint8)
        lows = np.where(types < 2, (words >> 22) & 63, -1)
        return types, (words & 0xFFF_FFFF).astype(np.int64) * HIGH_US, lows.astype(np.int64)

    def _run_plain(self, words: NDArray, room: Room) -> tuple[int, int]:
        return _plain(words, *room, self._state, self._counts, self._shift_us)

    def _run_careful(self, words: NDArray, room: Room, final: bool) -> tuple[int, int, int, bool]:
        return _careful(words, *room, self._state, self._counts, self._shift_us, final)


@numba.njit(cache=True, nogil=True)
def _plain(words, t, x, y, p, state, counts, shift_us):
    """Chunks without strange types, leaps of the clock or falls of the low bits: (words used, events)."""
    n = min(words.shape[0], t.shape[0])
    used = 0
    k = 0
    if state[KNOWN] == 0 or state[EXTRA] != 0 or state[TAKE] != 0:
        return used, k
    while used < n:
        stop = min(used + CHUNK, n)
        more, seen, high, earlier, far = _chunk(
            words[used:stop], t[k:], x[k:], y[k:], p[k:], state[HIGH], state[BEFORE], shift_us
        )
        usual = np.uint32(0b1110_0101_0000_0011)
        if far < 0 or seen & ~usual:
            break
        before = state[LAST]
        fell = 0
        for i in range(k, k + more):
            fell |= t[i] < before
            before = t[i]
        if fell:
            break
        if seen & np.uint32(0b1110_0100_0000_0000):
            for i in range(used, stop):
                if words[i] >> np.uint32(28) > 8:
                    counts[words[i] >> np.uint32(28)] += 1
        if more:
            state[LAST] = before
            state[LOW] = before - shift_us - high  # under this TIME_HIGH, or less than 0: under another
        elif high != state[HIGH]:
            state[LOW] = 0
        state[HIGH], state[BEFORE], state[STRICT] = high, earlier, 0
        used = stop
        k += more
    return used, k


@numba.njit(cache=True, nogil=True)
def _chunk(words, t, x, y, p, high_us, before_us, shift_us):
    """Every word is written as an event, and the next over it unless it was one.

    GROUP words without any but events become vectors. Returns (events, bits of the types seen, the last
    TIME_HIGH and the one before it, less than 0 if one went further than usual).
    """
    n = np.uint64(words.shape[0])
    first = np.int64(high_us) >> 6
    value = first
    now = np.int64(high_us) + shift_us
    group = np.uint64(GROUP)
    k = np.uint64(0)
    i = np.uint64(0)
    seen = np.uint32(0)
    far = np.int64(0)
    while i < n:
        stop = min(i + group, n)
        top = np.uint32(1 << 29)
        if stop == i + group:
            top = np.uint32(0)
            for j in range(group):
                top |= words[i + j]
        if top < np.uint32(1 << 29):
            for j in range(group):
                word = words[i + j]
                t[k + j] = now + np.int64((word >> np.uint32(22)) & np.uint32(63))
                x[k + j] = (word >> np.uint32(11)) & np.uint32(2047)
                y[k + j] = word & np.uint32(2047)
                p[k + j] = word >> np.uint32(28)
            k += group
        else:
            for j in range(i, stop):
                word = words[j]
                kind = word >> np.uint32(28)
                seen |= np.uint32(1) << kind
                t[k] = now + np.int64((word >> np.uint32(22)) & np.uint32(63))
                x[k] = (word >> np.uint32(11)) & np.uint32(2047)
                y[k] = word & np.uint32(2047)
                p[k] = kind
                k += np.uint64(kind < np.uint32(2))
                is_high = np.int64(0) - np.int64(kind == np.uint32(8))  # all bits, or none
                step = (np.int64(word) - value) & np.int64(0xFFF_FFFF) & is_high
                far |= REORDER_US // HIGH_US - step
                value += step
                now += step << 6
        i = stop
    high = high_us + ((value - first) << 6)
    return np.int64(k), seen, high, _before(words, high, high_us, before_us), far


@numba.njit(cache=True, nogil=True)
def _before(words, high_us, first_us, before_us):
    """The TIME_HIGH before the last one in these words, which began with these two."""
    found = 0
    for i in range(words.shape[0] - 1, -1, -1):
        if words[i] >> np.uint32(28) == 8:
            found += 1
            if found == 2:
                step = (high_us >> 6) - np.int64(words[i] & np.uint32(0xFFF_FFFF))
                return high_us - ((step & np.int64(0xFFF_FFFF)) << 6)
    return first_us if found else before_us


@numba.njit(cache=True, nogil=True)
def _careful(words, t, x, y, p, state, counts, shift_us, final):
    """One chunk, word by word: (words used, events, events before the first time, stopped at an odd one)."""
    n = min(words.shape[0], CHUNK)
    k = 0
    refused = 0
    for i in range(min(n, t.shape[0])):
        word = np.int64(words[i])
        kind = word >> 28
        if kind < 2:
            if state[KNOWN] == 0:
                refused += 1
                continue
            low = (word >> 22) & 63
            if low < state[LOW] and not add_lost(words, i, LAYOUT, state, counts, final):
                return i, k, refused, False
            state[LOW] = low
            t[k] = state[HIGH] + low + shift_us
            if state[EXTRA]:
                t[k] = min(t[k] + state[EXTRA], state[CAP] + shift_us)
            state[LAST] = t[k]
            x[k] = (word >> 11) & 2047
            y[k] = word & 2047
            p[k] = kind
            k += 1
        elif kind == 8:
            done = take_high(words, i, LAYOUT, state, counts, final)
            if done in (MORE, ODD):
                return i, k, refused, done == ODD
            if done in (CHANGED, SET):
                state[LOW] = 0
            if done == SET:
                state[LAST] = -NEVER
        else:
            if state[LENIENT] == 0 and (kind < 0xA or kind == 0xB or kind == 0xC):
                return i, k, refused, True
            counts[kind] += 1
        state[LENIENT] = max(0, state[LENIENT] - 1)
        state[STRICT] = max(0, state[STRICT] - 1)
    return min(n, t.shape[0]), k, refused, False
