"""Numba loops of the first layer: events instead of a dense frame, summed exactly in whole numbers.

Of a cell with n events the weights enter n times, or from the count on at which the input is clipped as
often as it says. Both are int32 fixed-point numbers, and so is twice a weight, and four times: the cell's
entries are the bits of n, as if each were a channel of its own. Whole numbers have one sum in any order, so
events may be added as they arrive (`add_counts`) and the step is the same to the bit as from the finished
frame.

    entries   (x Cin + c) kinds + b for bit b of a count, or b = kinds - 1 for one that is clipped
"""

import numba
import numpy as np

from spikeline.pipeline.engines.sparse.kernels_layer import NOTHING, ONE, listed_word
from spikeline.pipeline.engines.sparse.vectors import (
    bits,
    full,
    lanes_16,
    lanes_64,
    load,
    lowest,
    ones,
    size,
    store,
)

NONE = np.uint16(0)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def look(frame, most):
    """Of a frame (Cin, H, W): how many cells have events, and how many more than `most`."""
    flat, like = frame.reshape(-1), lanes_64()
    n, cells, over = flat.shape[0], 0, 0
    limit = np.uint16(min(most, 65_535))
    for i in range(0, n - 63, 64):
        counts = load(flat, i, like)
        cells += ones(bits(counts != NONE))
        over += ones(bits(counts > limit))
    for i in range(n & -64, n):
        cells += flat[i] != 0
        over += flat[i] > limit
    return cells, over


@numba.njit(cache=True, nogil=True, error_model="numpy")
def list_counts(frame, clip, most, kinds, begin, end, entries):
    """The entries of a frame's cells; counts from `clip` on are clipped, others taken for `most` at most.

    begin, end have 128 places more than there are pixels
    """
    Cin, H, W = frame.shape
    P = H * W
    planes, like, small = frame.reshape(Cin, P), lanes_64(), lanes_16()
    k = 0
    for start in range(0, P, 64):
        word = NOTHING
        if start + 64 <= P:
            for c in range(Cin):
                word |= bits(load(planes[c], start, like) != NONE)
        else:
            for c in range(Cin):
                for p in range(start, P):
                    word |= np.uint64(planes[c, p] != 0) << np.uint64(p - start)
        mark(begin, end, start, k, small)
        while word != NOTHING:
            p = start + lowest(word)
            word &= word - ONE
            for c in range(Cin):
                n = np.int64(planes[c, p])
                at = (p % W * Cin + c) * kinds
                if n >= clip:
                    entries[k] = at + kinds - 1
                    k += 1
                elif n != 0:
                    k = listed_word(np.uint64(min(n, most)), at, entries, k)
            end[p] = k
            mark(begin, end, p + 1, k, small)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def mark(begin, end, start, k, small):
    """Of the 64 pixels from `start` on, so far: their entries would stand at k, and there are none."""
    here = full(np.int32(k), small)
    for i in range(start, start + 64, 16):
        store(begin, i, here)
        store(end, i, here)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def add_counts(x, y, p, start, stop, cells, frame, clip, most, kinds, weights, sizes, sums, hit):
    """Count events start .. stop in `frame` (2, H, W), and add what their weights become more to `sums`.

    As pipeline/kernels.py: cells (H_sensor, W_sensor) int32 has -1 where a pixel is outside; counts stop at
    65,535. sums (Ho Wo C,) int32, hit (Ho Wo,) uint8, which becomes 1
    """
    _, W, Ho, Wo, Cin, C, rows, columns, stride, padding = sizes
    small = lanes_16()
    for i in range(start, stop):
        cell = np.int64(cells[y[i], x[i]])
        if cell < 0:
            continue
        row, column = cell // W, cell % W
        before = np.int64(frame[p[i], row, column])
        if before == 65_535:
            continue
        frame[p[i], row, column] = before + 1
        plain, clipped = np.int32(1), before + 1 == clip
        if clipped:  # what it was worth until now goes, the clipped value comes
            plain = np.int32(-before)
        elif before >= min(clip, most):
            continue
        for oy in range(max(0, (row + padding - rows) // stride + 1), min(Ho, (row + padding) // stride + 1)):
            first = max(0, (column + padding - columns) // stride + 1)
            for ox in range(first, min(Wo, (column + padding) // stride + 1)):
                tap = (row + padding - oy * stride) * columns + column + padding - ox * stride
                at, to = (tap * Cin + np.int64(p[i]) * kinds) * C, (oy * Wo + ox) * C
                for j in range(0, C, size(small)):
                    more = plain * load(weights, at + j, small)
                    if clipped:
                        more = more + load(weights, at + (kinds - 1) * C + j, small)
                    store(sums, to + j, load(sums, to + j, small) + more)
                hit[oy * Wo + ox] = 1
