"""Numba loops that find what reaches an output: which pixels of a row any spike reaches, and where the
weights stand.

Arrays in, arrays out; names as in kernels_layer.py.
"""

import numba
import numpy as np

from spikeline.pipeline.engines.sparse.vectors import (
    bits,
    full,
    get,
    lanes_16,
    lanes_64,
    load,
    lowest,
    ones,
    store,
)

ONE, NOTHING, EVERY = np.uint64(1), np.uint64(0), np.uint64(2**64 - 1)
NO = np.uint8(0)
ABREAST = 16  # entries that are looked at together


@numba.njit(cache=True, nogil=True, error_model="numpy")
def columns_reached(begin, end, sizes, oy, columns):
    """Of output row oy the columns that any entry reaches, as bits; returns whether there are any.

    columns ((max(W, Wo) + 63) / 64 + 1,) uint64, twice: those of the input with entries come behind
    """
    H, W, _, Wo, _, _, tall, wide, stride, padding = sizes
    like = lanes_64()
    J, filled, n = (Wo + 63) >> 6, columns.shape[0] >> 1, 0
    top = oy * stride - padding
    for j in range((W + 63) >> 6):
        word = NOTHING
        for y in range(max(0, top), min(H, top + tall)):
            at = y * W + 64 * j
            word |= bits(load(end, at, like) != load(begin, at, like))
        if 64 * j + 64 > W:
            word &= (ONE << np.uint64(W & 63)) - ONE
        columns[filled + j] = word
        n += ones(word)
    for j in range(J):
        columns[j] = EVERY if n == W and wide > padding else NOTHING
    if n == W and wide > padding:
        return True
    for j in range((W + 63) >> 6):
        word = columns[filled + j]
        while word != NOTHING:
            x = 64 * j + lowest(word) + padding
            word &= word - ONE
            first, last = x - wide + 1, x
            if stride != 1:
                first, last = (first + stride - 1) // stride, x // stride
            for o in range(max(0, first), min(Wo - 1, last) + 1):
                columns[np.uint64(o >> 6)] |= ONE << np.uint64(o & 63)
    return n != 0


@numba.njit(cache=True, nogil=True, error_model="numpy")
def every_column(Wo, columns):
    """All of Wo columns, as bits."""
    for j in range((Wo + 63) >> 6):
        columns[j] = EVERY if 64 * j + 64 <= Wo else (ONE << np.uint64(Wo & 63)) - ONE


@numba.njit(cache=True, nogil=True, error_model="numpy")
def columns_due(reached, hit, awake, lazy, p, Wo, columns):
    """Of the row whose first pixel is p, the columns to look at, as bits: those that are `reached` already,
    have a hit (if there are any), or may fire; or all. Returns whether there are any."""
    like = lanes_64()
    found = NOTHING
    if not lazy:
        every_column(Wo, columns)
        return True
    for j in range((Wo + 63) >> 6):
        word = columns[j] if reached else NOTHING
        word |= bits(load(awake, p + 64 * j, like) != NO)
        if hit.shape[0] != 0:
            word |= bits(load(hit, p + 64 * j, like) != NO)
        if 64 * j + 64 > Wo:
            word &= (ONE << np.uint64(Wo & 63)) - ONE
        columns[j] = word
        found |= word
    return found != NOTHING


@numba.njit(cache=True, nogil=True, error_model="numpy")
def find(begin, end, entries, silent, sizes, oy, zero, columns, offsets, due):
    """Where the weights stand that reach the outputs of row oy in `columns`; returns how many of those
    there are.

    due[2 i] is the column of the i-th, its offsets stand from due[2 i + 1] up to the next one's: in fours,
    filled up with `zero`
    """
    H, W, _, Wo, Cin, C, tall, wide, stride, padding = sizes
    like = lanes_16()
    top, channels = oy * stride - padding, np.int32(C)
    y0, y1 = max(0, top), min(H, top + tall)
    if silent:
        y1 = y0
    n, i = np.int64(0), 0
    for j in range((Wo + 63) >> 6):
        word = get(columns, j)
        while word != NOTHING:
            x = 64 * j + lowest(word)
            word &= word - ONE
            due[np.uint64(i)] = x
            due[np.uint64(i + 1)] = n
            i += 2
            left = x * stride - padding
            x0, x1 = max(0, left), min(W, left + wide) - 1
            if x0 <= x1:
                for y in range(y0, y1):
                    e = np.int64(get(begin, y * W + x0))
                    many = np.int64(get(end, y * W + x1)) - e
                    shift = np.int32(((y - top) * wide - left) * Cin)
                    # the first sixteen without asking how many there are: most often they are no more
                    store(offsets, n, (load(entries, e, like) + shift) * channels)
                    for k in range(ABREAST, many, ABREAST):
                        store(offsets, n + k, (load(entries, e + k, like) + shift) * channels)
                    n += many
            store(offsets, n, full(zero, like))
            n = (n + 3) & -4
    due[i + 1] = n
    return i >> 1
