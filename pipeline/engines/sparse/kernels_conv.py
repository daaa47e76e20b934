"""Numba loops that add the weights of spikes to what they reach. Arrays in, arrays out.

geometry.py says how weights are laid out: of a class (row, column) and an input channel, `ny` rows of `nx C`.
Sums are made in the order of the input's pixels and channels, whatever is skipped: the same spikes give the
same bits.
"""

import numba
import numpy as np

from spikeline.pipeline.engines.sparse.kernels_form import catch_up
from spikeline.pipeline.engines.sparse.kernels_neuron import finish


@numba.njit(cache=True, nogil=True, error_model="numpy")
def add_spikes(channels, at, stop, weights, base, block, row, rows, length, target, to, stride):
    """Add the weights of channels[at : stop] to `rows` stretches of `length` values of target.

    A channel c's stretches begin at base + c block + i row, those of the target at to + i stride.
    Up to eight spikes are added in one sweep over the target.
    """
    while at + 8 <= stop:
        w0, w1 = base + channels[at] * block, base + channels[at + 1] * block
        w2, w3 = base + channels[at + 2] * block, base + channels[at + 3] * block
        w4, w5 = base + channels[at + 4] * block, base + channels[at + 5] * block
        w6, w7 = base + channels[at + 6] * block, base + channels[at + 7] * block
        for r in range(rows):
            a = target[to + r * stride : to + r * stride + length]
            d = r * row
            b0, b1 = weights[w0 + d : w0 + d + length], weights[w1 + d : w1 + d + length]
            b2, b3 = weights[w2 + d : w2 + d + length], weights[w3 + d : w3 + d + length]
            b4, b5 = weights[w4 + d : w4 + d + length], weights[w5 + d : w5 + d + length]
            b6, b7 = weights[w6 + d : w6 + d + length], weights[w7 + d : w7 + d + length]
            for i in range(length):
                a[i] += ((b0[i] + b1[i]) + (b2[i] + b3[i])) + ((b4[i] + b5[i]) + (b6[i] + b7[i]))
        at += 8
    if at + 4 <= stop:
        w0, w1 = base + channels[at] * block, base + channels[at + 1] * block
        w2, w3 = base + channels[at + 2] * block, base + channels[at + 3] * block
        for r in range(rows):
            a = target[to + r * stride : to + r * stride + length]
            d = r * row
            b0, b1 = weights[w0 + d : w0 + d + length], weights[w1 + d : w1 + d + length]
            b2, b3 = weights[w2 + d : w2 + d + length], weights[w3 + d : w3 + d + length]
            for i in range(length):
                a[i] += (b0[i] + b1[i]) + (b2[i] + b3[i])
        at += 4
    if at + 2 <= stop:
        w0, w1 = base + channels[at] * block, base + channels[at + 1] * block
        three = at + 3 <= stop
        w2 = base + channels[at + 2] * block if three else 0
        for r in range(rows):
            a = target[to + r * stride : to + r * stride + length]
            d = r * row
            b0, b1 = weights[w0 + d : w0 + d + length], weights[w1 + d : w1 + d + length]
            if three:
                b2 = weights[w2 + d : w2 + d + length]
                for i in range(length):
                    a[i] += (b0[i] + b1[i]) + b2[i]
            else:
                for i in range(length):
                    a[i] += b0[i] + b1[i]
    elif at < stop:
        w0 = base + channels[at] * block
        for r in range(rows):
            a = target[to + r * stride : to + r * stride + length]
            b0 = weights[w0 + r * row : w0 + r * row + length]
            for i in range(length):
                a[i] += b0[i]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def wake(o0, o1, x0, x1, width, h, drive, numbers, now, due):
    """Bring the pixels of these rows and columns up to date before input is added to them.

    Returns how many membranes were clipped.
    """
    C = drive.shape[-1]
    clipped = 0
    for o in range(o0, o1):
        for p in range(o * width + x0, o * width + x1):
            if due[p] != now:
                if due[p] != now - 1:
                    clipped += catch_up(h[p * C : p * C + C], drive, numbers, now - 1 - due[p])
                due[p] = now
    return clipped


@numba.njit(cache=True, nogil=True, error_model="numpy")
def reach(position, padding, stride, taps, low, high):
    """Along one axis: the class of an input position, its taps from .. to, and the output of the first."""
    q = position + padding
    kind = q % stride
    n = taps[kind]
    start = q // stride - n + 1
    lowest, highest = max(0, low - start), min(n, high - start)
    return kind, n, lowest, highest, start + lowest


@numba.njit(cache=True, nogil=True, error_model="numpy")
def conv_layer(
    first, entries, channels, weights, starts, taps, geometry, rows,
    h, drive, numbers, lazy, now, due, awake,
    keep, values, words, listed, count, out_first, out_channels, none, no_hit, zero, found,
):  # fmt: skip
    """A convolution on spikes and its neurons, in one walk over the input's rows.

    first, entries, channels   the input's spikes (kernels_spikes.py)
    weights, starts, taps, geometry   geometry.py; rows: output rows from .. to that are computed here
    h .. awake, keep .. out_channels   of the output (kernels_neuron.finish)
    found (3,) int64           spikes, pixels that may fire without input, membranes clipped
    """
    H, W, _, Wo, C, size, stride, padding = geometry
    done, k = rows[0], rows[0] * Wo * C
    found[:] = 0
    y_from = max(0, rows[0] * stride - padding)
    y_to = min(H, (rows[1] - 1) * stride - padding + size)
    for y in range(y_from, y_to):
        ry, ny, i0, i1, oy = reach(y, padding, stride, taps, rows[0], rows[1])
        if i0 < i1:
            woken = 0
            for x in range(W):
                p = y * W + x
                if entries[p] != 0:
                    rx, nx, j0, j1, ox = reach(x, padding, stride, taps, 0, Wo)
                    if j0 < j1:
                        if lazy:
                            end = ox + j1 - j0
                            found[2] += wake(
                                oy, oy + i1 - i0, max(ox, woken), end, Wo, h, drive, numbers, now, due
                            )
                            woken = end
                        add_spikes(
                            channels, first[p], first[p] + entries[p],
                            weights, starts[ry, rx] + (i0 * nx + j0) * C, ny * nx * C, nx * C,
                            i1 - i0, (j1 - j0) * C, h, (oy * Wo + ox) * C, Wo * C,
                        )  # fmt: skip
        while done < rows[1] and (done * stride - padding + size - 1 <= y or y == y_to - 1):
            k = finish(
                done * Wo, done * Wo + Wo, none, no_hit, 0, zero, h, drive, numbers, lazy, now, due, awake,
                keep, values, words, listed, count, out_first, out_channels, k, found,
            )  # fmt: skip
            done += 1


@numba.njit(cache=True, nogil=True, error_model="numpy")
def conv_current(first, entries, channels, weights, starts, taps, geometry, target):
    """A convolution on spikes alone: weights added to target (Ho Wo C,), which holds the biases."""
    H, W, Ho, Wo, C, _, stride, padding = geometry
    for y in range(H):
        ry, ny, i0, i1, oy = reach(y, padding, stride, taps, 0, Ho)
        if i0 < i1:
            for x in range(W):
                p = y * W + x
                if entries[p] != 0:
                    rx, nx, j0, j1, ox = reach(x, padding, stride, taps, 0, Wo)
                    if j0 < j1:
                        add_spikes(
                            channels, first[p], first[p] + entries[p],
                            weights, starts[ry, rx] + (i0 * nx + j0) * C, ny * nx * C, nx * C,
                            i1 - i0, (j1 - j0) * C, target, (oy * Wo + ox) * C, Wo * C,
                        )  # fmt: skip


@numba.njit(cache=True, nogil=True, error_model="numpy")
def linear_current(first, entries, channels, C, weights, inputs, target):
    """A linear layer on spikes: rows of weights (P C, N) added to target (N,).

    inputs (P C m,) int32: room for the spikes' rows
    """
    n = 0
    for p in range(entries.shape[0]):
        for j in range(first[p], first[p] + entries[p]):
            inputs[n] = p * C + np.int64(channels[j])
            n += 1
    N = target.shape[0]
    add_spikes(inputs, 0, n, weights, 0, N, 0, 1, N, target, 0, 0)
