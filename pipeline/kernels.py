"""Numba loops over events. Arrays in, arrays out; the caller owns all memory. Nothing is allocated."""

import numba
import numpy as np

FULL = np.uint16(65_535)


@numba.njit(cache=True, nogil=True)
def add_events(x, y, p, start, stop, cells, frame, lost):
    """frame[p, cell] += 1 for events start..stop, cell = cells[y, x]; counts stop at 65,535.

    x, y   (n,) uint16, inside the sensor    p  (n,) uint8, 0 or 1
    cells  (H_sensor, W_sensor) int32: index of the pixel's cell, or -1 outside the crop
    frame  (2, cells) uint16, changed in place
    lost   (2,) int64, changed in place: += events outside the crop, += events at a full cell
    """
    for i in range(start, stop):
        cell = cells[y[i], x[i]]
        if cell < 0:
            lost[0] += 1
        elif frame[p[i], cell] == FULL:
            lost[1] += 1
        else:
            frame[p[i], cell] += np.uint16(1)


@numba.njit(cache=True, nogil=True)
def add_frames(total, part):
    """total += part, both (2, cells) uint16, stopping at 65,535; return the counts that did not fit."""
    over = 0
    for c in range(total.shape[0]):
        for i in range(total.shape[1]):
            room = FULL - total[c, i]
            if part[c, i] > room:
                over += int(part[c, i] - room)
                total[c, i] = FULL
            else:
                total[c, i] += part[c, i]
    return over


@numba.njit(cache=True, nogil=True)
def first_at_or_after(t, start, stop, until):
    """The first i in start..stop with t[i] >= until, or stop; t (n,) int64 in order."""
    while start < stop:
        middle = (start + stop) // 2
        if t[middle] < until:
            start = middle + 1
        else:
            stop = middle
    return start
