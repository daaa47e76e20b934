"""Neurons with attention on their membrane, or fed by a gated current: every kernel against its slow twin,
compiled and without the compiler, and what the planner makes of networks that have them."""

import os
import subprocess
import sys

import numba
import numpy as np
import pytest
import torch
from gate_cases import staa_graph
from hypothesis import given
from hypothesis import strategies as st
from small_networks import counts, frames_for, small_network
from sparse_layers import COMPILED, assert_listed, examples, last, seeds, spikes_of

from spikeline.models.registry import build
from spikeline.pipeline.engines import open_engine
from spikeline.pipeline.engines.sparse import kernels_attention, kernels_gates
from spikeline.pipeline.engines.sparse.attention import SweptLine
from spikeline.pipeline.engines.sparse.counts_current import CountsCurrentLine, ListedCounts
from spikeline.pipeline.engines.sparse.engine import SparseEngine
from spikeline.pipeline.engines.sparse.geometry import Convolution
from spikeline.pipeline.engines.sparse.lines import ROOM
from spikeline.pipeline.engines.sparse.program import lanes_of, padded
from spikeline.pipeline.engines.sparse.spikes import Spikes
from spikeline.pipeline.engines.sparse.stages import Rooms, Step
from spikeline.pipeline.engines.sparse.vectors import lanes_16, lanes_32, lanes_64, load, store
from spikeline.pipeline.engines.sparse.vectors_real import larger, largest, sigmoid, total

CHANNELS = [1, 3, 16, 17, 40, 70, 130]
SMALL_GATES = {"attention": "tcs", "form": "sliding"}
CLOSE = 1e-4  # of a threshold: there float32 and float64 may decide otherwise
NONE, NO_PLACES = np.zeros(0, np.float32), np.zeros(0, np.int32)


@pytest.fixture(autouse=True)
def _words_wrap():
    """Without the compiler NumPy says so when a word of eight bytes wraps around, as it is meant to."""
    with np.errstate(over="ignore"):
        yield


# Slow twins: (C, H, W) in float64.


def times(matrix, vector):
    """Their product, without BLAS, which warns of what it reads behind a short row."""
    return (matrix.astype(np.float64) * vector).sum(1)


def slow_sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


def slow_conv(values, kernel, stride, padding, after):
    """Every output as the sum over its taps."""
    outputs, _, k, _ = kernel.shape
    x = np.pad(values.astype(np.float64), ((0, 0), (padding, padding + k), (padding, padding + k)))
    out = np.zeros((outputs, *after[1:]))
    for oy in range(after[1]):
        for ox in range(after[2]):
            patch = x[:, oy * stride : oy * stride + k, ox * stride : ox * stride + k]
            out[:, oy, ox] = (kernel * patch).sum((1, 2, 3))
    return out


def slow_gated(u, w0, w1, kernel):
    """u gated by channels, and then by pixels; w0 (hidden, C), w1 (C, hidden), or w1 (C, C) alone."""
    if w1 is not None:
        mean, peak = u.mean((1, 2)), u.max((1, 2))
        hidden = mean if w0 is None else np.maximum(times(w0, mean), 0) + np.maximum(times(w0, peak), 0)
        u = u * slow_sigmoid(times(w1, hidden))[:, None, None]
    if kernel is not None:
        side = kernel.shape[-1] // 2
        planes = np.stack([u.mean(0), u.max(0)])
        u = u * slow_sigmoid(slow_conv(planes, kernel, 1, side, (1, *u.shape[1:])))
    return u


def slow_fired(y, numbers):
    _, threshold, p0, q0, p1, q1 = (float(n) for n in numbers)
    fired = y >= threshold
    return fired, np.where(fired, p1 * y + q1, p0 * y + q0)


class Layer:
    """A swept layer by hand: sizes, seeded membranes and gates, and the kernel's arguments."""

    def __init__(self, rng, shape, *, gates, side=3):
        C, H, W = shape
        wide = padded(C)
        self.shape, self.lanes = shape, lanes_of(C)
        self.membranes = rng.normal(0, 0.5, shape)
        self.numbers = np.array([0.9, 0.3, 0.6, 0.05, rng.choice([0.0, 0.2]), -0.1], np.float32)
        self.drive = rng.normal(0, 0.2, C)
        self.w0 = rng.normal(0, 1, (2, C)) if "ca" in gates else None
        self.w1 = rng.normal(0, 1, (C, 2 if "ca" in gates else C)) if {"ca", "eca"} & set(gates) else None
        self.kernel = rng.normal(0, 1, (1, 2, side, side)) if "sa" in gates else None
        self.side = side if "sa" in gates else 0
        self.h = np.zeros(H * W * wide, np.float32)
        self.h.reshape(-1, wide)[:, :C] = last(self.membranes)
        self.spikes = Spikes(1, shape)

    def rows(self, matrix):
        wide = np.zeros((len(matrix), padded(self.shape[0])), np.float32)
        wide[:, : matrix.shape[1]] = matrix
        return wide.ravel()

    def sweep(self, feed, sizes, offsets=0):
        C, H, W = self.shape
        wide, out, side = padded(C), self.spikes, self.side
        absent = np.full(wide, -np.inf, np.float32)
        absent[:C] = 0
        own = self.rows(self.drive[None])
        w0 = NONE if self.w0 is None else self.rows(self.w0)
        w1 = NONE if self.w1 is None else self.rows(self.w1.T)
        kernel = NONE if self.kernel is None else self.kernel.astype(np.float32).ravel()
        plane = np.zeros(2 * (H + side - 1) * (W + side + 64) if side else 0, np.float32)
        score = np.ones(H * W + 64, np.float32)
        n = 2 * (max(sizes[1], W) // 64 + 2)
        room = np.zeros(offsets + ROOM, np.int32), np.zeros(n, np.uint64), np.zeros(64 * n, np.int64)
        out.total[0] = kernels_attention.sweep(
            self.lanes, feed, sizes, (self.h, own, self.numbers, np.float32(0.5)),
            (C, absent, w0, w1, np.zeros(wide, np.float32), np.zeros(wide, np.float32)),
            np.ones(wide, np.float32), (side, kernel, plane, score),
            (out.begin[0], out.end[0], out.entries[0], out.words[0], out.count[0], True), room,
        )  # fmt: skip

    def assert_like(self, arriving):
        """What the sweep has left is what it should be, of so much that arrived (C, H, W)."""
        C, H, W = self.shape
        u = float(self.numbers[0]) * (self.membranes + arriving) + self.drive[:, None, None]
        y = slow_gated(u, self.w0, self.w1, self.kernel)
        fired, carried = slow_fired(y, self.numbers)
        found = self.spikes.dense([0])[0] > 0
        clear = abs(y - self.numbers[1]) > CLOSE
        np.testing.assert_array_equal(found[clear], fired[clear])
        h = self.h.reshape(H, W, -1)[..., :C].transpose(2, 0, 1)
        np.testing.assert_allclose(h[clear], carried[clear], rtol=1e-4, atol=1e-5)
        assert_listed(self.spikes, found.astype(np.int64))
        assert self.spikes.total[0] == found.sum()


GATES = [(), ("ca",), ("eca",), ("sa",), ("ca", "sa"), ("eca", "sa")]


@examples
@given(
    seeds,
    st.sampled_from(CHANNELS),
    st.integers(1, 7),
    st.integers(1, 40 if COMPILED else 7),
    st.sampled_from(GATES),
    st.sampled_from([1, 3, 7]),
    st.sampled_from([0.0, 0.02, 0.5]),
)
def test_a_layer_behind_its_weights_is_its_formulas(seed, C, H, W, gates, side, density):
    rng = np.random.default_rng(seed)
    stride, padding = int(rng.integers(1, 3)), int(rng.integers(0, 2))
    before = (int(rng.integers(1, 5)), (H - 1) * stride + 3 - 2 * padding, (W - 1) * stride + 3 - 2 * padding)
    if min(before) < 1:
        before, stride, padding = (before[0], H, W), 1, 1
    layer = Layer(rng, (C, H, W), gates=gates, side=side)
    kernel = rng.normal(0, 0.3, (C, before[0], 3, 3))
    convolution = Convolution(kernel, stride, padding, before, layer.shape)
    values = (rng.random(before) < density).astype(np.int64)
    source = spikes_of(values)
    weights = convolution.weights().astype(np.float32).ravel()
    lists = source.begin[0], source.end[0], source.entries[0], bool(source.total[0] == 0)
    feed = (*lists, weights, NONE, np.float32(1), np.float32(-np.inf))
    layer.sweep(feed, convolution.sizes(), W * (convolution.reach + 4))
    layer.assert_like(slow_conv(values, kernel, stride, padding, layer.shape))


@examples
@given(seeds, st.sampled_from(CHANNELS), st.integers(1, 9), st.integers(1, 9), st.booleans(), st.floats(0, 1))
def test_a_layer_takes_a_gated_current_in(seed, C, H, W, rectified, factor):
    rng = np.random.default_rng(seed)
    layer = Layer(rng, (C, H, W), gates=GATES[seed % len(GATES)])
    x = rng.normal(0, 1, layer.shape)
    wide = padded(C)
    current = np.zeros((H * W, wide), np.float32)
    current[:, :C] = last(x)
    least = np.float32(0 if rectified else -np.inf)
    feed = (NO_PLACES, NO_PLACES, NO_PLACES, True, NONE, current.ravel(), np.float32(factor), least)
    layer.sweep(feed, (1, 1, H, W, 1, wide, 1, 1, 1, 0))
    layer.assert_like(0.5 * factor * (np.maximum(x, 0) if rectified else x))


@examples
@given(
    seeds, st.sampled_from(CHANNELS), st.integers(1, 200), st.sampled_from(kernels_gates.FORMS), st.booleans()
)
def test_a_gate_in_time_is_its_formulas(seed, C, P, form, both):
    """Three steps: score = w1[t] (relu(w0 s + b0) + ...) + b1[t] of the statistics s that its form has."""
    rng = np.random.default_rng(seed)
    T, hidden, wide = 5, 3, padded(C)
    w0, w1, b0, b1 = (rng.normal(0, 1, s).astype(np.float32) for s in ((hidden, T), (T, hidden), hidden, T))
    means = rng.normal(0, 1, (2, T)).astype(np.float32)
    seen = np.zeros((2, T))
    absent = np.full(wide, -np.inf, np.float32)
    absent[:C] = 0
    states = np.zeros((2, T if form == "sliding" else hidden), np.float32)
    for t in range(3):
        current = np.full((P, wide), 7.0, np.float32)  # what fills channels up must not be seen
        current[:, :C] = rng.normal(0, 1, (P, C))
        found = current[:, :C].astype(np.float64)
        statistics = np.array([found.mean(), found.max()])
        if form == "sliding":
            seen = np.concatenate([seen[:, 1:], statistics[:, None]], 1)
            known, row = seen, T - 1
        elif form == "prefix":
            seen[:, t] = statistics
            known, row = np.where(np.arange(T) <= t, seen, means), t
        else:
            known, row = np.repeat(statistics[:, None], T, 1), t
        parts = sum(np.maximum(times(w0, statistic) + b0, 0) for statistic in known[: 1 + both])
        score = (parts * w1[row]).sum() + b1[row]
        filled = [
            (states[i], means[i], times(w0, means[i] if form == "prefix" else np.ones(T)).astype(np.float32))
            for i in range(2)
        ]
        other = filled[1] if both else (NONE, NONE, NONE)
        arguments = (
            lanes_of(C), current.ravel(), C, absent, kernels_gates.FORMS.index(form), t, filled[0], other,
            (w0, w1, b0, b1),
        )  # fmt: skip
        before = states.copy()
        gate = kernels_gates.time_gate(*arguments, False, np.float32(0), np.zeros(hidden, np.float32))
        assert gate == pytest.approx(slow_sigmoid(score), abs=1e-5)
        states[...] = before
        limit = np.float32(0.5)
        hard = kernels_gates.time_gate(*arguments, True, limit, np.zeros(hidden, np.float32))
        assert hard == float(gate >= limit)


@numba.njit
def _of_a_vector(x, y, out, like):
    a, b = load(x, 0, like), load(y, 0, like)
    store(out, 0, sigmoid(a))
    store(out, like_size(like), larger(a, b))
    return total(a), largest(a)


@numba.njit
def like_size(like):
    return kernels_attention.size(like)


@numba.njit
def of_a_vector(lanes, x, y, out):
    if lanes == 64:
        return _of_a_vector(x, y, out, lanes_64())
    if lanes == 32:
        return _of_a_vector(x, y, out, lanes_32())
    return _of_a_vector(x, y, out, lanes_16())


@examples
@given(seeds, st.sampled_from([16, 32, 64]), st.floats(1e-3, 60))
def test_sums_maxima_and_sigmoids_of_a_vector(seed, lanes, wide):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(0, wide, (2, lanes)).astype(np.float32)
    out = np.zeros(2 * lanes, np.float32)
    sum_, most = of_a_vector(lanes, x, y, out)
    halves = x
    while len(halves) > 1:
        halves = halves[: len(halves) // 2] + halves[len(halves) // 2 :]
    assert sum_ == halves[0] and most == x.max()
    np.testing.assert_allclose(out[:lanes], slow_sigmoid(x), rtol=3e-7, atol=2e-38)
    np.testing.assert_array_equal(out[lanes:], np.maximum(x, y))


def test_a_sigmoid_has_its_limits():
    x = np.array([0, -0.0, 1e4, -1e4, np.inf, -np.inf, 88, -88, *[0] * 8], np.float32)
    out = np.zeros(32, np.float32)
    with np.errstate(invalid="ignore"):  # their sum is no number
        of_a_vector(16, x, x, out)
    np.testing.assert_allclose(out[:8], [0.5, 0.5, 1, 0, 1, 0, 1, 0], atol=1e-37)


@examples
@given(seeds, st.sampled_from([None, 1.0, 4.5, 300.0]), st.sampled_from([1.0, 0.5, 3.0]))
def test_weights_of_counts_are_those_of_their_values(seed, clip, gain):
    """A cell's entries weigh min(gain n, clip), whatever n is."""
    rng = np.random.default_rng(seed)
    line = ListedCounts("events", 0, _InputNode(gain, clip), (2, 3, 4))
    kernel = rng.normal(0, 1, (5, 2, 3, 3))
    convolution = Convolution(kernel, 1, 1, (2, 3, 4), (5, 3, 4))
    table, rows = line.weights(convolution), convolution.weights()
    for n in (1, 2, 3, 5, 255, 256, 65_535, *rng.integers(1, 65_536, 4).tolist()):
        kinds = [line.kinds - 1] if n >= line._top else [b for b in range(16) if n >> b & 1]
        wanted = min(gain * n, np.inf if clip is None else clip)
        for tap in range(len(rows) - 1):
            found = sum(table[tap * line.kinds + kind] for kind in kinds)
            np.testing.assert_allclose(found, wanted * rows[tap], rtol=1e-12)
    assert not table[-1].any()


class _InputNode:
    def __init__(self, gain, clip):
        self.attrs = {"gain": gain} | ({} if clip is None else {"clip": clip})


# What the planner makes of networks, and what an engine's contract asks of them.

CASES = [("masnn3", i) for i in (2, 3, 4, 5, 8, 10, 11)] + [("tasnn", 3), ("tasnn", 6), ("masnn5", 2)]


def stages(engine):
    return {type(stage).__name__ for stage in engine.plan.stages}


def test_attention_on_the_membrane_and_in_time_is_not_left_to_numpy():
    ours = {"Walk", "Sweep", "FedSweep", "TimeGate", "ListCounts"}
    for settings in ({"attention": "cs"}, SMALL_GATES, {"attention": "c", "channel": "eca"}):
        found = stages(SparseEngine(_narrow("masnn3", **settings)))
        assert found <= ours and found & {"Sweep", "FedSweep"}
    others = stages(SparseEngine(_narrow("masnn3", attention="cs", channel="simam")))
    assert "GatedNeurons" in others
    assert "GatedNeurons" in stages(SparseEngine(staa_graph()))


def _narrow(name, **settings):
    torch.manual_seed(0)
    small = {"classes": 3, "steps": 6, "channels": (6, 8, 8), "hidden": (10,), "grid": (8, 12)}
    return build(name, **small, t_ratio=2, c_ratio=2, kernel=3, **settings).lower()


def test_a_first_layer_in_front_of_a_gate_takes_counts():
    engine = SparseEngine(_narrow("masnn3", **SMALL_GATES))
    kinds = [type(line) for line in engine.plan.lines]
    assert kinds[:2] == [ListedCounts, CountsCurrentLine] and SweptLine in kinds


@pytest.mark.parametrize("case", CASES, ids=str)
def test_streams_that_idle_and_snapshots_leave_no_trace(case):
    """A batch with skipped steps against each stream alone; a restored state peeks the same bits."""
    net = small_network(case)
    graph = net.lower()
    engine = SparseEngine(graph)
    rng = np.random.default_rng(case[1])
    frames = counts(frames_for(net, steps=9, seed=5))
    together = engine.init_state(frames.shape[1])
    alone = [engine.init_state() for _ in range(frames.shape[1])]
    fired = 0
    for t, frame in enumerate(frames):
        run = rng.random(len(alone)) < 0.7
        result = engine.step(frame, together, run)
        for b, state in enumerate(alone):
            single = engine.step(frame[b : b + 1], state, run[b : b + 1])
            np.testing.assert_array_equal(result.activity.spikes[b], single.activity.spikes[0])
            np.testing.assert_array_equal(result.activity.synops[b], single.activity.synops[0])
            np.testing.assert_allclose(result.scores[b], single.scores[0], rtol=0, atol=1e-6)
        if t % 3 == 2:
            before = engine.snapshot(together)
            seen = engine.peek(frame, together)
            together = engine.restore(before)
            np.testing.assert_array_equal(engine.peek(frame, together), seen)
        fired += int(result.activity.spikes.sum())
    for b, state in enumerate(alone):
        for name, array in engine.snapshot(state).items():
            np.testing.assert_allclose(engine.snapshot(together)[name][b], array[0], rtol=0, atol=1e-6)
    assert fired > 20


@pytest.mark.parametrize("most", [1, 40, 65_535])
def test_counts_of_any_size_reach_a_gated_layer(most):
    """Spikes and membranes as in torch, also of counts beyond what whole numbers are made for."""
    graph = _narrow("masnn3", **SMALL_GATES).with_input(gain=1 / most)
    rng = np.random.default_rng(most)
    frames = rng.integers(0, most + 1, (12, 1, *graph.document.input_shape)).astype(np.uint16)
    frames[rng.random(frames.shape) < 0.5] = 0
    ours, torch_engine = SparseEngine(graph), open_engine("torch", graph)
    reference = torch_engine.init_state()
    for frame in frames:
        state = ours.restore(torch_engine.snapshot(reference))
        a, b = ours.step(frame, state), torch_engine.step(frame, reference)
        np.testing.assert_array_equal(a.activity.spikes, b.activity.spikes)
        np.testing.assert_array_equal(a.activity.synops, b.activity.synops)
        for name, array in torch_engine.snapshot(reference).items():
            np.testing.assert_allclose(ours.snapshot(state)[name], array, rtol=1e-4, atol=1e-5)


@examples
@given(seeds, st.sampled_from([None, 6.0]), st.sampled_from([0.0, 0.1, 0.9]), st.sampled_from([3, 70_000]))
def test_listed_counts_hold_what_a_frame_has(seed, clip, density, most):
    rng = np.random.default_rng(seed)
    shape = (2, int(rng.integers(1, 6)), int(rng.integers(1, 80)))
    frame = rng.integers(1, min(most, 65_536), (1, *shape)).astype(np.uint16)
    frame[rng.random(frame.shape) >= density] = 0
    line = ListedCounts("events", 0, _InputNode(0.5, clip), shape)
    rooms = Rooms([line], {}, 1)
    line.run(Step(frame, {}, np.zeros(1, np.int64), rooms, [0], False))
    listed = rooms.own["events"]
    assert listed.total[0] == np.count_nonzero(frame)
    if not frame.any():
        return
    values = np.zeros(frame[0].size)
    W, wide = shape[2], 2 * line.kinds
    for p in range(shape[1] * W):
        for entry in listed.entries[0][listed.begin[0][p] : listed.end[0][p]]:
            c, kind = divmod(int(entry) - p % W * wide, line.kinds)
            values[c * shape[1] * W + p] += line._worth[kind]
    wanted = np.minimum(0.5 * frame[0].ravel(), np.inf if clip is None else clip)
    np.testing.assert_array_equal(values, wanted)


@pytest.mark.skipif(not COMPILED, reason="is what it starts")
def test_kernels_mean_the_same_without_the_compiler():
    names = "formulas or gated_current or gate_in_time or of_a_vector or limits or counts_hold"
    found = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", __file__, "-k", names],
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert found.returncode == 0, found.stdout[-2000:]
