"""Spikes between the spike-driven engine's layers: lists, words, pools, joins, against their slow twins."""

import numpy as np
import pytest
import slow_sparse as slow
from hypothesis import given
from hypothesis import strategies as st
from sparse_layers import CELL, Walked, assert_listed, examples, held, last, layers, seeds, spikes_of

from spikeline.pipeline.engines.sparse import kernels_float, kernels_layer, kernels_spikes
from spikeline.pipeline.engines.sparse.between import AverageLine, JoinLine, PoolLine, ValuesLine, VoteLine
from spikeline.pipeline.engines.sparse.program import BESIDE, lanes_of, padded


@pytest.fixture(autouse=True)
def _words_wrap():
    """Without the compiler NumPy says so when a word of eight bytes wraps around, as it is meant to."""
    with np.errstate(over="ignore"):
        yield


@examples
@given(layers(most=3))
def test_lists_hold_every_value_in_order(values):
    spikes = spikes_of(values)
    assert_listed(spikes, values)
    np.testing.assert_array_equal(spikes.dense([0])[0], values)
    C, P = len(values), spikes.pixels
    lists = spikes.begin[0][:P], spikes.end[0][:P], spikes.entries[0], spikes.width
    planes = np.ones((C, P), np.float32)
    kernels_spikes.expand_planes(*lists, planes)
    np.testing.assert_array_equal(planes, values.reshape(C, -1))
    wide = padded(C)
    h = np.ones(P * wide, np.float32)
    assert kernels_float.add_planes(planes, h, wide, CELL) == 0
    np.testing.assert_array_equal(h.reshape(P, wide)[:, :C], 1 + last(values))
    assert (h.reshape(P, wide)[:, C:] == 1).all()
    totals = np.ones(C, np.float32)
    kernels_spikes.channel_totals(*lists, totals)
    np.testing.assert_array_equal(totals, values.sum((1, 2)))
    taps = np.random.default_rng(0).integers(0, 9, P)
    assert kernels_spikes.taps_met(spikes.count[0], taps) == (last(values) > 0).sum(1) @ taps


@examples
@given(layers(), st.booleans())
def test_spikes_become_values_and_averages_again(values, linear):
    values = values[:, :1, :1] if linear else values
    line = (ValuesLine if linear else AverageLine)("mean", 1, held(0, values.shape))
    walked = Walked(line.source, line)
    for x in (values, 0 * values, values):
        step = walked.step(x)
        wanted = x[:, 0, 0] if linear else np.float32(1 / x[0].size) * x.sum((1, 2)).astype(np.float32)
        np.testing.assert_array_equal(step.dense["mean"][0], wanted)


@examples
@given(st.integers(1, 11), st.integers(1, 12), seeds)
def test_a_vote_is_the_mean_of_its_neurons(size, count, seed):
    rng = np.random.default_rng(seed)
    values = (rng.random((size * count, 1, 1)) < 0.3).astype(np.uint8)
    line = VoteLine("vote", 1, held(0, values.shape), size)
    walked = Walked(line.source, line)
    for x in (values, 0 * values, values):
        wanted = x.reshape(count, size).astype(np.float32).mean(1, dtype=np.float32)
        np.testing.assert_array_equal(walked.step(x).dense["vote"][0], wanted)


@examples
@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.integers(0, 500), st.integers(0, 9))
def test_bits_of_a_word_are_listed_in_order(word, mask, at, k):
    for w in (word, word & mask, word & mask & (mask >> 7), 1 << (word & 63), 0):
        entries = np.full(k + 64 + BESIDE, -1, np.int32)
        found = kernels_layer.listed_word(np.uint64(w), np.int64(at), entries, np.int64(k))
        wanted = [at + i for i in range(64) if w >> i & 1]
        assert entries[k:found].tolist() == wanted and (entries[:k] == -1).all()
        assert (entries[found + 3 :] == -1).all()  # what is written beyond is soon written over


@examples
@given(layers(), st.integers(1, 4), st.integers(1, 3), st.integers(0, 4), st.booleans())
def test_max_pool_is_the_largest_value_of_each_window(values, size, stride, padding, listed):
    C, H, W = values.shape
    if min(H, W) + 2 * padding < size:
        return
    after = (C, (H + 2 * padding - size) // stride + 1, (W + 2 * padding - size) // stride + 1)
    attrs = {"size": size, "stride": stride, "padding": padding}
    source = held(0, values.shape)
    line = PoolLine("pool", 1, source, after, attrs)
    line.listed = listed
    walked = Walked(source, line)
    for x in (values, 0 * values, values[:, ::-1]):
        walked.step(x)
        assert_listed(walked.spikes, slow.maximum(x, size, stride, padding, after))


@pytest.mark.parametrize("kind", ["or", "and", "iand", "add"])
@examples
@given(layers(), seeds, st.booleans())
def test_joins_are_their_formulas(kind, a, seed, listed):
    rng = np.random.default_rng(seed)
    b = (rng.random(a.shape) < 0.2).astype(np.uint8)
    most = 2 if kind == "add" else 1
    sources = held(0, a.shape, most), held(1, a.shape)
    line = JoinLine("join", 2, sources, a.shape, kind, most + 1 if kind == "add" else 1)
    line.listed = listed or kind == "add"
    walked = Walked(*sources, line)
    a = a * most
    for x, y in ((a, b), (0 * a, b), (a, 0 * b), (0 * a, 0 * b), (a, a // most)):
        walked.step(x, y)  # words and lists of a silent one are whatever was there before
        wanted = slow.joined(kind, x, y)
        found, J = walked.spikes, lanes_of(len(a))
        np.testing.assert_array_equal(found.words[0].reshape(found.pixels, -1), slow.bits(wanted, J))
        if kind != "add":
            assert_listed(found, wanted)
        else:  # the entries of one, then those of the other
            np.testing.assert_array_equal(found.dense([0])[0], wanted)
            assert found.total[0] == (wanted > 0).sum()
