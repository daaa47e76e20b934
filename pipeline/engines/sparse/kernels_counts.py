"""Numba loops of the first layer: events instead of a dense frame, summed exactly in whole numbers.

A cell with n events adds n `plain` weights, or from the count on at which the input is clipped its `full`
ones, all int32 fixed-point numbers. Whole numbers have one sum in any order, so events may be added as they
arrive (`add_counts`) and the step is the same to the bit as from the finished frame.
"""

import numba
import numpy as np

from spikeline.pipeline.engines.sparse.kernels_conv import reach, wake
from spikeline.pipeline.engines.sparse.kernels_neuron import finish


@numba.njit(cache=True, nogil=True, error_model="numpy")
def add_cell(before, n, clip, plain, full, base, row, rows, length, sums, hit, to, width, C, rooms):
    """Add to `sums` what the weights of a cell become more when its count goes from `before` to n.

    to: (row, column) of the first output; sums has `rooms` rows of `width` pixels, used in turn, and hit a
    byte for each pixel, which becomes 1
    """
    was, now = min(before, clip), min(n, clip)
    if was == now:
        return
    gone, come = was == clip, now == clip
    was, now = np.int32(0 if gone else was), np.int32(0 if come else now)
    more = np.int32(now - was)
    for r in range(rows):
        pixel = ((to[0] + r) % rooms) * width + to[1]
        for i in range(pixel, pixel + length // C):
            hit[i] = 1
        a = sums[pixel * C : pixel * C + length]
        b = plain[base + r * row : base + r * row + length]
        if more == 1:
            for i in range(length):
                a[i] += b[i]
        elif more != 0:
            for i in range(length):
                a[i] += more * b[i]
        if come:
            c = full[base + r * row : base + r * row + length]
            for i in range(length):
                a[i] += c[i]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def counts_layer(
    frame, clip, taken, plain, full, starts, taps, geometry, rows, sums, hit, scale,
    h, drive, numbers, lazy, now, due, awake,
    keep, values, words, listed, count, out_first, out_channels, found,
):  # fmt: skip
    """A convolution on counts (Cin, H, W) and its neurons, in one walk over the frame's rows.

    sums (rooms Wo C,) int32, hit (rooms Wo,) uint8: zero before and after; scale: what one of them is worth
    taken: the sums of all rows are there already
    Everything else as in kernels_conv.conv_layer.
    """
    H, W, _, Wo, C, size, stride, padding = geometry
    rooms = sums.shape[0] // (Wo * C)
    done, k = rows[0], rows[0] * Wo * C
    found[:] = 0
    y_from = max(0, rows[0] * stride - padding)
    y_to = min(H, (rows[1] - 1) * stride - padding + size)
    for y in range(y_from, y_to + 1):  # one more, to finish the last rows
        while done < rows[1] and (y == y_to or done * stride - padding + size - 1 < y):
            k = finish(
                done * Wo, done * Wo + Wo, sums, hit, (done % rooms) * Wo, scale,
                h, drive, numbers, lazy, now, due, awake,
                keep, values, words, listed, count, out_first, out_channels, k, found,
            )  # fmt: skip
            done += 1
        if y == y_to:
            break
        ry, ny, i0, i1, oy = reach(y, padding, stride, taps, rows[0], rows[1])
        if i0 < i1:
            woken = 0
            for x in range(W):
                for c in range(frame.shape[0]):
                    n = np.int64(frame[c, y, x])
                    if n != 0:
                        rx, nx, j0, j1, ox = reach(x, padding, stride, taps, 0, Wo)
                        if j0 < j1:
                            if lazy:
                                end = ox + j1 - j0
                                found[2] += wake(
                                    oy, oy + i1 - i0, max(ox, woken), end, Wo, h, drive, numbers, now, due
                                )
                                woken = end
                            if not taken:
                                base = starts[ry, rx] + ((c * ny + i0) * nx + j0) * C
                                add_cell(
                                    0, n, clip, plain, full, base, nx * C, i1 - i0, (j1 - j0) * C,
                                    sums, hit, (oy, ox), Wo, C, rooms,
                                )  # fmt: skip


@numba.njit(cache=True, nogil=True, error_model="numpy")
def add_counts(
    x, y, p, start, stop, cells, frame, clip, plain, full, starts, taps, geometry, sums, hit
):  # fmt: skip
    """Count events start .. stop in `frame` (2, H, W), and add what their weights become more to `sums`.

    As pipeline/kernels.py: cells (H_sensor, W_sensor) int32 has -1 where a pixel is outside; counts stop at
    65,535. sums (Ho Wo C,) int32, hit (Ho Wo,) uint8
    """
    _, W, Ho, Wo, C, _, stride, padding = geometry
    for i in range(start, stop):
        cell = np.int64(cells[y[i], x[i]])
        if cell < 0:
            continue
        row, column = cell // W, cell % W
        before = np.int64(frame[p[i], row, column])
        if before == 65_535:
            continue
        frame[p[i], row, column] = before + 1
        ry, ny, i0, i1, oy = reach(row, padding, stride, taps, 0, Ho)
        rx, nx, j0, j1, ox = reach(column, padding, stride, taps, 0, Wo)
        if i0 < i1 and j0 < j1:
            add_cell(
                before, before + 1, clip, plain, full,
                starts[ry, rx] + ((p[i] * ny + i0) * nx + j0) * C, nx * C,
                i1 - i0, (j1 - j0) * C, sums, hit, (oy, ox), Wo, C, Ho,
            )  # fmt: skip
