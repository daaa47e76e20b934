"""The URI grammar, and the one line that every wrong source ends in."""

import io
import os
import sys

import numpy as np
import pytest
from test_sources_writers import Events, aedat4, labelled_set, random_events, records

from spikeline.drivers import open_source, source_kinds
from spikeline.drivers.uri import split_options, split_wrappers
from spikeline.drivers.wrappers import Clip, Cut, Loop, Paced
from spikeline.pipeline.events import Sensor, SourceError

SENSOR = Sensor(16, 12)
KNOWN = ("cut", "clip", "loop", "fault")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with one file of each readable kind, 100 events each."""
    events = random_events(100)
    (tmp_path / "a.aedat4").write_bytes(aedat4([events]).data)
    np.save(tmp_path / "a.npy", records(events))
    labelled_set(tmp_path / "set.npz", events, [0, 40, 100], [3, 5], SENSOR)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def times(source):
    with source:
        return [t for packet in source for t in packet.t.tolist()]


@pytest.mark.parametrize(
    ("uri", "wrappers", "base"),
    [
        ("a.npz", [], "a.npz"),
        ("cut(events=100)+sim:gesture?seed=1", [("cut", {"events": "100"})], "sim:gesture?seed=1"),
        ("loop,clip(start=1;stop=2)+x", [("loop", {}), ("clip", {"start": "1", "stop": "2"})], "x"),
        ("cut(events=1)+a+b.npz", [("cut", {"events": "1"})], "a+b.npz"),
        ("a+b.npz", [], "a+b.npz"),
        ("loop+loop(times=2)+x", [("loop", {})], "loop(times=2)+x"),
        ("cut()+-", [("cut", {})], "-"),
    ],
)
def test_the_grammar(uri, wrappers, base):
    assert split_wrappers(uri, KNOWN) == (wrappers, base)


@pytest.mark.parametrize("text", ["a", "=1", "a=1;a=2", ";"])
def test_options_that_are_no_pairs_are_refused(text):
    with pytest.raises(SourceError, match=r"wanted key=value|given twice"):
        split_options(text, ";", "here")


def test_a_path_that_exists_wins_over_everything(folder):
    for name in ("sim:gesture?seed=1", "cut(events=1)+a", "camera:", "set.npz?clip=9", "-"):
        os.link(folder / "a.aedat4", folder / name)
        assert len(times(open_source(name))) == 100


def test_content_decides_and_not_the_extension(folder):
    os.rename("a.aedat4", "wrong.npz")
    source = open_source(folder / "wrong.npz")
    assert source.format == "AEDAT4" and len(times(source)) == 100


def test_a_glob_reads_sorted_files_as_one_epoch_each(folder):
    for k in (2, 0, 1):
        data = aedat4([random_events(10, start_us=1_000_000 * (3 - k))]).data
        (folder / f"part{k}.aedat4").write_bytes(data)
    with open_source("part*.aedat4") as source:
        packets = list(source)
        assert [(p.epoch, int(p.t[0]) // 1_000_000) for p in packets] == [(0, 3), (1, 2), (2, 1)]
        assert source.report().bytes == 3 * os.path.getsize("part0.aedat4")


def test_one_clip_of_a_set_by_its_number(folder):
    events = random_events(100)
    assert times(open_source("set.npz?clip=1")) == events.t[40:].tolist()
    assert times(open_source("cut(events=7)+set.npz?clip=0")) == events.t[:40].tolist()
    with pytest.raises(SourceError, match="clip=2; wanted 0 to 1"):
        open_source("set.npz?clip=2")


@pytest.mark.parametrize("name", ["a.aedat4", "a.npy", "set.npz"])
def test_standard_input_is_any_file_by_content(folder, monkeypatch, name, tmp_path_factory):
    spool = tmp_path_factory.mktemp("spool")
    monkeypatch.setattr("tempfile.tempdir", str(spool))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO((folder / name).read_bytes())))
    assert times(open_source("-", sensor=SENSOR)) == random_events(100).t.tolist()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"MATLAB 5.0 MAT-file, x")))
    with pytest.raises(SourceError, match=r"standard input: is a MATLAB 5 file"):
        open_source("-")
    assert list(spool.iterdir()) == []


def test_keywords_apply_the_same_wrappers(folder):
    expected = times(open_source("clip(stop=0.005)+a.aedat4"))
    assert times(open_source("a.aedat4", stop_s=0.005)) == expected and 0 < len(expected) < 100
    assert times(open_source("loop(times=2)+a.aedat4")) == times(open_source("a.aedat4", loop=2))
    source = open_source("a.aedat4", start_s=0.001, stop_s=0.005, loop=2, packet_events=3, speed=50.0)
    with source:
        assert (
            isinstance(source, Paced)
            and isinstance(source._source, Cut)
            and isinstance(source._source._source, Loop)
        )
        packets = list(source)
    assert max(len(packet) for packet in packets) <= 3 and {packet.epoch for packet in packets} == {0, 1}
    start, stop = random_events(100).t[0] + 1_000, random_events(100).t[0] + 5_000
    assert all(start <= t < stop for packet in packets for t in packet.t)
    with open_source("clip(start=0.001),cut(events=3)+a.aedat4") as nested:
        assert isinstance(nested, Clip) and isinstance(nested._source, Cut)


@pytest.mark.parametrize(
    ("uri", "found"),
    [
        ("nowhere.npz", "^nowhere.npz: no such file$"),
        ("part*.npz", "no file matches"),
        ("foo:bar", "no such kind of source: foo; known are .*sim"),
        ("camera:", r"cannot open camera:\[serial\|model\] sources yet"),
        ("dv://localhost:1", "cannot connect"),
        ("dv://localhost", "wanted dv://host:port"),
        ("udp://localhost:3333", "cannot open udp"),
        ("zmq://localhost:5555", "cannot open zmq"),
        ("tonic:DVSGesture?train=1", "cannot open tonic"),
        ("sim:dance?seed=1", "no simulation 'dance'; choose from gesture"),
        ("fault(file=f.toml;seed=1)+a.aedat4", "f.toml: cannot be read"),
        ("hope(for=best)+a.aedat4", "unknown wrapper hope; choose from clip, cut, fault, loop"),
        ("cut+a.aedat4", "cut: no events; wanted"),
        ("cut(events=ten)+a.aedat4", "events=ten; wanted a whole number"),
        ("cut(events=0)+a.aedat4", "events=0; wanted 1 or more"),
        ("cut(size=3)+a.aedat4", "unknown option size; choose from events"),
        ("clip(start=a)+a.aedat4", "start=a; wanted a number"),
        ("clip(start=2;stop=1)+a.aedat4", "wanted 0 <= start < stop"),
        ("cut(events=1),clip", "clip"),
        ("cut(events=1),", "no base after the wrappers"),
        ("loop(times=2)+-", "read only once"),
        ("set.npz?clip=a", "clip=a; wanted a whole number"),
        ("set.npz?seed=1", "unknown option seed; choose from clip, format"),
        ("a.aedat4?clip=1", "unknown option clip; choose from format, stream"),
        ("a.npy", "--sensor WxH"),
        (".", "is a folder"),
    ],
)
def test_a_wrong_source_ends_in_one_line_that_names_it(folder, uri, found):
    with pytest.raises(SourceError, match=found) as caught:
        open_source(uri)
    assert "\n" not in str(caught.value)


def test_a_terminal_is_no_recording(monkeypatch):
    leader, follower = os.openpty()
    with os.fdopen(leader, "rb"), os.fdopen(follower, "r") as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        with pytest.raises(SourceError, match="is a terminal"):
            open_source("-")


def test_a_sensor_that_contradicts_the_file_is_refused(folder):
    for name in ("a.aedat4", "set.npz"):
        with pytest.raises(SourceError, match="its sensor is 16x12; --sensor says 5x5"):
            open_source(name, sensor=Sensor(5, 5))
        assert open_source(name, sensor=SENSOR).__exit__(None, None, None) is None
    with pytest.raises(SourceError, match=r"stream 1: wanted AEDAT4 .*; this is \.npz"):
        open_source("set.npz", stream=1)


def test_the_help_names_every_wrapper():
    assert {name.split("(")[0] for name in source_kinds() if "+SOURCE" in name} == set(KNOWN)
    assert isinstance(Events(*records(random_events(1)).tolist()[0]), tuple)
