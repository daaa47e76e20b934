"""The first layer of the spike-driven engine: counts in whole numbers, at once or event by event."""

import math
from itertools import pairwise

import numpy as np
import pytest
import slow_sparse as slow
from hypothesis import given
from hypothesis import strategies as st
from sparse_layers import (
    CELL,
    CHANNELS,
    CHEAP_ADDS,
    ONE_THREAD,
    Walked,
    assert_listed,
    convolutions,
    examples,
    float_neurons,
    last,
    seeds,
)

from spikeline.pipeline.engines.sparse import kernels_counts
from spikeline.pipeline.engines.sparse.counts import LARGEST, MOST, CountsLine
from spikeline.pipeline.engines.sparse.geometry import Convolution
from spikeline.pipeline.engines.sparse.program import BESIDE, NEVER

RESTS = np.array([0.5, 0.6, 1.0, 0.0, 0.0, 0.0], np.float32)


@pytest.fixture(autouse=True)
def _words_wrap():
    """Without the compiler NumPy says so when a word of eight bytes wraps around, as it is meant to."""
    with np.errstate(over="ignore"):
        yield


@st.composite
def frames(draw):
    """Counts (Cin, H, W), few and many, of which some are large; a word's 64 cells, fewer and more."""
    shape = draw(st.integers(1, 3)), draw(st.integers(1, 9)), draw(st.sampled_from([1, 7, 8, 13, 16, 64, 65]))
    rng = np.random.default_rng(draw(seeds))
    frame = rng.poisson(draw(st.sampled_from([0.0, 0.02, 0.7])), shape).astype(np.uint16)
    many = rng.random(shape) < draw(st.sampled_from([0.0, 0.05]))
    frame[many] = rng.integers(0, 65_536, many.sum())
    return frame


@examples
@given(frames(), st.sampled_from([1, 3, MOST, 40_000, NEVER]))
def test_cells_with_events_and_with_too_many_are_counted(frame, most):
    assert kernels_counts.look(frame, most) == ((frame > 0).sum(), (frame > most).sum())


@examples
@given(frames(), st.sampled_from([(NEVER, MOST), (1, NEVER), (4, NEVER), (5, NEVER), (200, NEVER)]))
def test_a_cells_entries_are_the_bits_of_its_count_or_say_that_it_is_clipped(frame, limits):
    clip, most = limits
    Cin, H, W = frame.shape
    kinds = max(1, min(clip - 1, most).bit_length()) + 1
    begin, end = np.full((2, H * W + BESIDE), -1, np.int32)
    entries = np.full(frame.size * kinds + BESIDE, -1, np.int32)
    kernels_counts.list_counts(frame, clip, most, kinds, begin, end, entries)
    k = 0
    for y, x in np.ndindex(H, W):
        wanted = []
        for c in range(Cin):
            n, at = int(frame[c, y, x]), (x * Cin + c) * kinds
            if n >= clip:
                wanted.append(at + kinds - 1)
            else:
                wanted += [at + b for b in range(kinds - 1) if min(n, most) >> b & 1]
        p = y * W + x
        assert (begin[p], end[p]) == (k, k + len(wanted))
        assert entries[k : end[p]].tolist() == wanted
        k += len(wanted)


def whole_weights(convolution, gain, clip):
    """An event's kernel and a clipped cell's, in whole numbers of which any sum fits, and their unit."""
    largest = gain * MOST if clip is None else clip
    reach = np.abs(convolution.kernel).sum((1, 2, 3)).max() * largest
    unit = 2.0 ** -math.floor(math.log2(LARGEST / max(reach, 1e-6)))
    return [np.rint(convolution.kernel * n / unit) for n in (gain, largest)], unit


def whole_sums(frame, kernels, top, convolution):
    """What a frame's cells come to, exactly: (C, Ho, Wo)."""
    below, at = np.where(frame < top, frame, 0), (frame >= top).astype(int)
    stride, padding, after = convolution.stride, convolution.padding, convolution.after
    return slow.conv(
        np.minimum(below, MOST) if top == NEVER else below, kernels[0], stride, padding, after
    ) + (slow.conv(at, kernels[1], stride, padding, after))


def events_of(frame, rng):
    """A frame's events in any order: x, y, p."""
    p, y, x = (np.repeat(axis, frame[frame > 0]) for axis in np.nonzero(frame))
    order = rng.permutation(len(p))
    return [a[order].astype(t) for a, t in ((x, np.uint16), (y, np.uint16), (p, np.uint8))]


@examples
@given(
    convolutions(CHANNELS),
    st.sampled_from([(1.0, None), (0.5, 2.0), (1.0, 2.5), (2.0, 1.0)]),
    st.booleans(),
    seeds,
)
def test_counts_reach_the_same_in_whole_numbers_at_once_or_event_by_event(case, input_, lazy, seed):
    """Membranes and spikes to the bit, as formulas say, however events are cut; nothing is left of them."""
    convolution, _, _ = case
    gain, clip = input_
    rng = np.random.default_rng(seed)
    numbers = RESTS if lazy else CELL
    drive = np.clip(rng.normal(0, 0.1, convolution.after[0]), -0.2, 0.2).astype(np.float32)
    kernel = convolution.kernel * 0.05
    convolution = Convolution(
        kernel, convolution.stride, convolution.padding, convolution.before, convolution.after
    )
    (Cin, H, W), top = convolution.before, NEVER if clip is None else max(1, math.ceil(clip / gain))
    kernels, unit = whole_weights(convolution, gain, clip)
    walks = []
    for _ in range(2):
        neurons = float_neurons(convolution.after, drive, numbers, lazy=lazy)
        line = CountsLine(0, neurons, convolution, gain, clip, CHEAP_ADDS, ONE_THREAD)
        line.listed = True
        walks.append(Walked(line))
    whole, parts = walks
    cells = np.arange(H * W, dtype=np.int32).reshape(H, W)
    h = np.zeros(convolution.after, np.float32)
    for i in range(1, 6):
        frame = rng.poisson(rng.choice([0.0, 0.3, 2.0]), (Cin, H, W)).astype(np.uint16)
        frame[:, : H // 2] *= rng.integers(0, 2, dtype=np.uint16)
        sums = whole_sums(frame, kernels, top, convolution)
        g = h + np.float32(unit) * sums.astype(np.float32)
        h, fired = (a.transpose(2, 0, 1) for a in slow.step(g.transpose(1, 2, 0), drive, numbers))
        whole.step(frames=frame[None])
        columns, rooms = events_of(frame, rng), parts.rooms
        edges = sorted([0, *rng.integers(0, len(columns[0]) + 1, 2).tolist(), len(columns[0])])
        for start, stop in pairwise(edges):
            parts.line.add(*columns, start, stop, cells, rooms, 0)
        early = rooms.early
        if early is None:
            early = parts.line.early(rooms)
        np.testing.assert_array_equal(early.frame[0], frame)
        C, width = len(sums), early.sums.shape[1] // (early.hit.shape[1] - BESIDE)
        found = early.sums[0].reshape(-1, width)
        np.testing.assert_array_equal(found[:, :C], last(sums))
        assert (early.hit[0][: len(found)] != 0)[(found != 0).any(1)].all() and not found[:, C:].any()
        parts.step(frames=early.frame, taken=True)
        assert not early.sums.any() and not early.hit.any()
        early.frame[:] = 0
        for walked in (whole, parts):
            assert_listed(walked.spikes, fired)
            if not lazy or i == 5:
                walked.line.settle(walked.rooms, 0, i)
                np.testing.assert_array_equal(walked.h[0], last(h))
            assert walked.clipped() == 0


def test_more_events_in_a_cell_than_whole_numbers_are_made_for_are_computed_in_float():
    convolution = Convolution(np.full((3, 1, 1, 1), 0.25), 1, 0, (1, 1, 4), (3, 1, 4))
    never = np.array([1, 1e9, 1, 0, 0, 0], np.float32)
    line = CountsLine(
        0, float_neurons((3, 1, 4), np.zeros(3), never), convolution, 1.0, None, CHEAP_ADDS, ONE_THREAD
    )
    walked = Walked(line)
    for n in (MOST, MOST + 1, 65_535):
        walked.h[:] = 0
        frame = np.array([1, 0, n, 2], np.uint16).reshape(1, 1, 1, 4)
        walked.step(frames=frame)
        np.testing.assert_array_equal(walked.h[0], 0.25 * np.repeat(frame.reshape(4, 1), 3, 1))


@pytest.mark.parametrize("clip", [None, 3.0])
def test_counts_stop_at_the_largest_number_and_sums_at_what_they_are_made_for(clip):
    convolution = Convolution(np.ones((1, 1, 1, 1)), 1, 0, (1, 1, 2), (1, 1, 2))
    line = CountsLine(
        0, float_neurons((1, 1, 2), np.zeros(1)), convolution, 1.0, clip, CHEAP_ADDS, ONE_THREAD
    )
    walked = Walked(line)
    early = line.early(walked.rooms)
    n = 65_540
    x, y, p = np.ones(n, np.uint16), np.zeros(n, np.uint16), np.zeros(n, np.uint8)
    line.add(x, y, p, 0, n, np.arange(2, dtype=np.int32).reshape(1, 2), walked.rooms, 0)
    assert early.frame[0, 0, 0].tolist() == [0, 65_535]
    (one, clipped), _ = whole_weights(convolution, 1.0, clip)
    sums = early.sums[0].reshape(2, -1)[:, 0]
    assert sums.tolist() == [0, int(one.item()) * MOST if clip is None else int(clipped.item())]
    cells = np.full((1, 2), -1, np.int32)
    line.add(x, y, p, 0, n, cells, walked.rooms, 0)  # pixels outside
    assert early.sums[0].reshape(2, -1)[:, 0].tolist() == sums.tolist()


def test_events_that_no_step_takes_are_forgotten():
    convolution = Convolution(np.ones((1, 1, 3, 3)), 1, 1, (1, 3, 3), (1, 3, 3))
    line = CountsLine(0, float_neurons((1, 3, 3), np.zeros(1)), convolution, 1.0, 2.0, CHEAP_ADDS, ONE_THREAD)
    walked = Walked(line)
    one = np.ones(1, np.uint16)
    line.add(
        one, one, np.zeros(1, np.uint8), 0, 1, np.arange(9, dtype=np.int32).reshape(3, 3), walked.rooms, 0
    )
    early = line.early(walked.rooms)
    assert early.frame.sum() == 1 and early.sums.any() and early.hit.sum() == 9
    early.forget(0)
    assert not (early.frame.any() or early.sums.any() or early.hit.any())
