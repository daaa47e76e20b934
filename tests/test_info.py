"""spikeline info --recover: what is left of a broken recording, and what is lost, in bytes and events."""

import json

import numpy as np
import pytest
from mutations import read_all, same
from test_convert import call
from test_sources_writers import aedat4, pieces, random_events

from spikeline.drivers import open_source
from spikeline.drivers.recording import write_npz
from spikeline.drivers.writers import open_writer
from spikeline.pipeline.commands.recovery import open_broken
from spikeline.pipeline.events import EventPacket, Sensor

SENSOR = Sensor(16, 12, "TEST")


@pytest.fixture
def whole(tmp_path):
    """Twenty packets, a chunk each, and their events."""
    events = random_events(20 * 4_900)
    writer = open_writer(tmp_path / "whole.mcap", SENSOR)
    for part in pieces(events, 4_900):
        writer.add(EventPacket(part.t, part.x, part.y, part.p.astype(np.uint8), int(part.t[-1])))
    assert writer.close() == len(events.t)
    return tmp_path / "whole.mcap", events


def test_a_whole_recording_has_lost_nothing(whole, capsys):
    path, events = whole
    code, out, err = call(capsys, "info", path, "--recover", "--json")
    facts = json.loads(out)
    assert (code, err) == (0, "")
    assert (facts["events"], facts["bytes_lost"], facts["events_lost"]) == (len(events.t), 0, 0)
    assert facts["bytes"] == path.stat().st_size


def test_what_a_damaged_recording_lost_is_counted_and_the_rest_written(whole, tmp_path, capsys):
    path, events = whole
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    data[0] ^= 1  # and nothing says any more that it is an MCAP file
    (tmp_path / "broken.mcap").write_bytes(data)
    code, _, err = call(capsys, "info", tmp_path / "broken.mcap")
    assert code == 2 and "is in no format we know" in err
    code, out, err = call(
        capsys, "info", tmp_path / "broken.mcap", "--recover", "--json", "--out", tmp_path / "rest.mcap"
    )
    facts = json.loads(out)
    assert code == 1 and err.count("\n") == 2
    assert facts["events_lost"] == 4_900 == len(events.t) - facts["events"]
    assert 0 < facts["bytes_lost"] < 40_000 < facts["bytes"] == len(data)
    found, report = read_all(open_source(tmp_path / "rest.mcap"))
    assert len(found.t) == facts["events"] and report.damage == []
    gap = np.flatnonzero(found.t != events.t[: len(found.t)])[0] // 4_900 * 4_900
    assert same(found, [np.delete(column, np.arange(gap, gap + 4_900)) for column in events])
    after, before = events.t[gap - 1], events.t[gap + 4_900]
    assert f"4900 events are lost, after {after} us and before {before} us" in err


def test_where_the_format_does_not_tell_the_events_lost_are_unknown(tmp_path, capsys):
    data = aedat4(pieces(random_events(9_000), 2_000), sensor=SENSOR).data
    (tmp_path / "cut.aedat4").write_bytes(data[:70_000])
    code, out, _ = call(capsys, "info", tmp_path / "cut.aedat4", "--recover")
    facts = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert code == 1 and facts["events_lost"] == "-" and facts["bytes"] == "70000"
    assert 0 < int(facts["bytes_lost"]) < 40_000 and int(facts["events"]) == 4_000


def test_out_needs_recover_and_a_new_name(whole, tmp_path, capsys):
    path, _ = whole
    code, _, err = call(capsys, "info", path, "--out", tmp_path / "b.mcap")
    assert code == 2 and "--out" in err and "wanted with --recover" in err
    code, _, err = call(capsys, "info", path, "--recover", "--out", path)
    assert code == 2 and "exists already; choose another name" in err
    (tmp_path / "noise.xyz").write_bytes(np.random.default_rng(1).bytes(500))
    code, _, err = call(capsys, "info", tmp_path / "noise.xyz", "--recover")
    assert code == 2 and "is in no format we know" in err


def test_an_npz_without_its_end_gives_what_all_columns_have(tmp_path, capsys):
    """Cut at any place: the begin of the events, or one line."""
    events = random_events(2_000)
    packet = EventPacket(*events[:3], events.p.astype(np.uint8), int(events.t[-1]))
    write_npz(tmp_path / "a.npz", [packet], SENSOR)
    data = (tmp_path / "a.npz").read_bytes()
    begin_p, behind_p = data.index(b"p.npy"), data.index(b"model.npy")
    counts = []
    for cut in (
        100,
        begin_p - 400,
        begin_p + 20,
        *np.linspace(begin_p + 180, behind_p, 9).astype(int),
        len(data) - 9,
    ):
        (tmp_path / "cut.npz").write_bytes(data[:cut])
        code, out, err = call(
            capsys, "info", tmp_path / "cut.npz", "--recover", "--json", "--sensor", "16x12"
        )
        assert err.count("\n") == 1
        if cut < begin_p + 100:
            assert code == 2 and "wanted one column each for t, x, y, p" in err
            continue
        facts = json.loads(out)
        assert code == 1 and facts["events_lost"] == 2_000 - facts["events"]
        counts.append(facts["events"])
        with open_broken(str(tmp_path / "cut.npz"), SENSOR) as source:
            found, _ = read_all(source)
        assert same(found, [np.asarray(column[: len(found.t)]) for column in events])
    assert counts == sorted(counts) and counts[-2:] == [2_000, 2_000]
    assert 0 < counts[0] < counts[3] < 2_000


def test_a_column_with_a_wrong_checksum_is_not_taken(tmp_path, capsys):
    events = random_events(2_000)
    packet = EventPacket(*events[:3], events.p.astype(np.uint8), int(events.t[-1]))
    write_npz(tmp_path / "a.npz", [packet], SENSOR)
    data = bytearray((tmp_path / "a.npz").read_bytes())
    data[1_000] ^= 4
    (tmp_path / "cut.npz").write_bytes(data[:-100])
    code, _, err = call(capsys, "info", tmp_path / "cut.npz", "--recover")
    assert code == 2 and "entry t.npy: damaged: wrong checksum" in err
