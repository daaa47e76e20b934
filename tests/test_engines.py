"""The engine contract, for every engine, on networks of every neuron kind and every gate with a memory."""

import functools

import numpy as np
import pytest
from gate_cases import STATEFUL_CASES, case_name, lively, staa_graph, uneven
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeline.models import reference
from spikeline.models.graph import Graph
from spikeline.models.neurons import CONSTANTS
from spikeline.pipeline.agreement import compare
from spikeline.pipeline.engines import ENGINES, EngineError, open_engine

import reference as slow
from helpers import frames_of_noise, small_graph

SMALL = {"plain": {}, "csa": {"refine": ("ca", "sa")}, **{kind: {"kind": kind} for kind in CONSTANTS}}
GATED = {case_name(attrs): attrs for attrs in STATEFUL_CASES}
engines = pytest.mark.parametrize("name", ENGINES)
small_graphs = pytest.mark.parametrize("which", SMALL)
graphs = pytest.mark.parametrize("which", [*SMALL, *GATED, "staa"])


def graph_of(which, **changes):
    if which == "staa":
        return staa_graph()
    return lively(GATED[which])[0] if which in GATED else small_graph(1, **(SMALL[which] | changes))


@functools.cache
def engine_of(name, which):
    """Engines remember nothing between calls: one serves many tests."""
    return open_engine(name, graph_of(which))


def copied(snapshot):
    return {name: array.copy() for name, array in snapshot.items()}


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


@engines
@small_graphs
def test_steps_equal_the_numpy_reference(name, which):
    """Spikes exactly and membranes within 1e-4, each step from the reference's state."""
    rng = np.random.default_rng(0)
    graph = graph_of(which)
    engine = open_engine(name, graph)
    state = engine.init_state(3)
    states = reference.initial_states(graph, 3)
    spikes = 0
    for frames in frames_of_noise(rng, 12, 3, graph):
        result = engine.step(frames, state)
        values, states = reference.run_step(graph, frames, states)
        fired = np.stack([values[layer].reshape(3, -1).sum(1) for layer in graph.layers], 1)
        np.testing.assert_array_equal(result.activity.spikes, fired)
        wanted = slow.synops(values["n1"][0], graph.tensor(graph.nodes[4], "weight"), 2, 1)
        wanted += int((values["n2"][0] != 0).sum()) * graph.classes
        assert result.activity.synops[0] == wanted
        for key, h in states.items():
            np.testing.assert_allclose(engine.snapshot(state)[key], h, rtol=1e-4, atol=1e-5)
        spikes += fired.sum()
    assert spikes > 100


@pytest.mark.parametrize("other", ["torch", "sparse"])
@graphs
def test_engines_agree_and_their_snapshots_are_interchangeable(which, other):
    rng = np.random.default_rng(1)
    a, b = engine_of("onnx", which), engine_of(other, which)
    state_a, state_b = a.init_state(4), b.init_state(4)
    for i, frames in enumerate(uneven(rng, 30, 4, a.graph)):
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
    engine = engine_of(name, which)
    one, many = engine.init_state(2), engine.init_state(2)
    for frames in frames_of_noise(rng, warm, 2, engine.graph):
        engine.step(frames, one)
        engine.step(frames, many)
    engine.idle(many, n)
    for _ in range(n):
        engine.idle(one, 1)
    assert_same(engine.snapshot(one), engine.snapshot(many))


@engines
@graphs
def test_a_stream_that_idles_is_as_if_alone(name, which):
    """run[b] = False idles stream b; the others step as they would in a batch of their own."""
    rng = np.random.default_rng(4)
    engine = engine_of(name, which)
    graph = engine.graph
    together = engine.init_state(3)
    alone = [engine.init_state(1) for _ in range(3)]
    for frames in frames_of_noise(rng, 10, 3, graph):
        run = rng.random(3) < 0.6
        both = engine.step(frames, together, run)
        for b in range(3):
            single = engine.step(frames[b : b + 1], alone[b], run[b : b + 1])
            np.testing.assert_array_equal(both.activity.spikes[b], single.activity.spikes[0])
            near = 0 if which in SMALL else 1e-5  # mean outputs are whole spikes there, real values elsewhere
            np.testing.assert_allclose(both.scores[b], single.scores[0], rtol=near, atol=near)
            if not run[b]:
                assert not both.activity.spikes[b].any() and both.activity.mac[b] == 0


@engines
@graphs
def test_idle_and_reset_of_some_streams_leave_the_others(name, which):
    rng = np.random.default_rng(5)
    engine = engine_of(name, which)
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
    alone = engine.restore({key: array[1:2] for key, array in before.items()})
    engine.idle(alone, 2)
    for key, array in engine.snapshot(alone).items():
        np.testing.assert_array_equal(array[0], after[key][1], err_msg=key)


@engines
@graphs
def test_peek_gives_the_next_scores_and_changes_nothing(name, which):
    rng = np.random.default_rng(6)
    engine = engine_of(name, which)
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
@graphs
def test_a_tumbling_network_starts_anew_after_its_steps(name, which):
    """By its own horizon, or by the readout `window`; steps that idled count like those that ran."""
    rng = np.random.default_rng(7)
    graph = graph_of(which)
    run = [True] * (graph.steps - 1) + [False]
    found = []
    for engine in (open_engine(name, graph, "window"), open_engine(name, graph.with_horizon("tumbling"))):
        state = engine.init_state()
        frames = frames_of_noise(rng, graph.steps, 1, graph)
        for _ in range(2):
            steps = [engine.step(f, state, [ran]) for f, ran in zip(frames, run, strict=True)]
            found.append([(s.scores.tolist(), s.activity.spikes.tolist(), s.steps[0]) for s in steps])
        assert found[-1] == found[-2]
        assert [steps for *_, steps in found[-1]] == list(range(1, graph.steps + 1))


@engines
@graphs
def test_a_causal_output_ignores_later_frames(name, which):
    rng = np.random.default_rng(8)
    engine = engine_of(name, which)
    frames = uneven(rng, 12, 1, engine.graph)
    other = frames.copy()
    other[6:] = uneven(rng, 6, 1, engine.graph)
    found = []
    for stream in (frames, other):
        state = engine.init_state()
        steps = [engine.step(f, state) for f in stream]
        found.append([(s.scores.tolist(), s.activity.spikes.tolist()) for s in steps])
    assert found[0][:6] == found[1][:6]
    assert found[0][6:] != found[1][6:]


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
    with pytest.raises(EngineError, match="'brian': wanted one of auto, onnx, torch, sparse"):
        open_engine("brian", graph_of("plain"))


@pytest.mark.parametrize("name", ["onnx", "sparse"])
@small_graphs
def test_agreement_finds_no_difference_between_engines_and_one_that_is_there(which, name):
    rng = np.random.default_rng(12)
    graph = graph_of(which)
    reference, other = open_engine("torch", graph), open_engine(name, graph)
    frames = frames_of_noise(rng, 40, 1, graph)
    found = compare(reference, other, frames)
    assert found.agrees and found.steps == 40 and found.spikes > 300
    assert found.per_million < 500
    changed = Graph(graph.document, {**graph.tensors, "c1.bias": graph.tensors["c1.bias"] + 0.2})
    wrong = compare(reference, open_engine(name, changed), frames)
    assert wrong.first_difference is not None and wrong.per_million > 1_000
