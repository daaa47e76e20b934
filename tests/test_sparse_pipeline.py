"""The spike-driven engine behind the pipeline: events as they arrive, what `auto` takes, whole numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_run import GRAPH, PACKAGE, SENSOR, played

from spikeline.pipeline.engines import INT16, open_engine
from spikeline.pipeline.engines.sparse.costs import Costs, save_costs
from spikeline.pipeline.package import Package, Range, Statistics
from spikeline.pipeline.run import Pipeline, PipelineError, RunConfig

from helpers import small_manifest
from strategies import cuts, event_streams, packets_of


@pytest.mark.parametrize("engine", ["sparse", INT16])
@settings(deadline=None, max_examples=25)
@given(event_streams(width=64, height=64, gap_us=2_000, most=200), st.data())
def test_events_may_reach_the_network_as_they_arrive_however_they_are_cut(engine, stream, data):
    t, x, y, p = stream
    until_us = int(t[-1]) + 25_000 if len(t) else 25_000
    whole, _ = played(packets_of(t, x, y, p, [], until_us), RunConfig(engine=engine))
    config = RunConfig(engine=engine, early=True)
    for cut in ([], data.draw(cuts(len(t))), range(len(t))):
        early, _ = played(packets_of(t, x, y, p, cut, until_us), config)
        assert early.digests.full == whole.digests.full
        assert early.accounts == whole.accounts


def test_events_of_a_window_that_never_closed_do_not_enter_the_next_epoch():
    def packets():
        for epoch, n, until_us in ((0, 41, 4_000), (1, 1, 25_000)):
            t = np.linspace(0, 4_000, n).astype(np.int64)
            x, p = np.full(n, 7, np.uint16), np.zeros(n, np.uint8)
            yield from packets_of(t, x, x, p, [], until_us, origin_us=0, epoch=epoch)

    early, results = played(packets(), RunConfig(engine="sparse", early=True))
    plain, wanted = played(packets(), RunConfig(engine="sparse"))
    assert early.digests.full == plain.digests.full and len(results) == len(wanted) == 2
    assert early.accounts.unfinished == 41


@pytest.mark.parametrize(
    ("config", "skip", "found"),
    [
        (RunConfig(engine="onnx", early=True), None, "engine onnx"),
        (RunConfig(engine="sparse", early=True), lambda window, frame: None, "windows that may be skipped"),
        (RunConfig(engine="sparse", early=True, hop_us=5_000), None, "windows that overlap, hop_us 5000"),
    ],
)
def test_early_events_are_refused_where_a_window_may_not_be_just_these(config, skip, found):
    with pytest.raises(PipelineError, match=f"early: found {found}.*wanted the sparse engine"):
        Pipeline(PACKAGE, SENSOR, config, skip)


def test_auto_goes_by_the_packages_own_statistics(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    save_costs(Costs(step_us=0.001))
    assert Pipeline(PACKAGE, SENSOR).engine.name == "onnx"  # it has none
    some = Range(1.0, 0.0, 2.0)
    few = Statistics(some, some, some, dict.fromkeys(GRAPH.layers, some))
    known = Package(small_manifest(GRAPH, statistics=few), GRAPH, "0" * 64)
    assert Pipeline(known, SENSOR).engine.name == "sparse"
    save_costs(Costs(step_us=1000.0))
    assert Pipeline(known, SENSOR).engine.name == "onnx"


def noise(steps, batch, seed=0):
    return np.random.default_rng(seed).poisson(0.3, (steps, batch, 2, 16, 16)).astype(np.uint16)


def test_whole_numbers_keep_the_engines_contract():
    """Streams of a batch, snapshots, idling and looking ahead, all to the bit."""
    engine = open_engine(INT16, GRAPH)
    assert engine.name == INT16 and all(layer.neurons.whole for layer in engine.plan.layers)
    together, alone = engine.init_state(2), [engine.init_state(), engine.init_state()]
    for frames in noise(12, 2):
        seen = engine.peek(frames, together)
        result = engine.step(frames, together)
        np.testing.assert_array_equal(seen, result.scores)
        for b, state in enumerate(alone):
            single = engine.step(frames[b : b + 1], state)
            np.testing.assert_array_equal(result.scores[b], single.scores[0])
            np.testing.assert_array_equal(result.activity.spikes[b], single.activity.spikes[0])
    snapshot = engine.snapshot(together)
    again = engine.restore(snapshot)
    for name, array in engine.snapshot(again).items():
        np.testing.assert_array_equal(array, snapshot[name])
    engine.idle(together, 3)
    for _ in range(3):
        engine.idle(again)
    for frames in noise(5, 2, 1):
        a, b = engine.step(frames, together, [True, False]), engine.step(frames, again, [True, False])
        np.testing.assert_array_equal(a.activity.spikes, b.activity.spikes)
    for name, array in engine.snapshot(together).items():
        np.testing.assert_array_equal(engine.snapshot(again)[name], array)


def test_whole_numbers_are_near_those_in_float_and_clipped_ones_are_counted():
    engine, exact = open_engine(INT16, GRAPH), open_engine("sparse", GRAPH)
    state, wanted = engine.init_state(), exact.init_state()
    ours = theirs = np.zeros(len(GRAPH.layers))
    for frames in noise(40, 1):
        result, reference = engine.step(frames, state), exact.step(frames, wanted)
        assert reference.activity.clipped.tolist() == [0]
        ours, theirs = ours + result.activity.spikes[0], theirs + reference.activity.spikes[0]
    np.testing.assert_allclose(ours, theirs, rtol=0.02, atol=3)
    far = exact.snapshot(wanted)
    far[f"{GRAPH.layers[0]}.h"][:] = -1e3
    result = engine.step(frames, engine.restore(far))
    assert result.activity.clipped[0] >= np.prod(GRAPH.shapes[GRAPH.layers[0]])
