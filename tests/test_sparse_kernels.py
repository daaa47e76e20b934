"""Every kernel of the spike-driven engine against its slow twin, compiled and without the compiler."""

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
    COMPILED,
    NO_AWAKE,
    NO_DUE,
    NO_SUMS,
    convolutions,
    examples,
    finished,
    last,
    seeds,
    spikes_of,
)

from spikeline.pipeline.engines.sparse import (
    kernels_conv,
    kernels_counts,
    kernels_float,
    kernels_neuron,
    kernels_spikes,
)
from spikeline.pipeline.engines.sparse.geometry import Convolution
from spikeline.pipeline.engines.sparse.spikes import Spikes
from spikeline.pipeline.engines.sparse.stages import repeated

INT16_TESTS = str(Path(__file__).with_name("test_sparse_int16.py"))


@pytest.fixture(autouse=True)
def _words_wrap():
    """Without the compiler NumPy says so when a product of eight bytes wraps around, as it is meant to."""
    with np.errstate(over="ignore"):
        yield


def assert_listed(spikes, values):
    count, first, entries, channels = slow.lists(last(values).astype(int))
    np.testing.assert_array_equal(spikes.count[0], count)
    np.testing.assert_array_equal(spikes.entries[0], entries)
    np.testing.assert_array_equal(spikes.first[0], first)
    assert spikes.list[0][: len(channels)].tolist() == channels
    assert spikes.total[0] == (values > 0).sum()


@st.composite
def layers(draw, *, most=1):
    """Sparse values (C, H, W) with channels in eights and not."""
    shape = (draw(st.sampled_from([1, 3, 8, 16, 40])), draw(st.integers(1, 5)), draw(st.integers(1, 6)))
    rng = np.random.default_rng(draw(seeds))
    rate = draw(st.sampled_from([0.0, 0.05, 0.5, 1.0]))
    return ((rng.random(shape) < rate) * rng.integers(1, most + 1, shape)).astype(np.uint8)


@examples
@given(layers(most=3))
def test_lists_hold_every_value_in_order(values):
    spikes = spikes_of(values)
    assert_listed(spikes, values)
    dense = spikes.dense([0])[0]
    np.testing.assert_array_equal(dense, values if spikes.total[0] else 0 * values)
    planes = np.ones((len(values), spikes.pixels), np.float32)
    kernels_spikes.expand_planes(spikes.entries[0], spikes.first[0], spikes.list[0], planes)
    np.testing.assert_array_equal(planes, values.reshape(len(values), -1))
    h = np.ones(values.size, np.float32)
    kernels_float.add_planes(planes, h, NO_SUMS)
    np.testing.assert_array_equal(h.reshape(-1, len(values)), 1 + last(values))
    kernels_float.add_scaled(h, np.float32(2), h)
    np.testing.assert_array_equal(h.reshape(-1, len(values)), 3 * (1 + last(values)))
    assert kernels_spikes.pixels_with_any(spikes.entries[0]) == (last(values) > 0).any(1).sum()
    totals = np.ones(len(values), np.float32)
    kernels_spikes.channel_totals(spikes.entries[0], spikes.first[0], spikes.list[0], totals)
    np.testing.assert_array_equal(totals, values.sum((1, 2)))
    taps = np.random.default_rng(0).integers(0, 9, spikes.pixels)
    assert kernels_spikes.taps_met(spikes.count[0], taps) == (last(values) > 0).sum(1) @ taps


@examples
@given(layers(), st.integers(1, 300))
def test_ones_are_counted_and_listed_whatever_way_they_are_looked_for(values, most):
    spikes = spikes_of(values)
    C = len(values)
    for p in range(spikes.pixels):
        ones = np.flatnonzero(spikes.values[0][p * C : p * C + C])
        assert kernels_spikes.count_ones(spikes.words[0], spikes.values[0], p * C, C) == len(ones)
        found = np.zeros(C + 9, np.uint16)
        k = kernels_spikes.list_ones(spikes.words[0], spikes.values[0], p * C, C, found, 1, most)
        assert found[1:k].tolist() == ones.tolist()


@examples
@given(layers(most=2), st.integers(1, 3), st.integers(1, 3), st.integers(0, 1), st.booleans())
def test_max_pool_is_the_largest_value_of_each_window(values, size, stride, padding, keep):
    C, H, W = values.shape
    if min(H, W) + 2 * padding < size or 2 * padding > size:
        return
    after = (C, (H + 2 * padding - size) // stride + 1, (W + 2 * padding - size) // stride + 1)
    source, out = spikes_of(values), Spikes(1, after, most=max(1, int(values.max())), keep=keep)
    geometry = np.array([H, W, *after[1:], C, size, stride, padding], np.int64)
    out.total[0] = kernels_spikes.max_pool(
        source.values[0], source.words[0], source.count[0], geometry, out.most, np.array([0, after[1]]),
        out.values[0], out.words[0], keep, out.count[0], out.first[0], out.entries[0], out.list[0],
    )  # fmt: skip
    assert_listed(out, slow.maximum(values, size, stride, padding, after))


@pytest.mark.parametrize("kind", ["or", "and", "iand", "add"])
@examples
@given(layers(), seeds)
def test_joins_are_their_formulas(kind, a, seed):
    rng = np.random.default_rng(seed)
    b = (rng.random(a.shape) < 0.2).astype(np.uint8)
    if kind == "add":
        a = a * 2
    wanted = slow.joined(kind, a, b)
    x, y = spikes_of(a), spikes_of(b)
    out = Spikes(1, a.shape, most=max(1, int(wanted.max())))
    for spikes in (x, y):  # values of a pixel without any are whatever was there before
        spikes.values[0].reshape(-1)[: a.size].reshape(-1, len(a))[spikes.count[0] == 0] = 7
    out.total[0] = kernels_spikes.join(
        ("or", "and", "iand", "add").index(kind), x.values[0], x.words[0], x.count[0], y.values[0],
        y.words[0], y.count[0], len(a), out.most == 1, out.values[0], out.words[0], out.count[0],
        out.first[0], out.entries[0], out.list[0],
    )  # fmt: skip
    assert_listed(out, wanted)


@examples
@given(convolutions())
def test_spikes_reach_what_a_convolution_and_an_average_say(case):
    if case is None:
        return
    convolution, values, wanted = case
    weights, starts = convolution.weights()
    source = spikes_of(values)
    target = np.zeros(wanted.size, np.float32)
    kernels_conv.conv_current(
        source.first[0], source.entries[0], source.list[0], weights.astype(np.float32), starts,
        convolution.taps, convolution.numbers, target,
    )  # fmt: skip
    np.testing.assert_allclose(target.reshape(-1, len(wanted)), last(wanted), atol=1e-3)


@examples
@given(convolutions(), seeds)
def test_counts_reach_the_same_in_whole_numbers_at_once_or_event_by_event(case, seed):
    if case is None:
        return
    convolution, _, _ = case
    rng = np.random.default_rng(seed)
    (cin, H, W), after = convolution.before, convolution.after
    C, P = after[0], after[1] * after[2]
    weights, starts = convolution.weights()
    clip = int(rng.integers(1, 4))
    plain, full = np.rint(weights * 64).astype(np.int32), np.rint(weights * 100).astype(np.int32)
    n = int(rng.integers(0, 30))
    p, y, x = (rng.integers(0, most, n) for most in (min(cin, 2), H, W))
    frame = np.zeros((cin, H, W), np.uint16)
    np.add.at(frame, (p, y, x), 1)
    kernel = np.zeros_like(convolution.kernel)  # of the plain weights, back in the graph's order
    probe = Convolution(
        np.rint(convolution.kernel * 64), convolution.stride, convolution.padding, (cin, H, W), after
    )
    assert np.array_equal(probe.weights()[0], plain)
    kernel = probe.kernel
    wholes = np.rint(convolution.kernel * 100)
    below, at = np.where(frame < clip, frame, 0), (frame >= clip).astype(int)
    stride, padding = convolution.stride, convolution.padding
    wanted = slow.conv(below, kernel, stride, padding, after) + slow.conv(at, wholes, stride, padding, after)
    cells = np.arange(H * W, dtype=np.int32).reshape(H, W)
    sums, hit, counted = np.zeros(P * C, np.int32), np.zeros(P, np.uint8), np.zeros_like(frame)
    cut = int(rng.integers(0, n + 1))
    columns = [a.astype(t) for a, t in ((x, np.uint16), (y, np.uint16), (p, np.uint8))]
    for start, stop in ((0, cut), (cut, n)):
        kernels_counts.add_counts(
            *columns, start, stop, cells, counted, clip, plain, full, starts, convolution.taps,
            convolution.numbers, sums, hit,
        )  # fmt: skip
    np.testing.assert_array_equal(counted, frame)
    assert (hit | (sums.reshape(-1, C) == 0).all(1)).all()
    np.testing.assert_array_equal(sums.reshape(-1, C), last(wanted))
    found = {}
    row = (int(convolution.taps.max()) + 1) * after[2]
    for name, held, marks in (
        ("frame", np.zeros(row * C, np.int32), np.zeros(row, np.uint8)),
        ("early", sums, hit),
    ):
        out = Spikes(1, after)
        h, number = np.zeros(P * C, np.float32), np.zeros(3, np.int64)
        numbers = np.array([1, 40, 1, 0, 0, 0], np.float32)
        kernels_counts.counts_layer(
            frame, clip, name == "early", plain, full, starts, convolution.taps, convolution.numbers,
            np.array([0, after[1]], np.int64), held, marks, np.float32(1), h, np.zeros((2, C), np.float32),
            numbers, False, 1, NO_DUE, NO_AWAKE, True, out.values[0], out.words[0], True, out.count[0],
            out.first[0], out.list[0], number,
        )  # fmt: skip
        assert not held.any() and not marks.any()
        found[name] = h
        spikes = last(wanted) >= 40
        assert number[0] == spikes.sum()
        np.testing.assert_array_equal(h.reshape(-1, C), np.where(spikes, 0, last(wanted)))
    np.testing.assert_array_equal(found["frame"], found["early"])


@examples
@given(st.integers(1, 40), st.integers(1, 6), st.booleans(), seeds)
def test_neurons_fire_reset_and_decay_as_one_by_one(C, P, keep, seed):
    rng = np.random.default_rng(seed)
    h = rng.normal(0, 1, (P, C)).astype(np.float32)
    drive = rng.normal(0, 0.2, C).astype(np.float32)
    numbers = np.array([0.7, 0.6, 0.5, 0.1, 0.2, -0.3], np.float32)
    wanted, fired = slow.step(h, drive, numbers)
    out = Spikes(1, (C, 1, P), keep=keep)
    flat = h.ravel().copy()
    found = finished(NO_SUMS, NO_AWAKE, np.float32(0), flat, repeated(drive), numbers, out)
    np.testing.assert_array_equal(flat.reshape(P, C), wanted)
    assert found == [fired.sum(), 0, 0]
    _, first, _, channels = slow.lists(fired)
    np.testing.assert_array_equal(out.first[0], first)
    assert out.list[0][: len(channels)].tolist() == channels


@examples
@given(st.integers(1, 20), st.integers(0, 40), seeds)
def test_quiet_steps_made_up_for_later_are_those_taken_at_once(C, steps, seed):
    rng = np.random.default_rng(seed)
    h = rng.normal(0, 1, C).astype(np.float32)
    drive = (rng.normal(0, 0.01, C) * rng.integers(0, 2, C)).astype(np.float32)
    numbers = np.array([0.5, 9, rng.choice([0.01, 0.9]), 0, 0, 0], np.float32)
    wanted = h[None].copy()
    for _ in range(steps):
        wanted, _ = slow.step(wanted, drive, numbers)
    due, awake = np.zeros(1, np.int64), np.zeros(1, np.uint8)
    kernels_neuron.settle(h, repeated(drive), numbers, due, awake, steps)
    np.testing.assert_array_equal(h, wanted[0])
    assert due[0] == steps and awake[0] == 1


@examples
@given(seeds)
def test_rows_of_a_linear_layer_are_added(seed):
    rng = np.random.default_rng(seed)
    values = (rng.random((3, 2, 2)) < 0.6).astype(np.uint8) * 2
    weights = rng.integers(-9, 9, (12, 5)).astype(np.float32)
    source, target = spikes_of(values), np.zeros(5, np.float32)
    kernels_conv.linear_current(
        source.first[0], source.entries[0], source.list[0], 3, weights.ravel(), np.zeros(30, np.int32), target
    )
    np.testing.assert_array_equal(target, last(values).ravel().astype(np.float32) @ weights)


@pytest.mark.skipif(not COMPILED, reason="is what runs with the compiler switched off")
def test_all_of_this_holds_without_the_compiler():
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", __file__, INT16_TESTS],
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0, done.stdout[-3000:]
