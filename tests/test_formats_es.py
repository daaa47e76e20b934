"""Event Stream: equal to a slow reader, however the bytes are cut; damage, and what our writer writes."""

import os
import struct
from pathlib import Path

import make_aedat as make
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from make_aedat import events_of
from mutations import is_part, mutated, read_all, read_or_refuse, same
from test_sources_writers import Events

from spikeline.drivers.formats.event_stream import EsDecoder, EventStreamSource
from spikeline.drivers.formats.rooms import Rooms
from spikeline.drivers.writers.es import EsWriter
from spikeline.pipeline.events import EventPacket, Sensor, SourceError

from strategies import packets_of

RECORDINGS = Path(os.environ.get("SPIKELINE_DATA", Path(__file__).parents[2] / "shared/data")) / "recordings"
WIDTH, HEIGHT = 346, 260
SENSOR = Sensor(WIDTH, HEIGHT)
KINDS = pytest.mark.parametrize("atis", [False, True], ids=["dvs", "atis"])


def random_events(n, *, seed=1, start_us=1_000, gap_us=200):
    rng = np.random.default_rng(seed)
    return Events(
        start_us + np.cumsum(rng.integers(0, gap_us, n)),
        rng.integers(0, WIDTH, n).astype(np.uint16),
        rng.integers(0, HEIGHT, n).astype(np.uint16),
        rng.integers(0, 2, n).astype(np.uint8),
    )


def file_of(body, *, atis=False):
    return make.es_header(WIDTH, HEIGHT, 2 if atis else 1) + body


def written(path, data):
    path.write_bytes(data)
    return path


def read(path, **keywords):
    source = EventStreamSource(path, **keywords)
    events, report = read_all(source)
    return events, report, source


@KINDS
@settings(deadline=None, max_examples=40)
@given(st.integers(0, 800), st.integers(0, 2**32 - 1), st.sampled_from([1, 60, 500, 90_000]))
def test_every_event_is_read_as_the_slow_reader_does(tmp_path_factory, atis, n, seed, gap_us):
    rng = np.random.default_rng(seed)
    events = random_events(n, seed=seed, gap_us=gap_us)
    exposures = set(rng.integers(0, n, 5).tolist()) if atis and n else set()
    resets = set(rng.integers(0, n, 5).tolist()) if n else set()
    body = make.es(events, HEIGHT, atis=atis, exposures=exposures, resets=resets)
    expected, others = make.slow_es(body, HEIGHT, atis=atis)
    path = written(tmp_path_factory.mktemp("a") / "a.es", file_of(body, atis=atis))
    found, report, source = read(path)
    assert same(found, events_of(expected)) and same(found, events)
    assert sum(source.others.values()) == others == len(exposures)
    assert (report.refused, report.damage, report.truncated) == (0, [], False)
    assert (report.bytes, source.sensor[:2]) == (path.stat().st_size, (WIDTH, HEIGHT))


@KINDS
@settings(deadline=None, max_examples=40)
@given(st.data())
def test_any_cut_of_the_bytes_gives_the_same_events(atis, data):
    seed = data.draw(st.integers(0, 2**32 - 1))
    n = data.draw(st.integers(1, 900))
    events = random_events(n, seed=seed, gap_us=data.draw(st.sampled_from([60, 2_000])))
    body = np.frombuffer(make.es(events, HEIGHT, atis=atis, resets={n // 2}), np.uint8)
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=8))
    decoder = EsDecoder(SENSOR, atis, True)
    found, used = [], 0
    for stop in [*sorted(cuts), len(body)]:
        more = True
        while more:
            room = Rooms(reuse=False).take().part(0, data.draw(st.integers(100, 1_000)))
            step = decoder.decode(body[used:stop], room, stop == len(body))
            assert not step.odd and not step.refused
            found += make.rows(Events(*room.part(0, step.events)))
            used += step.used
            more = step.used > 0
    assert used == len(body) and same(events_of(found), events)


def test_vectors(tmp_path):
    dvs = bytes.fromhex("0b01000200 ffff 143f010000 fe 010000ef00".replace(" ", ""))
    data = make.es_header(320, 240) + dvs
    found, report, source = read(written(tmp_path / "a.es", data), options={"flip_y": "no"})
    assert make.rows(found) == [(5, 1, 2, 1), (269, 319, 0, 0), (269, 0, 239, 1)]
    assert (report.damage, source.flip_y) == ([], False)
    found, _, source = read(written(tmp_path / "a.es", data))
    assert make.rows(found) == [(5, 1, 237, 1), (269, 319, 239, 0), (269, 0, 0, 1)]
    assert source.flip_y
    atis = bytes.fromhex("1207000900fe0d01000100")
    found, _, source = read(
        written(tmp_path / "a.es", make.es_header(320, 240, 2) + atis), options={"flip_y": "no"}
    )
    assert make.rows(found) == [(4, 7, 9, 1)]
    assert source.others == {"exposure event (ATIS)": 1}


@pytest.mark.parametrize(
    ("data", "keywords", "message"),
    [
        (make.es_header(320, 240, 0), {}, r"holds generic events \(type 0\); wanted DVS \(1\) or ATIS \(2\)"),
        (make.es_header(320, 240, 3), {}, r"holds AMD events \(type 3\)"),
        (make.es_header(320, 240, 4), {}, r"holds color events \(type 4\)"),
        (make.es_header(320, 240, 9), {}, r"holds unknown events \(type 9\)"),
        (make.es_header(320, 240, 1, (1, 5, 0)), {}, r"is Event Stream 1\.5\.0; wanted version 2"),
        (make.es_header(320, 0), {}, "its sensor is 320x0 pixels"),
        (make.es_header(320, 240)[:15], {}, "ends within its header, at byte 15"),
        (make.es_header(320, 240)[:18], {}, "ends within its header, at byte 18"),
        (b"Event", {}, "begins with b'Event'; wanted b'Event Stream'"),
        (make.es_header(320, 240), {"sensor": Sensor(640, 480)}, "is 320x240; --sensor says 640x480"),
        (make.es_header(320, 240), {"options": {"flip_y": "1"}}, "flip_y=1; wanted yes or no"),
        (make.es_header(320, 240), {"options": {"chip": "1"}}, "unknown option chip; choose from flip_y"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(tmp_path, data, keywords, message):
    with pytest.raises(SourceError, match=message) as caught:
        EventStreamSource(written(tmp_path / "a.es", data), **keywords)
    assert "\n" not in str(caught.value)


# Damage


@KINDS
def test_cut_at_every_byte_all_whole_events_come(tmp_path, atis):
    events = random_events(60, gap_us=300)
    body = make.es(events, HEIGHT, atis=atis)
    ends = [len(make.es(events.slice(0, k), HEIGHT, atis=atis)) for k in range(61)]
    for cut in range(len(body) + 1):
        found, report, _ = read(written(tmp_path / "a.es", file_of(body[:cut], atis=atis)))
        whole = np.count_nonzero(np.array(ends) <= cut) - 1
        assert same(found, events.slice(0, whole)), cut
        started = cut - ends[whole] - steps_before(body, ends[whole], cut, 0xFC if atis else 0xFE)
        assert report.truncated == (started > 0)
        if report.truncated:
            assert len(report.damage) == 1
            assert f"bytes {20 + cut - started} to {20 + cut}" in report.damage[0]


def steps_before(body, start, stop, reset):
    """Bytes from `start` on that only hold time."""
    return next((k for k in range(stop - start) if body[start + k] < reset), stop - start)


@KINDS
@pytest.mark.parametrize("size", [1, 5, 16, 250, 1_024])
def test_noise_costs_little_more_than_the_events_it_lies_on(tmp_path, atis, size):
    events = random_events(20_000)
    body = make.es(events, HEIGHT, atis=atis)
    rng = np.random.default_rng(size)
    for _ in range(8):
        at = int(rng.integers(0, len(body) - size))
        damaged = body[:at] + rng.bytes(size) + body[at + size :]
        found, report, _ = read(written(tmp_path / "a.es", file_of(damaged, atis=atis)))
        assert in_common(found, events) >= 0.998 * (20_000 - size // 5)
        assert report.epochs == 1 and not report.truncated
        assert size < 200 or any(covers(line, 20 + at, size) for line in report.damage)


@KINDS
@pytest.mark.parametrize("size", [1, 2, 5, 333])
def test_lost_bytes_cost_little_more_than_the_events_they_were(tmp_path, atis, size):
    events = random_events(20_000)
    body = make.es(events, HEIGHT, atis=atis)
    rng = np.random.default_rng(size)
    for _ in range(8):
        at = int(rng.integers(0, len(body) - size))
        found, _, _ = read(written(tmp_path / "a.es", file_of(body[:at] + body[at + size :], atis=atis)))
        assert in_common(found, events) >= 0.998 * (20_000 - size // 5)


def in_common(found, events):
    """Events of the longest begin and end that agree in place and polarity (times may be shifted)."""
    ours, truth = (list(zip(e.x.tolist(), e.y.tolist(), e.p.tolist(), strict=True)) for e in (found, events))
    n = min(len(ours), len(truth))
    front = next((k for k in range(n) if ours[k] != truth[k]), n)
    back = next((k for k in range(n - front) if ours[-1 - k] != truth[-1 - k]), n - front)
    return front + back


def covers(line, at, size):
    """Whether a damage line's bytes lie on the damaged ones."""
    words = line.split()
    return words[0] == "bytes" and int(words[1]) < at + size + 1_500 and int(words[3].rstrip(":")) > at


def test_lost_time_is_told(tmp_path):
    body = make.es(random_events(3_000), HEIGHT)
    damaged = file_of(body[:5_000] + body[5_502:])
    _, report, _ = read(written(tmp_path / "a.es", damaged))
    assert any("times are early by what the bytes left out held" in line for line in report.damage)


def test_an_event_outside_the_sensor_is_refused_alone(tmp_path):
    events = random_events(5_000)
    body = bytearray(make.es(events, HEIGHT))
    ends = len(make.es(events.slice(0, 700), HEIGHT))
    struct.pack_into("<H", body, ends - 4, WIDTH)
    found, report, _ = read(written(tmp_path / "a.es", file_of(body)))
    assert same(found, Events(*(np.delete(column, 699) for column in events)))
    assert (report.refused, report.damage) == (1, [])


def test_a_long_silence_is_no_damage(tmp_path):
    events = random_events(400)
    events.t[200:] += 30_000_000
    found, report, _ = read(written(tmp_path / "a.es", file_of(make.es(events, HEIGHT))))
    assert same(found, events) and (report.epochs, report.damage) == (1, [])


@KINDS
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.full)])
def test_damage_of_any_kind_breaks_no_rule(tmp_path, atis, seed):
    events = random_events(3_000)
    data = file_of(make.es(events, HEIGHT, atis=atis), atis=atis)
    path = tmp_path / "a.es"
    for kind, damaged in mutated(data, seed, 1_000 if seed else 100):
        found, report = read_or_refuse(lambda damaged=damaged: EventStreamSource(written(path, damaged)))
        if kind == "truncate" and found is not None:
            assert is_part(found, events), report


def test_garbage_of_bytes_that_hold_only_time_ends(tmp_path):
    data = file_of(b"\xff" * 300_000 + bytes([0x10, 0xFF, 0xFF, 0xFF, 0xFF]) * 20_000)
    found, report, _ = read(written(tmp_path / "a.es", data))
    assert len(found.t) == 0 and report.damage


# Our writer


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 500), st.integers(0, 2**32 - 1), st.sampled_from([1, 127, 128, 100_000]), st.data())
def test_what_we_write_is_read_back_and_is_what_the_slow_writer_writes(
    tmp_path_factory, n, seed, gap_us, data
):
    events = random_events(n, seed=seed, gap_us=gap_us)
    cut = sorted(data.draw(st.lists(st.integers(0, n), max_size=5)))
    path = tmp_path_factory.mktemp("a") / "a.es"
    writer = EsWriter(path, SENSOR)
    for packet in packets_of(*events, cut, 10**9):
        writer.add(packet)
    assert not path.exists()
    assert writer.close() == n
    assert path.read_bytes() == file_of(make.es(events, HEIGHT))
    assert same(read(path)[0], events)


def packet(t, epoch=0):
    n = len(t)
    zeros = np.zeros(n, np.uint16)
    return EventPacket(np.array(t), zeros, zeros, zeros.astype(np.uint8), t[-1], epoch)


def test_what_the_format_cannot_hold_is_refused_by_name(tmp_path):
    writer = EsWriter(tmp_path / "a.es", SENSOR)
    with pytest.raises(SourceError, match="first event is at -5 us; this Event Stream begins at 0 us"):
        writer.add(packet([-5, 3]))
    with pytest.raises(SourceError, match="1700000000000000 us without an event before 1700000000000000 us"):
        writer.add(packet([1_700_000_000_000_000]))
    writer.add(packet([100, 200]))
    with pytest.raises(
        SourceError, match="epoch 1 begins at 150 us; Event Stream: its one clock is at 200 us"
    ):
        writer.add(packet([150], epoch=1))
    writer.discard()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "b.es").write_bytes(b"kept")
    with pytest.raises(SourceError, match=r"b\.es"):
        EsWriter(tmp_path / "b.es", SENSOR)
    assert (tmp_path / "b.es").read_bytes() == b"kept"


def test_times_can_be_written_from_an_origin_on(tmp_path):
    origin_us = 1_700_000_000_000_000
    writer = EsWriter(tmp_path / "a.es", SENSOR, origin_us=origin_us)
    writer.add(packet([origin_us + 4, origin_us + 900]))
    writer.add(packet([origin_us + 901]))
    assert writer.close() == 3
    assert read(tmp_path / "a.es")[0].t.tolist() == [4, 900, 901]


def test_a_real_recording_comes_whole():
    path = RECORDINGS / "scene_dvs.es"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    found, report, source = read(path)
    assert (len(found.t), source.sensor[:2]) == (473_225, (320, 240))
    assert found.t[-1] - found.t[0] == 999_000
    assert (report.refused, report.epochs, report.damage, report.truncated) == (0, 1, [], False)
    assert same(found, events_of(make.slow_es(path.read_bytes()[20:], 240)[0]))
