"""EVT3 words (16 bits) to events.

    type 12..15    0 ADDR_Y    0..10 y, 11 of a second camera     2 ADDR_X     0..10 x, 11 p: an event
                   3 VECT_BASE_X  0..10 x, 11 p                   4 VECT_12, 5 VECT_8  an event for each bit
                   6 TIME_LOW  0..11                              8 TIME_HIGH  0..11
                   A external trigger, E other, F and 7 continued, 1 y of a grey level, D IMU

t = (TIME_HIGH << 12) + TIME_LOW, in us, 24 bits. A low part that falls is no wrap, cameras write it twice:
the last one written holds, and a new TIME_HIGH sets it to 0. A vector moves its base on by its width.
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
    PLACES,
    SET,
    SET_BITS,
    STRICT,
    TAKE,
    Layout,
    WordDecoder,
    add_lost,
    take_high,
)
from spikeline.drivers.formats.records import SPARE, Bytes, Room

HIGH_US = 4_096
WRAP_US = 1 << 24
LAYOUT = Layout(12, 0, 0xFFF, HIGH_US, WRAP_US, HIGH_US)
WRAPPED_US = 1_024  # a low part that falls from so near its end to so near its begin has lost a TIME_HIGH
SECOND = 18  # where `counts` has the rows of a second camera
NAMES = {
    1: "grey level",
    7: "continued",
    0xA: "external trigger",
    0xD: "IMU",
    0xE: "other",
    0xF: "continued",
    LOST: "lost time word",
    DAMAGED: "damaged time word",
    SECOND: "row of a second camera",
}
BEYOND = 60_000  # no base goes further; all sensors end before it
NOW, LOW, LOW_2, LOW_3, Y, Y_KNOWN, BASE, BASE_P, BASE_KNOWN, GREY, LAST, PASS = range(OWN, OWN + 12)


class Evt3Decoder(WordDecoder):
    """For words that come in messages, see feed.py."""

    unit = 2
    dtype = "<u2"
    wrap_us = WRAP_US
    layout = LAYOUT
    strange = (1, 9, 0xB, 0xC, 0xD)
    names = NAMES

    def __init__(self, shift_us: int = 0) -> None:
        super().__init__(12, shift_us)
        self._state[LAST] = -NEVER

    def _split(self, words: NDArray) -> tuple[NDArray, NDArray, NDArray]:
        types = (words >> 12).astype(np.uint8)
        value = (words & 0xFFF).astype(np.int64)
        return types, value * HIGH_US, np.where(types == 6, value, -1)

    def _run_plain(self, words: NDArray, room: Room) -> tuple[int, int]:
        return _plain(words, *room, self._state, self._counts, self._shift_us, PLACES, SET_BITS)

    def _run_careful(self, words: NDArray, room: Room, final: bool) -> tuple[int, int, int, bool]:
        return _careful(words, *room, self._state, self._counts, self._shift_us, final)

    def resume(self, ahead: Bytes) -> None:
        """Row and vector base are unknown behind damage; the low bits hold until they are told again.

        Where they fall from near their end to near their begin, a TIME_HIGH was lost.
        """
        state = self._state
        good = (state[HIGH], state[BEFORE])
        super().resume(ahead)
        state[[Y_KNOWN, BASE_KNOWN, GREY]] = 0
        low = np.median(state[[LOW, LOW_2, LOW_3]])  # one may be of the damage
        types, times, lows = self._split(self.words(ahead))
        where = np.append(np.flatnonzero(types == 8), len(types))
        coming = lows[: where[0]][lows[: where[0]] >= 0][:3]
        fell = low >= HIGH_US - WRAPPED_US and len(coming) and np.median(coming) < WRAPPED_US
        if fell and state[HIGH] in good:
            step = int(times[where[0]] - state[HIGH]) % WRAP_US if len(where) > 1 else NEVER
            if step >= HIGH_US:
                state[EXTRA], state[CAP] = HIGH_US, min(NEVER, state[HIGH] + step)
                self._counts[LOST] += 1
        state[[LOW, LOW_2, LOW_3]] = 0 if fell or state[HIGH] not in good else low
        state[NOW] = state[HIGH] + state[LOW] + state[EXTRA]
        state[PASS] = len(coming) == 3 and coming[1] <= coming[2] < coming[0]  # the first is of the damage


@numba.njit(cache=True, nogil=True)
def _plain(words, t, x, y, p, state, counts, shift_us, places, set_bits):
    """Chunks without strange types or leaps of the clock: (words used, events)."""
    n = words.shape[0]
    used = 0
    k = 0
    if state[KNOWN] == 0 or state[Y_KNOWN] == 0 or state[GREY] != 0 or state[TAKE] != 0 or state[EXTRA] != 0:
        return used, k
    kept = np.empty_like(state)
    while used < n and t.shape[0] - k >= SPARE:
        stop = min(used + CHUNK, n)
        kept[:] = state
        done, more, seen, far = _chunk(
            words[used:stop], t[k:], x[k:], y[k:], p[k:], state, shift_us, places, set_bits
        )
        usual = np.uint32(0b1100_0101_1111_1101)
        vectors = np.uint32(0b11_0000)
        before = state[LAST]
        fell = 0
        for i in range(k, k + more):
            fell |= t[i] < before
            before = t[i]
        if fell or far < 0 or seen & ~usual or (seen & vectors and kept[BASE_KNOWN] == 0):
            state[:] = kept
            break
        state[LAST] = before
        if seen & np.uint32(0b1100_0100_1000_0000):
            for i in range(used, used + done):
                kind = words[i] >> np.uint16(12)
                if kind > 8 or kind == 7:
                    counts[kind] += 1
        state[STRICT] = 0
        used += done
        k += more
    return used, k


@numba.njit(cache=True, nogil=True)
def _chunk(words, t, x, y, p, state, shift_us, places, set_bits):
    """Words of types 0, 2 and 6, nearly all there are, without a branch: each is written as an event, and
    the next over it unless it was one. Vectors by table, four events at once.

    `kind` has five bits here, the fifth is p of an event. Returns (words used, events, bits of the types
    seen, less than 0 if a TIME_HIGH went on by two or more).
    """
    high = state[HIGH] + shift_us
    now = state[NOW] + shift_us
    row = np.uint32(state[Y])
    full = np.uint64(t.shape[0] - SPARE)
    done = words.shape[0]
    k = np.uint64(0)
    seen = np.uint32(0)
    far = np.int64(0)
    for i in range(words.shape[0]):
        word = np.uint32(words[i])
        kind = word >> np.uint32(11)
        place = word & np.uint32(2047)
        if (np.uint32(0b11_0000_0011_0001) >> kind) & np.uint32(1):
            is_row = np.uint32(0) - np.uint32(kind == np.uint32(0))  # all bits, or none
            is_low = np.int64(0) - np.int64(kind > np.uint32(8))
            row ^= (row ^ place) & is_row
            now ^= (now ^ (high + np.int64(word & np.uint32(0xFFF)))) & is_low
            t[k] = now
            x[k] = place
            y[k] = row
            p[k] = kind & np.uint32(1)
            k += np.uint64((kind ^ np.uint32(4)) < np.uint32(2))
        elif kind >> np.uint32(2) == np.uint32(2):
            width = np.uint32(12) if kind < np.uint32(10) else np.uint32(8)
            mask = np.uint64(word & ((np.uint32(1) << width) - np.uint32(1)))
            count = np.uint64(set_bits[mask])
            base, base_p = state[BASE], state[BASE_P]
            four = np.uint64(0)
            while True:
                for j in range(np.uint64(4)):
                    t[k + four + j] = now
                    x[k + four + j] = base + places[mask * np.uint64(12) + four + j]
                    y[k + four + j] = row
                    p[k + four + j] = base_p
                four += np.uint64(4)
                if four >= count:
                    break
            k += count
            state[BASE] = min(base + np.int64(width), BEYOND)
            seen |= np.uint32(0b11_0000)
        elif kind >> np.uint32(1) == np.uint32(3):
            state[BASE], state[BASE_P], state[BASE_KNOWN] = place, kind & np.uint32(1), 1
        elif kind >> np.uint32(1) == np.uint32(8):
            step = (np.int64(word) - ((high - shift_us) >> 12)) & np.int64(0xFFF)
            far |= 1 - step
            state[BEFORE] = high - shift_us
            high += step << 12
            if step > 0:
                now = high
        else:  # a row of a second camera counts as type 1
            seen |= np.uint32(1) << max(kind >> np.uint32(1), np.uint32(1))
        if k >= full:
            done = i + 1
            break
    state[HIGH], state[NOW], state[Y] = high - shift_us, now - shift_us, np.int64(row)
    state[LOW] = state[LOW_2] = state[LOW_3] = now - high
    return done, np.int64(k), seen, far


@numba.njit(cache=True, nogil=True)
def _careful(words, t, x, y, p, state, counts, shift_us, final):
    """One chunk, word by word: (words used, events, events refused, stopped at an odd word)."""
    n = min(words.shape[0], CHUNK)
    k = 0
    refused = 0
    for i in range(n):
        if t.shape[0] - k < SPARE:
            return i, k, refused, False
        word = np.int64(words[i])
        kind = word >> 12
        value = word & 0xFFF
        placed = state[KNOWN] != 0 and state[Y_KNOWN] != 0
        if kind == 0:
            state[Y], state[Y_KNOWN], state[GREY] = value & 2047, 1, 0
            counts[SECOND] += value >> 11
        elif kind == 2:
            if state[GREY]:
                counts[1] += 1
            elif placed:
                t[k], x[k], y[k] = state[NOW] + shift_us, value & 2047, state[Y]
                p[k] = value >> 11
                k += 1
            else:
                refused += 1
        elif kind == 3:
            state[BASE], state[BASE_P], state[BASE_KNOWN] = value & 2047, value >> 11, 1
        elif kind == 4 or kind == 5:
            width = 12 if kind == 4 else 8
            for j in range(width):
                if not (value >> j) & 1:
                    continue
                if placed and state[BASE_KNOWN]:
                    t[k], x[k], y[k] = state[NOW] + shift_us, state[BASE] + j, state[Y]
                    p[k] = state[BASE_P]
                    k += 1
                else:
                    refused += 1
            state[BASE] = min(state[BASE] + width, BEYOND)
        elif kind == 6 and state[PASS]:
            state[PASS] = 0
        elif kind == 6:
            if state[LOW] >= HIGH_US - WRAPPED_US and value < WRAPPED_US:
                if not add_lost(words, i, LAYOUT, state, counts, final):
                    return i, k, refused, False
            elif state[EXTRA] and value >= HIGH_US - WRAPPED_US and state[LOW] < WRAPPED_US:
                state[EXTRA] = 0  # the one before it was damaged
            state[LOW_3], state[LOW_2], state[LOW] = state[LOW_2], state[LOW], value
            state[NOW] = state[HIGH] + value
            if state[EXTRA]:
                state[NOW] = min(state[NOW] + state[EXTRA], state[CAP])
        elif kind == 8:
            done = take_high(words, i, LAYOUT, state, counts, final)
            if done in (MORE, ODD):
                return i, k, refused, done == ODD
            if done in (CHANGED, SET):
                state[NOW], state[LOW] = state[HIGH], 0
            if done == SET:
                state[LAST] = -NEVER
        else:
            strange = kind == 1 or kind == 9 or kind == 0xB or kind == 0xC or kind == 0xD
            if strange and state[LENIENT] == 0:
                return i, k, refused, True
            if kind == 1:
                state[GREY] = 1
            else:
                counts[kind] += 1
        state[LENIENT] = max(0, state[LENIENT] - 1)
        state[STRICT] = max(0, state[STRICT] - 1)
    return n, k, refused, False
