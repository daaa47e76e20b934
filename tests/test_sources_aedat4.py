"""AEDAT4: whole files, several streams, every truncation, seeded damage, and the real recordings."""

import struct

import numpy as np
import pytest
from test_sources_writers import (
    COMPRESSIONS,
    DATA,
    LZ4,
    NONE,
    ZSTD,
    Events,
    aedat4,
    aedat4_header,
    description,
    packed,
    pieces,
    random_events,
)

from spikeline.drivers.formats.aedat4 import Aedat4Source
from spikeline.pipeline.events import Sensor, SourceError

SENSOR = Sensor(16, 12, "TEST")


def read(path):
    """Packets (copied) and the report."""
    with Aedat4Source(path) as source:
        packets = [(p.t.copy(), p.x.copy(), p.y.copy(), p.p.copy()) for p in source]
        return packets, source.report(), source.sensor


def joined(packets):
    empty = (np.empty(0, np.int64), *(np.empty(0, np.uint16),) * 2, np.empty(0, np.uint8))
    return (
        Events(*(np.concatenate([e, *c]) for e, c in zip(empty, zip(*packets, strict=True), strict=True)))
        if packets
        else Events(*empty)
    )


def assert_same(got, expected):
    for ours, truth in zip(got, expected, strict=True):
        np.testing.assert_array_equal(ours, truth)


@COMPRESSIONS
@pytest.mark.parametrize("table", [True, False], ids=["closed", "killed"])
def test_every_event_comes_as_written(tmp_path, compression, table):
    events = random_events(20_000, sensor=SENSOR)
    path = tmp_path / "a.aedat4"
    path.write_bytes(aedat4(pieces(events, 7_000), compression=compression, table=table).data)
    packets, report, sensor = read(path)
    assert_same(joined(packets), events)
    assert sensor == SENSOR
    assert (report.events, report.packets, report.epochs, report.refused) == (20_000, 3, 1, 0)
    assert (report.truncated, report.damage, report.bytes) == (False, [], path.stat().st_size)


@COMPRESSIONS
def test_other_streams_and_empty_packets_are_passed_over(tmp_path, compression):
    events = random_events(300, sensor=SENSOR)
    trigger = struct.pack("<I4s2x3HIII", 16, b"TRIG", 6, 8, 4, 6, 4, 0)
    other = (3, struct.pack("<I", len(trigger)) + trigger)
    streams = {3: ("TRIG", SENSOR), 0: ("EVTS", SENSOR), 5: ("EVTS", Sensor(4, 4, "SMALL"))}
    path = tmp_path / "a.aedat4"
    packets = [other, events.slice(0, 100), events.slice(0, 0), other, events.slice(100, 300), other]
    path.write_bytes(aedat4(packets, compression=compression, streams=streams).data)
    got, report, _ = read(path)
    assert_same(joined(got), events)
    assert (report.packets, report.damage) == (2, [])
    with Aedat4Source(path, options={"stream": "5"}) as source:
        assert source.sensor == Sensor(4, 4, "SMALL")
        assert list(source) == []
    with pytest.raises(SourceError, match=r"wanted events in stream 3 .*0 EVTS, 3 TRIG, 5 EVTS"):
        Aedat4Source(path, options={"stream": "3"})


def test_events_beyond_the_sensor_and_late_ones_are_refused_and_counted(tmp_path):
    events = Events(
        np.array([100_000, 100_010, 100_020, 99_500, 90_000, 100_030]),
        np.array([0, 16, -1, 3, 3, 15], np.int16),
        np.array([0, 0, 0, 0, 0, 11]),
        np.array([1, 1, 1, 1, 1, 0]),
    )
    path = tmp_path / "a.aedat4"
    path.write_bytes(aedat4([events]).data)
    packets, report, _ = read(path)
    assert joined(packets).t.tolist() == [100_000, 100_000, 100_030]
    assert (report.events, report.refused, report.reordered) == (3, 3, 1)


@COMPRESSIONS
@pytest.mark.parametrize("table", [True, False], ids=["closed", "killed"])
def test_cut_at_every_byte_all_whole_packets_come(tmp_path, capfd, compression, table):
    events = random_events(30, sensor=SENSOR)
    written = aedat4(pieces(events, 6), compression=compression, table=table)
    path = tmp_path / "cut.aedat4"
    for cut in range(len(written.data)):
        path.write_bytes(written.data[:cut])
        if cut < written.data_at:
            with pytest.raises(SourceError, match="header"):
                Aedat4Source(path)
            continue
        packets, report, _ = read(path)
        whole = sum(end <= cut for end in written.ends)
        assert_same(joined(packets), events.slice(0, 6 * whole))
        at_packet_end = cut == written.data_at or cut in written.ends
        assert report.truncated == (table or not at_packet_end), cut
        if report.truncated:
            last = f"last good time {events.t[6 * whole - 1]} us" if whole else "before the first event"
            assert str(cut) in report.damage[-1] and last in report.damage[-1]
    assert capfd.readouterr() == ("", "")


@COMPRESSIONS
def test_a_packet_whose_payload_is_damaged_costs_only_itself(tmp_path, capfd, compression):
    events = random_events(500, sensor=SENSOR)
    written = aedat4(pieces(events, 100), compression=compression)
    data = bytearray(written.data)
    start = written.ends[0]
    at = data.index(b"EVTS", start)
    data[at : at + 4] = b"XXXX"
    path = tmp_path / "a.aedat4"
    path.write_bytes(data)
    packets, report, _ = read(path)
    kept = np.r_[0:100, 200:500]
    assert_same(joined(packets), [column[kept] for column in events])
    assert len(report.damage) == 1 and f"bytes {start} to {written.ends[1]}" in report.damage[0]
    assert f"last good time {events.t[99]} us" in report.damage[0]
    assert not report.truncated
    assert capfd.readouterr() == ("", "")


@COMPRESSIONS
@pytest.mark.parametrize("size", [0, 1, 17, 2**31 - 1, 2**32 - 1])
def test_after_a_wrong_packet_size_the_next_packet_is_found(tmp_path, compression, size):
    events = random_events(500, sensor=SENSOR)
    written = aedat4(pieces(events, 100), compression=compression)
    data = bytearray(written.data)
    struct.pack_into("<I", data, written.ends[1] + 4, size)
    path = tmp_path / "a.aedat4"
    path.write_bytes(data)
    packets, report, _ = read(path)
    kept = np.r_[0:200, 300:500]
    assert_same(joined(packets), [column[kept] for column in events])
    assert len(report.damage) == 1


@COMPRESSIONS
def test_a_missing_block_costs_only_the_packets_it_touches(tmp_path, compression):
    events = random_events(2_000, sensor=SENSOR)
    written = aedat4(pieces(events, 100), compression=compression)
    data = bytearray(written.data)
    del data[written.ends[4] + 50 : written.ends[5] + 30]
    path = tmp_path / "a.aedat4"
    path.write_bytes(data)
    packets, report, _ = read(path)
    kept = np.r_[0:500, 700:2000]
    assert_same(joined(packets), [column[kept] for column in events])
    assert len(report.damage) <= 3 and not report.truncated
    assert "the data table is here; declared at byte" in report.damage[-1]


def test_a_packet_of_noise_is_refused_whole_and_a_clock_reset_is_not(tmp_path):
    events = random_events(300, sensor=SENSOR)
    t = events.t.copy()
    t[50:] -= 4_900_000  # the clock starts anew inside the first packet
    t[100:200] = np.random.default_rng(3).integers(0, 2**60, 100)
    path = tmp_path / "a.aedat4"
    path.write_bytes(aedat4(pieces(events._replace(t=t), 100)).data)
    packets, report, _ = read(path)
    np.testing.assert_array_equal(joined(packets).t, np.r_[t[:100], t[200:]])
    assert (report.events, report.refused, report.epochs) == (200, 100, 2)
    assert len(report.damage) == 1 and "in 100 events" in report.damage[0]


def test_a_payload_too_short_for_the_decoder_stays_silent(tmp_path, capfd):
    """The decoder panics on these, with text on stderr: none may get there."""
    events = random_events(40, sensor=SENSOR)
    unsized = bytes.fromhex("28b52ffd0058") + (3 << 3 | 1).to_bytes(3, "little") + b"abc"  # no content size
    short = {NONE: b"\2\0\0\0", LZ4: packed(b"ab", LZ4), ZSTD: packed(b"ab", ZSTD)}
    for compression, payload in [*short.items(), (ZSTD, unsized)]:
        data = aedat4(pieces(events, 20), compression=compression, table=False).data
        data += struct.pack("<iI", 0, len(payload)) + payload
        path = tmp_path / "a.aedat4"
        path.write_bytes(data)
        packets, report, _ = read(path)
        assert_same(joined(packets), events)
        assert len(report.damage) == 1
    assert capfd.readouterr() == ("", "")


def test_small_hostile_frames_do_not_disturb_the_packets_around_them(tmp_path, capfd):
    """Frames of a few random bytes: many unpack to less than the decoder can bear."""
    rng = np.random.default_rng(8)
    events = random_events(10, sensor=SENSOR)
    path = tmp_path / "a.aedat4"
    for k in range(300):
        block = rng.integers(0, (256, 16, 4)[k % 3], rng.integers(1, 14)).astype(np.uint8).tobytes()
        if k % 2:
            frame = bytes.fromhex("04224d184040c0") + struct.pack("<I", len(block)) + block + bytes(4)
        else:  # no content size, one compressed block
            frame = bytes.fromhex("28b52ffd0058") + (len(block) << 3 | 5).to_bytes(3, "little") + block
        written = aedat4(pieces(events, 5), compression=LZ4 if k % 2 else ZSTD, table=False)
        hostile = struct.pack("<iI", 0, len(frame)) + frame
        path.write_bytes(written.data[: written.ends[0]] + hostile + written.data[written.ends[0] :])
        packets, report, _ = read(path)
        assert_same(joined(packets), events)
        assert len(report.damage) == 1 and f"bytes {written.ends[0]} to" in report.damage[0]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("xml", "found"),
    [
        ("<dv>", "no element found|mismatched"),
        ("<dv/>", "outInfo"),
        ('<!DOCTYPE d [<!ENTITY a "b">]><dv/>', "declarations"),
        (description({0: ("FRME", SENSOR)}), "wanted an events stream.*0 FRME"),
        (description({}), "streams are none"),
        (description({0: ("EVTS", Sensor(0, 5))}), "0x5"),
        (description({0: ("EVTS", Sensor(40_000, 5))}), "40000x5"),
        (description({-2: ("EVTS", SENSOR)}), "stream number -2"),
        ('<dv><node name="outInfo"><node name="a"/></node></dv>', "'a'"),
    ],
)
def test_a_header_without_usable_events_is_refused_by_name(tmp_path, xml, found):
    path = tmp_path / "a.aedat4"
    path.write_bytes(aedat4_header(xml, NONE, -1))
    with pytest.raises(SourceError, match=found) as caught:
        Aedat4Source(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_an_unknown_compression_is_refused(tmp_path):
    path = tmp_path / "a.aedat4"
    path.write_bytes(aedat4_header(description({0: ("EVTS", SENSOR)}), 9, -1))
    with pytest.raises(SourceError, match="compression 9"):
        Aedat4Source(path)


def mutate(data, rng):
    """One of the kinds of damage that the peers were measured with."""
    data = bytearray(data)
    kind = rng.integers(7)
    at = int(rng.integers(len(data)))
    if kind == 0:
        data[at] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        for position in rng.integers(0, len(data), 16):
            data[position] ^= 1 << int(rng.integers(8))
    elif kind == 2:
        data[at : at + 64] = rng.bytes(len(data[at : at + 64]))
    elif kind == 3:
        del data[at : at + int(rng.integers(1, 400))]
    elif kind == 4:
        del data[at:]
    elif kind == 5:
        data[4 * (at // 4) : 4 * (at // 4) + 4] = b"\xff\xff\xff\x7f"
    else:
        data += rng.bytes(50)
    return bytes(data)


@COMPRESSIONS
@pytest.mark.parametrize("table", [True, False], ids=["closed", "killed"])
def test_damage_gives_an_error_or_a_report_and_no_impossible_event(tmp_path, capfd, compression, table):
    events = random_events(600, sensor=SENSOR, start_us=1_700_000_000_000_000)
    data = aedat4(pieces(events, 30), compression=compression, table=table).data
    rng = np.random.default_rng(20 + compression)
    path = tmp_path / "a.aedat4"
    messages, kept = [], 0
    for _ in range(100):
        path.write_bytes(mutate(data, rng))
        try:
            with Aedat4Source(path) as source:
                last, epoch = None, 0
                for packet in source:
                    assert packet.x.max() < source.sensor.width and packet.y.max() < source.sensor.height
                    assert packet.p.max() <= 1
                    if packet.epoch != epoch:
                        last, epoch = None, packet.epoch
                    assert (last is None or packet.t[0] >= last) and np.all(np.diff(packet.t) >= 0)
                    last = packet.until_us
                assert source.report().bytes == path.stat().st_size
                kept += source.report().events
        except SourceError as error:
            messages.append(str(error))
    assert len(messages) < 60 and not any("\n" in message for message in messages)
    assert kept > 100 * 600 * 0.3
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "sensor", "events"),
    [
        ("dvs128_hand_a", Sensor(128, 128, "DVS128"), 348_461),
        ("dvs128_hand_b", Sensor(128, 128, "DVS128"), 337_389),
        ("dvs128_hand_c", Sensor(128, 128, "DVS128"), 229_092),
        ("dvs128_hand_d", Sensor(128, 128, "DVS128"), 260_499),
        ("davis346", Sensor(346, 260, "DAVIS346"), 117_667),
    ],
)
def test_real_recordings_come_whole(name, sensor, events):
    path = DATA / "recordings" / f"{name}.aedat4"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    packets, report, found = read(path)
    got = joined(packets)
    assert (len(got.t), found) == (events, sensor)
    assert (report.refused, report.reordered, report.damage, report.truncated) == (0, 0, [], False)
    assert np.all(np.diff(got.t) >= 0)


def test_a_real_recording_cut_in_the_middle_keeps_what_is_whole(tmp_path):
    path = DATA / "recordings" / "dvs128_hand_a.aedat4"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    whole = joined(read(path)[0])
    cut = tmp_path / "cut.aedat4"
    cut.write_bytes(path.read_bytes()[:1_500_000])
    packets, report, _ = read(cut)
    got = joined(packets)
    assert_same(got, whole.slice(0, len(got.t)))
    assert report.truncated and 0.5 < len(got.t) / len(whole.t) < 0.6
    assert "1500000" in report.damage[-1]
