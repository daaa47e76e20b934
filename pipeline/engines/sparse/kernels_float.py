"""Neurons whose membranes are float32, a vector of channels at a time: one step, and steps made up for later.

drive (C,) float32; cell: a, threshold, p0, q0, p1, q1 of cells.py. No fast-math flag is set: a neuron that is
updated now, and one whose quiet steps are made up for later, must agree to the bit.
kernels_int16.py has the same functions for the other form of a state, kernels_form.py chooses.
"""

import numba
import numpy as np

from spikeline.pipeline.engines.sparse.vectors import absolute, as_type, bits, load, select

FLUSH = np.float32(1e-30)  # a membrane below this is 0, so that silence ends and no subnormal slows a step
ZERO = np.float32(0)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def update(g, drive, c, cell):
    """Neurons of the channels from c on: membranes to carry, which fired, how many were clipped (none)."""
    a, threshold, p0, q0, p1, q1 = cell
    u = a * g + load(drive, c, g)
    fired = u >= threshold
    v = select(fired, p1 * u + q1, p0 * u + q0)
    return select(absolute(v) >= FLUSH, v, ZERO), fired, 0


@numba.njit(cache=True, nogil=True, error_model="numpy")
def catch_up(g, drive, c, cell, steps):
    """Steps without input and without a spike, until they are done or change nothing any more."""
    a, _, p0, q0, _, _ = cell
    own = load(drive, c, g)
    for _ in range(steps):
        v = p0 * (a * g + own) + q0
        v = select(absolute(v) >= FLUSH, v, ZERO)
        moved = bits(v != g)
        g = v
        if moved == 0:
            break
    return g, 0


@numba.njit(cache=True, nogil=True, error_model="numpy")
def fires_again(g, drive, c, cell):
    """Which neurons would fire at the next step without input."""
    return cell[0] * g + load(drive, c, g) >= cell[1]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def take_sums(g, sums, scale, cell):
    """g + scale times whole sums; how many were clipped: none."""
    return g + scale * as_type(sums, np.float32), 0


@numba.njit(cache=True, nogil=True, error_model="numpy")
def add_planes(planes, h, wide, numbers):
    """h (P wide,) += planes (C, P), in tiles that the first-level cache holds. Returns how many were
    clipped.
    """
    C, P = planes.shape
    for start in range(0, P, 16):
        stop = min(P, start + 16)
        for low in range(0, C, 16):
            high = min(C, low + 16)
            for p in range(start, stop):
                row = h[p * wide + low : p * wide + high]
                for i in range(high - low):
                    row[i] += planes[low + i, p]
    return 0
