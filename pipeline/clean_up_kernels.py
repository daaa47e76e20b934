"""Numba loops of the clean-up stages. Arrays in, arrays out; the caller owns all memory.

Each takes the events t (n,) int64, x, y (n,) uint16, p (n,) uint8, moves those that it keeps together at
the begin of the arrays `to_*`, which may be the same arrays, and returns how many it kept. Events are
written whether they are kept or not: a store is cheaper than a branch that cannot be foreseen.
"""

import numba
import numpy as np

NEVER = -(1 << 62)  # further back than any time less any setting

STRETCH_US = 2_000_000  # the hot pixels of a stretch are found at its end
SLICES = 16  # of a stretch: a hot pixel fires in each
SLICE_US = STRETCH_US // SLICES
ALL_SLICES = (1 << SLICES) - 1
HOT = -1  # instead of slices: masked
FOUND = -2  # masked from the next stretch on

EVENT = 1_000_000  # what one event costs, in millionths


@numba.njit(cache=True, nogil=True)
def keep_supported(t, x, y, p, to_t, to_x, to_y, to_p, last, us):
    """Keep events with a neighbour, of 8, whose last event is less than `us` older.

    last  (H + 2, W + 2) int64, changed in place: each pixel's last event, kept or not, inside a border
          of pixels that never fire
    """
    flat = last.ravel()
    one, row = np.uint64(1), np.uint64(last.shape[1])
    kept = 0
    for i in range(t.shape[0]):
        at = (np.uint64(y[i]) + one) * row + np.uint64(x[i]) + one
        above, below = at - row, at + row
        newest = max(
            max(max(flat[above - one], flat[above]), max(flat[above + one], flat[at - one])),
            max(max(flat[at + one], flat[below - one]), max(flat[below], flat[below + one])),
        )
        now = t[i]
        flat[at] = now
        to_t[kept], to_x[kept], to_y[kept], to_p[kept] = now, x[i], y[i], p[i]
        kept += now - newest < us
    return kept


@numba.njit(cache=True, nogil=True)
def keep_rested(t, x, y, p, to_t, to_x, to_y, to_p, last, us, all_count):
    """Keep events at least `us` after the last one of their pixel: the last kept, or of all.

    last  (H, W) int64, changed in place
    """
    kept = 0
    for i in range(t.shape[0]):
        now, before = t[i], last[y[i], x[i]]
        rested = now - before >= us
        last[y[i], x[i]] = now if rested | all_count else before
        to_t[kept], to_x[kept], to_y[kept], to_p[kept] = now, x[i], y[i], p[i]
        kept += rested
    return kept


@numba.njit(cache=True, nogil=True)
def keep_unmasked(t, x, y, p, to_t, to_x, to_y, to_p, seen, start, least, times):
    """Keep events of pixels that are not hot; at the end of each stretch find those that are.

    seen   (H, W, 2) int32, changed in place: events in this stretch, and a bit for each of its slices
           with an event, or HOT
    start  (1,) int64, changed in place: begin of the stretch; NEVER before the first event
    least  events in a stretch, for a hot pixel    times  as many as half of the neighbours have
    """
    kept = 0
    bit, slice_end = np.int32(0), NEVER  # which slice this is: found out at the first event
    for i in range(t.shape[0]):
        now = t[i]
        if now >= slice_end:
            if start[0] == NEVER:
                start[0] = now
            elif now - start[0] >= STRETCH_US:
                find_hot(seen, least, times)
                start[0] += (now - start[0]) // STRETCH_US * STRETCH_US
            k = (now - start[0]) // SLICE_US
            bit, slice_end = np.int32(1 << k), start[0] + (k + 1) * SLICE_US
        slices = seen[y[i], x[i], 1]
        cold = slices != HOT
        seen[y[i], x[i], 0] += cold
        seen[y[i], x[i], 1] = slices | bit  # HOT has all bits
        to_t[kept], to_x[kept], to_y[kept], to_p[kept] = now, x[i], y[i], p[i]
        kept += cold
    return kept


@numba.njit(cache=True, nogil=True)
def find_hot(seen, least, times):
    """A stretch has ended: mask its hot pixels, all judged by the same counts, and start counting anew."""
    H, W, _ = seen.shape
    for y in range(H):
        for x in range(W):
            if seen[y, x, 0] >= least and seen[y, x, 1] == ALL_SLICES:
                neighbours = outdone = 0
                for ny in range(max(y - 1, 0), min(y + 2, H)):
                    for nx in range(max(x - 1, 0), min(x + 2, W)):
                        if (ny != y or nx != x) and seen[ny, nx, 1] != HOT:
                            neighbours += 1
                            outdone += seen[y, x, 0] >= times * np.int64(seen[ny, nx, 0])
                if 2 * outdone >= neighbours:
                    seen[y, x, 1] = FOUND
    for y in range(H):
        for x in range(W):
            seen[y, x, 0] = 0
            seen[y, x, 1] = HOT if seen[y, x, 1] < 0 else 0


@numba.njit(cache=True, nogil=True)
def keep_inside(t, x, y, p, to_t, to_x, to_y, to_p, left, top, width, height):
    """Keep events in the rectangle, with coordinates counted from its corner."""
    kept = 0
    for i in range(t.shape[0]):
        column, line = int(x[i]) - left, int(y[i]) - top
        to_t[kept], to_x[kept], to_y[kept], to_p[kept] = t[i], column & 0xFFFF, line & 0xFFFF, p[i]
        kept += (column >= 0) & (column < width) & (line >= 0) & (line < height)
    return kept


@numba.njit(cache=True, nogil=True)
def keep_polarity(t, x, y, p, to_t, to_x, to_y, to_p, wanted):
    """Keep events of this polarity."""
    kept = 0
    for i in range(t.shape[0]):
        fits = p[i] == wanted
        to_t[kept], to_x[kept], to_y[kept], to_p[kept] = t[i], x[i], y[i], p[i]
        kept += fits
    return kept


@numba.njit(cache=True, nogil=True)
def keep_affordable(t, x, y, p, to_t, to_x, to_y, to_p, purse, limit, most):
    """Keep events while there is credit: `limit` millionths of an event come in each microsecond.

    purse  (2,) int64, changed in place: credit in millionths, time of the last event (NEVER: none yet)
    most   millionths that the purse holds, and that it starts with
    """
    kept = 0
    credit, before = purse[0], purse[1]
    fill_us = most // limit + 1  # from empty; a longer wait brings no more
    for i in range(t.shape[0]):
        now = t[i]
        credit = min(most, credit + min(now - before, fill_us) * limit)
        before = now
        affordable = credit >= EVENT
        credit -= EVENT * affordable
        to_t[kept], to_x[kept], to_y[kept], to_p[kept] = now, x[i], y[i], p[i]
        kept += affordable
    purse[0], purse[1] = credit, before
    return kept
