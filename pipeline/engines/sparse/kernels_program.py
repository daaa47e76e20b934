"""The walk through a program's lines (program.py): one call for a whole step, or for what is in one piece
of it.
"""

import numba
import numpy as np

from spikeline.pipeline.engines.sparse import kernels_layer, kernels_spikes
from spikeline.pipeline.engines.sparse.kernels_lines import (
    average_of,
    counts_of,
    current_of,
    join_of,
    pool_of,
    rows_of,
    settled,
    values_of,
    votes_of,
)
from spikeline.pipeline.engines.sparse.program import (
    AVERAGE,
    CONV,
    COUNTS,
    CURRENT,
    FLOAT32,
    JOIN,
    POOL,
    VALUES,
    VOTE,
)
from spikeline.pipeline.engines.sparse.vectors import array_at, lanes_16, lanes_32, lanes_64

I32, I64 = np.int32, np.int64


@numba.njit(cache=True, nogil=True, error_model="numpy")
def run_rows(form, line, source, silent, low, high, now, taken, found):
    """Rows low .. high of a line of weights and neurons. form: 0 of the type of membranes, as all below."""
    if line.lanes == 64:
        rows_of(form, line, source, silent, low, high, now, taken, lanes_64(), found)
    elif line.lanes == 32:
        rows_of(form, line, source, silent, low, high, now, taken, lanes_32(), found)
    else:
        rows_of(form, line, source, silent, low, high, now, taken, lanes_16(), found)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def run_block(form, program, b, blocks, t, silent, low, high, now, taken, found):
    """The same of a copy of a line for stream b, blocks[t]: with room of its own, for a thread."""
    line = blocks[t]
    run_rows(form, line, program[line.source, b], silent, low, high, now, taken, found)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def settle(form, program, i, b, now):
    """Make up for every step that pixels of line i have been left alone, until `now`; any may fire again."""
    line = program[i, b]
    if line.lazy != 0:
        if line.lanes == 64:
            line.clipped += settled(form, line, now, lanes_64())
        elif line.lanes == 32:
            line.clipped += settled(form, line, now, lanes_32())
        else:
            line.clipped += settled(form, line, now, lanes_16())
        line.wakeful = line.pixels


@numba.njit(cache=True, nogil=True, error_model="numpy")
def take_over(line, found):
    """Enter what a layer's kernel found."""
    line.total = found[kernels_layer.SPIKES]
    line.wakeful = found[kernels_layer.AWAKE]
    line.clipped += found[kernels_layer.CLIPPED]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def walk(form, program, first, last, streams, begin, now, frames, taken, found):
    """Lines first .. last, each for all these streams before the next.

    begin     0, or where to go on: what the last call returned, + 1
    now (B,)  the step that each stream is at; frames (B, 2, H, W) uint16
    taken     the first layer's sums are there already
    Returns the number (line - first) len(streams) + stream of what Python is to do, or -1.
    """
    n = streams.shape[0]
    for at in range(begin, (last - first) * n):
        i, b = first + at // n, streams[at % n]
        line, source = program[i, b], program[program[i, b].source, b]
        kind = line.kind
        if kind in (COUNTS, CONV):
            if kind == COUNTS:
                inputs = counts_of(line, frames[b], taken, line.form == FLOAT32)
            else:
                inputs = source.total
            if line.taps != 0:
                met = 0
                if inputs != 0:
                    count = array_at(source.count, source.pixels, I32)
                    met = kernels_spikes.taps_met(count, array_at(line.taps, source.pixels, I64))
                line.synops = met
            if inputs == 0 and line.lazy != 0 and line.wakeful == 0:
                line.total = 0
            elif inputs >= line.dense_from or inputs >= line.threads_from:
                return at
            else:
                early = np.int64(taken and kind == COUNTS)
                run_rows(
                    form, line, source, inputs == 0 or early != 0, 0, line.out_height, now[b], early, found
                )
                take_over(line, found)
        elif kind == CURRENT:
            met = 0
            silent = source.total == 0
            if not silent and line.taps != 0:
                count = array_at(source.count, source.pixels, I32)
                met = kernels_spikes.taps_met(count, array_at(line.taps, source.pixels, I64))
            line.synops = met
            if line.lanes == 64:
                current_of(line, source, silent, lanes_64())
            elif line.lanes == 32:
                current_of(line, source, silent, lanes_32())
            else:
                current_of(line, source, silent, lanes_16())
        elif kind == POOL:
            line.total = 0 if source.total == 0 else pool_of(line, source)
        elif kind == JOIN:
            line.total = join_of(line, source, program[line.other, b])
        elif kind == AVERAGE:
            average_of(line, source)
        elif kind == VALUES:
            values_of(line, source)
        elif kind == VOTE:
            votes_of(line, source)
    return -1


@numba.njit(cache=True, nogil=True, error_model="numpy")
def measure(program, run, spike_lines, spike_columns, tap_lines, tap_columns, spikes, synops, clipped):
    """What lines counted at a step, for the streams that were run: (B, layers), (B, fed) and (B,) int64.

    spike_lines, tap_lines   the lines that count what these columns ask for
    """
    for b in range(program.shape[1]):
        for i in range(program.shape[0]):
            clipped[b] += program[i, b].clipped
            program[i, b].clipped = 0
        if run[b]:
            for i in range(spike_lines.shape[0]):
                spikes[b, spike_columns[i]] = program[spike_lines[i], b].total
            for i in range(tap_lines.shape[0]):
                synops[b, tap_columns[i]] = program[tap_lines[i], b].synops
