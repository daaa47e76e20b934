"""EVT3 files: 16-bit words. The layout is told in formats/evt3.py.

The clock wraps every 16.8 s, as the format has it; in a silence TIME_HIGH goes on at least every 0.52 s, so
that no wrap is missed, and it is repeated before the first event of every 256 us, so that a reader finds its
way back behind damage. Five and more neighbours in one row at one time become a vector, as cameras send
them: a base that is a multiple of 32, then masks of 12, 12 and 8 pixels.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from spikeline.drivers.writers.prophesee import ClockedWriter, checked_columns, raw_header

STRIDE = 128  # TIME_HIGH goes on by at most so much (4,096 us each) from word to word
VECTOR_EVENTS = 5  # from here on a vector of four words is shorter
REPEAT_BITS = 8
HIGH, LOW, ROW, PART = range(4)  # what was written last; and in which 256 us


class Evt3Writer(ClockedWriter):
    """11 bits a coordinate; the first event within 16.8 s. Clock marks survive at the file's end, to 4 ms."""

    format = "EVT3"
    max_side = 2_048
    begin_bits = 24
    clock_bits = 0

    def _header(self) -> bytes:
        self._state = np.full(4, -1, np.int64)
        return raw_header("3.0", "EVT3", self.sensor, self._shift("t0"))

    def _encode(self, t: NDArray, x: NDArray, y: NDArray, p: NDArray) -> bytes:
        columns = checked_columns(t, x, y, p)
        pieces, start = [], 0
        words = np.empty(5 * len(t) + 1_024, np.uint16)
        while start < len(t):
            start, count = _words(*columns, start, words, self._state)
            pieces.append(words[:count].astype("<u2").tobytes())
        return b"".join(pieces)

    def _end(self, until_us: int) -> bytes:
        high, until = int(self._state[HIGH]), until_us >> 12
        steps = [*range(high + STRIDE, until, STRIDE), until] if until > high else []
        return b"".join((0x8000 | (step & 0xFFF)).to_bytes(2, "little") for step in steps)


@numba.njit(cache=True, nogil=True)
def _words(t, x, y, p, start, words, state):
    """Encode from event `start` on until `words` is full: (where to go on, words written)."""
    n = t.shape[0]
    i = start
    k = 0
    while i < n and k + 9 <= words.shape[0]:
        high, low = t[i] >> 12, t[i] & 0xFFF
        if high != state[HIGH]:
            far = state[HIGH] >= 0 and high - state[HIGH] > STRIDE
            state[HIGH] = state[HIGH] + STRIDE if far else high
            state[LOW] = -1
            words[k] = 0x8000 | (state[HIGH] & 0xFFF)
            k += 1
            continue
        if t[i] >> REPEAT_BITS != state[PART]:
            if state[LOW] >= 0:
                words[k] = 0x8000 | (high & 0xFFF)
                k += 1
            state[PART], state[LOW] = t[i] >> REPEAT_BITS, -1
        if low != state[LOW]:
            words[k] = 0x6000 | low
            k += 1
            state[LOW] = low
        if y[i] != state[ROW]:
            words[k] = y[i]
            k += 1
            state[ROW] = y[i]
        stop = i + 1
        while stop < n and t[stop] == t[i] and y[stop] == y[i] and p[stop] == p[i]:
            if x[stop] <= x[stop - 1] or x[stop] >> 5 != x[i] >> 5:
                break
            stop += 1
        if stop - i < VECTOR_EVENTS:
            words[k] = 0x2000 | np.int64(p[i]) << 11 | np.int64(x[i])
            k += 1
            i += 1
            continue
        mask = np.int64(0)
        for j in range(i, stop):
            mask |= np.int64(1) << np.int64(x[j] & 31)
        words[k] = 0x3000 | np.int64(p[i]) << 11 | np.int64(x[i] & ~31)
        words[k + 1] = 0x4000 | (mask & 0xFFF)
        words[k + 2] = 0x4000 | ((mask >> 12) & 0xFFF)
        words[k + 3] = 0x5000 | (mask >> 24)
        k += 4
        i = stop
    return i, k
