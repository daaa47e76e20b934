"""spikeline convert and info --recover: any format to any other, and an account of what is not the same."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import aedat
import numpy as np
import pytest
from mutations import read_all, same
from test_sources_writers import DATA, Events, aedat4, pieces, random_events

from spikeline.drivers import open_source
from spikeline.drivers.recording import write_npz
from spikeline.drivers.writers import FORMATS, open_writer, writer_format
from spikeline.pipeline.commands import run
from spikeline.pipeline.events import EventPacket, Sensor, SourceError

SENSOR = Sensor(16, 12, "TEST")
SPIKELINE = Path(sys.executable).parent / "spikeline"


def call(capsys, *argv):
    code = run([str(a) for a in argv])
    out, err = capsys.readouterr()
    return code, out, err


def packet_of(events, until_us=None, epoch=0, origin_us=None):
    t = np.asarray(events.t, np.int64)
    until_us = int(t[-1]) if until_us is None else until_us
    return EventPacket(t, events.x, events.y, events.p.astype(np.uint8), until_us, epoch, origin_us)


@pytest.fixture
def source(tmp_path):
    """An AEDAT4 file, its events."""
    events = random_events(9_000)
    (tmp_path / "in.aedat4").write_bytes(aedat4(pieces(events, 2_000), sensor=SENSOR).data)
    return tmp_path / "in.aedat4", Events(*(np.asarray(column) for column in events))


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_gives_the_same_events_back(source, tmp_path, capsys, form):
    path, events = source
    file = tmp_path / f"out{FORMATS[form].extensions[0]}"
    code, out, err = call(capsys, "convert", path, file, "--json")
    facts = json.loads(out)
    assert (code, err) == (0, "")
    assert (facts["events"], facts["to"], facts["bytes"]) == (9_000, form, file.stat().st_size)
    assert (facts["t_first_us"], facts["t_last_us"]) == (events.t[0], events.t[-1])
    found, report = read_all(open_source(file, sensor=SENSOR))
    assert same(found, events) and report.damage == [] and not report.truncated
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted(["in.aedat4", file.name])


@pytest.mark.parametrize("form", FORMATS)
def test_nothing_is_replaced_and_nothing_is_left_of_a_failure(source, tmp_path, capsys, form):
    path, _ = source
    file = tmp_path / f"out{FORMATS[form].extensions[0]}"
    file.write_bytes(b"mine")
    code, out, err = call(capsys, "convert", path, file)
    assert (code, out, err) == (2, "", f"spikeline: {file}: exists already; choose another name\n")
    assert file.read_bytes() == b"mine"
    file.unlink()
    (tmp_path / "cut.aedat4").write_bytes(path.read_bytes()[:40])
    code, _, err = call(capsys, "convert", tmp_path / "cut.aedat4", file)
    assert code == 2 and err.count("\n") == 1
    writer = open_writer(file, SENSOR)
    writer.add(packet_of(random_events(3)))
    writer.discard()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["cut.aedat4", "in.aedat4"]


@pytest.mark.parametrize("form", FORMATS)
def test_a_full_disk_leaves_no_file(source, tmp_path, form):
    """Files may grow to 4 kB only; the events take more in any format."""
    path, events = source
    path.unlink()
    path = path.with_name("in.npz")
    write_npz(path, [packet_of(events)], SENSOR)
    file = tmp_path / f"out{FORMATS[form].extensions[0]}"
    code = (
        "import resource, sys; from spikeline.pipeline.commands import main;"
        f"import spikeline.drivers.writers.{FORMATS[form].module};"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4_096, 4_096)); main(sys.argv[1:])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code, "convert", path, file], capture_output=True, text=True, timeout=60
    )
    assert found.returncode == 2, found.stderr
    assert found.stderr.startswith("spikeline: ") and found.stderr.count("\n") == 1
    assert "File too large" in found.stderr and str(file) in found.stderr
    assert [entry.name for entry in tmp_path.iterdir()] == ["in.npz"]


def test_an_aedat4_file_is_what_other_readers_take(tmp_path):
    """The aedat decoder and, where it is installed, dv-processing, which also seeks by the table."""
    writer = open_writer(tmp_path / "out.aedat4", SENSOR)
    rng = np.random.default_rng(2)
    t = 1_700_000_000_000_000 + np.cumsum(rng.integers(0, 20, 100_000))
    x, y = rng.integers(0, 16, len(t)).astype(np.uint16), rng.integers(0, 12, len(t)).astype(np.uint16)
    p = rng.integers(0, 2, len(t)).astype(np.uint8)
    for start in range(0, len(t), 777):
        stop = min(len(t), start + 777)
        writer.add(packet_of(Events(t, x, y, p).slice(start, stop)))
    assert writer.close() == len(t)
    decoder = aedat.Decoder(str(tmp_path / "out.aedat4"))
    assert decoder.id_to_stream() == {0: {"type": "events", "width": 16, "height": 12}}
    got = np.concatenate([packet["events"] for packet in decoder])
    for name, column in zip(("t", "x", "y", "on"), (t, x, y, p == 1), strict=True):
        np.testing.assert_array_equal(got[name], column)
    dv = pytest.importorskip("dv_processing")
    reader = dv.io.MonoCameraRecording(str(tmp_path / "out.aedat4"))
    assert (reader.getEventResolution(), reader.getCameraName()) == ((16, 12), "TEST")
    assert reader.getTimeRange() == (t[0], t[-1])
    part = reader.getEventsTimeRange(int(t[40_000]) + 1, int(t[60_000]) + 1)
    np.testing.assert_array_equal(part.timestamps(), t[(t > t[40_000]) & (t <= t[60_000])])


@pytest.mark.parametrize(
    ("packets", "found"),
    [
        ([(10, 0), (5, 1)], "epoch 1 begins at 5 us; AEDAT4: its one clock is at 10 us"),
        ([(-3, 0)], "epoch 0 begins at -3 us; AEDAT4: its times are from 0 on"),
    ],
)
def test_what_aedat4_cannot_hold_is_refused_by_name(tmp_path, packets, found):
    one = np.zeros(1, np.uint16)
    writer = open_writer(tmp_path / "a.aedat4", SENSOR)
    *good, bad = [EventPacket(np.array([t]), one, one, one.astype(np.uint8), t, k) for t, k in packets]
    for packet in good:
        writer.add(packet)
    with pytest.raises(SourceError, match=found):
        writer.add(bad)
    writer.discard()
    with pytest.raises(SourceError, match="AEDAT4 holds at most 32768x32768"):
        open_writer(tmp_path / "a.aedat4", Sensor(40_000, 12))
    assert list(tmp_path.iterdir()) == []


def test_an_empty_aedat4_file_is_one(tmp_path):
    assert open_writer(tmp_path / "a.aedat4", SENSOR).close() == 0
    found, report = read_all(open_source(tmp_path / "a.aedat4"))
    assert len(found.t) == 0 and report.damage == []


def test_recordings_keep_marks_epochs_and_losses(tmp_path, capsys):
    """npz to MCAP and back: packet by packet, and the same windows."""
    late = np.array([5, 1_100, 900, 3_000], np.int64)  # the third is clamped
    one = np.zeros(4, np.uint16)
    np.savez(tmp_path / "late.npz", t=late, x=one, y=one, p=one.astype(np.uint8), width=16, height=12)
    for step, (a, b) in enumerate([("late.npz", "a.mcap"), ("a.mcap", "b.npz"), ("b.npz", "c.mcap")]):
        code, out, _ = call(capsys, "convert", tmp_path / a, tmp_path / b)
        assert code == 0 and "not as in the source: 1 clamped (late by at most 1 ms)\n" in out, step
    events = random_events(40)
    packets = [packet_of(events, int(events.t[-1]) + 70, 0, 7), packet_of(random_events(3), None, 2, None)]
    write_npz(tmp_path / "marks.npz", packets, SENSOR)
    call(capsys, "convert", tmp_path / "marks.npz", tmp_path / "marks.mcap")
    with open_source(tmp_path / "marks.mcap") as copy:
        got = [(p.t.tolist(), p.until_us, p.epoch, p.origin_us) for p in copy]
    assert got == [(p.t.tolist(), p.until_us, p.epoch, p.origin_us) for p in packets]


def test_epochs_that_a_format_does_not_keep_are_said(tmp_path, capsys):
    a, b = random_events(5), random_events(5, start_us=9_000_000_000)
    write_npz(tmp_path / "two.npz", [packet_of(a), packet_of(b, None, 1)], SENSOR)
    code, out, _ = call(capsys, "convert", tmp_path / "two.npz", tmp_path / "two.aedat4")
    assert code == 0 and "2 clocks (epochs) became one: AEDAT4 does not keep them" in out


@pytest.mark.parametrize("form", ["evt2", "evt3", "dat", "es"])
def test_times_of_a_long_clock_are_counted_from_zero_if_asked(tmp_path, capsys, form):
    """Where the header has room for what was subtracted, our readers add it again."""
    events = random_events(3_000, start_us=1_700_000_000_000_000)
    write_npz(tmp_path / "long.npz", [packet_of(events)], SENSOR)
    file = tmp_path / f"out{FORMATS[form].extensions[0]}"
    code, _, err = call(capsys, "convert", tmp_path / "long.npz", file)
    assert code == 2 and str(events.t[0]) in err and not file.exists()
    code, out, _ = call(capsys, "convert", tmp_path / "long.npz", file, "--from-zero")
    assert code == 0 and f"times are counted from {events.t[0]} us\n" in out
    found, _ = read_all(open_source(file, sensor=SENSOR))
    kept = 0 if form == "es" else events.t[0]
    np.testing.assert_array_equal(found.t - kept, events.t - events.t[0])
    code, _, err = call(capsys, "convert", tmp_path / "long.npz", tmp_path / "a.npz", "--from-zero")
    assert code == 2 and "holds times as they are" in err


def test_the_format_is_chosen_by_name_or_said(source, tmp_path, capsys):
    path, events = source
    for name, found in {
        "out.raw": ".raw does not say the format; name it: evt2, evt3",
        "out": "no ending does not say the format; name it: aedat4, csv",
    }.items():
        code, _, err = call(capsys, "convert", path, tmp_path / name)
        assert code == 2 and found in err
    code, _, err = call(capsys, "convert", path, tmp_path / "out.mcap", "--to", "bag")
    assert code == 2 and "no writer for bag; choose from aedat4" in err
    assert writer_format("a.H5") == "hdf5" and writer_format("a.txt") == "csv"
    code, _, _ = call(capsys, "convert", path, tmp_path / "out.raw", "--to", "mcap")
    found, report = read_all(open_source(tmp_path / "out.raw"))
    assert code == 0 and same(found, events) and "named .raw, but its content is MCAP" in report.damage[0]


def test_a_damaged_recording_is_converted_as_far_as_it_goes(source, tmp_path, capsys):
    path, events = source
    (tmp_path / "cut.aedat4").write_bytes(path.read_bytes()[:70_000])
    code, out, err = call(capsys, "convert", tmp_path / "cut.aedat4", tmp_path / "out.mcap", "--json")
    facts = json.loads(out)
    assert code == 1 and facts["report"]["truncated"]
    assert re.match(r"spikeline: bytes \d+ to 70000: ", err)
    found, _ = read_all(open_source(tmp_path / "out.mcap"))
    assert 0 < len(found.t) == facts["events"] and same(found, events.slice(0, len(found.t)))


def test_an_interrupted_conversion_leaves_no_file(source, tmp_path):
    path, _ = source
    running = subprocess.Popen(
        [SPIKELINE, "convert", f"loop(times=0)+{path}", tmp_path / "out.mcap"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    while not (tmp_path / "out.mcap.partial").exists():
        assert running.poll() is None
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=30)
    assert running.returncode == 130
    assert [entry.name for entry in tmp_path.iterdir()] == ["in.aedat4"]


@pytest.mark.parametrize("ending", ["mcap", "npz"])
def test_record_keeps_a_camera(tmp_path, capsys, ending):
    file = tmp_path / f"a.{ending}"
    code, out, err = call(
        capsys, "record", "sim:gesture?seed=3&duration_s=0.4", file, "--json", "--seconds", "20"
    )
    facts = json.loads(out)
    assert (code, err, facts["recorder"]) == (0, "", "recording")
    with open_source("sim:gesture?seed=3&duration_s=0.4") as camera:
        truth = Events(
            *(np.concatenate(c) for c in zip(*((p.t, p.x, p.y, p.p) for p in camera), strict=True))
        )
    found, report = read_all(open_source(file))
    assert same(found, truth) and not report.truncated
    assert facts["events"] == len(found.t) and facts["bytes"] == file.stat().st_size
    code, _, err = call(capsys, "record", "sim:gesture", file)
    assert code == 2 and "exists already" in err


def test_record_ends_cleanly_on_a_signal(tmp_path):
    running = subprocess.Popen(
        [SPIKELINE, "record", "sim:gesture?seed=3", tmp_path / "a.mcap", "--json"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not (tmp_path / "a.mcap").exists() or (tmp_path / "a.mcap").stat().st_size < 30_000:
        assert running.poll() is None
    running.send_signal(signal.SIGTERM)
    out, _ = running.communicate(timeout=30)
    facts = json.loads(out)
    found, report = read_all(open_source(tmp_path / "a.mcap"))
    assert running.returncode == 143 and facts["events"] == len(found.t) > 0
    assert not report.truncated and report.damage == []


@pytest.mark.skipif(not DATA.is_dir(), reason="no real recordings here (../shared/data)")
@pytest.mark.parametrize("form", ["mcap", "npz", "aedat4"])
def test_a_real_recording_keeps_its_digest(tmp_path, capsys, form):
    path = DATA / "recordings" / "dvs128_hand_a.aedat4"
    _, out, _ = call(capsys, "info", path, "--json")
    code, _, _ = call(capsys, "convert", path, tmp_path / f"a.{form}")
    assert code == 0
    _, again, _ = call(capsys, "info", tmp_path / f"a.{form}", "--json")
    assert json.loads(again)["digest"] == json.loads(out)["digest"]
    assert os.path.getsize(tmp_path / f"a.{form}") > 0
