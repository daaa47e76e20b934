"""Numba loops over spikes between layers. Arrays in, arrays out; the caller owns all memory.

Spikes of a layer with P pixels of C channels, all flat:

    values  (P C,) uint8    0, 1, or behind an addition more; of a pixel valid where its count is not 0
    count   (P,) int32      values that are not 0
    first   (P,) int32      where a pixel's channels begin in `channels`
    entries (P,) int32      how many it has there: a value of 2 stands there twice
    channels (n + 8,) uint16
"""

import numba
import numpy as np

GATHER = np.uint64(0x0102040810204080)  # times eight bytes of 0 and 1: the eight as bits, in the highest byte
TOP, ONE = np.uint64(56), np.uint64(1)
EVERY_OTHER = np.uint64(0x00FF00FF00FF00FF)  # of a word's bytes
BYTE = np.uint64(0xFF)
ONES, EIGHT, FORTY_EIGHT = np.uint64(0x0001000100010001), np.uint64(8), np.uint64(48)
PLACES = np.array([[*(i for i in range(8) if b >> i & 1), *[0] * 8][:8] for b in range(256)], np.uint16)
BITS = np.array([b.bit_count() for b in range(256)], np.int64)
OR, AND, IAND, ADD = range(4)
ALL, SINGLE = np.uint64(0x0101010101010101), np.uint8(1)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def list_ones(words, values, at, C, channels, k, n):
    """Append the channels of the n ones in values[at : at + C] to `channels` from k on; return the new k.

    words: the same values as uint64, eight at a time. `channels` needs eight places more than it may hold.
    n may be C where it is not known: it only chooses how they are looked for.
    """
    if (C | at) & 7 == 0:
        base = at >> 3
        if 32 * n <= C:  # few: from one to the next
            for j in range(C >> 3):
                word = words[base + j]
                while word != 0:
                    channels[k] = PLACES[np.intp((word * GATHER) >> TOP), 0] + np.uint16(8 * j)
                    k += 1
                    word &= word - ONE
        else:  # many: eight places at a time, without a branch that cannot be foreseen
            for j in range(C >> 3):
                pattern = np.intp((words[base + j] * GATHER) >> TOP)
                target, places, start = channels[k : k + 8], PLACES[pattern], np.uint16(8 * j)
                for b in range(8):
                    target[b] = np.uint16(places[b] + start)
                k += BITS[pattern]
    else:
        for i in range(C):
            channels[k] = np.uint16(i)
            k += np.intp(values[at + i])
    return k


@numba.njit(cache=True, nogil=True, error_model="numpy")
def count_ones(words, values, at, C):
    """How many of values[at : at + C] are 1; they are 0 or 1."""
    n = np.intp(0)
    if (C | at) & 7 == 0:
        start, stop = at >> 3, (at + C) >> 3
        while start < stop:  # 255 words at a time: no byte of their sum is full
            part = words[start : min(stop, start + 255)]
            total = np.uint64(0)
            for i in range(part.shape[0]):
                total += part[i]
            total = (total & EVERY_OTHER) + ((total >> EIGHT) & EVERY_OTHER)
            n += np.intp((total * ONES) >> FORTY_EIGHT)
            start += 255
    else:
        for i in range(C):
            n += np.intp(values[at + i])
    return n


@numba.njit(cache=True, nogil=True, error_model="numpy")
def list_values(words, values, at, C, channels, k):
    """As `list_ones` for whole numbers: channel c stands values[at + c] times. Returns k and the nonzero."""
    n = 0
    if (C | at) & 7 == 0:
        base = at >> 3
        for j in range(C >> 3):
            word = words[base + j]
            i = 8 * j
            while word != 0:
                v = np.intp(word & BYTE)
                if v != 0:
                    n += 1
                    for _ in range(v):
                        channels[k] = np.uint16(i)
                        k += 1
                word >>= EIGHT
                i += 1
        return k, n
    for i in range(C):
        v = values[at + i]
        if v != 0:
            n += 1
            for _ in range(v):
                channels[k] = np.uint16(i)
                k += 1
    return k, n


@numba.njit(cache=True, nogil=True, error_model="numpy")
def max_pool(
    values, words, count, geometry, most, rows, out, out_words, keep, out_count, first, entries, channels
):  # fmt: skip
    """The largest value of each window, where any is not 0; returns how many values are not 0.

    geometry  H, W, Ho, Wo, C, size, stride, padding; most: no value is above it
    rows      output rows from .. to that are computed here
    keep      out holds every pixel's values; else those of the newest pixel
    """
    H, W, _, Wo, C, size, stride, padding = geometry
    ones = most == 1
    by_words = ones and C & 7 == 0
    D = C >> 3
    k = rows[0] * Wo * C * most
    total = 0
    for oy in range(rows[0], rows[1]):
        y0, y1 = max(0, oy * stride - padding), min(H, oy * stride - padding + size)
        for ox in range(Wo):
            x0, x1 = max(0, ox * stride - padding), min(W, ox * stride - padding + size)
            p = oy * Wo + ox
            at = p * C if keep else 0
            target = out[at : at + C]
            seen = 0
            for y in range(y0, y1):
                for x in range(x0, x1):
                    q = y * W + x
                    if count[q] == 0:
                        continue
                    if by_words:
                        into, come = out_words[at >> 3 : (at >> 3) + D], words[q * D : q * D + D]
                        if seen == 0:
                            for i in range(D):
                                into[i] = come[i]
                        else:
                            for i in range(D):
                                into[i] |= come[i]
                    else:
                        source = values[q * C : q * C + C]
                        if seen == 0:
                            for i in range(C):
                                target[i] = source[i]
                        else:
                            for i in range(C):
                                target[i] = max(target[i], source[i])
                    seen += count[q]
            first[p] = k
            n = 0
            if seen != 0:
                if ones:
                    start = k
                    k = list_ones(out_words, out, at, C, channels, k, seen)
                    n = k - start
                else:
                    k, n = list_values(out_words, out, at, C, channels, k)
            entries[p] = k - first[p]
            out_count[p] = n
            total += n
    return total


@numba.njit(cache=True, nogil=True, error_model="numpy")
def join(
    kind, a, a_words, a_count, b, b_words, b_count, C, ones, out, words, out_count, first, entries, channels
):  # fmt: skip
    """OR, AND, IAND (1 - a) b or ADD of two layers' values; returns how many values are not 0.

    Only ADD takes values above 1; ones: its result has none above 1 (or the kind is another). Eight channels
    at a time as one number: no sum of two values carries into the next.
    """
    total = k = 0
    D = C >> 3 if C & 7 == 0 else 0
    for p in range(a_count.shape[0]):
        first[p] = k
        n = 0
        left, right = a_count[p] != 0, b_count[p] != 0
        if left and right:
            if D:
                joined(
                    kind, a_words[p * D : p * D + D], b_words[p * D : p * D + D], ALL,
                    words[p * D : p * D + D],
                )  # fmt: skip
            else:
                joined(kind, a[p * C : p * C + C], b[p * C : p * C + C], SINGLE, out[p * C : p * C + C])
        elif right and kind != AND:
            for i in range(p * C, p * C + C):
                out[i] = b[i]
        elif left and kind in (OR, ADD):
            for i in range(p * C, p * C + C):
                out[i] = a[i]
        else:
            left = right = False
        if left or right:
            if ones:
                k = list_ones(words, out, p * C, C, channels, k, a_count[p] + b_count[p])
                n = k - first[p]
            else:
                k, n = list_values(words, out, p * C, C, channels, k)
        entries[p] = k - first[p]
        out_count[p] = n
        total += n
    return total


@numba.njit(cache=True, nogil=True, error_model="numpy")
def joined(kind, x, y, one, out):
    """Values of a pixel where both layers have some; one: what 1 is in each of the numbers x and y."""
    if kind == OR:
        for i in range(out.shape[0]):
            out[i] = x[i] | y[i]
    elif kind == AND:
        for i in range(out.shape[0]):
            out[i] = x[i] & y[i]
    elif kind == IAND:
        for i in range(out.shape[0]):
            out[i] = (x[i] ^ one) & y[i]
    else:
        for i in range(out.shape[0]):
            out[i] = x[i] + y[i]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def pixels_with_any(entries):
    """How many of entries (P,) are not 0."""
    n = 0
    for p in range(entries.shape[0]):
        n += entries[p] != 0
    return n


@numba.njit(cache=True, nogil=True, error_model="numpy")
def expand(values, count, C, out):
    """out (P C,) float32: the values as numbers, 0 where a pixel has none."""
    for p in range(count.shape[0]):
        target = out[p * C : p * C + C]
        source = values[p * C : p * C + C]
        if count[p] == 0:
            for i in range(C):
                target[i] = 0
        else:
            for i in range(C):
                target[i] = source[i]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def expand_planes(entries, first, channels, planes):
    """planes (C, P) float32: the spikes' values, plane by plane."""
    for c in range(planes.shape[0]):
        plane = planes[c]
        for p in range(plane.shape[0]):
            plane[p] = 0
    for p in range(planes.shape[1]):
        for j in range(first[p], first[p] + entries[p]):
            planes[channels[j], p] += 1


@numba.njit(cache=True, nogil=True, error_model="numpy")
def collect(x, C, ones, values, words, count, first, entries, channels):
    """Spikes of a dense layer x (P C,) of whole numbers; returns how many are not 0."""
    total = k = 0
    for p in range(count.shape[0]):
        target, source = values[p * C : p * C + C], x[p * C : p * C + C]
        for i in range(C):
            target[i] = np.uint8(source[i])
        first[p] = k
        if ones:
            k = list_ones(words, values, p * C, C, channels, k, C)
            n = k - first[p]
        else:
            k, n = list_values(words, values, p * C, C, channels, k)
        entries[p] = k - first[p]
        count[p] = n
        total += n
    return total


@numba.njit(cache=True, nogil=True, error_model="numpy")
def channel_totals(entries, first, channels, out):
    """out (C,) float32: the sum of each channel's values over all pixels."""
    for c in range(out.shape[0]):
        out[c] = 0
    for p in range(entries.shape[0]):
        for j in range(first[p], first[p] + entries[p]):
            out[channels[j]] += 1


@numba.njit(cache=True, nogil=True, error_model="numpy")
def taps_met(count, taps):
    """Sum of count (P,) int32 times taps (P,) int64."""
    total = 0
    for p in range(count.shape[0]):
        total += np.int64(count[p]) * taps[p]
    return total
