"""Numba loops over membranes in float32: one step of neurons, and steps made up for later.

drive (R, C) float32: one row R times, so that loops over few channels are long enough for vectors;
numbers (6,) float32: a, threshold, p0, q0, p1, q1 of cells.py. No fast-math flag is set: a neuron that is
updated now, and one whose quiet steps are made up for later, must agree to the bit.
kernels_int16.py has the same functions for the other form of a state, kernels_form.py chooses.
"""

import numba
import numpy as np

FLUSH = np.float32(1e-30)  # a membrane below this is 0, so that silence ends and no subnormal slows a step
ZERO = np.float32(0)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def update(g, at, pixels, drive, numbers, values, m):
    """Neurons of so many pixels from g[at] on: g becomes the membranes to carry, values[m :] the spikes.

    Returns how many membranes were clipped: none.
    """
    a, threshold, p0, q0, p1, q1 = numbers
    rows = drive.reshape(-1)
    n = pixels * drive.shape[1]
    for start in range(0, n, rows.shape[0]):
        stop = min(n, start + rows.shape[0])
        h, fired = g[at + start : at + stop], values[m + start : m + stop]
        for i in range(stop - start):
            u = a * h[i] + rows[i]
            above = u >= threshold
            v = p1 * u + q1 if above else p0 * u + q0
            h[i] = v if abs(v) >= FLUSH else ZERO
            fired[i] = above
    return 0


@numba.njit(cache=True, nogil=True, error_model="numpy")
def take_sums(sums, scale, h, numbers):
    """h += scale times the int32 sums, which become 0. Returns how many membranes were clipped: none."""
    for i in range(h.shape[0]):
        h[i] += scale * np.float32(sums[i])
        sums[i] = 0
    return 0


@numba.njit(cache=True, nogil=True, error_model="numpy")
def catch_up(h, drive, numbers, steps):
    """Steps without input and without a spike, until they are done or change nothing any more."""
    a, _, p0, q0, _, _ = numbers
    drive = drive[0]
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
    return 0


@numba.njit(cache=True, nogil=True, error_model="numpy")
def fires_again(h, drive, numbers):
    """Whether any neuron of the pixel would fire at the next step without input."""
    a, threshold = numbers[0], numbers[1]
    drive = drive[0]
    again = False
    for i in range(h.shape[0]):
        again |= a * h[i] + drive[i] >= threshold
    return again


@numba.njit(cache=True, nogil=True, error_model="numpy")
def add_planes(planes, h, numbers):
    """h (P C,) += planes (C, P), in tiles that the first-level cache holds. Returns how many were clipped."""
    C, P = planes.shape
    for start in range(0, P, 16):
        stop = min(P, start + 16)
        for low in range(0, C, 16):
            high = min(C, low + 16)
            for p in range(start, stop):
                row = h[p * C + low : p * C + high]
                for i in range(high - low):
                    row[i] += planes[low + i, p]
    return 0


@numba.njit(cache=True, nogil=True, error_model="numpy")
def add_scaled(x, scale, h):
    """h += scale x."""
    for i in range(h.shape[0]):
        h[i] += scale * x[i]
