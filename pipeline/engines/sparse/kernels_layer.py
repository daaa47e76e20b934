"""Numba loops of a layer of weights and its neurons: what reaches each output, and what it does then.

Arrays in, arrays out; the caller owns all memory. Each output is computed at once: its membranes are
loaded, the weights of all spikes that reach it are added, its neurons are updated, stored, and their spikes
listed. Sums are made in the order of the input's rows, columns and channels, whatever is left out: the same
spikes give the same bits.

    spikes    begin, end (P + 128,) int32: where a pixel's stand in entries (n + 128,) int32, each as its
              column times the channels, plus its channel; a value of 2 stands there twice
    words     (P J,) uint64: a bit for each channel that fired, 16, 32 or 64 in a word
    weights   ((rows columns Cin + 1) C,): taps by row and column, input channels, output channels, the last
              row zeros; C is a multiple of the vectors' length
    sizes     H, W, Ho, Wo, Cin, C, rows, columns, stride, padding
"""

import numba
import numpy as np
from numba import types
from numba.extending import overload

from spikeline.pipeline.engines.sparse.kernels_form import (
    catch_up,
    cell_of,
    fires_again,
    take_sums,
    update,
)
from spikeline.pipeline.engines.sparse.kernels_reach import (
    NOTHING,
    ONE,
    columns_due,
    columns_reached,
    every_column,
    find,
)
from spikeline.pipeline.engines.sparse.program import AT_ONCE
from spikeline.pipeline.engines.sparse.vectors import (
    bits,
    full,
    get,
    load,
    load_as,
    lowest,
    ones,
    size,
    store,
)

SPIKES, AWAKE, CLIPPED = range(3)  # what `found` (3,) int64 counts
AT_A_TIME = 2  # vectors whose sums are made one after the other; of more, all together


@numba.njit(cache=True, nogil=True, error_model="numpy")
def gathered(total, weights, offsets, start, stop, c):
    """total + the weights at these offsets, of the channels from c on."""
    for e in range(start, stop, 4):
        w0 = load_as(weights, np.int64(get(offsets, e)) + c, total)
        w1 = load_as(weights, np.int64(get(offsets, e + 1)) + c, total)
        w2 = load_as(weights, np.int64(get(offsets, e + 2)) + c, total)
        w3 = load_as(weights, np.int64(get(offsets, e + 3)) + c, total)
        total = total + ((w0 + w1) + (w2 + w3))
    return total


@numba.njit(cache=True, nogil=True, error_model="numpy")
def add_rows(h, at, C, weights, offsets, start, stop, like):
    """The same sums as `gathered`, added to membranes h[at : at + C] in memory, where that is many vectors:
    weights are read in longer stretches, which is faster where they come from far."""
    for e in range(start, stop, 4):
        a, b = np.int64(get(offsets, e)), np.int64(get(offsets, e + 1))
        x, y = np.int64(get(offsets, e + 2)), np.int64(get(offsets, e + 3))
        for c in range(0, C, size(like)):
            g = load(h, at + c, like)
            w0, w1 = load_as(weights, a + c, g), load_as(weights, b + c, g)
            w2, w3 = load_as(weights, x + c, g), load_as(weights, y + c, g)
            store(h, at + c, g + ((w0 + w1) + (w2 + w3)))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def arrive_as_they_are(g, weights, offsets, start, stop, c, sums, at, scale, cell):
    """Membranes with the weights that reach them; how many were clipped: none, there is room for all."""
    return gathered(g, weights, offsets, start, stop, c), 0


@numba.njit(cache=True, nogil=True, error_model="numpy")
def arrive_as_whole_sums(g, weights, offsets, start, stop, c, sums, at, scale, cell):
    """The same of weights that are summed in int32, or of sums that others have made; how many were
    clipped.
    """
    total = full(np.int32(0), g)
    if sums.shape[0] != 0:
        none = total
        total = load(sums, at, g)
        store(sums, at, none)
    return take_sums(g, gathered(total, weights, offsets, start, stop, c), scale, cell)


def arrive(g, weights, offsets, start, stop, c, sums, at, scale, cell):
    """Membranes with all that reaches them, and how many were clipped."""
    kernel = arrive_as_they_are if scale is None else arrive_as_whole_sums
    return kernel(g, weights, offsets, start, stop, c, sums, at, scale, cell)


@overload(arrive)
def _arrive(g, weights, offsets, start, stop, c, sums, at, scale, cell):
    kernel = arrive_as_they_are if isinstance(scale, types.NoneType) else arrive_as_whole_sums
    return getattr(kernel, "py_func", kernel)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def current(begin, end, entries, sizes, weights, bias, target, offsets, columns, due, like):
    """A layer without neurons: target (Ho Wo C,) float32 becomes bias (C,) + the weights of all spikes."""
    _, _, Ho, Wo, _, C, _, _, _, _ = sizes
    zero = np.int32(weights.shape[0] - C)
    for oy in range(Ho):
        every_column(Wo, columns)
        for i in range(find(begin, end, entries, False, sizes, oy, zero, columns, offsets, due)):
            x, start, stop = due[2 * i], due[2 * i + 1], due[2 * i + 3]
            for c in range(0, C, size(like)):
                total = gathered(load(bias, c, like), weights, offsets, start, stop, c)
                store(target, (oy * Wo + x) * C + c, total)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def listed_word(word, at, entries, k):
    """Enter the bits of a word, as at + their number, into entries from k on; return the new k.

    The first ones without asking whether there are any: how many there are cannot be foreseen.
    """
    for _ in range(AT_ONCE):
        entries[np.uint64(k)] = np.int32(at + lowest(word))
        k += word != NOTHING
        word &= word - ONE
    while word != NOTHING:
        entries[np.uint64(k)] = np.int32(at + lowest(word))
        k += 1
        word &= word - ONE
    return k


@numba.njit(cache=True, nogil=True, error_model="numpy")
def clear(start, stop, k, own_begin, own_end, words, count):
    """Pixels start .. stop have no spikes."""
    J = words.shape[0] // count.shape[0]
    for p in range(start, stop):
        own_begin[p] = k
        own_end[p] = k
        count[p] = 0
    for i in range(start * J, stop * J):
        words[i] = NOTHING


@numba.njit(cache=True, nogil=True, error_model="numpy")
def layer(
    begin, end, entries, silent, sizes, low, high, weights, scale, sums, hit,
    h, drive, numbers, lazy, now, due, awake, channels, listed, own_begin, own_end, own_entries, words, count,
    used, offsets, columns, pixels, like, found,
):  # fmt: skip
    """Rows low .. high of a layer and its neurons.

    begin, end, entries   the spikes in front of it; silent: there are none, whatever these say
    weights    in the membranes' measure; or with a `scale` whole numbers, whose sums in int32 are worth it
    sums, hit  of these also sums (Ho Wo C,) that others have made, where hit (Ho Wo,) uint8 is 1; both
               become 0
    h          (Ho Wo C,); drive, numbers: kernels_float.py, kernels_int16.py
    lazy       pixels without input that cannot fire are left alone; due (Ho Wo,) int64: the step a pixel has
               reached, of which `now` is this one, awake (Ho Wo,) uint8: whether it may fire without input
    channels   how many of C there are; own_begin .. count: their spikes; listed: whether to list them
    used       (Ho,) uint8: rows in which the last call found something to look at
    offsets, columns, pixels   room for `find` and `columns_reached`
    found      spikes, pixels that are awake and membranes that were clipped
    """
    _, _, _, Wo, _, C, _, _, _, _ = sizes
    cell = cell_of(numbers)
    zero = np.int32(weights.shape[0] - C)
    given = sums.shape[0] != 0
    J = C // size(like)
    spikes = wakeful = lost = 0
    k = low * (Wo * channels + AT_ONCE)
    for oy in range(low, high):
        reached = not silent and columns_reached(begin, end, sizes, oy, columns)
        if not columns_due(reached, hit, awake, lazy, oy * Wo, Wo, columns):
            if used[oy]:
                clear(oy * Wo, oy * Wo + Wo, k, own_begin, own_end, words, count)
                used[oy] = 0
            continue
        used[oy] = 1
        done = oy * Wo
        for i in range(find(begin, end, entries, silent, sizes, oy, zero, columns, offsets, pixels)):
            x, start, stop = pixels[2 * i], pixels[2 * i + 1], pixels[2 * i + 3]
            p = oy * Wo + x
            clear(done, p, k, own_begin, own_end, words, count)
            done = p + 1
            own_begin[p] = k
            missed = 0
            if lazy:
                missed = now - 1 - due[p]
                due[p] = now
            n = 0
            again = NOTHING
            by_rows = J > AT_A_TIME and start != stop and scale is None
            if by_rows:
                for c in range(0, C, size(like)):
                    if missed > 0:
                        g, m = catch_up(load(h, p * C + c, like), drive, c, cell, missed)
                        store(h, p * C + c, g)
                        lost += m
                missed = 0
                add_rows(h, p * C, C, weights, offsets, start, stop, like)
            for j in range(J):
                c = j * size(like)
                at = p * C + c
                g = load(h, at, like)
                if missed > 0:
                    g, m = catch_up(g, drive, c, cell, missed)
                    lost += m
                if not by_rows and (start != stop or given):
                    g, m = arrive(g, weights, offsets, start, stop, c, sums, at, scale, cell)
                    lost += m
                v, fired, m = update(g, drive, c, cell)
                lost += m
                store(h, at, v)
                word = bits(fired)
                if c + size(like) > channels:
                    word &= (ONE << np.uint64(channels - c)) - ONE
                words[p * J + j] = word
                n += ones(word)
                if lazy:
                    again |= bits(fires_again(v, drive, c, cell)) & word
                if listed:
                    k = listed_word(word, x * channels + c, own_entries, k)
            if given:
                hit[p] = 0
            own_end[p] = k
            count[p] = n
            spikes += n
            if lazy:
                awake[p] = again != NOTHING
                wakeful += awake[p]
        clear(done, oy * Wo + Wo, k, own_begin, own_end, words, count)
    found[SPIKES] = spikes
    found[AWAKE] = wakeful
    found[CLIPPED] = lost


@numba.njit(cache=True, nogil=True, error_model="numpy")
def settle(h, drive, numbers, due, awake, now, like):
    """Make up for every step left out until now; afterwards any pixel may fire again. Returns the clipped."""
    cell = cell_of(numbers)
    C = h.shape[0] // due.shape[0]
    lost = 0
    for p in range(due.shape[0]):
        if due[p] != now:
            for c in range(0, C, size(like)):
                g, n = catch_up(load(h, p * C + c, like), drive, c, cell, now - due[p])
                store(h, p * C + c, g)
                lost += n
            due[p] = now
        awake[p] = 1
    return lost
