"""Networks of form window: T frames are taken, then run at once; in every engine and the pipeline."""

import functools

import msgspec
import numpy as np
import pytest
from gate_cases import T, gated_graph, staa_graph

from spikeline.models import reference
from spikeline.models.graph import Graph
from spikeline.pipeline.engines import ENGINES, EngineError, open_engine
from spikeline.pipeline.events import Sensor, clock_mark
from spikeline.pipeline.package import Package, PackageError, Skip, save_package
from spikeline.pipeline.run import Pipeline, RunConfig

from helpers import frames_of_noise, small_graph, small_manifest
from strategies import packets_of

GRAPH, _ = gated_graph({"kind": "ta", "form": "window", "pools": "both"}, seed=1)
SENSOR = Sensor(64, 64)
engines = pytest.mark.parametrize("name", ENGINES)


@functools.cache
def engine_of(name):
    return open_engine(name, GRAPH)


def noise(steps, batch, seed=0, graph=GRAPH):
    return frames_of_noise(np.random.default_rng(seed), steps, batch, graph, rate=1.0)


def windowed(graph):
    """A network that could run one step at a time, run as a window."""
    return Graph(msgspec.structs.replace(graph.document, form="window", horizon="tumbling"), graph.tensors)


@engines
def test_nothing_is_said_before_the_window_is_full_and_then_all_of_it(name):
    engine = engine_of(name)
    state = engine.init_state(2)
    frames = noise(2 * T, 2)
    for start in (0, T):
        for t, frame in enumerate(frames[start : start + T]):
            result = engine.step(frame, state)
            assert (result.steps == t + 1).all() and (result.processed == t + 1).all()
            if t < T - 1:
                assert not result.ready.any() and not result.scores.any()
                a = result.activity
                assert not a.spikes.any() and not a.synops.any() and not a.mac.any()
        values = reference.run_window(GRAPH, frames[start : start + T], np.float64)
        assert result.ready.all()
        np.testing.assert_allclose(result.scores, values["readout"].mean(0), atol=1e-4)
        fired = (values["neurons"] != 0).sum((0, 2, 3, 4))
        np.testing.assert_array_equal(result.activity.spikes[:, 0], fired)
        assert fired.all() and (result.activity.synops == fired * GRAPH.classes).all()
        assert (result.activity.mac == engine.meter.mac).all()


@engines
def test_streams_at_different_places_of_their_windows_are_as_if_alone(name):
    engine = engine_of(name)
    rng = np.random.default_rng(3)
    together = engine.init_state(3)
    alone = [engine.init_state(1) for _ in range(3)]
    seen = set()
    for i, frames in enumerate(noise(4 * T, 3)):
        if i in (1, 3):
            engine.reset(together, [i - 1])
            engine.reset(alone[i - 1])
        run = rng.random(3) < 0.7
        both = engine.step(frames, together, run)
        seen.add(tuple(both.ready.tolist()))
        for b in range(3):
            single = engine.step(frames[b : b + 1], alone[b], run[b : b + 1])
            assert both.ready[b] == single.ready[0] and both.steps[b] == single.steps[0]
            assert both.processed[b] == single.processed[0]
            np.testing.assert_array_equal(both.activity.spikes[b], single.activity.spikes[0])
            np.testing.assert_array_equal(both.activity.mac[b], single.activity.mac[0])
            np.testing.assert_array_equal(both.scores[b], single.scores[0])
    assert {(True, False, False), (False, True, False), (False, False, True)} <= seen


@engines
def test_a_skipped_frame_is_one_without_events_and_its_output_is_left_out(name):
    engine = engine_of(name)
    frames, run = noise(T, 1), [True, False, True, False, True]
    state = engine.init_state()
    for frame, ran in zip(frames, run, strict=True):
        result = engine.step(frame, state, [ran])
    assert result.ready[0] and result.processed[0] == 3
    silent = np.where(np.array(run)[:, None, None, None, None], frames, 0).astype(np.uint16)
    outputs = reference.run_window(GRAPH, silent, np.float64)["readout"][:, 0]
    np.testing.assert_allclose(result.scores[0], outputs[run].mean(0), atol=1e-4)
    nothing = engine.init_state()
    for _ in range(T):
        result = engine.step(frames[0], nothing, [False])
    assert result.ready[0] and result.processed[0] == 0 and not result.scores.any()


@pytest.mark.parametrize("name", ["torch", "sparse"])
def test_a_snapshot_in_the_middle_of_a_window_goes_on_in_another_engine(name):
    a, b = engine_of("onnx"), engine_of(name)
    frames = noise(T, 2)
    state = a.init_state(2)
    for frame in frames[:3]:
        a.step(frame, state)
    snapshot = a.snapshot(state)
    assert snapshot["window.frames"].shape == (2, T, 2, 5, 7) and snapshot["window.frames"].dtype == np.uint16
    other = b.restore(snapshot)
    for frame in frames[3:]:
        one, two = a.step(frame, state), b.step(frame, other)
    np.testing.assert_allclose(one.scores, two.scores, atol=1e-4)
    np.testing.assert_array_equal(one.activity.spikes, two.activity.spikes)
    assert a.snapshot(state).keys() == b.snapshot(other).keys()


@engines
def test_peek_looks_at_the_window_that_a_frame_would_fill(name):
    engine = engine_of(name)
    state = engine.init_state()
    for frame in noise(T, 1):
        before = engine.snapshot(state)
        seen = engine.peek(frame, state)
        for key, array in engine.snapshot(state).items():
            np.testing.assert_array_equal(array, before[key])
        np.testing.assert_array_equal(engine.step(frame, state).scores, seen)
    assert seen.any()


@engines
@pytest.mark.parametrize("which", ["csa", "staa"])
def test_a_causal_network_gives_the_same_as_a_window(name, which):
    graph = staa_graph() if which == "staa" else small_graph(1, refine=("ca", "sa"))
    frames = noise(graph.steps, 2, graph=graph)
    one, other = open_engine(name, graph), open_engine(name, windowed(graph))
    state, filling = one.init_state(2), other.init_state(2)
    spikes = synops = 0
    for frame in frames:
        stepped, at_once = one.step(frame, state), other.step(frame, filling)
        spikes, synops = spikes + stepped.activity.spikes, synops + stepped.activity.synops
    np.testing.assert_allclose(stepped.scores, at_once.scores, atol=1e-5)
    np.testing.assert_array_equal(at_once.activity.spikes, spikes)
    np.testing.assert_array_equal(at_once.activity.synops, synops)
    assert at_once.activity.mac[0] == graph.steps * stepped.activity.mac[0]
    assert other.meter.mac_per_step == one.meter.mac


def test_what_a_window_cannot_do_is_refused_in_one_line(tmp_path):
    engine = engine_of("onnx")
    with pytest.raises(EngineError, match="a network of form window cannot leave out a step"):
        engine.idle(engine.init_state())
    with pytest.raises(EngineError, match="readout ema: found a network of form window"):
        open_engine("onnx", GRAPH, "ema")
    graph = windowed(small_graph(1))
    with pytest.raises(PackageError, match=r"skip.rule idle: a network of form window"):
        save_package(tmp_path / "x.safetensors", small_manifest(graph), graph)


def pipeline_of(skip=None, **config):
    graph = windowed(small_graph(1))
    package = Package(small_manifest(graph, skip=Skip("zero", 0.5)), graph, "")
    return Pipeline(package, SENSOR, RunConfig(**config), skip)


def test_the_pipeline_says_nothing_until_a_window_is_full():
    rng = np.random.default_rng(2)
    t = np.sort(rng.integers(0, 120_000, 4_000)).astype(np.int64)
    x, y = rng.integers(0, 64, (2, 4_000)).astype(np.uint16)
    p = rng.integers(0, 2, 4_000).astype(np.uint8)
    skip = lambda window, frame: "gate" if window.seq == 5 else None  # noqa: E731
    digests = set()
    for cuts in ([], range(0, 4_000, 37)):
        pipeline = pipeline_of(skip)
        results = list(pipeline.run(packets_of(t, x, y, p, cuts, 120_000, 0)))
        digests.add(pipeline.digests.full)
        full = [r for r in results if r.seq % 4 == 3]
        assert len(results) == 12 and len(full) == 3
        for r in results:
            if r.seq % 4 < 3:
                assert r.label is None and r.segment is None and r.warming and not r.scores.any()
        assert not any(r.warming for r in full)
        assert all(r.label is not None and r.segment in ("new", "update") and r.synops for r in full)
        assert [r.processed for r in full] == [4, 3, 4] and [r.steps for r in full] == [4, 4, 4]
        assert results[5].skipped == "gate"
    assert len(digests) == 1


def test_ready_windows_come_every_t_steps_of_a_silent_scene():
    results = list(pipeline_of().run(clock_mark(u, 0, 0) for u in range(0, 200_001, 10_000)))
    assert [not r.warming for r in results] == [k % 4 == 3 for k in range(20)]
