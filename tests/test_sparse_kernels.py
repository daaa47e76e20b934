"""The spike-driven engine's layers of weights and neurons against slow twins, compiled and not."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import slow_sparse as slow
from hypothesis import given
from hypothesis import strategies as st
from sparse_layers import (
    CELL,
    CHANNELS,
    CHEAP_ADDS,
    COMPILED,
    ONE_THREAD,
    Walked,
    assert_listed,
    convolutions,
    examples,
    float_neurons,
    held,
    last,
    seeds,
)

from spikeline.pipeline.engines.sparse import kernels_layer, kernels_program
from spikeline.pipeline.engines.sparse.geometry import Convolution
from spikeline.pipeline.engines.sparse.lines import ConvLine, CurrentLine, NeuronsLine
from spikeline.pipeline.engines.sparse.program import BESIDE

OTHERS = [str(Path(__file__).with_name(f"test_sparse_{name}.py")) for name in ("counts", "int16", "spikes")]
NO_HIT = np.zeros(0, np.uint8)
RESTS = np.array([0.5, 0.6, 1.0, 0.0, 0.0, 0.0], np.float32)  # a cell that cannot fire by itself


@pytest.fixture(autouse=True)
def _words_wrap():
    """Without the compiler NumPy says so when a word of eight bytes wraps around, as it is meant to."""
    with np.errstate(over="ignore"):
        yield


@examples
@given(convolutions())
def test_spikes_reach_what_a_convolution_and_an_average_say(case):
    """In numbers, and to the bit in the order that is promised."""
    convolution, values, wanted = case
    source = held(0, values.shape, most=3)
    bias = np.random.default_rng(0).normal(0, 1, convolution.after[0]).astype(np.float32)
    line = CurrentLine("current", 1, source, convolution, bias)
    walked = Walked(source, line)
    for x in (values, 0 * values, values[:, ::-1, ::-1]):
        found = walked.step(x).values("current").reshape(1, *convolution.after)[0]
        start = np.broadcast_to(bias[:, None, None], convolution.after)
        np.testing.assert_allclose(found, start + wanted(x), atol=1e-3)
        kernel = convolution.kernel.astype(np.float32)
        exact = slow.gathered(start, x, kernel, convolution.stride, convolution.padding)
        np.testing.assert_array_equal(found, exact)


@examples
@given(seeds, st.sampled_from(CHANNELS))
def test_rows_of_a_linear_layer_are_added(seed, N):
    rng = np.random.default_rng(seed)
    values = (rng.random((3, 2, 5)) < 0.6).astype(np.uint8) * 2
    weights = rng.integers(-9, 9, (N, 30)).astype(float)
    convolution = Convolution(weights.reshape(N, 3, 2, 5), 1, 0, (3, 2, 5), (N, 1, 1))
    source = held(0, values.shape, most=2)
    walked = Walked(source, CurrentLine("f", 1, source, convolution, np.zeros(N, np.float32)))
    found = walked.step(values).values("f")
    assert found.shape == (1, N)
    np.testing.assert_array_equal(found[0], weights.astype(np.float32) @ values.ravel().astype(np.float32))


def inputs_with_silence(rng, shape, steps, most=1):
    """Values of some steps: none, in a corner, or everywhere."""
    for _ in range(steps):
        x = (rng.random(shape) < rng.choice([0.05, 0.6])) * rng.integers(1, most + 1, shape)
        what = rng.integers(0, 4)
        if what == 0:
            x[:] = 0
        elif what == 1:
            x[:, 1:, 2:] = 0
        yield x.astype(np.uint8)


@examples
@given(convolutions(CHANNELS), st.booleans(), seeds)
def test_a_layer_of_weights_and_neurons_is_its_formulas_step_by_step(case, lazy, seed):
    """Spikes at each step and every membrane in the end, to the bit; nothing fires in what fills a vector up,
    and nothing stays behind where something fired before."""
    convolution, values, _ = case
    rng = np.random.default_rng(seed)
    numbers = (RESTS if lazy else CELL).copy()
    if not lazy and rng.random() < 0.3:
        numbers[1] = -0.5  # below what a membrane of nothing is: all fire, but no channel that is not there
    drive = np.clip(rng.normal(0, 0.1, convolution.after[0]), -0.2, 0.2).astype(np.float32)
    kernel = (convolution.kernel * rng.choice([0.02, 0.2])).astype(np.float32)
    own = Convolution(kernel, convolution.stride, convolution.padding, convolution.before, convolution.after)
    source = held(0, values.shape, most=2)
    line = ConvLine(
        1, source, float_neurons(own.after, drive, numbers, lazy=lazy), own, CHEAP_ADDS, ONE_THREAD
    )
    line.listed = True
    walked = Walked(source, line)
    h = np.zeros(own.after, np.float32)
    for i, x in enumerate(inputs_with_silence(rng, values.shape, 8, most=2), start=1):
        g = slow.gathered(h, x, kernel, own.stride, own.padding)
        h, fired = (a.transpose(2, 0, 1) for a in slow.step(g.transpose(1, 2, 0), drive, numbers))
        walked.step(x)
        assert_listed(walked.spikes, fired)
        if not lazy:
            np.testing.assert_array_equal(walked.h[0], last(h))
        elif i % 3 == 0:
            line.settle(walked.rooms, 0, i)
            np.testing.assert_array_equal(walked.h[0], last(h))
    assert walked.clipped() == 0


def test_a_row_that_was_used_before_and_is_silent_now_has_no_spikes_left():
    """Also where the layer was left alone as a whole in between, and its words still say what was there."""
    convolution = Convolution(np.full((3, 1, 1, 1), 2.0), 1, 0, (1, 4, 5), (3, 4, 5))
    source = held(0, (1, 4, 5))
    neurons = float_neurons((3, 4, 5), np.zeros(3), RESTS, lazy=True)
    line = ConvLine(1, source, neurons, convolution, CHEAP_ADDS, ONE_THREAD)
    line.listed = True
    walked = Walked(source, line)
    for rows in ([0, 1, 2, 3], [1], [], [], [2], [], [0, 3], [0], [1, 2]):
        x = np.zeros((1, 4, 5), np.uint8)
        x[:, rows] = 1
        walked.step(x)
        assert_listed(walked.spikes, np.repeat(x, 3, 0))
        assert walked.own["wakeful"] == 0


def step_in_blocks(walked, x, edges, order):
    """A step of a layer, rows edges[t] .. edges[t + 1] at a time."""
    source, line = walked.walk.lines
    walked.walk.lines = [source]
    walked.step(x)  # the input alone
    walked.walk.lines = [source, line]
    program, found = walked.rooms.program, np.zeros((len(edges) - 1, 3), np.int64)
    for t in order:
        kernels_program.run_block(
            np.float32(0), program, 0, program[1], 0, not x.any(), edges[t], edges[t + 1],
            int(walked.rooms.now[0]), 0, found[t],
        )  # fmt: skip
    line.take_over(program[1], 0, found.sum(0))


def lists_of(spikes):
    """A pixel's entries after the other's."""
    begin, end = spikes.begin[0][: spikes.pixels], spikes.end[0][: spikes.pixels]
    return [spikes.entries[0][b:e].tolist() for b, e in zip(begin, end, strict=True)]


@examples
@given(convolutions(CHANNELS), seeds)
def test_blocks_of_rows_are_the_layer(case, seed):
    """In any order, as threads come to them, each output in one of them."""
    convolution, values, _ = case
    rng = np.random.default_rng(seed)
    shape, source = convolution.after, held(0, values.shape, most=3)
    drive = np.clip(rng.normal(0, 0.1, shape[0]), -0.2, 0.2)
    line = ConvLine(
        1, source, float_neurons(shape, drive, RESTS, lazy=True), convolution, CHEAP_ADDS, ONE_THREAD
    )
    line.listed = True
    whole, parts = Walked(source, line), Walked(source, line)
    for x in (values, 0 * values, values[:, ::-1], values):
        whole.step(x)
        edges = [0, *sorted(rng.integers(0, shape[1] + 1, 2).tolist()), shape[1]]
        step_in_blocks(parts, x, edges, rng.permutation(3))
        np.testing.assert_array_equal(parts.spikes.total, whole.spikes.total)
        np.testing.assert_array_equal(parts.spikes.dense([0]), whole.spikes.dense([0]))
        if whole.spikes.total[0]:
            assert lists_of(parts.spikes) == lists_of(whole.spikes)
        np.testing.assert_array_equal(parts.h, whole.h)
        np.testing.assert_array_equal(parts.rooms.membranes["layer"].due, whole.rooms.membranes["layer"].due)


@pytest.mark.parametrize("C", [1, 2, 64])
def test_a_block_in_which_all_fire_leaves_the_next_blocks_lists_alone(C):
    """Entries are written before it is known how many there are: never where another thread's stand."""
    shape = (C, 5, 2)
    convolution = Convolution(np.full((C, 1, 1, 1), 2.0), 1, 0, (1, 5, 2), shape)
    source = held(0, (1, 5, 2))
    line = ConvLine(1, source, float_neurons(shape, np.zeros(C), RESTS), convolution, CHEAP_ADDS, ONE_THREAD)
    line.listed = True
    walked = Walked(source, line)
    step_in_blocks(walked, np.ones((1, 5, 2), np.uint8), range(6), reversed(range(5)))
    assert lists_of(walked.spikes) == [list(range(C)), list(range(C, 2 * C))] * 5


@st.composite
def rows_of_spikes(draw):
    """Rows of an input below, at and above a word's 64 columns; any kernel, also one within the padding."""
    H, W = draw(st.integers(1, 4)), draw(st.sampled_from([1, 5, 63, 64, 65, 100, 128, 130]))
    tall, wide = draw(st.integers(1, 5)), draw(st.integers(1, 7))
    stride, padding = draw(st.integers(1, 4)), draw(st.integers(0, 8))
    Wo = (W + 2 * padding - wide) // stride + 1
    if Wo < 1:
        wide, Wo = 1, (W + 2 * padding - 1) // stride + 1
    rng = np.random.default_rng(draw(seeds))
    occupied = rng.random((H, W)) < draw(st.sampled_from([0.0, 0.02, 0.3, 1.0]))
    oy = draw(st.integers(0, max(0, (H + 2 * padding - tall) // stride)))
    return occupied, (H, W, 1, Wo, 1, 16, tall, wide, stride, padding), oy, rng


def columns_of(words, Wo):
    """The bits of words as booleans, and whether there are any behind the last column."""
    every = np.array([int(words[i // 64]) >> (i % 64) & 1 for i in range((Wo + 63) // 64 * 64)], bool)
    return every[:Wo], every[Wo:].any()


@examples
@given(rows_of_spikes(), st.booleans(), st.booleans())
def test_columns_are_looked_at_that_spikes_reach_that_are_hit_or_that_may_fire(case, lazy, given_sums):
    occupied, sizes, oy, rng = case
    H, W, _, Wo, _, _, tall, wide, stride, padding = sizes
    begin = np.zeros(H * W + BESIDE, np.int32)
    end = rng.integers(0, 2, begin.shape).astype(np.int32)  # what is behind the last pixel is nobody's
    end[: H * W] = occupied.ravel() * rng.integers(1, 5, H * W)
    begin += 3
    end += 3
    columns = rng.integers(0, 2**64, 2 * (max(W, Wo) // 64 + 2), np.uint64)
    reached = kernels_layer.columns_reached(begin, end, sizes, oy, columns)
    rows = [y for y in range(oy * stride - padding, oy * stride - padding + tall) if 0 <= y < H]
    wanted = np.array(slow.columns_reached(occupied[rows].any(0), wide, stride, padding, Wo))
    assert reached or not wanted.any()
    if reached:
        np.testing.assert_array_equal(columns_of(columns, Wo)[0], wanted)
    P = Wo * 2
    awake, hit = (rng.random((2, P + BESIDE)) < rng.choice([0.0, 0.1])).astype(np.uint8)
    any_due = kernels_layer.columns_due(
        bool(reached), hit if given_sums else NO_HIT, awake, lazy, Wo, Wo, columns
    )
    due = np.ones(Wo, bool)
    if lazy:
        due = wanted | (awake[Wo:P] != 0)
        due |= (hit[Wo:P] != 0) & given_sums
    assert any_due == due.any()
    found, beyond = columns_of(columns, Wo)
    np.testing.assert_array_equal(found, due)
    assert not beyond


@examples
@given(st.sampled_from(CHANNELS), st.integers(1, 6), seeds)
def test_neurons_fire_reset_and_decay_as_one_by_one(C, P, seed):
    """Those whose input is in their membranes already, to the bit; also where nothing is: NaN never fires."""
    rng = np.random.default_rng(seed)
    h = rng.normal(0, 1, (P, C)).astype(np.float32)
    h.ravel()[rng.integers(0, P * C)] = rng.choice([np.nan, np.inf, 1e-38, 0.0])
    drive = rng.normal(0, 0.2, C).astype(np.float32)
    walked = Walked(NeuronsLine(0, float_neurons((C, 1, P), drive)))
    walked.line.listed = True
    walked.h[:] = h
    with np.errstate(invalid="ignore"):
        wanted, fired = slow.step(h, drive, CELL)
        walked.line.finish(walked.rooms, 0)
    np.testing.assert_array_equal(walked.h[0], wanted)
    assert walked.own["total"] == fired.sum() and walked.clipped() == 0
    assert_listed(walked.spikes, fired.T.reshape(C, 1, P))


@examples
@given(st.sampled_from(CHANNELS), st.integers(0, 40), seeds)
def test_quiet_steps_made_up_for_later_are_those_taken_at_once(C, steps, seed):
    rng = np.random.default_rng(seed)
    h = rng.normal(0, 1, (3, C)).astype(np.float32)
    drive = (rng.normal(0, 0.01, C) * rng.integers(0, 2, C)).astype(np.float32)
    numbers = np.array([0.5, 9, rng.choice([0.01, 0.9]), 0, 0, 0], np.float32)
    walked = Walked(NeuronsLine(0, float_neurons((C, 1, 3), drive, numbers, lazy=True)))
    own = walked.rooms.membranes["layer"]
    walked.h[:], own.due[:], own.awake[:, :3] = h, [0, 7, steps], 0
    wanted = h.copy()
    for p, late in enumerate((steps, max(0, steps - 7), 0)):
        if p == 1 and steps < 7:
            own.due[0, 1] = steps
        for _ in range(late):
            wanted[p], _ = slow.step(wanted[p], drive, numbers)
    walked.line.settle(walked.rooms, 0, steps)
    np.testing.assert_array_equal(walked.h[0], wanted)
    assert (own.due == steps).all() and own.awake[:, :3].all() and walked.own["wakeful"] == 3


@pytest.mark.skipif(not COMPILED, reason="is what runs with the compiler switched off")
def test_all_of_this_holds_without_the_compiler():
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", __file__, *OTHERS],
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0, done.stdout[-3000:]
