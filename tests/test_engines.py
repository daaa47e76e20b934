"""The engine contract, for every engine, on networks with and without attention, of every neuron kind."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeline.models import reference
from spikeline.models.graph import Graph
from spikeline.models.neurons import CONSTANTS
from spikeline.pipeline.agreement import compare
from spikeline.pipeline.engines import ENGINES, EngineError, open_engine

import reference as slow
from helpers import frames_of_noise, small_graph

GRAPHS = {"plain": {}, "csa": {"refine": ("ca", "sa")}, **{kind: {"kind": kind} for kind in CONSTANTS}}
engines = pytest.mark.parametrize("name", ENGINES)
graphs = pytest.mark.parametrize("which", GRAPHS)


def graph_of(which, **changes):
    return small_graph(1, **(GRAPHS[which] | changes))


def copied(snapshot):
    return {name: array.copy() for name, array in snapshot.items()}


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


@engines
@graphs
def test_steps_equal_the_numpy_reference(name, which):
    """Spikes exactly and membranes within 1e-4, each step from the reference's state."""
    rng = np.random.default_rng(0)
    graph = graph_of(which)
    engine = open_engine(name, graph)
    state = engine.init_state(3)
    membranes = {k: np.zeros((3, *shape), np.float32) for k, shape in graph.membranes.items()}
    spikes = 0
    for frames in frames_of_noise(rng, 12, 3, graph):
        result = engine.step(frames, state)
        values, membranes = reference.run_step(graph, frames, membranes)
        fired = np.stack([values[layer].reshape(3, -1).sum(1) for layer in graph.layers], 1)
        np.testing.assert_array_equal(result.activity.spikes, fired)
        wanted = slow.synops(values["n1"][0], graph.tensor(graph.nodes[4], "weight"), 2, 1)
        wanted += int((values["n2"][0] != 0).sum()) * graph.classes
        assert result.activity.synops[0] == wanted
        for key, h in membranes.items():
            np.testing.assert_allclose(engine.snapshot(state)[key], h, rtol=1e-4, atol=1e-5)
        spikes += fired.sum()
    assert spikes > 100


@graphs
def test_engines_agree_and_their_snapshots_are_interchangeable(which):
    rng = np.random.default_rng(1)
    graph = graph_of(which)
    a, b = (open_engine(name, graph) for name in ENGINES)
    state_a, state_b = a.init_state(4), b.init_state(4)
    for i, frames in enumerate(frames_of_noise(rng, 30, 4, graph)):
        run = rng.random(4) < 0.7
        one, two = a.step(frames, state_a, run), b.step(frames, state_b, run)
        np.testing.assert_array_equal(one.activity.spikes, two.activity.spikes)
        np.testing.assert_allclose(one.scores, two.scores, atol=1e-4)
        if i % 10 == 9:
            state_a, state_b = a.restore(b.snapshot(state_b)), b.restore(a.snapshot(state_a))


@engines
@graphs
@settings(deadline=None, max_examples=8)
@given(st.integers(1, 9), st.integers(0, 3))
def test_n_idles_are_n_times_one_idle_to_the_bit(name, which, n, warm):
    rng = np.random.default_rng(n)
    engine = open_engine(name, graph_of(which))
    one, many = engine.init_state(2), engine.init_state(2)
    for frames in frames_of_noise(rng, warm, 2, engine.graph):
        engine.step(frames, one)
        engine.step(frames, many)
    engine.idle(many, n)
    for _ in range(n):
        engine.idle(one, 1)
    assert_same(engine.snapshot(one), engine.snapshot(many))


@engines
def test_a_stream_that_idles_is_as_if_alone(name):
    """run[b] = False idles stream b; the others step as they would in a batch of their own."""
    rng = np.random.default_rng(4)
    graph = graph_of("csa")
    engine = open_engine(name, graph)
    together = engine.init_state(3)
    alone = [engine.init_state(1) for _ in range(3)]
    for frames in frames_of_noise(rng, 10, 3, graph):
        run = rng.random(3) < 0.6
        both = engine.step(frames, together, run)
        for b in range(3):
            single = engine.step(frames[b : b + 1], alone[b], run[b : b + 1])
            np.testing.assert_array_equal(both.activity.spikes[b], single.activity.spikes[0])
            np.testing.assert_array_equal(both.scores[b], single.scores[0])
            if not run[b]:
                assert not both.activity.spikes[b].any() and both.activity.mac[b] == 0


@engines
def test_idle_and_reset_of_some_streams_leave_the_others(name):
    rng = np.random.default_rng(5)
    engine = open_engine(name, graph_of("plain"))
    state = engine.init_state(3)
    for frames in frames_of_noise(rng, 3, 3, engine.graph):
        engine.step(frames, state)
    before = copied(engine.snapshot(state))
    engine.idle(state, 2, streams=[1])
    engine.reset(state, streams=[2])
    after = engine.snapshot(state)
    fresh = engine.snapshot(engine.init_state(1))
    for key in before:
        np.testing.assert_array_equal(after[key][0], before[key][0])
        np.testing.assert_array_equal(after[key][2], fresh[key][0])
    assert after["steps"].tolist() == [3, 5, 0]


@engines
def test_peek_gives_the_next_scores_and_changes_nothing(name):
    rng = np.random.default_rng(6)
    engine = open_engine(name, graph_of("csa"))
    state = engine.init_state(2)
    for frames in frames_of_noise(rng, 9, 2, engine.graph):
        before = copied(engine.snapshot(state))
        seen = engine.peek(frames, state)
        assert_same(engine.snapshot(state), before)
        np.testing.assert_array_equal(engine.step(frames, state).scores, seen)


@engines
@settings(deadline=None, max_examples=15)
@given(st.lists(st.booleans(), min_size=1, max_size=14), st.integers(0, 1000))
def test_the_readout_is_the_mean_of_the_last_steps_that_ran(name, run, seed):
    rng = np.random.default_rng(seed)
    graph = graph_of("plain")
    engine = open_engine(name, graph)
    state = engine.init_state()
    outputs = []
    for frames, ran in zip(frames_of_noise(rng, len(run), 1, graph), run, strict=True):
        result = engine.step(frames, state, [ran])
        outputs.append(state.ring[0, -1].copy())
        expected = slow.mean_of_last(outputs, run[: len(outputs)], graph.steps)
        np.testing.assert_allclose(result.scores[0], expected, atol=1e-6)
        assert result.steps[0] == len(outputs)
        assert result.processed[0] == sum(run[: len(outputs)][-graph.steps :])


@engines
@pytest.mark.parametrize("changes", [{"horizon": "tumbling"}, {}])
def test_a_tumbling_network_starts_anew_after_its_steps(name, changes):
    rng = np.random.default_rng(7)
    graph = graph_of("plain", **changes)
    engine = open_engine(name, graph, "sliding" if changes else "window")
    state = engine.init_state()
    frames = frames_of_noise(rng, graph.steps, 1, graph)
    first = [engine.step(f, state).scores for f in frames]
    second = [engine.step(f, state).scores for f in frames]
    np.testing.assert_array_equal(first, second)


@engines
def test_a_causal_output_ignores_later_frames(name):
    rng = np.random.default_rng(8)
    engine = open_engine(name, graph_of("csa"))
    frames = frames_of_noise(rng, 12, 1, engine.graph)
    other = frames.copy()
    other[6:] = frames_of_noise(rng, 6, 1, engine.graph, rate=2)
    scores = []
    for stream in (frames, other):
        state = engine.init_state()
        scores.append([engine.step(f, state).scores for f in stream])
    np.testing.assert_array_equal(scores[0][:6], scores[1][:6])
    assert not np.array_equal(scores[0][6:], scores[1][6:])


@engines
def test_what_does_not_belong_is_refused_by_name(name):
    engine = open_engine(name, graph_of("plain"))
    state = engine.init_state()
    with pytest.raises(EngineError, match=r"frames: found float32\(1, 2, 16, 16\), wanted uint16"):
        engine.step(np.zeros((1, 2, 16, 16), np.float32), state)
    with pytest.raises(EngineError, match="frames: found"):
        engine.step(np.zeros((1, 2, 8, 16), np.uint16), state)
    snapshot = engine.snapshot(state)
    with pytest.raises(EngineError, match=r"n1.h is float64"):
        engine.restore(snapshot | {"n1.h": snapshot["n1.h"].astype(np.float64)})
    with pytest.raises(EngineError, match="extra is not a state"):
        engine.restore(snapshot | {"extra": np.zeros(1)})
    del snapshot["n1.h"]
    with pytest.raises(EngineError, match=r"n1.h is missing"):
        engine.restore(snapshot)


def test_an_unknown_engine_names_the_known_ones():
    with pytest.raises(EngineError, match="'brian': wanted one of auto, onnx, torch"):
        open_engine("brian", graph_of("plain"))


@graphs
def test_agreement_finds_no_difference_between_engines_and_one_that_is_there(which):
    rng = np.random.default_rng(12)
    graph = graph_of(which)
    reference, other = (open_engine(name, graph) for name in ("torch", "onnx"))
    frames = frames_of_noise(rng, 40, 1, graph)
    found = compare(reference, other, frames)
    assert found.agrees and found.steps == 40 and found.spikes > 300
    assert found.per_million < 500
    changed = Graph(graph.document, {**graph.tensors, "c1.bias": graph.tensors["c1.bias"] + 0.2})
    wrong = compare(reference, open_engine("onnx", changed), frames)
    assert wrong.first_difference is not None and wrong.per_million > 1_000
