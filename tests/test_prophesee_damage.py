"""EVT2, EVT2.1 and EVT3 after damage: what is lost is little, is said, and moves no time."""

import make_prophesee as make
import numpy as np
import pytest
from mutations import mutated, read_all, read_or_refuse
from test_formats_prophesee import EACH, FORMATS, HEADERS, SENSOR, random_rows, same, written

from spikeline.drivers.formats.prophesee import RawSource
from spikeline.pipeline.events import Sensor


@EACH
def test_every_truncation_gives_all_whole_words(tmp_path, name):
    encode, decode, decoder, _ = FORMATS[name]
    body = encode(random_rows(np.random.default_rng(4), 400))
    data = make.header(HEADERS[name], *SENSOR[:2]) + body
    head, unit, path = len(data) - len(body), decoder().unit, tmp_path / "a.raw"
    for stop in range(head, len(data) + 1):
        path.write_bytes(data[:stop])
        found, report = read_all(RawSource(path))
        assert same(found, decode(data[head:stop])[0])
        part = (stop - head) % unit
        assert report.truncated == (part > 0) and report.bytes == stop
        if part:
            (line,) = report.damage
            assert line.startswith(f"bytes {stop - part} to {stop}: the file ends within a record ({part} of")


@EACH
@pytest.mark.parametrize("what", ["noise", "deleted", "zeros"])
def test_behind_a_damaged_block_all_events_come_back(tmp_path, name, what):
    encode, _, _, _ = FORMATS[name]
    rows = random_rows(np.random.default_rng(6), 40_000, gap_us=4)
    body = encode(rows, repeat_us=16) if name != "evt21" else encode(rows)
    known = set(rows)
    lost = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        size = int(rng.integers(1, 1_025))
        at = int(rng.integers(4_000, len(body) - 4_000))
        middle = {"noise": rng.bytes(size), "deleted": b"", "zeros": bytes(size)}[what]
        path = written(tmp_path / "a.raw", name, body[:at] + middle + body[at + size :])
        found, report = read_all(RawSource(path))
        right = sum(row in known for row in zip(*(column.tolist() for column in found), strict=True))
        unit = len(body) / len(rows)
        lost.append((len(rows) - size / unit - right) / len(rows))
        assert report.epochs == 1 and not report.truncated
        if what == "noise" and size > 64:
            assert report.damage and all(int(line.split()[1]) >= at - 64 for line in report.damage)
    assert np.median(lost) < 0.002 and max(lost) < 0.01, lost


@pytest.mark.parametrize("shift", range(1, 8))
def test_lost_bytes_shift_the_words_and_they_are_found_again(tmp_path, shift):
    rows = random_rows(np.random.default_rng(7), 20_000, gap_us=4)
    for name, (encode, _, decoder, _) in FORMATS.items():
        if shift >= decoder().unit:
            continue
        body = encode(rows)
        at = len(body) // 2
        path = written(tmp_path / "a.raw", name, body[:at] + body[at + shift :])
        found, report = read_all(RawSource(path))
        known = set(rows)
        right = sum(row in known for row in zip(*(column.tolist() for column in found), strict=True))
        assert right > 0.995 * len(rows), name
        assert any("damaged" in line and "left out" in line for line in report.damage)


def test_a_file_without_header_recovers_too(tmp_path):
    rows = random_rows(np.random.default_rng(9), 30_000, gap_us=4, width=320, height=320)
    body = make.events_evt2(rows)
    damaged = bytearray(body)
    damaged[50_001:50_900] = np.random.default_rng(1).bytes(899)
    del damaged[90_000:90_003]
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(damaged))
    source = RawSource(path, sensor=Sensor(320, 320), options={"format": "evt2"})
    found, report = read_all(source)
    known = set(rows)
    right = sum(row in known for row in zip(*(column.tolist() for column in found), strict=True))
    assert right > 0.985 * len(rows) and report.epochs == 1 and len(report.damage) == 2
    assert source.format == "EVT2" and source.sensor == Sensor(320, 320)


def test_strange_words_amid_good_ones_are_counted_not_lost(tmp_path):
    """A camera that sends a reserved word now and then; the clock shows that the words are in step."""
    rows = random_rows(np.random.default_rng(2), 5_000)
    words = np.frombuffer(make.events_evt3(rows, repeat_us=16), np.uint16).tolist()
    for at in range(len(words) - 1, 0, -7):
        words.insert(at, 0x9000)
    source = RawSource(written(tmp_path / "a.raw", "evt3", make.evt3(words)))
    found, report = read_all(source)
    assert same(found, rows) and report.damage == []
    assert source.others == {"unknown word": words.count(0x9000)}


@EACH
def test_damaged_files_are_read_or_refused_in_one_line(tmp_path, name):
    encode, _, _, _ = FORMATS[name]
    data = make.header(HEADERS[name], 640, 480) + encode(
        random_rows(np.random.default_rng(1), 3_000, width=640, height=480)
    )
    path = tmp_path / "a.raw"
    kept = []
    for kind, copy in mutated(data, 11, 150):
        path.write_bytes(copy)
        events, report = read_or_refuse(
            lambda: RawSource(path, sensor=Sensor(640, 480), options={"format": name})
        )
        if events is not None and kind == "flip one":
            assert report.epochs <= 2
            kept.append(len(events.t) / 3_000)
    assert np.median(kept) > 0.999


def test_events_without_any_time_are_refused_and_said(tmp_path):
    path = written(tmp_path / "a.raw", "evt2", make.evt2([make.cd2(k, 1, 2, 1) for k in range(200)]))
    with RawSource(path) as source:
        assert list(source) == []
        report = source.report()
    assert report.refused == 200
    assert report.damage == ["no event of 200 has a time: no TIME_HIGH is among the words"]


@EACH
def test_noise_alone_ends_soon(tmp_path, name):
    path = tmp_path / "noise.raw"
    path.write_bytes(np.random.default_rng(0).bytes(2_000_000))
    events, report = read_or_refuse(lambda: RawSource(path, sensor=SENSOR, options={"format": name}))
    assert events is not None and len(events.t) < 20_000 and report.damage and report.epochs < 100
