"""Live sessions on the clock: what was seen live replays the same, and latency is where it is."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from spikeline.drivers import open_source
from spikeline.drivers.recording import Recorder, write_npz
from spikeline.pipeline import live as live_module
from spikeline.pipeline import open_pipeline
from spikeline.pipeline.commands.session import Session
from spikeline.pipeline.events import EventPacket, Sensor, SourceError, SourceReport, clock_mark
from spikeline.pipeline.latency import STAGES, LatencyBook
from spikeline.pipeline.live import Queued
from spikeline.pipeline.package import load_package, save_package
from spikeline.pipeline.run import Pipeline

from helpers import small_graph, small_manifest

pytestmark = pytest.mark.timeout(120)
SPIKELINE = Path(sys.executable).parent / "spikeline"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """events.npz: 1.2 s of a 64x64 camera; small.safetensors: windows of 40 ms."""
    folder = tmp_path_factory.mktemp("live")
    graph = small_graph(2)
    changes = {"dt_us": 40_000, "dt_range_us": (40_000, 40_000)}
    save_package(folder / "small.safetensors", small_manifest(graph, **changes), graph)
    rng = np.random.default_rng(9)
    t = np.sort(rng.integers(0, 1_200_000, 12_000)).astype(np.int64)
    x, y = rng.integers(0, 64, (2, len(t))).astype(np.uint16)
    packet = EventPacket(t, x, y, rng.integers(0, 2, len(t)).astype(np.uint8), 1_200_000, 0, 0)
    write_npz(folder / "events.npz", [packet], Sensor(64, 64))
    return folder


def run_live(folder, **options):
    session = open_pipeline(
        folder / "events.npz", folder / "small.safetensors", live=True, speed=1.0, **options
    )
    with session:
        results = [(r.seq, r.label, r.scores.tolist()) for r in session]
    return session, results


def test_a_recorded_live_run_replays_to_the_same_digest(folder, tmp_path):
    session, results = run_live(folder, record=tmp_path / "run.npz")
    live = session.summary()
    assert live["windows"] == 30 and live["late_windows"] == 0
    assert live["account"]["processed"] == live["events"] == 12_000
    with open_pipeline(tmp_path / "run.npz", folder / "small.safetensors") as replay:
        again = [(r.seq, r.label, r.scores.tolist()) for r in replay]
    assert again == results
    assert replay.summary()["digest"] == live["digest"]
    with np.load(tmp_path / "run.npz") as recording:
        assert str(recording["digest"]) == live["digest"]
        assert recording["window_seq"].tolist() == list(range(30))
        assert not recording["window_decision"].any()


def test_what_was_skipped_live_is_skipped_in_the_replay(folder, tmp_path):
    session = open_pipeline(folder / "events.npz", folder / "small.safetensors", record=tmp_path / "run.npz")
    session.pipeline._skip = lambda window, frame: "overload" if window.seq % 3 == 1 else None
    with session:
        skipped = [r.skipped for r in session]
    with open_pipeline(tmp_path / "run.npz", folder / "small.safetensors") as replay:
        assert [r.skipped for r in replay] == skipped
    assert skipped[:4] == [None, "overload", None, None]
    assert replay.summary()["digest"] == session.summary()["digest"]


@pytest.mark.parametrize("stage", STAGES[1:])
def test_a_delay_shows_in_its_own_stage_and_in_no_other(folder, stage):
    """5 ms in one stage: its median rises by 5 ms, every other stage's stays under 2.5 ms."""
    session, _ = run_live(folder, delay_s={stage: 0.005}, publish="tcp://127.0.0.1:*", stop_s=0.8)
    rows = session.summary()["latency_us"]
    assert 5_000 <= rows[stage]["p50"] < 7_500
    for other in STAGES[1:]:
        if other != stage:
            assert rows[other]["p50"] < 2_500, other
    assert rows["total"]["p50"] > 5_000 + 15_000  # and the median event waits 20 ms for its window


class Scripted:
    """A source that does what its script says: packets, pauses (seconds), errors."""

    sensor = Sensor(64, 64)
    format = "script"

    def __init__(self, *script):
        self.script = script
        self.closed = threading.Event()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.closed.set()

    def report(self):
        return SourceReport(events=sum(len(s) for s in self.script if isinstance(s, EventPacket)))

    def __iter__(self):
        for step in self.script:
            if isinstance(step, Exception):
                raise step
            if isinstance(step, EventPacket):
                yield step
            elif self.closed.wait(step):
                return


def packet_of(n, until_us):
    one = np.zeros(n, np.uint16)
    return EventPacket(np.full(n, until_us, np.int64), one, one, one.astype(np.uint8), until_us)


def test_an_error_of_the_camera_ends_the_loop_with_its_line():
    with Queued(Scripted(packet_of(3, 10), SourceError("camera: unplugged"))) as queued:
        packets = iter(queued)
        assert len(next(packets)) == 3
        with pytest.raises(SourceError, match="camera: unplugged"):
            next(packets)


def test_a_silent_camera_leaves_the_loop_its_heartbeat():
    with Queued(Scripted(clock_mark(5, 0, 0), 10.0)) as queued:
        packets = iter(queued)
        first = next(packets)
        began = time.monotonic()
        second, third = next(packets), next(packets)
        assert time.monotonic() - began < 1.0
        assert (len(second), second.until_us, second.epoch) == (0, 5, 0) == (len(third), first.until_us, 0)


def test_closing_ends_the_reader_thread():
    with Queued(Scripted(packet_of(1, 1), 60.0)) as queued:
        next(iter(queued))
    assert not any(t.name == "spikeline-reader" and t.is_alive() for t in threading.enumerate())


def test_what_does_not_fit_the_queue_is_counted_and_the_clock_goes_on(monkeypatch):
    monkeypatch.setattr(live_module, "MOST_EVENTS", 25)
    script = [packet_of(10, k) for k in range(10)]
    with Queued(Scripted(*script)) as queued:
        packets = iter(queued)
        seen = [next(packets)]
        time.sleep(0.3)  # the reader fills the queue meanwhile
        seen += list(packets)
    events = sum(len(p) for p in seen)
    assert events + queued.dropped == 100 and queued.dropped > 0
    assert [p.until_us for p in seen if p.until_us or len(p)][-1] == 9
    assert queued.report().dropped == queued.dropped and queued.report().events == events


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_live_run_cleanly(folder, tmp_path, number, code):
    """The recording is whole and replays to the digest that the interrupted run printed."""
    record = tmp_path / "run.npz"
    model = folder / "small.safetensors"
    running = subprocess.Popen(
        [SPIKELINE, "live", f"loop(times=0)+{folder / 'events.npz'}", "--model", model, "--json",
         "--publish", "", "--record", record],
        stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert running.stdout
    for _ in range(10):
        running.stdout.readline()
    began = time.monotonic()
    running.send_signal(number)
    out, _ = running.communicate(timeout=30)
    assert time.monotonic() - began < 4
    assert running.returncode == code
    summary = json.loads(out.splitlines()[-1])
    assert summary["type"] == "summary" and summary["windows"] >= 10
    with open_pipeline(record, model) as replay:
        for _ in replay:
            pass
    assert replay.summary()["digest"] == summary["digest"]


def test_a_session_stops_between_packets(folder, tmp_path):
    session = open_pipeline(
        folder / "events.npz", folder / "small.safetensors", live=True, speed=1.0, record=tmp_path / "r.npz"
    )
    with session:
        for result in session:
            if result.seq == 4:
                session.stop()
    assert session.summary()["windows"] == 5
    with open_pipeline(tmp_path / "r.npz", folder / "small.safetensors") as replay:
        assert len(list(replay)) == 5
    assert replay.summary()["digest"] == session.summary()["digest"]


def test_a_long_run_allocates_nothing_that_stays(folder):
    """Over a thousand windows the Python heap grows by less than 16 kB."""
    package = load_package(folder / "small.safetensors")
    pipeline = Pipeline(package, Sensor(64, 64))
    pipeline.latency = LatencyBook()
    rng = np.random.default_rng(3)
    x, y = rng.integers(0, 64, (2, 50)).astype(np.uint16)
    p = rng.integers(0, 2, 50).astype(np.uint8)

    def windows(first, count):
        for k in range(first, first + count):
            t = np.full(50, k * 40_000, np.int64)
            for result in pipeline.push(EventPacket(t, x, y, p, (k + 1) * 40_000, 0, 0)):
                pipeline.latency.window(result.t_end_us, 0, pipeline.stamps, skipped=False)

    windows(0, 100)
    tracemalloc.start()
    try:
        windows(100, 100)
        before, _ = tracemalloc.get_traced_memory()
        windows(200, 1_000)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert pipeline.accounts.windows_run == 1_200
    assert after - before < 16_000


@pytest.mark.parametrize("how", ["glob", "loop", "live"])
def test_recorded_skips_are_replayed_however_the_recording_is_opened(folder, tmp_path, how):
    session = open_pipeline(folder / "events.npz", folder / "small.safetensors", record=tmp_path / "run.npz")
    session.pipeline._skip = lambda window, frame: "gate" if window.seq % 4 == 2 else None
    with session:
        wanted = [r.skipped for r in session]
    path = tmp_path / ("r[u]n.npz" if how == "glob" else "run.npz")
    options = {"glob": {}, "loop": {"loop": 2}, "live": {"live": True}}[how]
    with open_pipeline(path, folder / "small.safetensors", **options) as replay:
        found = [r.skipped for r in replay]
    assert found == wanted * (2 if how == "loop" else 1)
    assert "gate" in wanted


def test_every_event_of_a_stopped_run_is_accounted_for(folder):
    session = open_pipeline(folder / "events.npz", folder / "small.safetensors", live=True, speed=1.0)
    with session:
        for result in session:
            if result.seq == 3:
                session.stop()
    account, report = session.account(), session.source.report()
    assert account.received == report.events + report.refused + report.filtered
    assert account.processed > 0 and account.queued >= 0


def test_an_account_is_right_at_any_time(folder):
    session = open_pipeline(
        folder / "events.npz", folder / "small.safetensors", start_s=0.2, packet_events=50
    )
    with session:
        for _ in session:
            account, report = session.account(), session.source.report()
            assert account.received == report.events + report.refused + report.filtered
            assert account.filtered > 0
    assert session.account().received == 12_000 and session.account().queued == 0


def test_who_breaks_off_still_has_a_recording_that_replays(folder, tmp_path):
    session = open_pipeline(folder / "events.npz", folder / "small.safetensors", record=tmp_path / "run.npz")
    with session:
        for result in session:
            if result.seq == 2:
                break
    with open_pipeline(tmp_path / "run.npz", folder / "small.safetensors") as replay:
        for _ in replay:
            pass
    assert replay.summary()["digest"] == session.summary()["digest"]


def test_a_deadline_ends_a_run_in_which_nothing_happens(folder):
    source = Queued(Scripted(60.0))
    package = load_package(folder / "small.safetensors")
    with Session(source, package, Pipeline(package, Sensor(64, 64))) as session:
        session.deadline_ns = time.monotonic_ns() + 3e8
        began = time.monotonic()
        assert list(session) == []
        assert 0.25 < time.monotonic() - began < 1.5


def test_a_replay_reports_what_the_live_source_lost(tmp_path):
    recorder = Recorder(tmp_path / "run.npz", Sensor(64, 64))
    recorder.add(packet_of(5, 100))
    recorder.close("", SourceReport(dropped=7, refused=2, reordered=1))
    with open_source(tmp_path / "run.npz") as source:
        assert sum(len(packet) for packet in source) == 5
    report = source.report()
    assert (report.dropped, report.refused, report.reordered) == (7, 2, 1)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("here.aedat4", "a recording is an .mcap or .npz file; found .aedat4"),
        ("none/run.npz", "its folder does not exist; make it first"),
        ("old.npz", "exists already; choose another name"),
        ("folder.npz", "exists already; choose another name"),
    ],
)
def test_a_recording_never_replaces_anything(tmp_path, name, message):
    (tmp_path / "old.npz").write_bytes(b"mine")
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(SourceError, match=message):
        Recorder(tmp_path / name, Sensor(64, 64))
    assert (tmp_path / "old.npz").read_bytes() == b"mine"
