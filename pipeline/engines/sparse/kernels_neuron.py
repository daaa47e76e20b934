"""Numba loops over membranes: threshold, reset and list of spikes in one pass, and steps made up for later.

numbers (6,) float32: a, threshold, p0, q0, p1, q1 of cells.py. No fast-math flag is set: a neuron that is
updated now, and one whose quiet steps are made up for later, must agree to the bit.
"""

import numba
import numpy as np

from spikeline.pipeline.engines.sparse.kernels_spikes import (
    EIGHT,
    EVERY_OTHER,
    FORTY_EIGHT,
    ONES,
    count_ones,
    list_ones,
)

FLUSH = np.float32(1e-30)  # a membrane below this is 0, so that silence ends and no subnormal slows a step
ZERO = np.float32(0)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def update(g, at, pixels, drive, a, threshold, p0, q0, p1, q1, values, m):
    """Neurons of so many pixels from g[at] on: g becomes the membranes to carry, values[m :] the spikes."""
    C = drive.shape[0]
    for j in range(pixels):
        h = g[at + j * C : at + j * C + C]
        fired = values[m + j * C : m + j * C + C]
        for i in range(C):
            u = a * h[i] + drive[i]
            above = u >= threshold
            v = p1 * u + q1 if above else p0 * u + q0
            h[i] = v if abs(v) >= FLUSH else ZERO
            fired[i] = above


@numba.njit(cache=True, nogil=True, error_model="numpy")
def update_with(sums, s, scale, g, at, pixels, drive, a, threshold, p0, q0, p1, q1, values, m):
    """The same after adding scale times the int32 sums from sums[s] on, which become 0."""
    C = drive.shape[0]
    for j in range(pixels):
        h = g[at + j * C : at + j * C + C]
        fired = values[m + j * C : m + j * C + C]
        more = sums[s + j * C : s + j * C + C]
        for i in range(C):
            u = a * (h[i] + scale * np.float32(more[i])) + drive[i]
            more[i] = 0
            above = u >= threshold
            v = p1 * u + q1 if above else p0 * u + q0
            h[i] = v if abs(v) >= FLUSH else ZERO
            fired[i] = above


@numba.njit(cache=True, nogil=True, error_model="numpy")
def catch_up(h, drive, a, p0, q0, steps):
    """Steps without input and without a spike, until they are done or change nothing any more."""
    for _ in range(min(steps, 2)):  # most often there are few, and a look for movement costs half a step
        for i in range(h.shape[0]):
            u = a * h[i] + drive[i]
            v = p0 * u + q0
            h[i] = v if abs(v) >= FLUSH else ZERO
    for _ in range(2, steps):
        moved = False
        for i in range(h.shape[0]):
            u = a * h[i] + drive[i]
            v = p0 * u + q0
            v = v if abs(v) >= FLUSH else ZERO
            moved |= v != h[i]
            h[i] = v
        if not moved:
            break


@numba.njit(cache=True, nogil=True, error_model="numpy")
def fires_again(h, drive, a, threshold):
    """Whether any neuron of the pixel would fire at the next step without input."""
    again = False
    for i in range(h.shape[0]):
        again |= a * h[i] + drive[i] >= threshold
    return again


@numba.njit(cache=True, nogil=True, error_model="numpy")
def finish(
    start, stop, sums, at, scale, g, drive, numbers, lazy, now, due, awake,
    keep, values, words, listed, count, first, channels, k,
):  # fmt: skip
    """Pixels start .. stop of a layer after their input: returns the end of the list, spikes, awake pixels.

    sums      int32, what is still to be added to the membranes, times `scale`, from `at` on; or empty
    lazy      pixels without input that cannot fire are left alone; due (P,) int64: the step a pixel has
              reached, awake (P,) uint8: whether it may fire without input. Not lazy: every pixel is updated
    keep      values (P C,) holds every pixel's spikes; else those of the newest of these pixels
    listed    channels are listed from k on
    """
    a, threshold, p0, q0, p1, q1 = numbers
    C = drive.shape[0]
    by_words = C & 7 == 0 and C <= 8 * 255
    spikes = wakeful = np.intp(0)
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
                catch_up(g[end * C : end * C + C], drive, a, p0, q0, now - 1 - due[end])
                due[end] = now
            end += 1
        m = p * C if keep else 0
        if sums.shape[0]:
            s = at + (p - start) * C
            update_with(sums, s, scale, g, p * C, end - p, drive, a, threshold, p0, q0, p1, q1, values, m)
        else:
            update(g, p * C, end - p, drive, a, threshold, p0, q0, p1, q1, values, m)
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
                    awake[p] = fires_again(g[p * C : p * C + C], drive, a, threshold)
                    wakeful += awake[p]
            elif lazy:
                awake[p] = 0
            count[p] = n
            spikes += n
            m += C
            p += 1
    return k, spikes, wakeful


@numba.njit(cache=True, nogil=True, error_model="numpy")
def finish_all(
    x,
    scale,
    g,
    drive,
    numbers,
    keep,
    values,
    words,
    listed,
    count,
    first,
    channels,
    none,
    no_due,
    no_awake,
):
    """A whole layer fed by a dense current x (P C,), scaled; returns its spikes."""
    if scale != 0:
        for i in range(g.shape[0]):
            g[i] += scale * x[i]
    C = drive.shape[0]
    P = count.shape[0]
    room = P if keep else max(1, values.shape[0] // C)
    spikes = k = 0
    for start in range(0, P, room):
        k, n, _ = finish(
            start, min(P, start + room), none, 0, ZERO, g, drive, numbers, False, 0, no_due, no_awake,
            keep, values, words, listed, count, first, channels, k,
        )  # fmt: skip
        spikes += n
    return spikes


@numba.njit(cache=True, nogil=True, error_model="numpy")
def settle(g, drive, numbers, due, awake, now):
    """Make up for every step left out until now; afterwards any pixel may fire again."""
    a, _, p0, q0, _, _ = numbers
    C = drive.shape[0]
    for p in range(due.shape[0]):
        if due[p] != now:
            catch_up(g[p * C : p * C + C], drive, a, p0, q0, now - due[p])
            due[p] = now
        awake[p] = 1
