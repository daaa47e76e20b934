"""Sessions that record MCAP: what was seen live replays the same, and a full disk stops only the recorder."""

import json
import os
import re
import subprocess
import sys
import time

import msgspec
import numpy as np
import pytest
import zmq
from mcap.reader import make_reader

from spikeline.drivers import open_source
from spikeline.drivers.mcap_layout import Prediction
from spikeline.drivers.recording import write_npz
from spikeline.pipeline import open_pipeline
from spikeline.pipeline.commands import run
from spikeline.pipeline.events import EventPacket, Sensor
from spikeline.pipeline.messages import BusError, Event, Status, decode_message
from spikeline.pipeline.package import save_package

from helpers import small_graph, small_manifest

pytestmark = pytest.mark.timeout(120)


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


def replayed(path, folder, **options):
    with open_pipeline(path, folder / "small.safetensors", **options) as replay:
        results = [(r.seq, r.label, r.scores.tolist(), r.skipped) for r in replay]
    return results, replay.summary()


@pytest.mark.parametrize("live", [True, False])
def test_a_recorded_run_replays_to_the_same_digest(folder, tmp_path, live):
    options = {"live": True, "speed": 1.0, "stream": "cam1"} if live else {"packet_events": 77}
    results, summary = replayed(folder / "events.npz", folder, record=tmp_path / "run.mcap", **options)
    again, second = replayed(tmp_path / "run.mcap", folder)
    assert again == results and len(results) == 30
    assert second["digest"] == summary["digest"] and summary["recorder"] == "recording"
    with open(tmp_path / "run.mcap", "rb") as file:
        said = [m.data for _, _, m in make_reader(file).iter_messages("/spikeline/prediction")]
    predictions = msgspec.json.decode(b"[" + b",".join(said) + b"]", type=list[Prediction])
    assert [(p.seq, p.label, p.scores, p.skipped) for p in predictions] == results
    with open_source(tmp_path / "run.mcap") as source:
        assert (source.run.model, source.run.model_digest) == ("small", summary["model_digest"])
        assert source.run.source == str(folder / "events.npz") and source.run.layers == ["n1", "n2", "out"]
        assert source.run.stream == ("cam1" if live else "main") and not source.run.skips
        assert source.run.settings["engine"] == "auto"
        for _ in source:
            pass
        assert (source.end.digest, source.end.digest_input) == (summary["digest"], summary["digest_input"])
        assert (source.end.events, source.end.windows) == (12_000, 30)


@pytest.mark.parametrize("how", ["plain", "glob", "loop", "live", "copy"])
def test_recorded_skips_are_replayed_however_the_recording_is_opened(folder, tmp_path, how, capsys):
    session = open_pipeline(folder / "events.npz", folder / "small.safetensors", record=tmp_path / "run.mcap")
    session.pipeline._skip = lambda window, frame: "overload" if window.seq % 4 == 2 else None
    with session:
        wanted = [r.skipped for r in session]
    path = tmp_path / ("r[u]n.mcap" if how == "glob" else "run.mcap")
    if how == "copy":
        path = tmp_path / "copy.mcap"
        assert run(["convert", str(tmp_path / "run.mcap"), str(path)]) == 0
        out = capsys.readouterr().out
        assert "not as in the source: nothing\n" in out and "not kept" not in out
        assert run(["convert", str(tmp_path / "run.mcap"), str(tmp_path / "copy.npz")]) == 0
        assert "7 skipped windows are not kept: a replay of the copy runs them" in capsys.readouterr().out
    options = {"loop": {"loop": 2}, "live": {"live": True}}.get(how, {})
    found, summary = replayed(path, folder, **options)
    assert [skipped for *_, skipped in found] == wanted * (2 if how == "loop" else 1)
    assert "overload" in wanted
    if how == "copy":
        with open_source(path) as source:
            for _ in source:
                pass
        assert source.end.digest == summary["digest"] == session.summary()["digest"]
        assert source.run.skips and source.run.clock == "sensor"


def test_who_breaks_off_still_has_a_recording_that_replays(folder, tmp_path):
    session = open_pipeline(folder / "events.npz", folder / "small.safetensors", record=tmp_path / "run.mcap")
    with session:
        for result in session:
            if result.seq == 2:
                break
    assert replayed(tmp_path / "run.mcap", folder)[1]["digest"] == session.summary()["digest"]


def test_a_session_that_cannot_be_opened_leaves_no_recording(folder, tmp_path):
    with pytest.raises(BusError, match="could listen"):
        open_pipeline(
            folder / "events.npz", folder / "small.safetensors", record=tmp_path / "a.mcap",
            publish="tcp://0.0.0.0:5555",
        )  # fmt: skip
    assert list(tmp_path.iterdir()) == []


LIMITED = """
import resource, sys
from spikeline.pipeline.commands import main
import spikeline.drivers.mcap_recorder
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
main(sys.argv[2:])
"""


@pytest.mark.parametrize("limit", [33_333, 55_555])
def test_a_full_disk_stops_the_recorder_and_not_the_predictions(folder, tmp_path, limit):
    """The digest is that of an undisturbed run; one line says what happened; what was recorded replays."""
    path, model = tmp_path / "run.mcap", folder / "small.safetensors"
    undisturbed, truth = replayed(folder / "events.npz", folder)
    found = subprocess.run(
        [sys.executable, "-c", LIMITED, str(limit), "replay", folder / "events.npz", "--model", model,
         "--json", "--packet-events", "100", "--record", path],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    summary = json.loads(found.stdout.splitlines()[-1])
    assert summary["digest"] == truth["digest"] and summary["windows"] == 30
    assert found.returncode == 1
    assert found.stderr.count("\n") == 1 and "run.mcap: recording stopped: File too large" in found.stderr
    assert "recording stopped" in summary["recorder"]
    assert path.stat().st_size <= limit
    again, _ = replayed(path, folder)
    assert 0 < len(again) < 30 and again == undisturbed[: len(again)]


def test_the_bus_hears_once_that_the_recorder_stopped(folder, tmp_path, capsys):
    session = open_pipeline(
        folder / "events.npz", folder / "small.safetensors", live=True, speed=1.0,
        record=tmp_path / "run.mcap", publish="tcp://127.0.0.1:*",
    )  # fmt: skip
    with zmq.Context() as context, context.socket(zmq.SUB) as listener:
        listener.subscribe("v1/")
        listener.connect(session.announcer.publisher.endpoint)
        until = time.monotonic() + 10
        while not session.announcer.publisher.wanted(Event) and time.monotonic() < until:
            time.sleep(0.01)
        heard = []
        with session:
            for k, _ in enumerate(session):
                if k == 5:  # from here on its disk is full
                    os.dup2(os.open("/dev/full", os.O_WRONLY), session.recorder._file._file)
                while listener.poll(0):
                    heard.append(decode_message(listener.recv_multipart()))
        while listener.poll(500):
            heard.append(decode_message(listener.recv_multipart()))
    events = [message for message in heard if isinstance(message, Event)]
    assert [event.kind for event in events] == ["recorder"]
    # what stands in for the full disk answers a write with the first of these, a sync with the second
    assert re.search("recording stopped: (No space left on device|Invalid argument)", events[0].text)
    states = [message.recorder for message in heard if isinstance(message, Status)]
    assert states[0] == "recording" and states[-1] == events[0].text
    assert capsys.readouterr().err == f"spikeline: {events[0].text}\n"
    assert session.summary()["windows"] == 30 and session.exit_code() == 1
