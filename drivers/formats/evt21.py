"""EVT2.1 words (64 bits) to events: EVT2 with 32 neighbours in one word.

    type 60..63    0 OFF, 1 ON    54..59 low bits of t    43..53 x    32..42 y    0..31 which of x..x+31
                   8 TIME_HIGH    32..59 = t >> 6         A external trigger, E other, F continued, D IMU

The two halves of a word lie in the file in one of two orders: `little` (GenX320), which is a 64-bit
little-endian number, and `legacy` (Gen4.1, IMX636), upper half first.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from spikeline.drivers.formats.evt_words import (
    DAMAGED,
    HIGH,
    KNOWN,
    LENIENT,
    MORE,
    ODD,
    PLACES,
    SET_BITS,
    STRICT,
    Layout,
    WordDecoder,
    take_high,
)
from spikeline.drivers.formats.records import SPARE, Bytes, Room
from spikeline.pipeline.events import REORDER_US

HIGH_US = 64
WRAP_US = 1 << 34
LAYOUT = Layout(60, 32, 0xFFF_FFFF, HIGH_US, WRAP_US, REORDER_US)
ORDERS = ("little", "legacy")
GUESS_WORDS = 1_000
SPAN = 32  # cameras send x as a multiple of this
UNALIGNED = 2  # the type, one that no camera sends, by which we call words whose x is not


class Evt21Decoder(WordDecoder):
    unit = 8
    run = 256  # by a half word out of step, few words look strange
    dtype = "<u8"
    wrap_us = WRAP_US
    layout = LAYOUT
    strange = (2, 3, 4, 5, 6, 7, 9, 0xB, 0xC)
    names = {  # noqa: RUF012
        0xA: "external trigger",
        0xD: "IMU",
        0xE: "other",
        0xF: "continued",
        DAMAGED: "damaged time word",
    }

    def __init__(self, order: str, shift_us: int = 0, *, aligned: bool = True) -> None:
        super().__init__(0, shift_us)
        self._legacy = order == "legacy"
        self._aligned = aligned

    def words(self, data: Bytes) -> NDArray:
        words = super().words(data)
        return (words << 32) | (words >> 32) if self._legacy else words

    def _split(self, words: NDArray) -> tuple[NDArray, NDArray, NDArray]:
        types = (words >> 60).astype(np.uint8)
        if self._aligned:
            types[(types < 2) & ((words >> 43) % SPAN != 0)] = UNALIGNED
        high = ((words >> 32) & 0xFFF_FFFF).astype(np.int64)
        return types, high * HIGH_US, np.where(types < 2, (high >> 22) & 63, -1)

    def _run_plain(self, words: NDArray, room: Room) -> tuple[int, int]:
        return 0, 0  # one word is many events: word by word is fast enough

    def _run_careful(self, words: NDArray, room: Room, final: bool) -> tuple[int, int, int, bool]:
        return _words(
            words, *room, self._state, self._counts, self._shift_us, self._aligned, PLACES, SET_BITS, final
        )


def guess_order(data: Bytes) -> str | None:
    """The order in which all types are known and the clock rises; if both, where x is a multiple of SPAN."""
    fitting = []
    for order in ORDERS:
        decoder = Evt21Decoder(order, aligned=False)
        types, times, _ = decoder._split(decoder.words(data)[:GUESS_WORDS])
        known = not np.isin(types, decoder.strange).any()
        if known and bool((np.diff(times[types == 8]) >= 0).all()):
            fitting.append(order)
    if len(fitting) > 1:
        fitting = [order for order in fitting if is_aligned(data, order)]
    return fitting[0] if len(fitting) == 1 else None


def is_aligned(data: Bytes, order: str) -> bool:
    decoder = Evt21Decoder(order)
    types, _, _ = decoder._split(decoder.words(data)[:GUESS_WORDS])
    return bool(np.count_nonzero(types == UNALIGNED) <= np.count_nonzero(types < 2) // 10)


@numba.njit(cache=True, nogil=True)
def _words(words, t, x, y, p, state, counts, shift_us, aligned, places, set_bits, final):
    """(words used, events, events before the first time, stopped at an odd word)."""
    k = 0
    refused = 0
    for i in range(words.shape[0]):
        if t.shape[0] - k < SPARE:
            return i, k, refused, False
        word = words[i]
        kind = np.int64(word >> np.uint64(60))
        if kind < 2:
            now = state[HIGH] + shift_us + np.int64((word >> np.uint64(54)) & np.uint64(63))
            base = np.int64((word >> np.uint64(43)) & np.uint64(2047))
            if aligned and base % SPAN and state[LENIENT] == 0:
                return i, k, refused, True
            row = np.int64((word >> np.uint64(32)) & np.uint64(2047))
            for part in range(3):
                mask = np.int64((word & np.uint64(0xFFFF_FFFF)) >> np.uint64(12 * part)) & 0xFFF
                count = set_bits[mask]
                if state[KNOWN] == 0:
                    refused += count
                    continue
                for j in range(count):
                    t[k + j] = now
                    x[k + j] = base + 12 * part + places[12 * mask + j]
                    y[k + j] = row
                    p[k + j] = kind
                k += count
        elif kind == 8:
            done = take_high(words, i, LAYOUT, state, counts, final)
            if done in (MORE, ODD):
                return i, k, refused, done == ODD
        else:
            if state[LENIENT] == 0 and (kind < 0xA or kind == 0xB or kind == 0xC):
                return i, k, refused, True
            counts[kind] += 1
        state[LENIENT] = max(0, state[LENIENT] - 1)
        state[STRICT] = max(0, state[STRICT] - 1)
    return words.shape[0], k, refused, False
