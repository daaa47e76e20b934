"""Numba loops of neurons that are swept whole at every step: with attention on their membrane, or a current.

Arrays in, arrays out; the caller owns all memory. Where channels are attended to there are two sweeps: one
makes the potential u of all that reaches a neuron, and with it each channel's mean and maximum; one gates it,
fires, resets and lists the spikes, some rows at a time, as far behind those whose means and maxima over
the channels are there as the spatial kernel reaches. Without attention to channels both are one sweep.

    u = a (h + ratio x) + drive        y = (u gate[c]) score[p]        s = y >= threshold, h = p y + q

    feed      begin, end, entries, silent, weights: spikes and what they weigh in the membranes' measure
              (kernels_layer.py); or without weights a current (P C,) with factor: x = factor current, no less
              than `least`
    cells     h (P C,), drive (C,), numbers (6,) of cells.py, ratio
    channels  how many of C there are, absent (C,): 0 for these and -inf for the others,
              w0 (hidden C,), w1 (hidden C,): gate = sigmoid(w1^T (relu(w0 mean) + relu(w0 max))), or
              without w0 sigmoid(w1^T mean); without w1 gate (C,) stays 1; total, peak (C,): room for sums
              and maxima
    planes    side, kernel (2 side side,), plane (2 (H + side - 1) n,): room for means and maxima, zeros
              around them, score (H W + 64,): room; without a side it stays 1
    spikes    begin, end, entries, words, count, listed (kernels_spikes.py)
    room      offsets, columns, pixels of kernels_layer.find
"""

import numba
import numpy as np

from spikeline.pipeline.engines.sparse.kernels_float import FLUSH
from spikeline.pipeline.engines.sparse.kernels_layer import (
    ONE,
    columns_reached,
    every_column,
    find,
    gathered,
    listed_word,
)
from spikeline.pipeline.engines.sparse.vectors import (
    absolute,
    bits,
    full,
    get,
    lanes_16,
    lanes_32,
    lanes_64,
    load,
    ones,
    select,
    size,
    store,
)
from spikeline.pipeline.engines.sparse.vectors_real import larger, largest, sigmoid, total

NIL, LOW = np.float32(0), np.float32(-np.inf)
AT_A_TIME = 16_384  # membranes


@numba.njit(cache=True, nogil=True, error_model="numpy")
def flushed(g):
    """Membranes, 0 where they are next to nothing: a subnormal slows a step."""
    return select(absolute(g) >= FLUSH, g, NIL)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def integrate_rows(
    low, high, begin, end, entries, silent, weights, sizes, current, scale, least, h, a, drive, sums, peak,
    offsets, columns, pixels, like,
):  # fmt: skip
    """Rows low .. high of h become u, and enter their channels' sums and maxima."""
    Wo, C = sizes[3], sizes[5]
    zero = np.int32(weights.shape[0] - C)
    weighs = weights.shape[0] != 0
    for oy in range(low, high):
        reached = weighs and not silent and columns_reached(begin, end, sizes, oy, columns)
        if reached:
            every_column(Wo, columns)
            find(begin, end, entries, False, sizes, oy, zero, columns, offsets, pixels)
        for c in range(0, C, size(like)):
            own, at = load(drive, c, like), oy * Wo * C + c
            added, highest = full(NIL, like), load(peak, c, like)
            if reached:
                for x in range(Wo):
                    g = flushed(load(h, at + x * C, like))
                    u = a * gathered(g, weights, offsets, pixels[2 * x + 1], pixels[2 * x + 3], c) + own
                    store(h, at + x * C, u)
                    added = added + u
                    highest = larger(u, highest)
            elif weighs:
                for x in range(Wo):
                    u = a * flushed(load(h, at + x * C, like)) + own
                    store(h, at + x * C, u)
                    added = added + u
                    highest = larger(u, highest)
            else:
                lowest = full(least, like)
                for x in range(Wo):
                    more = scale * larger(load(current, at + x * C, like), lowest)
                    u = a * (flushed(load(h, at + x * C, like)) + more) + own
                    store(h, at + x * C, u)
                    added = added + u
                    highest = larger(u, highest)
            store(sums, c, load(sums, c, like) + added)
            store(peak, c, highest)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def channel_gate(P, w0, w1, sums, peak, gate, like):
    """gate (C,) from the sums over P pixels and the maxima."""
    C = sums.shape[0]
    share = np.float32(1) / np.float32(P)
    for c in range(0, C, size(like)):
        store(sums, c, load(sums, c, like) * share)
        store(gate, c, full(NIL, like))
    for i in range(w1.shape[0] // C):
        weight = sums[i]
        if w0.shape[0] != 0:
            of_mean, of_peak = full(NIL, like), full(NIL, like)
            for c in range(0, C, size(like)):
                w = load(w0, i * C + c, like)
                of_mean = of_mean + w * load(sums, c, like)
                of_peak = of_peak + w * load(peak, c, like)
            weight = max(total(of_mean), NIL) + max(total(of_peak), NIL)
        for c in range(0, C, size(like)):
            store(gate, c, load(gate, c, like) + weight * load(w1, i * C + c, like))
    for c in range(0, C, size(like)):
        store(gate, c, sigmoid(load(gate, c, like)))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def plane_rows(low, high, W, h, many, absent, gate, plane, wide, half, first, like):
    """Means and maxima over the channels of these rows' gated potentials."""
    C, n = gate.shape[0], np.float32(many)
    for y in range(low, high):
        at = (y + half) * wide + half
        for x in range(W):
            added, highest = full(NIL, like), full(LOW, like)
            for c in range(0, C, size(like)):
                v = load(h, (y * W + x) * C + c, like) * load(gate, c, like)
                if c + size(like) > many:
                    outside = load(absent, c, like)
                    v = select(outside < NIL, full(NIL, like), v)
                    added = added + v
                    highest = larger(v + outside, highest)
                else:
                    added = added + v
                    highest = larger(v, highest)
            plane[np.uint64(at + x)] = total(added) / n
            plane[np.uint64(first + at + x)] = largest(highest)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def score_rows(low, high, W, kernel, side, plane, wide, first, score, like):
    """What these rows' pixels are multiplied by: the sigmoid of a convolution of both planes."""
    for y in range(low, high):
        for x in range(0, W, size(like)):
            of_means, of_peaks = full(NIL, like), full(NIL, like)
            for dy in range(side):
                at = (y + dy) * wide + x
                for dx in range(side):
                    k = dy * side + dx
                    of_means = of_means + get(kernel, k) * load(plane, at + dx, like)
                    of_peaks = of_peaks + get(kernel, side * side + k) * load(plane, first + at + dx, like)
            store(score, y * W + x, sigmoid(of_means + of_peaks))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def fire_rows(
    low, high, W, h, numbers, many, gate, score, begin, end, entries, words, count, listed, k, like
):
    """Gated neurons of these rows fire, are reset and carried; how many did, and where the next entry is."""
    threshold, p0, q0, p1, q1 = numbers[1], numbers[2], numbers[3], numbers[4], numbers[5]
    C, resets = gate.shape[0], p1 == NIL  # to a number, whatever it was before
    J, fired = C // size(like), 0
    for y in range(low, high):
        for x in range(W):
            p, n = y * W + x, 0
            own = score[p]
            begin[p] = k
            for j in range(J):
                c = j * size(like)
                u = load(h, p * C + c, like) * load(gate, c, like) * own
                above = u >= threshold
                after = full(q1, like) if resets else p1 * u + q1
                store(h, p * C + c, select(above, after, p0 * u + q0))
                word = bits(above)
                if c + size(like) > many:
                    word &= (ONE << np.uint64(many - c)) - ONE
                words[np.uint64(p * J + j)] = word
                n += ones(word)
                if listed:
                    k = listed_word(word, x * many + c, entries, k)
            end[p] = k
            count[p] = n
            fired += n
    return fired, k


@numba.njit(cache=True, nogil=True, error_model="numpy")
def swept(feed, sizes, cells, channels, gate, planes, spikes, room, like):
    """One step of all rows; how many neurons fired.

    So many rows at a time as a near cache holds: a call hands over dozens of numbers, and to take an array
    out of a tuple is an atomic count of references.
    """
    begin, end, entries, silent, weights, current, factor, least = feed
    h, drive, numbers, ratio = cells
    many, absent, w0, w1, sums, peak = channels
    side, kernel, plane, score = planes
    own_begin, own_end, own_entries, words, count, listed = spikes
    offsets, columns, pixels = room
    H, W, C, half, a, scale = sizes[2], sizes[3], sizes[5], side // 2, numbers[0], ratio * factor
    wide = plane.shape[0] // (2 * (H + side - 1)) if side != 0 else 0
    first = plane.shape[0] // 2  # where the maxima begin
    fired = k = ahead = 0
    for c in range(0, C, size(like)):
        store(sums, c, full(NIL, like))
        store(peak, c, full(LOW, like))
    pooled = w1.shape[0] != 0
    if pooled:
        integrate_rows(
            0, H, begin, end, entries, silent, weights, sizes, current, scale, least, h, a, drive, sums, peak,
            offsets, columns, pixels, like,
        )  # fmt: skip
        channel_gate(H * W, w0, w1, sums, peak, gate, like)
    rows = max(1, AT_A_TIME // (W * C))
    for low in range(0, H, rows):
        high = min(H, low + rows)
        until = min(H, high + half)
        if not pooled:
            integrate_rows(
                ahead, until, begin, end, entries, silent, weights, sizes, current, scale, least, h, a, drive,
                sums, peak, offsets, columns, pixels, like,
            )  # fmt: skip
        if side != 0:
            plane_rows(ahead, until, W, h, many, absent, gate, plane, wide, half, first, like)
            if W > 16:
                score_rows(low, high, W, kernel, side, plane, wide, first, score, lanes_32())
            else:
                score_rows(low, high, W, kernel, side, plane, wide, first, score, lanes_16())
        ahead = until
        n, k = fire_rows(
            low, high, W, h, numbers, many, gate, score, own_begin, own_end, own_entries, words, count,
            listed, k, like,
        )  # fmt: skip
        fired += n
    return fired


@numba.njit(cache=True, nogil=True, error_model="numpy")
def sweep(lanes, feed, sizes, cells, channels, gate, planes, spikes, room):
    """The same, of so many values in a vector."""
    if lanes == 64:
        return swept(feed, sizes, cells, channels, gate, planes, spikes, room, lanes_64())
    if lanes == 32:
        return swept(feed, sizes, cells, channels, gate, planes, spikes, room, lanes_32())
    return swept(feed, sizes, cells, channels, gate, planes, spikes, room, lanes_16())
