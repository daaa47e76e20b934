"""Membranes in whole numbers: what they hold, and every kernel of theirs against its slow twin."""

import math

import numpy as np
import pytest
import slow_sparse as slow
from hypothesis import given
from hypothesis import strategies as st
from sparse_layers import (
    CHANNELS,
    CHEAP_ADDS,
    ONE_THREAD,
    Walked,
    assert_listed,
    convolutions,
    examples,
    held,
    last,
    seeds,
    whole_neurons,
)

from spikeline.pipeline.engines.sparse import kernels_int16
from spikeline.pipeline.engines.sparse.cells import Cell
from spikeline.pipeline.engines.sparse.counts import LARGEST, MOST, CountsLine
from spikeline.pipeline.engines.sparse.geometry import Convolution
from spikeline.pipeline.engines.sparse.int16 import INT16, rounded, whole
from spikeline.pipeline.engines.sparse.lines import ConvLine, NeuronsLine
from spikeline.pipeline.engines.sparse.program import INT8, WIDE, padded
from spikeline.pipeline.engines.sparse.program import INT16 as KIND_INT16


@pytest.fixture(autouse=True)
def _words_wrap():
    """Without the compiler NumPy says so when a word of eight bytes wraps around, as it is meant to."""
    with np.errstate(over="ignore"):
        yield


@st.composite
def whole_layers(draw):
    """A layer's whole numbers, and a convolution's or a linear layer's worth of weights behind them."""
    rng = np.random.default_rng(draw(seeds))
    C, inputs = draw(st.sampled_from([1, 8, 24, 70])), draw(st.integers(1, 20))
    weights = rng.normal(0, draw(st.sampled_from([0.01, 0.3])), (C, inputs))
    p0 = draw(st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0]))
    p1, q1 = draw(st.sampled_from([(0.0, 0.0), (0.0, 0.1), (p0, -1.0)]))
    numbers = np.array([draw(st.sampled_from([0.5, 1.0])), 1.0, p0, 0.0, p1, q1], np.float32)
    drive = rng.normal(0, 0.2, C).astype(np.float32) * draw(st.sampled_from([0, 1]))
    own = Cell(float(numbers[0]), 1.0, 0.0, numbers)
    return own, drive, weights, whole(own, drive, weights), rng


@examples
@given(whole_layers())
def test_whole_numbers_hold_every_sum_and_are_the_layer_they_were_made_of(case):
    own, drive, weights, units, _ = case
    small = rounded(weights.T, units.worth.astype(float)).astype(int)
    limit, top = units.drive[3].astype(int), int(units.numbers[4])
    for part in (np.maximum(small, 0).sum(0), np.maximum(-small, 0).sum(0)):
        assert (limit + part <= top + 1).all() and top < INT16
    np.testing.assert_allclose(small * units.worth, weights.T, atol=0.51 * float(units.worth.max()))
    a, threshold = (float(n) for n in own.numbers[:2])
    fires = units.drive[0].astype(float)
    assert (a * fires * units.worth + drive >= threshold - 1e-5).all()
    assert (a * (fires - 1) * units.worth + drive < threshold + 1e-5).all()


@examples
@given(whole_layers(), st.integers(1, 6), st.booleans(), st.integers(0, 9))
def test_neurons_in_whole_numbers_do_as_one_by_one_and_stay_near_those_in_float(case, P, summed, shift):
    own, drive, _, units, rng = case
    C, limit = len(drive), units.drive[3].astype(int)
    g = rng.integers(-limit, limit + 1, (P, C)).astype(np.int16)
    more = rng.integers(-60_000, 60_000, (P, C)) << shift if summed else np.zeros((P, C), int)
    wanted, fired, clipped = slow.whole_step(g, more, shift, units.drive, units.numbers)
    neurons = whole_neurons((C, 1, P), units)
    if summed:  # a first layer's, whose sums are there already
        point = Convolution(np.ones((C, 1, 1, 1)), 1, 0, (1, 1, P), (C, 1, P))
        walked = Walked(CountsLine(0, neurons, point, 1.0, None, CHEAP_ADDS, ONE_THREAD))
        early = walked.line.early(walked.rooms)
        early.sums.reshape(P, -1)[:, :C], early.hit[:] = more, 1
        walked.rooms.program["shift"] = shift
    else:
        walked = Walked(NeuronsLine(0, neurons))
    walked.line.listed, walked.h[:] = True, g
    if summed:
        walked.step(frames=early.frame, taken=True)
        assert not early.sums.any() and not early.hit[:, :P].any()
    else:
        walked.line.finish(walked.rooms, 0)
    np.testing.assert_array_equal(walked.h[0], wanted)
    assert walked.own["total"] == fired.sum() and walked.clipped() == clipped
    np.testing.assert_array_equal(
        walked.spikes.words[0].reshape(P, -1), slow.bits(fired.T[:, None], walked.spikes.lanes)
    )
    if not summed and not clipped:
        near, spikes = slow.step((g * units.worth).astype(np.float32), drive, own.numbers)
        same = spikes == fired
        assert same.mean() > 0.9 or C * P < 10
        np.testing.assert_allclose(
            (wanted * units.worth)[same], near[same], atol=3 * float(units.worth.max())
        )


@examples
@given(whole_layers(), st.integers(0, 12))
def test_quiet_steps_in_whole_numbers_are_made_up_for(case, steps):
    _, drive, _, units, rng = case
    numbers, limit = units.numbers, units.drive[3].astype(int)
    g = rng.integers(-limit, limit + 1, len(drive)).astype(np.int16)
    never = units.drive.copy()
    never[0], never[2] = INT16, 0
    wanted, clipped = g[None].copy(), 0
    for _ in range(steps):
        wanted, _, n = slow.whole_step(wanted, 0 * wanted, 0, never, numbers)
        clipped += n
    walked = Walked(NeuronsLine(0, whole_neurons((len(drive), 1, 1), units, lazy=True)))
    own = walked.rooms.membranes["layer"]
    walked.h[:], own.awake[:] = g, 0
    walked.line.settle(walked.rooms, 0, steps)
    assert walked.clipped() == clipped and own.due[0] == steps and own.awake[0, 0] == 1
    np.testing.assert_array_equal(walked.h[0], wanted)
    if units.rests():  # what does not fire now does not fire next either, and is not asked again
        walked.h[:] = np.minimum(wanted, units.drive[0] - 1)
        own.due[:] = 0
        walked.rooms.now[:] = 0
        for _ in range(3):
            walked.rooms.now += 1
            walked.line.finish(walked.rooms, 0)
            assert walked.own["total"] == 0 and walked.own["wakeful"] == 0


@examples
@given(whole_layers(), seeds)
def test_whole_numbers_go_in_and_out_and_take_dense_sums(case, seed):
    """Also those that fill a vector up, which stay 0."""
    _, drive, _, units, rng = case
    C, limit, top = len(drive), units.drive[3].astype(int), int(units.numbers[4])
    walked = Walked(NeuronsLine(0, whole_neurons((C, 1, 5), units)))
    own, neurons = walked.rooms.membranes["layer"], walked.line.neurons
    g = rng.integers(-limit, limit + 1, (5, C)).astype(np.int16)
    walked.h[:] = g
    neurons.give_out(own, 0)
    seen = own.seen.reshape(5, -1)
    np.testing.assert_array_equal(seen[:, :C], units.worth * g.astype(np.float32))
    np.testing.assert_array_equal(walked.states["layer.h"][0].reshape(C, 5), seen[:, :C].T)
    walked.h[:] = 0
    assert neurons.take_in(own, 0) == 0
    np.testing.assert_array_equal(walked.h[0], g)
    seen[0, 0] = 3 * units.worth[0] * np.float32(limit[0])
    assert neurons.take_in(own, 0) == 1 and walked.h[0, 0, 0] == limit[0]
    assert not seen[:, C:].any() and not own.h.reshape(5, -1)[:, C:].any()
    planes = rng.integers(-50_000, 50_000, (C, 5))
    found = np.zeros((5, padded(C)), np.int16)
    found[:, :C] = g
    clipped = kernels_int16.add_planes(planes.astype(np.float32), found.ravel(), padded(C), units.numbers)
    wanted = g + planes.T
    assert clipped == (abs(wanted) > top).sum()
    np.testing.assert_array_equal(found[:, :C], np.clip(wanted, -top, top))
    assert not found[:, C:].any()


def units_of(rng, kernel, most, wide):
    """The whole numbers of cells that rest or not, with a kernel in front of them."""
    p0 = float(rng.choice([0.0, 0.5, 0.9]))
    soft = rng.random() < 0.3
    numbers = np.array([1.0, 1.0, p0, 0.0, p0 if soft else 0.0, -1.0 if soft else 0.0], np.float32)
    drive = (rng.uniform(-0.2, 0.6, len(kernel)) * rng.integers(0, 2)).astype(np.float32)
    rows = kernel.reshape(len(kernel), -1)
    if wide:
        return whole(Cell(1.0, 1.0, 0.0, numbers), drive, rows * most, share=0.4)
    return whole(Cell(1.0, 1.0, 0.0, numbers), drive, rows, most=most)


@pytest.mark.parametrize("kind", [np.int8, np.int16])
@examples
@given(convolutions(CHANNELS), seeds)
def test_whole_weights_and_neurons_are_their_formulas_step_by_step(kind, case, seed):
    """Sums are exact, whatever is left alone: weights of either kind, and sums of int32 where there is only
    one pixel, as of a linear layer."""
    convolution, values, _ = case
    rng = np.random.default_rng(seed)
    kernel = convolution.kernel * (0.02 if kind == np.int8 else 4.0) / 9
    own = Convolution(kernel, convolution.stride, convolution.padding, convolution.before, convolution.after)
    wide = own.after[1:] == (1, 1)
    units = units_of(rng, kernel, max(1, int(values.max())), wide)
    source = held(0, values.shape, most=3)
    lazy = units.rests()
    line = ConvLine(1, source, whole_neurons(own.after, units, lazy=lazy), own, CHEAP_ADDS, ONE_THREAD)
    line.listed = True
    walked = Walked(source, line)
    if kernel.any():
        assert walked.own["weights_kind"] == (WIDE if wide else INT8 if kind == np.int8 else KIND_INT16)
    small = np.rint(kernel / units.worth.astype(float)[:, None, None, None])
    g, clipped = np.zeros((int(np.prod(own.after[1:])), own.after[0]), np.int16), 0
    for _ in range(7):
        x = (rng.random(values.shape) < rng.choice([0.0, 0.1, 0.6])).astype(np.uint8) * values.max()
        sums = last(slow.conv(x, small, own.stride, own.padding, own.after)).astype(np.int64)
        if not wide:
            assert (abs(g + sums) <= INT16).all()  # there is room for all
        g, fired, lost = slow.whole_step(g, sums, 0, units.drive, units.numbers)
        clipped += lost
        walked.step(x)
        assert_listed(walked.spikes, fired.T.reshape(own.after))
        if not lazy:
            np.testing.assert_array_equal(walked.h[0], g)
    line.settle(walked.rooms, 0, 7)
    np.testing.assert_array_equal(walked.h[0], g)
    assert walked.clipped() == clipped


@pytest.mark.parametrize(("gain", "clip"), [(1.0, None), (0.5, 2.0), (1.0, 2.5)])
@examples
@given(convolutions(CHANNELS), seeds)
def test_counts_in_whole_numbers_reach_neurons_in_whole_numbers(gain, clip, case, seed):
    """Rounded once for all events of a step; what is beyond a cell's most is left out, and counted."""
    convolution, _, _ = case
    rng = np.random.default_rng(seed)
    kernel, largest = convolution.kernel * 0.02, gain * MOST if clip is None else clip
    own = Convolution(kernel, convolution.stride, convolution.padding, convolution.before, convolution.after)
    C = len(kernel)
    cell = Cell(1.0, 1.0, 0.0, np.array([1.0, 1.0, 0.9, 0.0, 0.0, 0.0], np.float32))
    flat = kernel.reshape(C, -1)
    units = whole(cell, np.zeros(C, np.float32), flat * (largest if clip else 8.0), share=1.0)
    worth = units.worth.astype(float)
    reach = (np.abs(flat).sum(1) * largest / worth).max()
    shift = max(0, min(15, math.floor(math.log2(LARGEST / max(reach, 1e-6)))))
    unit = (worth * 2.0**-shift)[:, None, None, None]
    plain, clipped_ = np.rint(kernel * gain / unit), np.rint(kernel * largest / unit)
    top = 1 << 60 if clip is None else max(1, math.ceil(clip / gain))
    walked = Walked(CountsLine(0, whole_neurons(own.after, units), own, gain, clip, CHEAP_ADDS, ONE_THREAD))
    walked.line.listed = True
    g, clipped = np.zeros((int(np.prod(own.after[1:])), C), np.int16), 0
    for _ in range(5):
        frame = rng.poisson(rng.choice([0.0, 0.3, 3.0]), own.before).astype(np.uint16)
        if rng.random() < 0.3:
            frame[0, 0, 0] = MOST + 7
        below, at = np.where(frame < top, np.minimum(frame, MOST), 0), (frame >= top).astype(int)
        sums = slow.conv(below, plain, own.stride, own.padding, own.after)
        sums += slow.conv(at, clipped_, own.stride, own.padding, own.after)
        g, fired, lost = slow.whole_step(g, last(sums), shift, units.drive, units.numbers)
        clipped += lost + (int((frame > MOST).sum()) if clip is None else 0)
        walked.step(frames=frame[None])
        np.testing.assert_array_equal(walked.h[0], g)
        assert_listed(walked.spikes, fired.T.reshape(own.after))
    assert walked.clipped() == clipped
