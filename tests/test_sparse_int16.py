"""Membranes in whole numbers: what they hold, and every kernel of theirs against its slow twin."""

import numpy as np
import pytest
import slow_sparse as slow
from hypothesis import given
from hypothesis import strategies as st
from sparse_layers import NO_SUMS, convolutions, examples, finished, last, seeds, spikes_of

from spikeline.pipeline.engines.sparse import kernels_conv, kernels_int16, kernels_neuron
from spikeline.pipeline.engines.sparse.cells import Cell
from spikeline.pipeline.engines.sparse.geometry import Convolution
from spikeline.pipeline.engines.sparse.int16 import INT16, rounded, whole
from spikeline.pipeline.engines.sparse.spikes import Spikes
from spikeline.pipeline.engines.sparse.stages import repeated


@pytest.fixture(autouse=True)
def _words_wrap():
    """Without the compiler NumPy says so when a product of eight bytes wraps around, as it is meant to."""
    with np.errstate(over="ignore"):
        yield


@st.composite
def whole_layers(draw):
    """A layer's whole numbers, and a convolution's or a linear layer's worth of weights behind them."""
    rng = np.random.default_rng(draw(seeds))
    C, inputs = draw(st.sampled_from([1, 8, 24])), draw(st.integers(1, 20))
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
    out = Spikes(1, (C, 1, P))
    flat, sums, hit = g.ravel().copy(), more.astype(np.int32).ravel(), np.ones(P, np.uint8)
    drives = repeated(units.drive)
    found = finished(sums if summed else NO_SUMS, hit, shift, flat, drives, units.numbers, out)
    np.testing.assert_array_equal(flat.reshape(P, C), wanted)
    assert found == [fired.sum(), 0, clipped] and (not summed or not (sums.any() or hit.any()))
    assert out.list[0][: fired.sum()].tolist() == slow.lists(fired)[3]
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
    _, _, _, units, rng = case
    numbers, limit = units.numbers, units.drive[3].astype(int)
    g = rng.integers(-limit, limit + 1, units.drive.shape[1]).astype(np.int16)
    never = units.drive.copy()
    never[0], never[2] = INT16, 0
    wanted, clipped = g[None].copy(), 0
    for _ in range(steps):
        wanted, _, n = slow.whole_step(wanted, 0 * wanted, 0, never, numbers)
        clipped += n
    due, awake = np.zeros(1, np.int64), np.zeros(1, np.uint8)
    assert kernels_neuron.settle(g, repeated(units.drive), numbers, due, awake, steps) == clipped
    np.testing.assert_array_equal(g, wanted[0])
    if units.rests():
        below = np.minimum(g, units.drive[0] - 1)
        after, fired, _ = slow.whole_step(below[None], 0 * below[None], 0, units.drive, numbers)
        assert not fired.any() and not kernels_int16.fires_again(after[0], repeated(units.drive), numbers)


@examples
@given(whole_layers(), seeds)
def test_whole_numbers_go_in_and_out_and_take_dense_sums(case, seed):
    _, _, _, units, rng = case
    C, limit, top = units.drive.shape[1], units.drive[3], int(units.numbers[4])
    g = rng.integers(-limit.astype(int), limit.astype(int) + 1, (5, C)).astype(np.int16)
    seen, back = np.zeros(g.size, np.float32), np.zeros(g.size, np.int16)
    kernels_int16.give_out(g.ravel(), units.worth, seen)
    np.testing.assert_array_equal(seen.reshape(5, C), units.worth * g.astype(np.float32))
    assert kernels_int16.take_in(seen, units.worth, limit, back) == 0
    np.testing.assert_array_equal(back, g.ravel())
    seen[0] = 3 * units.worth[0] * np.float32(limit[0])
    assert kernels_int16.take_in(seen, units.worth, limit, back) == 1 and back[0] == limit[0]
    planes = rng.integers(-50_000, 50_000, (C, 5))
    wanted = g + planes.T
    found = g.ravel().copy()
    clipped = kernels_int16.add_planes(planes.astype(np.float32), found, units.numbers)
    assert clipped == (abs(wanted) > top).sum()
    np.testing.assert_array_equal(found.reshape(5, C), np.clip(wanted, -top, top))


@pytest.mark.parametrize("kind", [np.int8, np.int16])
@examples
@given(convolutions())
def test_whole_weights_reach_what_a_convolution_says(kind, case):
    if case is None:
        return
    convolution, values, _ = case
    kernel = np.rint(convolution.kernel)
    again = Convolution(
        kernel, convolution.stride, convolution.padding, convolution.before, convolution.after
    )
    weights, starts = again.weights()
    source, target = spikes_of(values), np.zeros(int(np.prod(again.after)), np.int16)
    kernels_conv.conv_current(
        source.first[0], source.entries[0], source.list[0], weights.astype(kind), starts, again.taps,
        again.numbers, target,
    )  # fmt: skip
    wanted = slow.conv(values, kernel, again.stride, again.padding, again.after)
    np.testing.assert_array_equal(target.reshape(-1, len(wanted)), last(wanted))
