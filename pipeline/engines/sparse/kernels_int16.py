"""Numba loops over membranes in int16: one step of neurons in whole numbers, and steps made up for later.

    g >= fires[c]                                       a spike
    v = (g & keep) + ((g + half) rate >> 16)            what decay leaves of g, rounded to the nearest
    g' = v + rest[c], or after a spike (v & soft) + rest[c] + spike[c]

drive (4, R, C) int16: fires, rest, spike, limit, each R times; numbers (6,) int16: keep, rate, half, soft,
top, drifts (int16.py). What leaves -limit .. limit is clipped and counted; drifts: it may do so without
input. Sums are exact, so they have one value in any order.
The same functions as in kernels_float.py; kernels_form.py chooses.
"""

import numba
import numpy as np

ZERO = np.int16(0)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def update(g, at, pixels, drive, numbers, values, m):
    """Neurons of so many pixels from g[at] on: g becomes the membranes to carry, values[m :] the spikes.

    Returns how many membranes were clipped.
    """
    keep, rate, half, soft = numbers[0], numbers[1], numbers[2], numbers[3]
    n, wide = pixels * drive.shape[2], drive.shape[1] * drive.shape[2]
    each = drive.reshape(4, wide)
    fires, rest, spike, limit = each[0], each[1], each[2], each[3]
    beyond = ZERO
    for start in range(0, n, wide):
        stop = min(n, start + wide)
        h, fired = g[at + start : at + stop], values[m + start : m + stop]
        for i in range(stop - start):
            x = h[i]
            above = x >= fires[i]
            s = np.int16(-np.int16(above))
            v = np.int16(np.int16(x & keep) + np.int16((np.int32(np.int16(x + half)) * np.int32(rate)) >> 16))
            v = np.int16((v & (soft | ~s)) + rest[i] + (spike[i] & s))
            h[i] = v
            beyond = max(beyond, np.int16(abs(v) - limit[i]))
            fired[i] = above
    return clip(g[at : at + n], drive[3, 0]) if beyond > 0 else 0


@numba.njit(cache=True, nogil=True, error_model="numpy")
def clip(h, limit):
    """Keep h (P C,) within -limit .. limit (C,); returns how many were not."""
    C = limit.shape[0]
    n = 0
    for at in range(0, h.shape[0], C):
        for i in range(C):
            if h[at + i] > limit[i] or h[at + i] < -limit[i]:
                h[at + i] = limit[i] if h[at + i] > 0 else -limit[i]
                n += 1
    return n


@numba.njit(cache=True, nogil=True, error_model="numpy")
def take_sums(sums, scale, h, numbers):
    """h += the int32 sums, shifted right by `scale`, which become 0; returns how many membranes were clipped.

    What goes beyond `top` is; above it that is counted only where a spike is no full reset.
    """
    top = np.int32(numbers[4])
    most = np.int32(2_147_483_647) if numbers[3] == 0 else top
    half = np.int32((1 << scale) >> 1)
    low = high = np.int32(0)
    for i in range(h.shape[0]):
        v = np.int32(np.int32(h[i]) + np.int32((sums[i] + half) >> scale))
        low, high = min(low, v), max(high, v)
        h[i] = np.int16(v)
    clipped = 0
    if low < -top or high > top:
        for i in range(h.shape[0]):  # h holds what is left of v: what it was before is still to be had
            v = np.int32((sums[i] + half) >> scale)
            v += np.int32(np.int16(np.int32(h[i]) - v))
            if v < -top or v > top:
                h[i] = top if v > 0 else -top
                clipped += int(v < -top or v > most)
    for i in range(h.shape[0]):
        sums[i] = 0
    return clipped


@numba.njit(cache=True, nogil=True, error_model="numpy")
def catch_up(h, drive, numbers, steps):
    """Steps without input and without a spike, until they are done or change nothing any more.

    Returns how many membranes were clipped.
    """
    keep, rate, half, drifts = numbers[0], numbers[1], numbers[2], numbers[5]
    rest, limit = drive[1, 0], drive[3, 0]
    clipped = 0
    for _ in range(min(steps, 2)):  # most often there are few, and a look for movement costs half a step
        for i in range(h.shape[0]):
            v = np.int16(h[i] & keep) + np.int16((np.int32(np.int16(h[i] + half)) * np.int32(rate)) >> 16)
            h[i] = np.int16(v + rest[i])
        if drifts:
            clipped += clip(h, limit)
    for _ in range(2, steps):
        moved = ZERO
        for i in range(h.shape[0]):
            x = h[i]
            v = np.int16(x & keep) + np.int16((np.int32(np.int16(x + half)) * np.int32(rate)) >> 16)
            h[i] = np.int16(v + rest[i])
            moved |= np.int16(h[i] ^ x)
        if drifts:
            clipped += clip(h, limit)
        if moved == 0:
            break
    return clipped


@numba.njit(cache=True, nogil=True, error_model="numpy")
def fires_again(h, drive, numbers):
    """Whether any neuron of the pixel would fire at the next step without input."""
    fires = drive[0, 0]
    again = False
    for i in range(h.shape[0]):
        again |= h[i] >= fires[i]
    return again


@numba.njit(cache=True, nogil=True, error_model="numpy")
def add_planes(planes, h, numbers):
    """h (P C,) += planes (C, P) float32 of whole numbers. Returns how many were clipped."""
    top = np.int32(numbers[4])
    C, P = planes.shape
    clipped = 0
    for start in range(0, P, 16):
        stop = min(P, start + 16)
        for c in range(0, C, 16):
            last = min(C, c + 16)
            low = high = np.int32(0)
            for p in range(start, stop):
                row = h[p * C + c : p * C + last]
                for i in range(last - c):
                    v = np.int32(row[i]) + np.int32(planes[c + i, p])
                    low, high = min(low, v), max(high, v)
                    row[i] = np.int16(v)
            if low < -top or high > top:
                for p in range(start, stop):
                    for i in range(last - c):
                        v = np.int32(planes[c + i, p])
                        v += np.int32(np.int16(np.int32(h[p * C + c + i]) - v))
                        if v > top or v < -top:
                            h[p * C + c + i] = top if v > 0 else -top
                            clipped += 1
    return clipped


@numba.njit(cache=True, nogil=True, error_model="numpy")
def take_in(x, worth, limit, h):
    """h (P C,) int16: membranes x in units of worth (C,), clipped at limit (C,); returns how many were."""
    C = worth.shape[0]
    clipped = 0
    for at in range(0, h.shape[0], C):
        for i in range(C):
            v = np.rint(x[at + i] / worth[i])
            if abs(v) > limit[i]:
                v = np.float32(limit[i]) if v > 0 else np.float32(-limit[i])
                clipped += 1
            h[at + i] = np.int16(v)
    return clipped


@numba.njit(cache=True, nogil=True, error_model="numpy")
def give_out(h, worth, x):
    """x float32: the membranes h, as every engine has them."""
    C = worth.shape[0]
    for at in range(0, h.shape[0], C):
        for i in range(C):
            x[at + i] = worth[i] * np.float32(h[at + i])
