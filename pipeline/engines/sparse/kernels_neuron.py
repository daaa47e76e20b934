"""Numba loops over a layer's neurons after their input, in either form of a state (kernels_form.py)."""

import numba
import numpy as np

from spikeline.pipeline.engines.sparse.kernels_form import catch_up, fires_again, take_sums, update
from spikeline.pipeline.engines.sparse.kernels_spikes import (
    EIGHT,
    EVERY_OTHER,
    FORTY_EIGHT,
    ONES,
    count_ones,
    list_ones,
)

SPIKES, AWAKE, CLIPPED = range(3)  # what `found` (3,) int64 counts


@numba.njit(cache=True, nogil=True, error_model="numpy")
def finish(
    start, stop, sums, hit, at, scale, g, drive, numbers, lazy, now, due, awake,
    keep, values, words, listed, count, first, channels, k, found,
):  # fmt: skip
    """Pixels start .. stop of a layer after their input: returns the end of the list.

    sums      int32, what is still to be added to the membranes, in units of `scale`, from pixel `at` on,
              where hit (uint8) is 1, which becomes 0; or empty
    lazy      pixels without input that cannot fire are left alone; due (P,) int64: the step a pixel has
              reached, awake (P,) uint8: whether it may fire without input. Not lazy: every pixel is updated
    keep      values (P C,) holds every pixel's spikes; else those of the newest of these pixels
    listed    channels are listed from k on
    found     spikes, pixels that are awake and membranes that were clipped are added to it
    """
    C = drive.shape[-1]
    by_words = C & 7 == 0 and C <= 8 * 255
    spikes = wakeful = clipped = np.intp(0)
    p = start
    while p < stop:
        if lazy and due[p] != now and awake[p] == 0:
            first[p] = k
            count[p] = 0
            p += 1
            continue
        end = p  # of the pixels from p on that are updated together
        while end < stop:
            if lazy and due[end] != now:
                if awake[end] == 0:
                    break
                clipped += catch_up(g[end * C : end * C + C], drive, numbers, now - 1 - due[end])
                due[end] = now
            end += 1
        m = p * C if keep else 0
        if sums.shape[0]:
            q = p
            while q < end:
                until = q
                while until < end and hit[at + until - start] != 0:
                    hit[at + until - start] = 0
                    until += 1
                if until > q:
                    own_sums = sums[(at + q - start) * C : (at + until - start) * C]
                    clipped += take_sums(own_sums, scale, g[q * C : until * C], numbers)
                q = until + 1
        clipped += update(g, p * C, end - p, drive, numbers, values, m)
        while p < end:
            first[p] = k
            if by_words:  # count_ones, in line
                total = np.uint64(0)
                own = words[m >> 3 : (m + C) >> 3]
                for i in range(own.shape[0]):
                    total += own[i]
                n = np.intp(0)
                if total != 0:
                    total = (total & EVERY_OTHER) + ((total >> EIGHT) & EVERY_OTHER)
                    n = np.intp((total * ONES) >> FORTY_EIGHT)
            else:
                n = count_ones(words, values, m, C)
            if n:
                if listed:
                    k = list_ones(words, values, m, C, channels, k, n)
                if lazy:
                    awake[p] = fires_again(g[p * C : p * C + C], drive, numbers)
                    wakeful += awake[p]
            elif lazy:
                awake[p] = 0
            count[p] = n
            spikes += n
            m += C
            p += 1
    found[SPIKES] += spikes
    found[AWAKE] += wakeful
    found[CLIPPED] += clipped
    return k


@numba.njit(cache=True, nogil=True, error_model="numpy")
def finish_all(
    sums, hit, scale, g, drive, numbers, keep, values, words, listed, count, first, channels,
    no_due, no_awake, found,
):  # fmt: skip
    """A whole layer, every pixel of it, after all of its input."""
    C = drive.shape[-1]
    P = count.shape[0]
    room = P if keep else max(1, values.shape[0] // C)
    found[:] = 0
    k = 0
    for start in range(0, P, room):
        k = finish(
            start, min(P, start + room), sums, hit, start, scale, g, drive, numbers, False, 0, no_due,
            no_awake, keep, values, words, listed, count, first, channels, k, found,
        )  # fmt: skip


@numba.njit(cache=True, nogil=True, error_model="numpy")
def settle(g, drive, numbers, due, awake, now):
    """Make up for every step left out until now; afterwards any pixel may fire again. Returns the clipped."""
    C = drive.shape[-1]
    clipped = 0
    for p in range(due.shape[0]):
        if due[p] != now:
            clipped += catch_up(g[p * C : p * C + C], drive, numbers, now - due[p])
            due[p] = now
        awake[p] = 1
    return clipped
