"""The contract suite: every kind of source by its URI, on clean data and on data that breaks rules."""

import importlib
import os
import sys

import numpy as np
import pytest
from test_sources_writers import LZ4, ZSTD, Events, aedat4, labelled_set, pieces, random_events, records

from spikeline.drivers import open_source, source_kinds
from spikeline.drivers.recording import write_npz
from spikeline.pipeline.events import PACKET_EVENTS, Sensor, SourceError

SENSOR = Sensor(16, 12, "TEST")
EVENTS = 2_000
HAS_SIM = hasattr(importlib.import_module("spikeline.drivers.sim"), "SimSource")

# Each kind of base and wrapper that `source_kinds` lists, by the URIs that stand for it here.
URIS = {
    "FILE": [
        "none.aedat4",
        "lz4.aedat4",
        "zstd.aedat4",
        "killed.aedat4",
        "a.npy",
        "a.npz",
        "recording.npz",
        "set.npz",
    ],
    "FILE?format=NAME": ["lz4.aedat4?format=aedat4", "*.npz?format=npz"],
    "FILE.npz?clip=K": ["set.npz?clip=1"],
    "GLOB": ["*.aedat4"],
    "-": ["-"],
    "sim:gesture?seed=1": ["cut(events=500),clip(stop=0.2)+sim:gesture?seed=1"],
    "cut(events=N)+SOURCE": ["cut(events=7)+lz4.aedat4", "cut(events=100000)+recording.npz"],
    "clip(start=S;stop=S)+SOURCE": ["clip(start=0.02;stop=0.1)+none.aedat4", "clip(stop=0.05)+recording.npz"],
    "loop(times=N)+SOURCE": ["loop(times=3)+a.npz", "loop(times=2),cut(events=9)+*.aedat4"],
    "fault(file=F.toml;seed=1)+SOURCE": [
        "fault(drop=0.2;duplicate=0.1;reorder=0.3;drop_packets=0.1;seed=1)+lz4.aedat4",
        "fault(jump_us=-400;unplug_s=0.02;at_s=0.03)+recording.npz",
        "fault(cut_every=5000;cut_bytes=9)+none.aedat4",
    ],
}
ELSEWHERE = {"dv://HOST:PORT": "test_dv_network.py"}  # live ones, which want somebody who sends
READ = [uri for uris in URIS.values() for uri in uris]


def rough_events():
    """Events with every fault that Admission knows: late, too late, outside, and a clock reset."""
    events = random_events(EVENTS, sensor=SENSOR, seed=4)
    t, x = events.t.copy(), events.x.astype(np.int16)
    t[100::97] -= 400
    t[150::211] -= 90_000
    x[::50] = 16
    x[7::333] = -2
    t[EVENTS // 2 :] -= 4_900_000
    return Events(t, x, events.y, events.p)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    events = rough_events()
    for name, compression in (("none", 0), ("lz4", LZ4), ("zstd", ZSTD)):
        data = aedat4(pieces(events, 300), sensor=SENSOR, compression=compression).data
        (tmp_path / f"{name}.aedat4").write_bytes(data)
    (tmp_path / "killed.aedat4").write_bytes(
        aedat4(pieces(events, 300), sensor=SENSOR, table=False).data[:-50]
    )
    np.save(tmp_path / "a.npy", records(events, [("t", "<i8"), ("x", "<i2"), ("y", "<u2"), ("p", "?")]))
    np.savez(tmp_path / "a.npz", **events._asdict(), width=16, height=12)
    labelled_set(tmp_path / "set.npz", events, [0, 500, 1_500, 1_900], [0, 1, 0], SENSOR)
    with open_source(tmp_path / "lz4.aedat4") as source:
        write_npz(tmp_path / "recording.npz", source, SENSOR)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(params=READ)
def opened(request, folder, monkeypatch):
    """A function that opens the URI; standard input is one of the files."""
    uri = request.param
    if "sim:" in uri and not HAS_SIM:
        pytest.skip("the simulated camera is not here")

    def open_it():
        if uri == "-":
            monkeypatch.setattr(sys, "stdin", open(folder / "zstd.aedat4"))  # noqa: SIM115 - closed below
        source = open_source(uri, sensor=None if "sim:" in uri else SENSOR)
        if uri == "-":
            sys.stdin.close()
        return source

    return open_it


def test_every_kind_of_source_is_tested_here():
    assert {*URIS, *ELSEWHERE} == set(source_kinds())


def test_packets_keep_the_contract(opened):
    with opened() as source:
        sensor = source.sensor
        epoch, until_us, count, packets = -1, None, 0, 0
        for packet in source:
            assert (packet.t.dtype, packet.x.dtype, packet.y.dtype, packet.p.dtype) == (
                "i8",
                "u2",
                "u2",
                "u1",
            )
            assert len(packet.t) == len(packet.x) == len(packet.y) == len(packet.p) <= PACKET_EVENTS
            assert packet.epoch >= epoch
            if packet.epoch > epoch:
                epoch, until_us = packet.epoch, None
            if len(packet):
                assert np.all(np.diff(packet.t) >= 0) and packet.until_us >= packet.t[-1]
                assert (
                    packet.x.max() < sensor.width and packet.y.max() < sensor.height and packet.p.max() <= 1
                )
                assert until_us is None or packet.t[0] >= until_us
            assert until_us is None or packet.until_us >= until_us
            until_us = packet.until_us
            count, packets = count + len(packet), packets + 1
            assert source.report().events == count
        report = source.report()
    assert (report.events, report.packets) == (count, packets)
    assert count > 0 and report.epochs >= epoch + 1


def test_two_readings_are_equal(opened):
    def read():
        with opened() as source:
            return [
                (p.t.tobytes(), p.x.tobytes(), p.y.tobytes(), p.p.tobytes(), p.until_us, p.epoch, p.origin_us)
                for p in source
            ], source.report()

    assert read() == read()


def test_a_source_is_read_once_and_closed_for_good(opened):
    open_before = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0
    source = opened()
    with source:
        packets = iter(source)
        next(packets)
        with pytest.raises(SourceError, match=r"read|open it again"):
            next(iter(source))
    assert list(packets) == []
    with pytest.raises(SourceError, match="open it again"):
        next(iter(source))
    assert source.report().events > 0
    if open_before:
        assert len(os.listdir("/proc/self/fd")) <= open_before


@pytest.mark.parametrize("uri", ["none.aedat4", "lz4.aedat4", "zstd.aedat4", "a.npy", "a.npz"])
def test_every_event_of_a_file_is_accounted_for(folder, uri):
    with open_source(uri, sensor=SENSOR) as source:
        rows = [
            row
            for p in source
            for row in zip(p.t.tolist(), p.x.tolist(), p.y.tolist(), p.p.tolist(), strict=True)
        ]
        report = source.report()
    assert report.events + report.refused == EVENTS and report.events == len(rows)
    assert report.refused > 40 and report.reordered > 10 and report.epochs == 2
    with open_source("none.aedat4") as source:
        expected = [
            row
            for p in source
            for row in zip(p.t.tolist(), p.x.tolist(), p.y.tolist(), p.p.tolist(), strict=True)
        ]
    assert rows == expected


@pytest.mark.parametrize("uri", ["lz4.aedat4", "a.npz", "recording.npz", "clip(stop=0.1)+lz4.aedat4"])
@pytest.mark.parametrize("events", [1, 7, 1_000])
def test_cutting_changes_no_event(folder, uri, events):
    def rows(source):
        with source:
            return [
                (p.epoch, *row) for p in source for row in zip(p.t, p.x, p.y, p.p, strict=True)
            ], source.report()

    (whole, one), (cut, two) = rows(open_source(uri)), rows(open_source(uri, packet_events=events))
    assert whole == cut
    assert (one.events, one.refused, one.reordered, one.epochs, one.filtered) == (
        two.events,
        two.refused,
        two.reordered,
        two.epochs,
        two.filtered,
    )


def test_a_recording_of_a_source_gives_its_packets_again(folder):
    def packets(uri):
        with open_source(uri) as source:
            return [
                (p.t.tolist(), p.x.tolist(), p.y.tolist(), p.p.tolist(), p.until_us, p.epoch, p.origin_us)
                for p in source
            ], source.sensor

    assert packets("recording.npz") == packets("lz4.aedat4")
