"""EVT2 files: 32-bit words. The layout is told in formats/evt2.py.

A TIME_HIGH is written whenever its value changes, and in a silence at least every 0.52 s, so that a reader
sees the clock go on.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from spikeline.drivers.writers.prophesee import ClockedWriter, checked_columns, raw_header

STRIDE = 1 << 13  # TIME_HIGH goes on by at most so much (64 us each) from word to word


class Evt2Writer(ClockedWriter):
    """34 bits of time (4.77 h) and 11 bits a coordinate; clock marks survive at the file's end, to 64 us."""

    format = "EVT2"
    max_side = 2_048
    begin_bits = clock_bits = 34
    _high = -1  # the last TIME_HIGH written

    def _header(self) -> bytes:
        return raw_header("2.0", "EVT2", self.sensor, self._shift("t0"))

    def _encode(self, t: NDArray, x: NDArray, y: NDArray, p: NDArray) -> bytes:
        columns = checked_columns(t, x, y, p)
        bridges = max(0, int(columns[0][-1] >> 6) - max(self._high, int(columns[0][0] >> 6))) // STRIDE + 1
        if self._high >= 0:
            bridges += max(0, int(columns[0][0] >> 6) - self._high) // STRIDE
        words = np.empty(2 * len(t) + bridges, np.uint32)
        count, self._high = _words(*columns, words, self._high)
        return words[:count].astype("<u4").tobytes()

    def _end(self, until_us: int) -> bytes:
        high = min(until_us >> 6, (1 << 28) - 1)
        between = range(self._high + STRIDE, high, STRIDE)
        words = np.array([*between, high] if high > self._high else [], "<u4")
        return (words | np.uint32(8 << 28)).tobytes()


@numba.njit(cache=True, nogil=True)
def _words(t, x, y, p, words, high):
    """Returns (words written, the last TIME_HIGH)."""
    k = 0
    for i in range(t.shape[0]):
        now = t[i] >> 6
        while high != now:
            high = now if high < 0 or now - high <= STRIDE else high + STRIDE
            words[k] = (8 << 28) | high
            k += 1
        words[k] = (np.int64(p[i]) << 28) | ((t[i] & 63) << 22) | (np.int64(x[i]) << 11) | np.int64(y[i])
        k += 1
    return k, high
