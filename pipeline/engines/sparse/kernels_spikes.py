"""Numba loops over spikes between layers. Arrays in, arrays out; the caller owns all memory.

Spikes of a layer of P pixels in rows of W, C channels:

    words   (P J,) uint64   a bit for each channel that is not 0; `lanes` of them in a word, the rest 0
    count   (P,) int32      how many are not 0
    begin, end (P,) int32   where a pixel's entries stand
    entries (n + 16,) int32 a channel's number and its column's times C; a value of 2 stands there twice
"""

import numba
import numpy as np

from spikeline.pipeline.engines.sparse.kernels_layer import NOTHING, ONE, listed_word
from spikeline.pipeline.engines.sparse.vectors import get, ones

OR, AND, IAND, ADD = range(4)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def max_pool(words, W, J, lanes, C, sizes, listed, begin, end, entries, out, count):
    """A bit where any of a window's has it; returns how many.

    words, W, J   of the input, in rows of W; sizes: H, Ho, Wo, size, stride, padding
    """
    H, Ho, Wo, size, stride, padding = sizes
    k = total = 0
    for oy in range(Ho):
        y0, y1 = max(0, oy * stride - padding), min(H, oy * stride - padding + size)
        for ox in range(Wo):
            x0, x1 = max(0, ox * stride - padding), min(W, ox * stride - padding + size)
            p = oy * Wo + ox
            begin[p] = k
            n = 0
            for j in range(J):
                word = NOTHING
                for y in range(y0, y1):
                    for x in range(x0, x1):
                        word |= get(words, (y * W + x) * J + j)
                out[p * J + j] = word
                n += ones(word)
                if listed:
                    k = listed_word(word, ox * C + j * lanes, entries, k)
            end[p] = k
            count[p] = n
            total += n
    return total


@numba.njit(cache=True, nogil=True, error_model="numpy")
def join(kind, a, a_silent, b, b_silent, W, J, lanes, C, listed, begin, end, entries, words, count):
    """OR, AND or IAND (1 - a) b of two layers' words; returns how many bits."""
    k = total = 0
    for p in range(count.shape[0]):
        begin[p] = k
        n = 0
        for j in range(J):
            i = np.uint64(p * J + j)
            left = NOTHING if a_silent else a[i]
            right = NOTHING if b_silent else b[i]
            if kind == OR:
                word = left | right
            elif kind == AND:
                word = left & right
            else:
                word = ~left & right
            words[i] = word
            if word != NOTHING:
                n += ones(word)
                if listed:
                    k = listed_word(word, p % W * C + j * lanes, entries, k)
        end[p] = k
        count[p] = n
        total += n
    return total


@numba.njit(cache=True, nogil=True, error_model="numpy")
def add(
    a, a_begin, a_end, a_entries, a_silent, b, b_begin, b_end, b_entries, b_silent, J,
    begin, end, entries, words, count,
):  # fmt: skip
    """The sum of two layers' values: the entries of both; returns how many values are not 0."""
    k = total = 0
    for p in range(count.shape[0]):
        begin[p] = k
        n = 0
        if not a_silent:
            for e in range(a_begin[p], a_end[p]):
                entries[k] = a_entries[e]
                k += 1
        if not b_silent:
            for e in range(b_begin[p], b_end[p]):
                entries[k] = b_entries[e]
                k += 1
        for j in range(J):
            i = p * J + j
            word = (NOTHING if a_silent else a[i]) | (NOTHING if b_silent else b[i])
            words[i] = word
            n += ones(word)
        end[p] = k
        count[p] = n
        total += n
    return total


@numba.njit(cache=True, nogil=True, error_model="numpy")
def expand(words, count, begin, end, entries, W, J, lanes, C, many, out):
    """out (P C,) float32: the values as numbers. many: there may be values above 1, which entries tell."""
    for p in range(count.shape[0]):
        target = out[p * C : p * C + C]
        for i in range(C):
            target[i] = 0
        if count[p] == 0:
            continue
        if many:
            for e in range(begin[p], end[p]):
                target[entries[e] - p % W * C] += 1
        else:
            for i in range(C):
                word = words[p * J + i // lanes]
                target[i] = np.float32((word >> np.uint64(i % lanes)) & ONE)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def expand_planes(begin, end, entries, W, planes):
    """planes (C, P) float32: the spikes' values, plane by plane."""
    C = planes.shape[0]
    for c in range(C):
        plane = planes[c]
        for p in range(plane.shape[0]):
            plane[p] = 0
    for p in range(planes.shape[1]):
        for e in range(begin[p], end[p]):
            planes[entries[e] - p % W * C, p] += 1


@numba.njit(cache=True, nogil=True, error_model="numpy")
def collect(x, W, C, lanes, begin, end, entries, words, count):
    """Spikes of a dense layer x (P C,) of whole numbers; returns how many are not 0."""
    J = words.shape[0] // count.shape[0]
    k = total = 0
    for p in range(count.shape[0]):
        begin[p] = k
        n = 0
        for j in range(J):
            words[p * J + j] = NOTHING
        for i in range(C):
            v = np.int64(x[p * C + i])
            if v != 0:
                n += 1
                words[p * J + i // lanes] |= ONE << np.uint64(i % lanes)
                for _ in range(v):
                    entries[k] = p % W * C + i
                    k += 1
        end[p] = k
        count[p] = n
        total += n
    return total


@numba.njit(cache=True, nogil=True, error_model="numpy")
def channel_totals(begin, end, entries, W, out):
    """out (C,) float32: the sum of each channel's values over all pixels."""
    C = out.shape[0]
    for c in range(C):
        out[c] = 0
    for p in range(begin.shape[0]):
        for e in range(begin[p], end[p]):
            out[entries[e] - p % W * C] += 1


@numba.njit(cache=True, nogil=True, error_model="numpy")
def votes(entries, stop, size, out):
    """out (N,) float32: the mean of so many channels at a time, of a layer without pixels."""
    for j in range(out.shape[0]):
        out[j] = 0
    for e in range(stop):
        out[entries[e] // size] += 1
    for j in range(out.shape[0]):
        out[j] /= np.float32(size)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def taps_met(count, taps):
    """Sum of count (P,) int32 times taps (P,) int64."""
    total = 0
    for p in range(count.shape[0]):
        total += np.int64(count[p]) * taps[p]
    return total
