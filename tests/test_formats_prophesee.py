"""EVT2, EVT2.1 and EVT3: equal to slow decoders, however the bytes are cut; wraps, damage, real files."""

import os
from pathlib import Path

import make_prophesee as make
import numpy as np
import pytest
import slow_decoders as slow
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import read_all
from test_sources_writers import Events

from spikeline.drivers.formats import evt_words
from spikeline.drivers.formats.evt2 import Evt2Decoder
from spikeline.drivers.formats.evt3 import Evt3Decoder
from spikeline.drivers.formats.evt21 import Evt21Decoder
from spikeline.drivers.formats.feed import Feed
from spikeline.drivers.formats.prophesee import RawSource
from spikeline.pipeline.events import EventPacket, Sensor

RECORDINGS = Path(os.environ.get("SPIKELINE_DATA", Path(__file__).parents[2] / "shared/data")) / "recordings"
SENSOR = Sensor(1280, 720)
FORMATS = {
    "evt2": (make.events_evt2, slow.evt2, Evt2Decoder, 34),
    "evt21": (make.events_evt21, slow.evt21, lambda: Evt21Decoder("little"), 34),
    "evt3": (make.events_evt3, slow.evt3, Evt3Decoder, 24),
}
HEADERS = {"evt2": "EVT2", "evt21": "EVT21", "evt3": "EVT3"}
EACH = pytest.mark.parametrize("name", FORMATS)


def events_of(rows):
    columns = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Events(*(np.array(c, k) for c, k in zip(columns, ("i8", "u2", "u2", "u1"), strict=True)))


def random_rows(rng, n, *, start_us=1_000, gap_us=40, width=1280, height=720):
    """(t, x, y, p), some of them neighbours of one time and row, as vectors have them."""
    rows, t = [], start_us
    while len(rows) < n:
        y, p = int(rng.integers(height)), int(rng.integers(2))
        count = int(rng.choice([1, 1, 1, 3, 9]))
        x = sorted(rng.choice(32, count, replace=False) + 32 * rng.integers(width // 32))
        rows += [(t, int(each), y, p) for each in x]
        t += int(rng.integers(0, gap_us + 1))
    return rows[:n]


def written(path, name, body, *, sensor=SENSOR):
    path.write_bytes(make.header(HEADERS[name], *sensor[:2]) + body)
    return path


def same(found, rows):
    return all(np.array_equal(a, b) for a, b in zip(found, events_of(rows), strict=True))


def write(writer, path, sensor, rows, **keywords):
    sink = writer(path, sensor, **keywords)
    try:
        sink.add(EventPacket(*events_of(rows), rows[-1][0]))
        return sink.close()
    finally:
        sink.discard()


# Streams


@EACH
@settings(deadline=None, max_examples=30)
@given(st.integers(0, 3_000), st.integers(0, 2**32 - 1), st.sampled_from([0, 3, 200, 30_000]))
def test_every_word_is_read_as_the_slow_decoder_does(tmp_path_factory, name, n, seed, gap_us):
    encode, decode, _, bits = FORMATS[name]
    rng = np.random.default_rng(seed)
    rows = random_rows(rng, n, start_us=int(rng.integers(1 << bits)), gap_us=gap_us)
    body = encode(rows)
    assert decode(body)[0] == rows
    path = written(tmp_path_factory.mktemp("a") / "a.raw", name, body)
    found, report = read_all(RawSource(path))
    assert same(found, rows)
    assert (report.refused, report.reordered, report.damage, report.truncated) == (0, 0, [], False)
    assert report.bytes == path.stat().st_size


@EACH
@settings(deadline=None, max_examples=40)
@given(st.data())
def test_any_cut_of_the_bytes_gives_the_same_events(name, data):
    encode, decode, decoder, bits = FORMATS[name]
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    gap_us = int(rng.choice([3, 200, 100_000]))
    rows = random_rows(rng, data.draw(st.integers(1, 400)), start_us=(1 << bits) - 2_000, gap_us=gap_us)
    body = encode(rows)
    feed = Feed(decoder())
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=30)))
    parts = [
        feed.events(body[a:b], final=b == len(body))
        for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)
    ]
    assert same([np.concatenate(column) for column in zip(*parts, strict=True)], decode(body)[0])
    assert (feed.lost_bytes, feed.refused) == (0, 0)


@EACH
def test_a_file_of_many_blocks_is_read_whole(tmp_path, name):
    encode, _, _, _ = FORMATS[name]
    rows = random_rows(np.random.default_rng(5), 150_000, gap_us=7)
    path = written(tmp_path / "a.raw", name, encode(rows))
    for reuse in (False, True):
        found, report = read_all(RawSource(path, reuse=reuse))
        assert same(found, rows) and report.packets <= 9


@EACH
def test_clock_wraps_leave_no_error(tmp_path, name):
    """Ten wraps from each of fifty starts around one, in silence and in noise."""
    encode, _, decoder, bits = FORMATS[name]
    width = 1 << bits
    rng = np.random.default_rng(3)
    for start_us in [width + int(offset) for offset in [*range(-25, 0), *rng.integers(-70_000, 70_000, 25)]]:
        rows, t = [], start_us - (width if start_us >= width else 0)
        while t < start_us + 10 * width:
            near = min(t % width, -t % width) < 200_000
            rows.append((t, int(rng.integers(1280)), int(rng.integers(720)), int(rng.integers(2))))
            t += int(rng.integers(1, 60_000)) if near else min(width // 9, -t % width - 100_000)
        found = Feed(decoder()).events(encode(rows), final=True)
        np.testing.assert_array_equal(found.t, [row[0] for row in rows])


@EACH
def test_words_that_are_no_events_are_counted(tmp_path, name):
    if name == "evt2":
        words = [make.cd2(5, 1, 1, 1), make.high2(640), make.cd2(640, 3, 4, 1), make.trigger2(641, 2, 1)]
        words += [0xE000_0014, 0xF000_0000, 0xD000_0001, make.trigger2(650, 2, 0), make.cd2(660, 5, 6, 0)]
        body = make.evt2(words)
    elif name == "evt21":
        words = [0 << 60 | 1, 8 << 60 | 10 << 32, 1 << 60 | 4 << 32 | 8, 0xA << 60 | 2 << 40]
        words += [0xE << 60, 0xF << 60, 0xD << 60, 0xA << 60, 20 << 54 | 6 << 32 | 32]
        body = make.evt21(words)
    else:
        words = [0x2001, 0x8000, 0x6280, 0x0004, 0x2803, 0xA201, *make.OTHER3, 0xA200, 0x6294, 0x0006, 0x2005]
        body = make.evt3(words)
    source = RawSource(written(tmp_path / "a.raw", name, body))
    found, report = read_all(source)
    assert same(found, [(640, 3, 4, 1), (660, 5, 6, 0)])
    continued = {"continued": 2} if name == "evt3" else {"continued": 1, "IMU": 1}
    expected = {"external trigger": 2, "other": 1, "event without a time or place": 1, **continued}
    assert source.others == expected
    assert (report.refused, report.damage) == (1, [])


def test_a_low_part_written_twice_is_no_wrap():
    """Gen4.1 sends the time and 11 us more, then the time, once a millisecond."""
    body = make.evt3([0x8001, 0x6010, 0x0007, 0x2001, 0x8001, 0x601B, 0x6010, 0x2002, 0x8001, 0x2003])
    found = Feed(Evt3Decoder()).events(body, final=True)
    np.testing.assert_array_equal(found.t, [4_112, 4_112, 4_112])


def test_vectors_in_any_order_move_their_base(tmp_path):
    """Single ones from any base, as some writers make them; what lies beyond the sensor is refused."""
    words = [0x8000, 0x6001, 0x0005, 0x3805, 0x5081, 0x4801, 0x3000 | 1276, 0x40FF, 0x2001]
    rows = (
        [(1, x, 5, 1) for x in (5, 12, 13, 24)] + [(1, x, 5, 0) for x in range(1276, 1280)] + [(1, 1, 5, 0)]
    )
    found, report = read_all(RawSource(written(tmp_path / "a.raw", "evt3", make.evt3(words))))
    assert same(found, rows) and report.refused == 4


def test_grey_levels_and_a_second_camera_are_told_apart():
    chain = [word for k in range(8) for word in (0x8000 | k // 2, 0x6000 | k)]
    words = [0x8000, 0x6001, 0x0005, 0x2001, 0x1005, 0x2002, 0x2003, 0x0006, 0x2004, 0x0807, 0x2005, *chain]
    decoder = Evt3Decoder()
    found = Feed(decoder).events(make.evt3(words), final=True)
    np.testing.assert_array_equal(found.x, [1, 4, 5])
    np.testing.assert_array_equal(found.y, [5, 6, 7])
    assert decoder.others == {"grey level": 2, "row of a second camera": 1}


def test_a_lost_time_word_shows_in_the_low_bits():
    rows = [(64 * 10 + k, k, 1, 1) for k in range(0, 256, 9)]
    words = [word for row in rows for word in (make.cd2(*row),)]
    words.insert(0, make.high2(640))
    words.append(make.high2(960))
    decoder = Evt2Decoder()
    found = Feed(decoder).events(make.evt2(words), final=True)
    np.testing.assert_array_equal(found.t, [row[0] for row in rows])
    assert decoder.others == {"lost time word": 3}


@EACH
def test_one_damaged_time_word_moves_nothing(name):
    """Every bit of one TIME_HIGH flipped in turn: at most the events it stands for are late or early."""
    encode, _, decoder, _ = FORMATS[name]
    rng = np.random.default_rng(8)
    rows = random_rows(rng, 12_000, start_us=4_096 * 300, gap_us=60)
    body = encode(rows)
    unit = decoder().unit
    whole = np.frombuffer(body, decoder().dtype)
    highs = np.flatnonzero(decoder()._split(whole)[0] == 8)
    at = int(highs[len(highs) // 2])
    inside = range(*np.searchsorted([row[0] for row in rows], _span(decoder(), whole, highs, at)).tolist())
    for bit in range(28 if name != "evt3" else 12):
        copy = bytearray(body)
        place = at * unit * 8 + bit + (32 if name == "evt21" else 0)
        copy[place // 8] ^= 1 << place % 8
        found = Feed(decoder()).events(bytes(copy), final=True)
        assert len(found.t) == len(rows)
        wrong = np.flatnonzero(found.t != [row[0] for row in rows])
        assert all(index in inside for index in wrong.tolist()), bit


def _span(decoder, words, highs, at):
    """Times from this TIME_HIGH to the next of another value but one: it may look as if that were lost."""
    times = decoder._split(words)[1]
    behind = [int(times[k]) for k in highs if k > at]
    return int(times[at]), min(time for time in behind if time > times[at] + decoder.layout.high_us)


# Real recordings


@pytest.mark.parametrize(
    ("file", "options", "sensor", "events", "span_us", "first"),
    [
        ("gen3_evt2.raw", {}, Sensor(640, 480, "Gen3"), 521_252, 95_871, (913_716_224, 35, 443, 1)),
        ("gen41_evt3.raw", {}, Sensor(1280, 720, "Gen4.1"), 219_596, 8_801, (11_718_656, 874, 200, 0)),
        (
            "genx320_headerless_evt2.bin",
            {"format": "evt2"},
            Sensor(320, 320),
            119_317,
            2_947_587,
            (963_215, 109, 129, 0),
        ),
    ],
)
def test_real_recordings(file, options, sensor, events, span_us, first):
    path = RECORDINGS / file
    if not path.exists():
        pytest.skip(f"{path} is not there")
    given_sensor = sensor if options else None
    found, report = read_all(RawSource(path, sensor=given_sensor, options=options))
    assert len(found.t) == events and found.t[-1] - found.t[0] == span_us
    assert tuple(int(column[0]) for column in found) == first
    assert (report.refused, report.reordered, report.damage, report.epochs) == (0, 0, [], 1)
    body = path.read_bytes()
    body = body[166:] if not options else body
    decode = slow.evt3 if "evt3" in file else slow.evt2
    assert same(found, decode(body)[0])


def test_the_constants_of_lookahead_fit_the_blocks():
    from spikeline.drivers.formats.records import BLOCK_BYTES

    assert evt_words.LOOK_BYTES <= BLOCK_BYTES // 2
