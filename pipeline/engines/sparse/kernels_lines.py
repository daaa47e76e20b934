"""A program's lines one at a time: their arrays by the addresses they hold, and the kernel that is theirs."""

import numba
import numpy as np
from numba import types
from numba.extending import overload

from spikeline.pipeline.engines.sparse import kernels_counts, kernels_layer, kernels_spikes
from spikeline.pipeline.engines.sparse.program import BESIDE, COUNTS, FLOAT32, INT8, INT16, WIDE
from spikeline.pipeline.engines.sparse.vectors import array_at

F32, I8, I16, I32, I64, U8, U64 = np.float32, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint64


@numba.njit(cache=True, nogil=True, error_model="numpy")
def sizes_of(line):
    """H, W, Ho, Wo, Cin, C, rows, columns, stride, padding of a layer of weights."""
    return (
        line.height, line.in_width, line.out_height, line.width, line.in_channels, line.padded, line.rows,
        line.columns, line.stride, line.padding,
    )  # fmt: skip


@numba.njit(cache=True, nogil=True, error_model="numpy")
def run_layer(line, source, silent, low, high, now, taken, scale, weights_kind, form, like, found):
    """Rows low .. high of a line of weights and neurons; source: the line whose spikes feed it, or itself."""
    P, pixels = line.pixels, source.pixels
    begin, end, entries, most = source.begin, source.end, source.entries, source.entries_size
    if line.kind == COUNTS:
        pixels = line.height * line.in_width
        begin, end, entries, most = line.in_begin, line.in_end, line.in_entries, line.in_size
    given, rows_of_drive = taken * P * line.padded, 4 if line.form == INT16 else 1
    kernels_layer.layer(
        array_at(begin, pixels + BESIDE, I32), array_at(end, pixels + BESIDE, I32),
        array_at(entries, most, I32),
        silent, sizes_of(line), low, high,
        array_at(line.weights, line.weights_size, weights_kind), scale,
        array_at(line.sums, given, I32), array_at(line.hit, taken * (P + BESIDE), U8),
        array_at(line.h, P * line.padded, form),
        array_at(line.drive, line.padded * rows_of_drive, form),
        array_at(line.numbers, line.numbers_size, form),
        line.lazy != 0, now, array_at(line.due, P, I64), array_at(line.awake, P + BESIDE, U8),
        line.channels, line.listed != 0,
        array_at(line.begin, P, I32), array_at(line.end, P, I32),
        array_at(line.entries, line.entries_size, I32),
        array_at(line.words, P * (line.padded // line.lanes), U64), array_at(line.count, P, I32),
        array_at(line.used, line.out_height, U8),
        array_at(line.offsets, line.offsets_size, I32), array_at(line.reached, line.reached_size, U64),
        array_at(line.columns_due, line.reached_size * 64, I64), like, found,
    )  # fmt: skip


@numba.njit(cache=True, nogil=True, error_model="numpy")
def run_float(line, source, silent, low, high, now, taken, like, found):
    """Rows of a layer with membranes of float32."""
    if line.kind == COUNTS:
        scale = np.float32(line.scale)
        run_layer(line, source, silent, low, high, now, taken, scale, I32, F32, like, found)
    else:
        run_layer(line, source, silent, low, high, now, taken, None, F32, F32, like, found)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def run_either(line, source, silent, low, high, now, taken, like, found):
    """Rows of a layer with membranes of float32 or int16."""
    if line.form == FLOAT32:
        run_float(line, source, silent, low, high, now, taken, like, found)
    elif line.kind == COUNTS:
        run_layer(line, source, silent, low, high, now, taken, line.shift, I32, I16, like, found)
    elif line.weights_kind == INT8:
        run_layer(line, source, silent, low, high, now, taken, None, I8, I16, like, found)
    elif line.weights_kind == WIDE:
        run_layer(line, source, silent, low, high, now, taken, line.shift, I16, I16, like, found)
    else:
        run_layer(line, source, silent, low, high, now, taken, None, I16, I16, like, found)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def settle_float(line, now, like):
    """Bring every pixel of a layer of float32 membranes to step `now`."""
    P = line.pixels
    return kernels_layer.settle(
        array_at(line.h, P * line.padded, F32), array_at(line.drive, line.padded, F32),
        array_at(line.numbers, line.numbers_size, F32), array_at(line.due, P, I64),
        array_at(line.awake, P, U8), now, like,
    )  # fmt: skip


@numba.njit(cache=True, nogil=True, error_model="numpy")
def settle_either(line, now, like):
    """The same of float32 or int16."""
    if line.form == FLOAT32:
        return settle_float(line, now, like)
    P = line.pixels
    return kernels_layer.settle(
        array_at(line.h, P * line.padded, I16), array_at(line.drive, 4 * line.padded, I16),
        array_at(line.numbers, line.numbers_size, I16), array_at(line.due, P, I64),
        array_at(line.awake, P, U8), now, like,
    )  # fmt: skip


def rows_of(form, line, source, silent, low, high, now, taken, like, found):
    """Rows of a layer, in either form; compiled for a form of type float32 without the kernels of int16."""
    run_either(line, source, silent, low, high, now, taken, like, found)


def settled(form, line, now, like):
    """The same of making up for steps."""
    return settle_either(line, now, like)


@overload(rows_of)
def _rows_of(form, line, source, silent, low, high, now, taken, like, found):
    chosen = run_float if form == types.float32 else run_either

    def run(form, line, source, silent, low, high, now, taken, like, found):
        chosen(line, source, silent, low, high, now, taken, like, found)

    return run


@overload(settled)
def _settled(form, line, now, like):
    chosen = settle_float if form == types.float32 else settle_either
    return lambda form, line, now, like: chosen(line, now, like)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def current_of(line, source, silent, like):
    """A layer of weights without neurons."""
    bias, target = (
        array_at(line.bias, line.padded, F32),
        array_at(line.target, line.pixels * line.padded, F32),
    )
    if silent:
        for p in range(line.pixels):
            target[p * line.padded : (p + 1) * line.padded] = bias
        return
    kernels_layer.current(
        array_at(source.begin, source.pixels, I32), array_at(source.end, source.pixels, I32),
        array_at(source.entries, source.entries_size, I32), sizes_of(line),
        array_at(line.weights, line.weights_size, F32), bias, target,
        array_at(line.offsets, line.offsets_size, I32), array_at(line.reached, line.reached_size, U64),
        array_at(line.columns_due, line.reached_size * 64, I64), like,
    )  # fmt: skip


@numba.njit(cache=True, nogil=True, error_model="numpy")
def pool_of(line, source):
    """A max pool of spikes; how many it has."""
    J = line.padded // line.lanes
    return kernels_spikes.max_pool(
        array_at(source.words, source.pixels * J, U64), source.width, J, line.lanes, line.channels,
        (line.height, line.out_height, line.width, line.rows, line.stride, line.padding), line.listed != 0,
        array_at(line.begin, line.pixels, I32), array_at(line.end, line.pixels, I32),
        array_at(line.entries, line.entries_size, I32), array_at(line.words, line.pixels * J, U64),
        array_at(line.count, line.pixels, I32),
    )  # fmt: skip


@numba.njit(cache=True, nogil=True, error_model="numpy")
def join_of(line, one, other):
    """Two layers' spikes as one; how many values are not 0."""
    J, P = line.padded // line.lanes, line.pixels
    a, b = array_at(one.words, P * J, U64), array_at(other.words, P * J, U64)
    begin, end = array_at(line.begin, P, I32), array_at(line.end, P, I32)
    entries = array_at(line.entries, line.entries_size, I32)
    words, count = array_at(line.words, P * J, U64), array_at(line.count, P, I32)
    if line.join == kernels_spikes.ADD:
        return kernels_spikes.add(
            a, array_at(one.begin, P, I32), array_at(one.end, P, I32),
            array_at(one.entries, one.entries_size, I32), one.total == 0,
            b, array_at(other.begin, P, I32), array_at(other.end, P, I32),
            array_at(other.entries, other.entries_size, I32), other.total == 0,
            J, begin, end, entries, words, count,
        )  # fmt: skip
    return kernels_spikes.join(
        line.join, a, one.total == 0, b, other.total == 0, line.width, J, line.lanes, line.channels,
        line.listed != 0, begin, end, entries, words, count,
    )  # fmt: skip


@numba.njit(cache=True, nogil=True, error_model="numpy")
def average_of(line, source):
    """The average of spikes over all pixels."""
    target = array_at(line.target, line.channels, F32)
    if source.total == 0:
        target[:] = 0
        return
    kernels_spikes.channel_totals(
        array_at(source.begin, source.pixels, I32), array_at(source.end, source.pixels, I32),
        array_at(source.entries, source.entries_size, I32), source.width, target,
    )  # fmt: skip
    share = np.float32(1 / source.pixels)
    for c in range(line.channels):
        target[c] *= share


@numba.njit(cache=True, nogil=True, error_model="numpy")
def votes_of(line, source):
    """The average of spikes over a class's neurons."""
    entries, stop = array_at(source.entries, source.entries_size, I32), 0
    if source.total != 0:
        stop = array_at(source.end, 1, I32)[0]
    kernels_spikes.votes(entries, stop, line.rows, array_at(line.target, line.channels, F32))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def values_of(line, source):
    """Spikes as dense values."""
    P, J = line.pixels, source.padded // source.lanes
    target = array_at(line.target, P * line.channels, F32)
    if source.total == 0:
        target[:] = 0
        return
    kernels_spikes.expand(
        array_at(source.words, P * J, U64), array_at(source.count, P, I32), array_at(source.begin, P, I32),
        array_at(source.end, P, I32), array_at(source.entries, source.entries_size, I32), source.width, J,
        source.lanes, line.channels, source.many != 0, target,
    )  # fmt: skip


@numba.njit(cache=True, nogil=True, error_model="numpy")
def counts_of(line, frame, taken, in_float):
    """List a frame's cells with events, unless they are there as sums; how many they are for `dense_from`."""
    cells, over = kernels_counts.look(frame, line.most)
    if in_float and over != 0:
        return max(cells, line.dense_from)  # more in a cell than whole numbers are made for
    if not in_float:
        line.clipped += over
    if cells != 0 and not taken and cells < line.dense_from:
        Q = line.height * line.in_width
        kernels_counts.list_counts(
            frame, line.clipped_from, line.most, line.kinds, array_at(line.in_begin, Q + BESIDE, I32),
            array_at(line.in_end, Q + BESIDE, I32), array_at(line.in_entries, line.in_size, I32),
        )  # fmt: skip
    return cells
