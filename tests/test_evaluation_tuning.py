"""Threshold and hold time: chosen from scores of one run, kept in the package, used by whoever serves it."""

import json

import msgspec
import numpy as np
import pytest

from spikeline.pipeline.continuous import judge
from spikeline.pipeline.decision import Decision, DecisionConfig
from spikeline.pipeline.events import Sensor
from spikeline.pipeline.package import Manifest, PackageError, load_package, save_package
from spikeline.pipeline.run import Pipeline, RunConfig
from spikeline.pipeline.stream_figures import StreamFigures
from spikeline.pipeline.tracks import Track, TrackError, track
from spikeline.pipeline.truth import Performance
from spikeline.pipeline.tuning import Stream, TuningError, choose, figures, frontier, settings, sweep, tuned

from helpers import small_graph, small_manifest
from strategies import packets_of

DT = 50_000
LABELS = ["left", "right", "none"]


def made_up(seed, seconds=24, gestures=True):
    """A stream whose scores follow its truth with a lag, noise and blips of a window or two."""
    rng = np.random.default_rng(seed)
    n = seconds * 1_000_000 // DT
    end_us = DT * np.arange(1, n + 1)
    truth, true, t = [], np.full(n, 2), 1_000_000
    while gestures and t < end_us[-1] - 4_000_000:
        length = int(rng.integers(30, 60)) * DT
        label = int(rng.integers(2))
        truth.append(Performance(label, t, t + 600_000, t + length))
        true[(end_us >= t) & (end_us < t + length)] = label
        t += length + int(rng.integers(10, 40)) * DT
    lagged = np.concatenate([np.full(8, 2), true[:-8]])
    scores = rng.random((n, 3)) * 0.3
    scores[np.arange(n), lagged] += rng.normal(0.45, 0.1, n)
    for k in rng.integers(0, n, n // 30):
        scores[k : k + int(rng.integers(1, 4)), int(rng.integers(2))] += 0.4
    scores = np.clip(scores, 0, 1).astype(np.float32)
    return Stream(
        f"made:{seed}", "onnx", Track(end_us - DT, end_us, np.ones(n, bool), scores, np.full(n, 300.0)), truth
    )


@pytest.fixture(scope="module")
def streams():
    return [made_up(k) for k in range(3)] + [made_up(9, gestures=False)]


def test_the_choice_is_the_best_that_the_limit_allows(streams):
    """Against all settings, decided window by window by the rule that serves live."""
    rows = []
    for config in settings(DT):
        tallies = []
        for stream in streams:
            decide, t = Decision(LABELS, config), stream.track
            said = [decide(*row).position for row in zip(t.scores, t.start_us, t.end_us, strict=True)]
            labels = np.array([-1 if k is None else k for k in said])
            tallies.append(judge(t, labels, stream.truth, 2))
        found = StreamFigures.of(tallies)
        rows.append((config, found.macro, found.false_per_hour))
    assert len(rows) == 20 * 13
    found = sweep(streams, LABELS, DT)
    assert [(row.config, row.macro, row.false_per_hour) for row in found] == rows
    chosen = []
    for limit in (90.0, 500.0):
        best = choose(found, limit)
        allowed = [(f1, -false) for _, f1, false in rows if false <= limit]
        assert (best.macro, -best.false_per_hour) == max(allowed)
        chosen.append(best.macro)
    shown = [(row.macro, row.false_per_hour) for row in frontier(found)]
    beaten = lambda f1, false: any(  # noqa: E731
        a >= f1 and b <= false and (a, b) != (f1, false) for _, a, b in rows
    )
    assert shown == sorted({(f1, false) for _, f1, false in rows if not beaten(f1, false)}, reverse=True)
    assert chosen[0] <= chosen[1]
    plain = figures(streams, LABELS, DecisionConfig())
    assert chosen[1] > plain.macro  # the blips are held off


def test_a_limit_that_nothing_meets_and_streams_without_gestures_are_refused(streams):
    loud = made_up(3, gestures=False)
    loud.track.scores[:, 0] = (
        np.arange(len(loud.track)) // 40 % 2
    )  # sure of itself, for two seconds at a time
    with pytest.raises(
        TuningError, match=r"no setting stays under 0 false activations per hour; the nearest"
    ):
        choose(sweep([*streams, loud], LABELS, DT), 0.0)
    with pytest.raises(TuningError, match="nothing is performed"):
        sweep(streams[3:], LABELS, DT)


def served(package, events, config=None):
    return Pipeline(package, Sensor(64, 64), config).run(packets_of(*events, [50, 700], 400_000, origin_us=0))


@pytest.fixture(scope="module")
def events():
    rng = np.random.default_rng(4)
    t = np.sort(rng.integers(0, 400_000, 6_000)).astype(np.int64)
    x, y = rng.integers(0, 64, (2, 6_000)).astype(np.uint16)
    return t, x, y, rng.integers(0, 2, 6_000).astype(np.uint8)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    graph = small_graph(2)
    return save_package(tmp_path_factory.mktemp("p") / "small.safetensors", small_manifest(graph), graph)


@pytest.mark.parametrize(("threshold", "hold_us"), [(0.0, 0), (0.3, 0), (0.3, 30_000), (0.6, 20_000)])
def test_one_run_tells_what_a_run_with_any_setting_announces(package, events, threshold, hold_us):
    followed = track(served(package, events), "here")
    again = followed.labels(DecisionConfig(threshold=threshold, hold_us=hold_us))
    live = list(served(package, events, RunConfig(threshold=threshold, hold_us=hold_us)))
    assert again.tolist() == [-1 if r.label_index is None else r.label_index for r in live]
    assert len(followed) == 40 and followed.spikes == sum(sum(r.spikes.values()) for r in live)
    np.testing.assert_array_equal(followed.scores, [r.scores for r in live])


def test_a_stream_with_two_clocks_or_no_window_is_refused(package, events):
    twice = [*packets_of(*events, [], 400_000, 0), *packets_of(*events, [], 400_000, 0, epoch=1)]
    with pytest.raises(TrackError, match="here: its clock starts anew at window 40"):
        track(Pipeline(package, Sensor(64, 64)).run(twice), "here")
    with pytest.raises(TrackError, match="not one window"):
        track([], "here")


def test_a_tuned_package_says_on_what_and_is_served_with_it(package, events, streams, tmp_path):
    chosen = choose(sweep(streams, LABELS, DT), 500.0)
    config = chosen.config
    path = tmp_path / "tuned.safetensors"
    again = load_package(tuned(package, path, chosen, "made-up streams", 500.0).path)
    manifest = again.manifest
    assert again.digest != package.digest and manifest.tuned.of == package.digest
    assert (manifest.threshold, manifest.hold_us) == (config.threshold, config.hold_us)
    assert (manifest.tuned.f1_macro, manifest.tuned.false_per_hour) == (chosen.macro, chosen.false_per_hour)
    assert manifest.tuned.hours == pytest.approx(4 * 24 / 3600) and manifest.tuned.most_false_per_hour == 500
    for name, array in package.graph.tensors.items():
        np.testing.assert_array_equal(array, again.graph.tensors[name])
    plain = msgspec.structs.replace(manifest, threshold=0.0, hold_us=0, tuned=None)
    assert plain == package.manifest
    assert Pipeline(again, Sensor(64, 64)).decision.config == config
    asked = Pipeline(again, Sensor(64, 64), RunConfig(threshold=0.1, hold_us=0))
    assert asked.decision.config == DecisionConfig(threshold=0.1, hold_us=0)


def test_a_manifest_from_before_there_was_tuning_still_loads_with_the_defaults(package):
    table = json.loads(msgspec.json.encode(package.manifest))
    for name in ("tuned", "threshold", "hold_us"):
        del table[name]
    old = msgspec.json.decode(json.dumps(table), type=Manifest)
    assert (old.tuned, old.threshold, old.hold_us) == (None, 0.0, 0)
    assert old == package.manifest


def test_a_threshold_beyond_all_scores_is_no_package(package, tmp_path):
    manifest = msgspec.structs.replace(package.manifest, threshold=1.5)
    with pytest.raises(PackageError, match=r"threshold: found 1\.5, wanted 0 to 1"):
        save_package(tmp_path / "odd.safetensors", manifest, package.graph)
