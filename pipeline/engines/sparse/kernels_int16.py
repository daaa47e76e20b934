"""Neurons whose membranes are int16, a vector of channels at a time, and the way in and out of whole numbers.

    g >= fires[c]                                       a spike
    v = (g & keep) + ((g + half) rate >> 16)            what decay leaves of g, rounded to the nearest
    g' = v + rest[c], or after a spike (v & soft) + rest[c] + spike[c]

drive (4 C,) int16: fires, rest, spike, limit; cell: keep, rate, half, soft, top (int16.py). What leaves
-limit .. limit is clipped and counted. Sums are exact, so they have one value in any order.
The same functions as in kernels_float.py; kernels_form.py chooses.
"""

import numba
import numpy as np

from spikeline.pipeline.engines.sparse.vectors import absolute, as_type, bits, full, load, ones, select

ZERO = np.int16(0)
SIXTEEN = np.int32(16)
LARGEST = np.int32(2_147_483_647)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def decayed(g, cell):
    """What decay leaves of membranes."""
    keep, rate, half, _, _ = cell
    product = as_type(g + half, np.int32) * as_type(full(rate, g), np.int32)
    return (g & keep) + as_type(product >> SIXTEEN, np.int16)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def clipped(v, limit):
    """Membranes within their limits, and how many were not."""
    beyond = absolute(v) > limit
    n = ones(bits(beyond))
    if n:
        v = select(beyond, select(v > ZERO, limit, ZERO - limit), v)
    return v, n


@numba.njit(cache=True, nogil=True, error_model="numpy")
def update(g, drive, c, cell):
    """Neurons of the channels from c on: membranes to carry, which fired, how many were clipped."""
    C = drive.shape[0] >> 2
    fired = g >= load(drive, c, g)
    v = decayed(g, cell)
    rest = load(drive, C + c, g)
    v = select(fired, (v & cell[3]) + rest + load(drive, 2 * C + c, g), v + rest)
    v, n = clipped(v, load(drive, 3 * C + c, g))
    return v, fired, n


@numba.njit(cache=True, nogil=True, error_model="numpy")
def catch_up(g, drive, c, cell, steps):
    """Steps without input and without a spike, until they are done or change nothing any more."""
    C = drive.shape[0] >> 2
    rest, limit = load(drive, C + c, g), load(drive, 3 * C + c, g)
    lost = 0
    for _ in range(steps):
        v, n = clipped(decayed(g, cell) + rest, limit)
        moved = bits(v != g)
        g = v
        lost += n
        if moved == 0 and n == 0:
            break
    return g, lost


@numba.njit(cache=True, nogil=True, error_model="numpy")
def fires_again(g, drive, c, cell):
    """Which neurons would fire at the next step without input."""
    return g >= load(drive, c, g)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def take_sums(g, sums, scale, cell):
    """g + the int32 sums, shifted right by `scale`, and how many membranes were clipped.

    What goes beyond `top` is; above it that is counted only where a spike is no full reset.
    """
    top = np.int32(cell[4])
    most = LARGEST if cell[3] == 0 else top
    v = as_type(g, np.int32) + ((sums + np.int32((1 << scale) >> 1)) >> np.int32(scale))
    low = np.int32(-top)
    beyond = (v < low) | (v > top)
    lost = 0
    if bits(beyond) != 0:
        lost = ones(bits((v < low) | (v > most)))
        v = select(v < low, full(low, v), select(v > top, full(top, v), v))
    return as_type(v, np.int16), lost


@numba.njit(cache=True, nogil=True, error_model="numpy")
def add_planes(planes, h, wide, numbers):
    """h (P wide,) += planes (C, P) float32 of whole numbers. Returns how many were clipped."""
    top = np.int32(numbers[4])
    C, P = planes.shape
    lost = 0
    for start in range(0, P, 16):
        stop = min(P, start + 16)
        for c in range(0, C, 16):
            last = min(C, c + 16)
            low = high = np.int32(0)
            for p in range(start, stop):
                row = h[p * wide + c : p * wide + last]
                for i in range(last - c):
                    v = np.int32(row[i]) + np.int32(planes[c + i, p])
                    low, high = min(low, v), max(high, v)
                    row[i] = np.int16(v)
            if low < -top or high > top:  # h holds what is left of v: what it was before is still to be had
                for p in range(start, stop):
                    for i in range(last - c):
                        v = np.int32(planes[c + i, p])
                        v += np.int32(np.int16(np.int32(h[p * wide + c + i]) - v))
                        if v > top or v < -top:
                            h[p * wide + c + i] = top if v > 0 else -top
                            lost += 1
    return lost


@numba.njit(cache=True, nogil=True, error_model="numpy")
def take_in(x, worth, limit, h):
    """h (P C,) int16: membranes x in units of worth (C,), clipped at limit (C,); returns how many were."""
    C = worth.shape[0]
    lost = 0
    for at in range(0, h.shape[0], C):
        for i in range(C):
            v = np.rint(x[at + i] / worth[i])
            if abs(v) > limit[i]:
                v = np.float32(limit[i]) if v > 0 else np.float32(-limit[i])
                lost += 1
            h[at + i] = np.int16(v)
    return lost


@numba.njit(cache=True, nogil=True, error_model="numpy")
def give_out(h, worth, x):
    """x float32: the membranes h, as every engine has them."""
    C = worth.shape[0]
    for at in range(0, h.shape[0], C):
        for i in range(C):
            x[at + i] = worth[i] * np.float32(h[at + i])
