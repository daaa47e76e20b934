"""Our recording form: what is written comes back packet by packet, and contradictions are refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeline.drivers.formats.arrays import NpzSource
from spikeline.drivers.recording import MARKS, NO_ORIGIN, write_npz
from spikeline.pipeline.events import PACKET_EVENTS, EventPacket, Sensor, SourceError

SENSOR = Sensor(6, 4, "TEST")


@st.composite
def streams(draw):
    """Packets of a stream that keeps the contract: clock marks, empty ones, epochs and origins included."""
    packets = []
    epoch = draw(st.integers(0, 2))
    for _ in range(draw(st.integers(0, 3))):
        now = draw(st.integers(-(10**6), 10**15))
        origin = draw(st.one_of(st.none(), st.integers(now - 10**6, now)))
        for _ in range(draw(st.integers(0, 4))):
            steps = draw(st.lists(st.integers(0, 1_000), max_size=5))
            t = now + np.cumsum(np.array(steps, np.int64))
            n = len(t)
            x = np.array(draw(st.lists(st.integers(0, 5), min_size=n, max_size=n)), np.uint16)
            y = np.array(draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)), np.uint16)
            p = np.array(draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)), np.uint8)
            now = (int(t[-1]) if n else now) + draw(st.sampled_from([0, 0, 1, 50_000]))
            packets.append(EventPacket(t, x, y, p, now, epoch, origin))
        epoch += draw(st.integers(1, 2))
    return packets


def plain(packets):
    return [
        (p.t.tolist(), p.x.tolist(), p.y.tolist(), p.p.tolist(), p.until_us, p.epoch, p.origin_us)
        for p in packets
    ]


@settings(deadline=None, max_examples=60, derandomize=True)
@given(streams())
def test_what_is_written_comes_back_packet_by_packet(tmp_path_factory, packets):
    path = tmp_path_factory.mktemp("recording") / "a.npz"
    assert write_npz(path, iter(packets), SENSOR) == sum(len(packet) for packet in packets)
    with NpzSource(path) as source:
        assert source.sensor == SENSOR
        assert plain(source) == plain(packets)
        report = source.report()
    assert (report.packets, report.epochs) == (len(packets), len({packet.epoch for packet in packets}))
    assert [entry.name for entry in path.parent.iterdir()] == ["a.npz"]


def test_the_same_packets_give_the_same_bytes(tmp_path):
    packet = EventPacket(np.arange(9), *(np.zeros(9, np.uint16),) * 2, np.zeros(9, np.uint8), 8, 0, None)
    write_npz(tmp_path / "a.npz", [packet], SENSOR)
    write_npz(tmp_path / "b.npz", [packet], SENSOR)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_a_mark_over_more_events_than_a_packet_holds_becomes_several_packets(tmp_path):
    n = PACKET_EVENTS + 3
    zeros = np.zeros(n, np.uint16)
    write_npz(
        tmp_path / "a.npz", [EventPacket(np.arange(n), zeros, zeros, zeros.astype(np.uint8), n + 9)], SENSOR
    )
    with NpzSource(tmp_path / "a.npz") as source:
        assert [(len(packet), packet.until_us) for packet in source] == [
            (PACKET_EVENTS, PACKET_EVENTS - 1),
            (3, n + 9),
        ]


GOOD = {
    "t": [10, 20, 30, 5, 6],
    "x": [0, 1, 2, 3, 5],
    "y": [0, 1, 2, 3, 3],
    "p": [0, 1, 0, 1, 0],
    "mark_stop": [2, 2, 3, 5],
    "mark_until_us": [20, 25, 30, 6],
    "mark_epoch": [0, 0, 0, 1],
    "mark_origin_us": [0, 0, 0, NO_ORIGIN],
}


def save(path, entries):
    kinds = {"x": np.uint16, "y": np.uint16, "p": np.uint8}
    arrays = {name: np.array(values, kinds.get(name, np.int64)) for name, values in entries.items()}
    np.savez(path, width=6, height=4, **arrays)


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({"mark_stop": [2, 1, 3, 5]}, "mark_stop: goes back, at 1"),
        ({"mark_stop": [-1, 2, 3, 5]}, "mark_stop: goes back, at 0"),
        ({"mark_stop": [2, 2, 3, 4]}, "mark_stop: ends at 4; the file has 5"),
        ({"mark_stop": [2, 2, 3, 6]}, "mark_stop: ends at 6"),
        ({"mark_stop": [2, 2, 5]}, "marks of 3, 4, 4, 4 entries"),
        ({"mark_until_us": [19, 25, 30, 6]}, "mark_until_us: before its packet's last event"),
        ({"mark_until_us": [20, 19, 30, 6]}, "mark_until_us: goes back within an epoch"),
        ({"mark_until_us": [20, 31, 31, 6]}, "t: before the clock mark"),
        ({"mark_until_us": [20, 25, 30, 2**62]}, "mark_until_us: beyond any clock"),
        ({"mark_epoch": [0, 0, 0, 0]}, "mark_until_us: goes back within an epoch"),
        ({"mark_epoch": [1, 1, 1, 0]}, "mark_epoch: goes back"),
        ({"mark_epoch": [-1, 0, 0, 1]}, "mark_epoch: begins with -1"),
        ({"mark_origin_us": [0, 1, 0, NO_ORIGIN]}, "mark_origin_us: changes within an epoch"),
        ({"mark_origin_us": [2**62] * 4}, "mark_origin_us: beyond any clock"),
        ({"t": [20, 10, 30, 5, 6]}, "t: goes back within a packet"),
        ({"t": [10, 20, 30, 5, 2**62]}, "t: beyond any clock"),
        ({"x": [0, 1, 2, 3, 6]}, "x, y: outside the sensor of 6x4, at 4"),
        ({"offsets": [0, 5]}, "both offsets and mark_stop"),
        ({"mark_epoch": None}, "no entry mark_epoch"),
    ],
)
def test_marks_that_contradict_are_refused_by_name(tmp_path, changed, found):
    save(tmp_path / "good.npz", GOOD)
    with NpzSource(tmp_path / "good.npz") as source:
        assert len(list(source)) == 4
    entries = {name: values for name, values in {**GOOD, **changed}.items() if values is not None}
    save(tmp_path / "a.npz", entries)
    with NpzSource(tmp_path / "a.npz") as source, pytest.raises(SourceError, match=found):
        list(source)
    assert set(MARKS) <= GOOD.keys()


def test_packets_that_break_the_contract_are_not_written(tmp_path):
    backwards = EventPacket(np.array([5, 4]), *(np.zeros(2, np.uint16),) * 2, np.zeros(2, np.uint8), 5)
    with pytest.raises(SourceError, match="t: goes back"):
        write_npz(tmp_path / "a.npz", [backwards], SENSOR)
    assert list(tmp_path.iterdir()) == []


def test_a_source_that_fails_leaves_nothing_behind_and_the_old_file_whole(tmp_path):
    path = tmp_path / "a.npz"
    path.write_bytes(b"the old one")

    def failing():
        yield EventPacket(np.array([5]), *(np.zeros(1, np.uint16),) * 2, np.zeros(1, np.uint8), 5)
        raise SourceError("unplugged")

    with pytest.raises(SourceError, match="unplugged"):
        write_npz(path, failing(), SENSOR)
    assert path.read_bytes() == b"the old one" and len(list(tmp_path.iterdir())) == 1
    with pytest.raises(SourceError, match="its folder does not exist; make it first"):
        write_npz(tmp_path / "no" / "a.npz", [], SENSOR)
