"""The whole pipeline on random streams: one digest however cut, every event accounted for."""

import hashlib
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeline.models import reference
from spikeline.pipeline.engines import ENGINES
from spikeline.pipeline.events import Admission, Sensor, clock_mark
from spikeline.pipeline.package import Package
from spikeline.pipeline.run import Pipeline, PipelineError, RunConfig

from helpers import small_graph, small_manifest
from strategies import cuts, event_streams, packets_of

SENSOR = Sensor(64, 64)
GRAPH = small_graph(1)
PACKAGE = Package(small_manifest(GRAPH), GRAPH, "0" * 64)


def played(packets, config=None, skip=None, package=PACKAGE, sensor=SENSOR):
    pipeline = Pipeline(package, sensor, config, skip)
    results = [(r.seq, r.label, r.scores.tolist(), r.frame.copy()) for r in pipeline.run(packets)]
    return pipeline, results


@settings(deadline=None, max_examples=40)
@given(event_streams(width=64, height=64, gap_us=2_000, most=200), st.data())
def test_one_digest_however_the_stream_is_cut(stream, data):
    t, x, y, p = stream
    until_us = int(t[-1]) + 25_000 if len(t) else 25_000
    whole, _ = played(packets_of(t, x, y, p, [], until_us))
    parts, _ = played(packets_of(t, x, y, p, data.draw(cuts(len(t))), until_us))
    single, _ = played(packets_of(t, x, y, p, range(len(t)), until_us))
    assert parts.digests.full == whole.digests.full == single.digests.full
    assert parts.digests.input == whole.digests.input
    assert parts.accounts == whole.accounts == single.accounts


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["crop", "scale"]), st.sampled_from([0, 5_000, 2_500]))
def test_the_account_of_events_holds(seed, fit, hop_us):
    """Disordered, out of range, reset clocks, a larger sensor: received is the sum of its parts."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 400))
    t = np.cumsum(rng.integers(-800, 2_000, n)).astype(np.int64)
    if rng.random() < 0.3:
        t[n // 2 :] -= 5_000_000
    sensor = Sensor(90, 70)
    admission = Admission(sensor)
    raw = [t, rng.integers(0, 95, n).astype(np.uint16), rng.integers(0, 75, n).astype(np.uint16)]
    packets = admission.admit(*raw, rng.integers(0, 2, n).astype(np.uint8))
    skip = lambda window, frame: "overload" if window.seq % 3 == 2 else None  # noqa: E731
    pipeline, results = played(packets, RunConfig(fit=fit, hop_us=hop_us), skip, sensor=sensor)
    a = pipeline.accounts
    a.refused = admission.report.refused
    assert a.received == n
    assert a.windows == len(results) == a.windows_run + a.windows_skipped
    if hop_us == 0:
        in_frames = sum(int(frame.sum()) for *_, frame in results)
        open_slice = a.unfinished  # its events outside the crop are already counted as such
        assert in_frames + a.outside + a.saturated <= n - a.refused <= in_frames + a.outside + open_slice


@settings(deadline=None, max_examples=20)
@given(event_streams(width=64, height=64, gap_us=2_000, most=200))
def test_every_event_lands_in_exactly_one_frame(stream):
    t, x, y, p = stream
    until_us = (int(t[-1]) // 10_000 + 2) * 10_000 if len(t) else 0
    pipeline, results = played(packets_of(t, x, y, p, [], until_us, origin_us=0))
    assert sum(int(frame.sum()) for *_, frame in results) == len(t)
    assert pipeline.accounts.unfinished == 0


@settings(deadline=None, max_examples=20)
@given(event_streams(width=64, height=64, gap_us=3_000, most=300))
def test_streaming_equals_the_slow_reference_at_every_prefix(stream):
    """Frames counted by hand and the NumPy reference give the scores after every window."""
    t, x, y, p = stream
    until_us = int(t[-1]) + 10_000 if len(t) else 10_000
    _, results = played(packets_of(t, x, y, p, [], until_us, origin_us=0))
    states = reference.initial_states(GRAPH, 1)
    outputs = []
    for seq, _, scores, _ in results:
        frame = np.zeros((1, 2, 16, 16), np.uint16)
        for i in np.flatnonzero((t >= seq * 10_000) & (t < (seq + 1) * 10_000)):
            frame[0, p[i], y[i] // 4, x[i] // 4] += 1
        values, states = reference.run_step(GRAPH, frame, states)
        outputs.append(values["readout"][0])
        np.testing.assert_allclose(scores, np.mean(outputs[-GRAPH.steps :], axis=0), atol=1e-6)


@pytest.mark.parametrize("engine", ENGINES)
def test_ten_seconds_without_events_make_every_window_on_time(engine):
    pipeline = Pipeline(PACKAGE, SENSOR, RunConfig(engine=engine))
    results = [
        (r.t_start_us, r.t_end_us, sum(r.spikes.values()))
        for r in pipeline.run(clock_mark(u, 0, 0) for u in range(0, 10_000_001, 7_000))
    ]
    # the last mark before 10 s stands at 9.996 s: 999 windows have ended by then
    assert [r[:2] for r in results] == [(k * 10_000, (k + 1) * 10_000) for k in range(999)]
    states = reference.initial_states(GRAPH, 1)
    zeros = np.zeros((1, 2, 16, 16), np.uint16)
    for _, _, spikes in results:
        values, states = reference.run_step(GRAPH, zeros, states)
        assert spikes == sum(int(values[layer].sum()) for layer in GRAPH.layers)
    for name, h in states.items():
        np.testing.assert_allclose(pipeline.engine.snapshot(pipeline.state)[name], h, atol=1e-5)


def test_the_digest_is_over_the_documented_record():
    pipeline = Pipeline(PACKAGE, SENSOR)
    full, given_input = hashlib.sha256(), hashlib.sha256()
    for r in pipeline.run([clock_mark(0, 0, 0), clock_mark(50_000, 0, 0)]):
        record = struct.pack("<qqqqB", r.seq, r.epoch, r.t_start_us, r.t_end_us, 0)
        spikes = struct.pack(f"<{len(r.spikes)}q", *r.spikes.values())
        given_input.update(record)
        full.update(record + r.scores.astype("<f4").tobytes() + spikes + struct.pack("<q", r.synops))
    assert pipeline.digests.full == full.hexdigest()
    assert pipeline.digests.input == given_input.hexdigest()


def test_a_skipped_window_idles_and_is_counted_apart():
    one = np.zeros(3, np.uint16)
    t = np.array([1_000, 11_000, 12_000], np.int64)
    skip = lambda window, frame: "gate" if window.seq == 1 else None  # noqa: E731
    pipeline = Pipeline(PACKAGE, SENSOR, None, skip)
    results = list(pipeline.run(packets_of(t, one, one, one.astype(np.uint8), [], 30_000, 0)))
    assert [r.skipped for r in results] == [None, "gate", None]
    assert not any(results[1].spikes.values()) and results[1].synops == results[1].mac == 0
    assert [r.processed for r in results] == [1, 1, 2]
    assert (pipeline.accounts.processed, pipeline.accounts.gated) == (1, 2)


def test_a_model_not_trained_for_it_is_never_skipped():
    package = Package(small_manifest(GRAPH, skip=None), GRAPH, "")
    with pytest.raises(PipelineError, match="was not trained with skipped windows"):
        Pipeline(package, SENSOR, None, lambda window, frame: None)


def test_a_new_epoch_starts_from_a_fresh_state():
    rng = np.random.default_rng(3)
    t = np.sort(rng.integers(0, 40_000, 500)).astype(np.int64)
    x, y = rng.integers(0, 64, (2, 500)).astype(np.uint16)
    p = rng.integers(0, 2, 500).astype(np.uint8)
    stream = [*packets_of(t, x, y, p, [], 40_000, 0), *packets_of(t, x, y, p, [], 40_000, 0, epoch=1)]
    _, results = played(stream)
    assert [r[2] for r in results[:4]] == [r[2] for r in results[4:]]
    assert [r[0] for r in results] == list(range(8))
