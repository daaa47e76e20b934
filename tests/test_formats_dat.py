"""DAT: equal to a slow decoder, however the bytes are cut; versions, headers, wraps, damage, real files."""

import os
from itertools import pairwise
from pathlib import Path

import make_prophesee as make
import numpy as np
import pytest
import slow_decoders as slow
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import mutated, read_all, read_or_refuse
from test_formats_prophesee import events_of, random_rows, same, write

from spikeline.drivers.formats.dat import DatDecoder, DatSource
from spikeline.drivers.formats.feed import Feed
from spikeline.drivers.writers.dat import DatWriter
from spikeline.pipeline.events import Sensor, SourceError

RECORDINGS = Path(os.environ.get("SPIKELINE_DATA", Path(__file__).parents[2] / "shared/data")) / "recordings"
SENSOR = Sensor(1280, 720)


def written(path, body, *, sensor=SENSOR, **about):
    path.write_bytes(make.dat_header(*sensor[:2], **about) + body)
    return path


def rows_of(found):
    return list(zip(*(column.tolist() for column in found), strict=True))


@settings(deadline=None, max_examples=30)
@given(
    st.integers(0, 4_000),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0, 3, 200, 30_000, 3_000_000]),
    st.sampled_from([1, 2]),
)
def test_every_record_is_read_as_the_slow_decoder_does(tmp_path_factory, n, seed, gap_us, version):
    sensor = Sensor(304, 240) if version == 1 else SENSOR
    rng = np.random.default_rng(seed)
    start_us = int(rng.integers(1 << 32))
    rows = random_rows(rng, n, start_us=start_us, gap_us=gap_us, width=sensor.width, height=sensor.height)
    body = make.events_dat(rows, version)
    assert slow.dat(body, version)[0] == rows
    path = written(tmp_path_factory.mktemp("a") / "a.dat", body, sensor=sensor, version=version)
    found, report = read_all(DatSource(path))
    assert same(found, rows)
    assert (report.refused, report.reordered, report.damage, report.truncated) == (0, 0, [], False)
    assert report.bytes == path.stat().st_size


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_any_cut_of_the_bytes_gives_the_same_events(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    gap_us = int(rng.choice([3, 200, 100_000]))
    n = data.draw(st.sampled_from([1, 40, 3_000]))
    rows = random_rows(rng, n, start_us=(1 << 32) - 2_000, gap_us=gap_us)
    body = make.events_dat(rows)
    feed = Feed(DatDecoder())
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=30)))
    edges = [0, *cuts, len(body)]
    parts = [feed.events(body[a:b], final=b == len(body)) for a, b in pairwise(edges)]
    assert same([np.concatenate(column) for column in zip(*parts, strict=True)], rows)
    assert feed.lost_bytes == 0


def test_clock_wraps_leave_no_error():
    width = 1 << 32
    rng = np.random.default_rng(3)
    for offset in [*range(-25, 0), *rng.integers(-70_000, 70_000, 25).tolist()]:
        rows, t = [(offset % width, 1, 2, 1)], offset % width
        for _ in range(10):
            rows += [(t + int(step), 1, 2, 1) for step in np.cumsum(rng.integers(1, 9_000, 1_200))]
            t = rows[-1][0] + width // 3
        found = Feed(DatDecoder()).events(make.events_dat(rows), final=True)
        np.testing.assert_array_equal(found.t, [row[0] for row in rows])


def test_dense_wraps_are_seen_in_the_fast_path_too():
    rows = [((1 << 32) - 40_000 + k, k % 1_280, k % 720, k & 1) for k in range(80_000)]
    found = Feed(DatDecoder()).events(make.events_dat(rows), final=True)
    assert same(found, rows)


def test_a_clock_that_is_set_begins_an_epoch(tmp_path):
    rows = [(50_000_000 + k * 10, 1, 2, 1) for k in range(2_000)] + [(k * 10, 3, 4, 0) for k in range(2_000)]
    found, report = read_all(DatSource(written(tmp_path / "a.dat", make.events_dat(rows))))
    assert same(found, rows) and report.epochs == 2


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2_999), st.integers(0, 31))
def test_one_damaged_time_loses_one_event_at_most(tmp_path_factory, index, bit):
    rows = random_rows(np.random.default_rng(5), 3_000, start_us=10_000_000)
    body = bytearray(make.events_dat(rows))
    body[8 * index + bit // 8] ^= 1 << bit % 8
    found, report = read_all(DatSource(written(tmp_path_factory.mktemp("a") / "a.dat", bytes(body))))
    assert report.epochs == 1
    assert len(found.t) + report.refused == len(rows)
    index = min(index, len(rows) - 1)
    others = rows[:index] + rows[index + 1 :]
    if report.refused and 1 < index < len(rows) - 2:  # at the ends nothing beyond says which is wrong
        assert rows_of(found) == others or (bit < 20 and report.refused > 1)
    near = [row for row in rows if abs(row[0] - rows[index][0]) <= 2_000 + (1 << bit if bit < 20 else 0)]
    untouched = set(rows) - set(near)
    assert untouched <= set(rows_of(found))


def test_every_truncation_gives_all_whole_records(tmp_path):
    rows = random_rows(np.random.default_rng(4), 60)
    data = make.dat_header(*SENSOR[:2]) + make.events_dat(rows)
    head, path = len(data) - 480, tmp_path / "a.dat"
    for stop in range(head, len(data) + 1):
        path.write_bytes(data[:stop])
        found, report = read_all(DatSource(path))
        whole, part = divmod(stop - head, 8)
        assert same(found, rows[:whole]) and report.bytes == stop
        assert report.truncated == (part > 0)
        if part:
            assert (
                f"bytes {stop - part} to {stop}: the file ends within a record ({part} of 8"
                in report.damage[0]
            )


def test_every_cut_within_the_header_is_said(tmp_path):
    data = make.dat_header(*SENSOR[:2])
    path = tmp_path / "a.dat"
    for stop in range(1, len(data)):
        path.write_bytes(data[:stop])
        with DatSource(path, sensor=SENSOR) as source:
            assert list(source) == []
            report = source.report()
        assert report.truncated and "ends within its header" in report.damage[0]


@pytest.mark.parametrize("what", ["noise", "deleted", "zeros"])
def test_behind_a_damaged_block_all_events_come_back(tmp_path, what):
    rows = random_rows(np.random.default_rng(6), 30_000, gap_us=4, start_us=20_000_000)
    body, known = make.events_dat(rows), set(rows)
    for seed in range(12):
        rng = np.random.default_rng(seed)
        size = int(rng.integers(1, 1_025))
        at = int(rng.integers(4_000, len(body) - 4_000))
        middle = {"noise": rng.bytes(size), "deleted": b"", "zeros": bytes(size)}[what]
        path = written(tmp_path / "a.dat", body[:at] + middle + body[at + size :])
        found, report = read_all(DatSource(path))
        right = sum(row in known for row in rows_of(found))
        assert right >= len(rows) - size // 8 - 40, (seed, size, report.damage)
        assert report.epochs == 1 and len(found.t) - right < 4


def test_damaged_files_are_read_or_refused_in_one_line(tmp_path):
    rows = random_rows(np.random.default_rng(1), 3_000, width=640, height=480)
    data = make.dat_header(640, 480) + make.events_dat(rows)
    path = tmp_path / "a.dat"
    for kind, copy in mutated(data, 11, 200):
        path.write_bytes(copy)
        events, report = read_or_refuse(lambda: DatSource(path, sensor=Sensor(640, 480)))
        if events is not None and kind == "flip one":
            assert report.epochs <= 1 and len(events.t) > 2_990


def test_noise_alone_ends_soon(tmp_path):
    path = written(tmp_path / "a.dat", np.random.default_rng(0).bytes(4_000_000))
    events, report = read_all(DatSource(path))
    assert len(events.t) < 50 and report.damage and report.epochs < 10


@pytest.mark.parametrize("kind", [b"\x00\x08", b"\x0c\x08"])
@pytest.mark.parametrize("more", ["", "% Date 2017-10-31 13:00:32\n", "% end\n"])
def test_both_kinds_and_any_header(tmp_path, kind, more):
    rows = random_rows(np.random.default_rng(1), 50, width=100, height=100)
    path = tmp_path / "a.dat"
    head = make.dat_header(0, 0, kind=b"", more=more)
    path.write_bytes(head + kind + make.events_dat(rows))
    found, _ = read_all(DatSource(path, sensor=Sensor(120, 100)))
    assert same(found, rows)


def test_records_without_any_header(tmp_path):
    rows = random_rows(np.random.default_rng(1), 50, width=100, height=100)
    path = tmp_path / "a.dat"
    path.write_bytes(make.events_dat(rows))
    assert same(read_all(DatSource(path, sensor=Sensor(120, 100)))[0], rows)


@pytest.mark.parametrize(
    ("head", "sensor", "words"),
    [
        (make.dat_header(0, 0), None, "does not say its size; say it with --sensor"),
        (make.dat_header(4, 4), Sensor(5, 4), "its sensor is 4x4; --sensor says 5x4"),
        (make.dat_header(4, 4, version=3), None, "DAT version 3; wanted 1 or 2"),
        (
            make.dat_header(4, 4, kind=b"\x0e\x08"),
            None,
            r"holds external triggers \(type 0x0E, 8 bytes each\)",
        ),
        (make.dat_header(4, 4, kind=b"\x0c\x09"), None, r"a kind we do not know \(type 0x0C, 9 bytes each\)"),
        (b"% Version 2\n% Width wide\n% Height 4\n\x0c\x08", None, "size 'wide' x '4' in the header"),
        (b"% Version 2\n% Width 0\n% Height 4\n\x0c\x08", None, "sensor of 0x4 pixels; wanted 1x1 to"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(tmp_path, head, sensor, words):
    path = tmp_path / "a.dat"
    path.write_bytes(head + make.events_dat([(1, 1, 1, 1)]))
    with pytest.raises(SourceError, match=words):
        DatSource(path, sensor=sensor)


def test_events_beyond_the_sensor_are_refused_and_counted(tmp_path):
    rows = [(k * 10, k % 200, 5, 1) for k in range(1_000)]
    path = tmp_path / "a.dat"
    path.write_bytes(make.dat_header(0, 0) + make.events_dat(rows))
    found, report = read_all(DatSource(path, sensor=Sensor(100, 100)))
    assert same(found, [row for row in rows if row[1] < 100]) and report.refused == 500


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 400), st.integers(0, 2**32 - 1), st.sampled_from([2, 5_000, 2_000_000]))
def test_what_is_written_is_read(tmp_path_factory, n, seed, gap_us):
    rng = np.random.default_rng(seed)
    rows = random_rows(rng, n, start_us=int(rng.integers(1 << 31)), gap_us=gap_us)
    path = tmp_path_factory.mktemp("w") / "a.dat"
    assert write(DatWriter, path, SENSOR, rows) == n
    found, report = read_all(DatSource(path))
    assert same(found, rows) and (report.damage, report.refused) == ([], 0)


def test_what_does_not_fit_is_refused_by_name(tmp_path):
    for rows, words in (
        ([(1 << 32, 1, 1, 1)], "the first event is at 4294967296 us; DAT begins within"),
        ([(1, 1, 1, 1), (1 << 32, 1, 1, 1)], "DAT holds times to 4294967295 us"),
    ):
        with pytest.raises(SourceError, match=words):
            write(DatWriter, tmp_path / "a.dat", SENSOR, rows)
    assert list(tmp_path.iterdir()) == []


def test_an_origin_is_written_and_added_again(tmp_path):
    rows = [(1_700_000_000_000_000 + k * 50, k, k, k % 2) for k in range(100)]
    write(DatWriter, tmp_path / "a.dat", SENSOR, rows, origin_us=1_700_000_000_000_000)
    assert same(read_all(DatSource(tmp_path / "a.dat"))[0], rows)
    with pytest.raises(SourceError, match="exists already"):
        write(DatWriter, tmp_path / "a.dat", SENSOR, rows)


@pytest.mark.parametrize(
    ("file", "sensor", "events", "last_us"),
    [
        ("ncars_car.dat", Sensor(120, 100), 7_102, 99_966),
        ("ncars_background.dat", Sensor(120, 100), 1_374, 99_806),
    ],
)
def test_real_recordings(file, sensor, events, last_us):
    path = RECORDINGS / file
    if not path.exists():
        pytest.skip(f"{path} is not there")
    found, report = read_all(DatSource(path, sensor=sensor))
    assert (len(found.t), int(found.t[-1])) == (events, last_us)
    assert (report.refused, report.reordered, report.damage, report.epochs) == (0, 0, [], 1)
    body = path.read_bytes()
    assert same(found, slow.dat(body[len(body) % 8 + (len(body) - 8 * events) // 8 * 8 :])[0])
    assert events_of(slow.dat(body[-8 * events :])[0]).t[0] == found.t[0]
