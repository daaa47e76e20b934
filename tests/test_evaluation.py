"""Figures per clip: protocols of the papers, accuracy over time, and controls that take time away."""

from itertools import pairwise

import numpy as np
import pytest
import slow_evaluation as slow
from hypothesis import example, given, settings
from hypothesis import strategies as st

from spikeline.pipeline.binning import Binner, pixel_map
from spikeline.pipeline.clean_up import CleanUp
from spikeline.pipeline.clean_up_settings import parse
from spikeline.pipeline.engines import INT16, open_engine
from spikeline.pipeline.evaluation import evaluate
from spikeline.pipeline.events import Sensor
from spikeline.pipeline.protocols import PROTOCOLS, UNDECIDED, decide, stretches, ten_starts, ten_stretches

from helpers import small_graph
from strategies import cuts, event_streams, packets_of


@settings(max_examples=500)
@given(st.integers(0, 20_000_000), st.integers(1, 3_000_000), st.integers(1, 12))
@example(9_000_000, 900_000, 10)
@example(5_999_999, 900_000, 10)
@example(500_000, 900_000, 10)
def test_ten_stretches_lie_where_the_paper_puts_them(span_us, length_us, n):
    starts = ten_starts(span_us, length_us, n)
    assert starts == slow.ten_starts(span_us, length_us, n)
    assert starts == sorted(starts) and max(starts) + length_us <= max(span_us, length_us)
    if n * length_us > span_us:  # they overlap, and the last one ends at the last event
        assert n == 1 or starts[-1] + length_us == span_us
        assert all(b - a <= length_us for a, b in pairwise(starts))
    else:
        assert starts[0] == 0
        assert len({b - a for a, b in pairwise(starts)}) <= 1
        assert all(b - a >= length_us for a, b in pairwise(starts))


@settings(deadline=None, max_examples=60)
@given(st.data(), event_streams(gap_us=900), st.integers(1, 4), st.integers(50, 2_000))
def test_the_frames_of_ten_stretches_hold_their_events_and_no_others(data, stream, steps, dt_us):
    t, x, y, p = stream
    sensor, grid = Sensor(8, 6), (4, 3)
    packets = list(packets_of(t + 500, x, y, p, data.draw(cuts(len(t))), int(t[-1]) + 500 if len(t) else 0))
    binner = Binner(pixel_map(sensor, (8, 6), grid, "refuse"), grid)
    found = ten_stretches(packets, CleanUp(parse(""), sensor), binner, dt_us, steps)
    np.testing.assert_array_equal(found, slow.ten_frames(t + 500, x, y, p, dt_us, steps, grid, (8, 6)))


@given(st.integers(0, 2**32 - 1))
def test_ten_answers_become_one(seed):
    rng = np.random.default_rng(seed)
    scores = rng.choice([0, 0.5, 1], (6, 10, 3)).astype(np.float32)
    scores[0, :5, 1], scores[0, 5:, 1] = 9, -9  # half of them is not enough
    for row, strict, summed in zip(
        scores, decide(scores, "ten-clips"), decide(scores, "accumulate-ten"), strict=True
    ):
        called = [int(np.argmax(one)) for one in row]
        most = [k for k in range(3) if called.count(k) > 5]
        assert strict == (most[0] if most else UNDECIDED)
        assert summed == int(np.argmax([sum(float(one[k]) for one in row) for k in range(3)]))
    np.testing.assert_array_equal(decide(scores[:, :1], "first"), scores[:, 0].argmax(-1))


def samples_of(seed, n, graph, classes=3):
    rng = np.random.default_rng(seed)
    shape = (graph.steps, *graph.document.input_shape)
    return [(rng.poisson(rng.uniform(0.1, 1.5), shape).astype(np.uint16), k % classes) for k in range(n)]


def scores_over_time(engine, frames):
    state = engine.init_state()
    return np.stack([engine.step(np.ascontiguousarray(f[None]), state).scores[0] for f in frames])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_is_the_answer_of_each_stretch_put_together(protocol):
    graph = small_graph(1)
    engine = open_engine("onnx", graph, "window")
    m = stretches(protocol)
    samples = [(frames, (k // m) % 3) for k, (frames, _) in enumerate(samples_of(5, 4 * m, graph))]
    result = evaluate(engine, samples, protocol=protocol)
    scores = np.stack([scores_over_time(engine, frames) for frames, _ in samples]).reshape(4, m, 4, 3)
    right = np.zeros(4, int)
    for k in range(4):
        for step in range(4):
            rows = scores[k, :, step]
            called = [int(r.argmax()) for r in rows]
            if protocol == "accumulate-ten":
                right[step] += int(rows.sum(0, dtype=float).argmax()) == k % 3
            else:
                right[step] += called.count(k % 3) > m / 2
    assert result.samples == 4 and result.stretches == m
    assert result.accuracy_at == (right / 4).tolist() and result.accuracy == right[-1] / 4
    facts = result.as_dict(["a", "b", "c"])
    assert np.sum(facts["confusion"]) + np.sum(facts["undecided"]) == 4
    assert facts["spikes_per_sample"] == pytest.approx(facts["nasar"] * 4 * sum(result.neurons.values()))


def test_a_skip_ratio_is_the_share_that_was_left_out():
    graph = small_graph(1)
    samples = samples_of(2, 40, graph)
    result = evaluate(open_engine("onnx", graph, "window"), samples, skip_ratio=0.5)
    assert result.skip_ratio == 1 - result.processed and 0.3 < result.skip_ratio < 0.7
    assert evaluate(open_engine("onnx", graph, "window"), samples).skip_ratio == 0


@pytest.mark.parametrize("seed", [1, 4])
def test_clipped_membranes_of_every_step_are_counted(seed):
    graph = small_graph(seed)
    engine, samples = open_engine(INT16, graph, "window"), samples_of(3, 37, graph)
    found = 0
    for frames, _ in samples:
        state = engine.init_state()
        found += sum(int(engine.step(f[None], state).activity.clipped[0]) for f in frames)
    result = evaluate(engine, samples)
    assert result.clipped == found > 0 and result.as_dict(["a", "b", "c"])["clipped"] == found
    assert evaluate(open_engine("onnx", graph, "window"), samples).clipped == 0


def test_a_reset_at_each_step_leaves_the_mean_of_single_steps():
    graph = small_graph(3)
    engine = open_engine("onnx", graph, "window")
    samples = samples_of(7, 12, graph)
    found = evaluate(engine, samples, reset_each_step=True)
    right = np.zeros(4, int)
    for frames, label in samples:
        single = np.stack([scores_over_time(engine, frame[None])[0] for frame in frames])
        means = single.cumsum(0) / np.arange(1, 5, dtype=np.float32)[:, None]
        right += means.argmax(1) == label
    assert found.right_at == right.tolist()
    order = evaluate(engine, samples, reset_each_step=True, shuffle=True)
    assert order.accuracy == found.accuracy  # without a state the order says nothing
    assert order.spikes == pytest.approx(found.spikes)


def test_shuffled_frames_are_the_same_frames_in_another_order():
    """A network that fires on the newest frame alone is right after the last step only in the given order."""
    graph = small_graph(3)
    engine = open_engine("onnx", graph, "window")
    samples = samples_of(11, 24, graph)
    plain, shuffled = evaluate(engine, samples), evaluate(engine, samples, shuffle=True)
    assert evaluate(engine, samples, shuffle=True).spikes_at == shuffled.spikes_at  # seeded
    assert shuffled.spikes_at != plain.spikes_at
    still = [(np.repeat(frames[:1], 4, 0), label) for frames, label in samples]
    assert evaluate(engine, still, shuffle=True).spikes_at == evaluate(engine, still).spikes_at
