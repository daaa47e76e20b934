"""EVT2, EVT2.1 and EVT3: equal to slow decoders, however the bytes are cut; wraps, damage, real files."""

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
from test_sources_writers import Events

from spikeline.drivers.formats import evt_words
from spikeline.drivers.formats.evt2 import Evt2Decoder
from spikeline.drivers.formats.evt3 import Evt3Decoder
from spikeline.drivers.formats.evt21 import Evt21Decoder
from spikeline.drivers.formats.feed import Feed
from spikeline.drivers.formats.prophesee import RawSource
from spikeline.drivers.writers.evt2 import Evt2Writer
from spikeline.drivers.writers.evt3 import Evt3Writer
from spikeline.pipeline.events import EventPacket, Sensor, SourceError

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


# Damage


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


@EACH
def test_noise_alone_ends_soon(tmp_path, name):
    path = tmp_path / "noise.raw"
    path.write_bytes(np.random.default_rng(0).bytes(2_000_000))
    events, report = read_or_refuse(lambda: RawSource(path, sensor=SENSOR, options={"format": name}))
    assert events is not None and len(events.t) < 20_000 and report.damage and report.epochs < 100


# Headers


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("% geometry 640x480\n", Sensor(640, 480)),
        ("% system_ID 49\n", Sensor(1280, 720, "IMX636")),
        ("% plugin_name hal_plugin_gen3_fx3\n", Sensor(640, 480, "Gen3")),
        ("% geometry 1280x720\n% system_ID 48\n", Sensor(1280, 720, "Gen4.1")),
        ("% geometry 320x320\n% system_ID 48\n", Sensor(320, 320)),
    ],
)
@pytest.mark.parametrize("end", [True, False], ids=["ended", "old"])
def test_the_sensor_is_what_the_header_says(tmp_path, more, expected, end):
    path = tmp_path / "a.raw"
    path.write_bytes(
        f"% evt 2.0\n{more}{'% end' + chr(10) if end else ''}".encode() + make.events_evt2([(7, 1, 2, 1)])
    )
    source = RawSource(path)
    found, _ = read_all(source)
    assert source.sensor == expected and same(found, [(7, 1, 2, 1)])


def test_the_user_says_what_the_header_does_not(tmp_path):
    path = tmp_path / "a.raw"
    path.write_bytes(b"% evt 3.0\n% end\n" + make.events_evt3([(7, 1, 2, 1)]))
    with RawSource(path, sensor=Sensor(64, 48)) as source:
        assert source.sensor == Sensor(64, 48)
    with pytest.raises(SourceError, match=r"does not say its size; say it with --sensor WIDTHxHEIGHT"):
        RawSource(path)


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ("% evt 4.0\n", "evt 4.0; wanted evt 2.0, 2.1, 3.0"),
        ("% format EVT4;height=4;width=4\n", "its format is EVT4; wanted EVT2, EVT2.1, EVT3"),
        ("% format HISTO3D\n", "its format is HISTO3D"),
        ("% Date today\n", "neither `evt` nor `format`"),
        ("% evt 3.0\n% geometry 0x4\n", "sensor of 0x4 pixels; wanted 1x1"),
        ("% evt 3.0\n% geometry wide\n", "geometry 'wide'; wanted WIDTHxHEIGHT"),
        ("% format EVT3;height=4;width=4\n% geometry 5x4\n", "5x4 and 4x4 pixels; wanted one size"),
        ("% format EVT21;endianness=middle;width=4;height=4\n", "endianness middle; wanted little or legacy"),
        ("", "no Prophesee header; [?]format=evt2"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(tmp_path, head, words):
    path = tmp_path / "a.raw"
    path.write_bytes(head.encode() + (b"% end\n" if head else b"") + make.events_evt3([(7, 1, 2, 1)]))
    with pytest.raises(SourceError, match=words):
        RawSource(path)


def test_a_contradiction_of_sizes_is_refused(tmp_path):
    path = written(tmp_path / "a.raw", "evt3", make.events_evt3([(7, 1, 2, 1)]))
    with pytest.raises(SourceError, match="its sensor is 1280x720; --sensor says 640x480"):
        RawSource(path, sensor=Sensor(640, 480))


def test_an_unknown_option_is_refused(tmp_path):
    path = written(tmp_path / "a.raw", "evt3", b"")
    with pytest.raises(SourceError, match="unknown option speed"):
        RawSource(path, options={"speed": "1"})


@pytest.mark.parametrize("order", ["little", "legacy"])
@pytest.mark.parametrize("said", ["header", "format", "option", "not at all"])
def test_halves_of_a_word_in_either_order(tmp_path, order, said):
    rows = random_rows(np.random.default_rng(3), 500)
    more = {"header": f"% endianness {order}\n", "format": ""}.get(said, "")
    head = make.header("EVT21", 1280, 720, more=more)
    if said == "format":
        head = head.replace(b";height", f";endianness={order};height".encode())
    path = tmp_path / "a.raw"
    path.write_bytes(head + make.events_evt21(rows, order))
    found, _ = read_all(RawSource(path, options={"endianness": order} if said == "option" else {}))
    assert same(found, rows) and slow.evt21(make.events_evt21(rows, order), order)[0] == rows


def test_a_shift_in_the_header_is_added(tmp_path):
    path = tmp_path / "a.raw"
    path.write_bytes(make.header("EVT2", more="% t0 1700000000000000\n") + make.events_evt2([(7, 1, 2, 1)]))
    found, _ = read_all(RawSource(path))
    assert found.t.tolist() == [1_700_000_000_000_007]


@EACH
def test_every_cut_within_the_header_is_said(tmp_path, name):
    data = make.header(HEADERS[name], 64, 48, end=False)
    path = tmp_path / "a.raw"
    for stop in range(1, len(data)):
        path.write_bytes(data[:stop])
        events, report = read_or_refuse(
            lambda: RawSource(path, sensor=Sensor(64, 48), options={"format": name})
        )
        assert events is not None and len(events.t) == 0
        assert report.truncated or data[:stop].endswith(b"\n")


def test_a_damaged_line_of_the_header_is_said_and_passed_over(tmp_path):
    rows = random_rows(np.random.default_rng(3), 300, width=64, height=48)
    data = bytearray(make.header("EVT3", more="% Date 2024-01-01\n") + make.events_evt3(rows))
    at = data.index(b"Date")
    data[at] = 0x80
    path = tmp_path / "a.raw"
    path.write_bytes(bytes(data))
    found, report = read_all(RawSource(path))
    assert same(found, rows) and "this line of the header is damaged" in report.damage[0]


# What our writers make


def write(writer, path, sensor, rows, **keywords):
    sink = writer(path, sensor, **keywords)
    try:
        sink.add(EventPacket(*events_of(rows), rows[-1][0]))
        return sink.close()
    finally:
        sink.discard()


@pytest.mark.parametrize("writer", [Evt2Writer, Evt3Writer])
@settings(deadline=None, max_examples=25)
@given(st.data())
def test_what_is_written_is_read(tmp_path_factory, writer, data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    gap_us = data.draw(st.sampled_from([2, 90, 5_000, 2_000_000, 900_000_000]))
    rows = random_rows(
        rng, data.draw(st.integers(1, 300)), start_us=int(rng.integers(1 << 24)), gap_us=gap_us
    )
    rows = [row for row in rows if row[0] < 1 << 34 or writer is Evt3Writer]
    path = tmp_path_factory.mktemp("w") / "a.raw"
    events = events_of(rows)
    sink = writer(path, SENSOR)
    edges = [0, *sorted(rng.integers(0, len(rows) + 1, 3).tolist()), len(rows)]
    for a, b in pairwise(edges):
        if b > a:
            sink.add(EventPacket(*(column[a:b] for column in events), int(events.t[b - 1])))
    assert not path.exists()
    assert sink.close() == len(rows)
    found, report = read_all(RawSource(path))
    assert same(found, rows) and (report.damage, report.refused) == ([], 0)
    body = path.read_bytes().partition(b"% end\n")[2]
    assert (slow.evt2 if writer is Evt2Writer else slow.evt3)(body)[0] == rows


@pytest.mark.parametrize(("writer", "step_us"), [(Evt2Writer, 64), (Evt3Writer, 4_096)])
def test_a_clock_mark_at_the_end_is_kept(tmp_path, writer, step_us):
    sink = writer(tmp_path / "a.raw", SENSOR)
    one = events_of([(1_000, 1, 2, 1)])
    sink.add(EventPacket(*one, 1_000))
    sink.add(EventPacket(*(column[:0] for column in one), 9_000_000))
    sink.close()
    with RawSource(tmp_path / "a.raw") as source:
        last = list(source)[-1]
    assert len(last) == 0 and last.until_us == 9_000_000 // step_us * step_us


@pytest.mark.parametrize(
    ("writer", "sensor", "rows", "words"),
    [
        (Evt2Writer, Sensor(2_049, 4), [], "EVT2 holds at most 2048x2048"),
        (Evt3Writer, Sensor(4, 2_049), [], "EVT3 holds at most 2048x2048"),
        (
            Evt2Writer,
            SENSOR,
            [(1 << 34, 1, 1, 1)],
            "the first event is at 17179869184 us; EVT2 begins within 0 to",
        ),
        (Evt2Writer, SENSOR, [(5, 1, 1, 1), (1 << 34, 1, 1, 1)], "EVT2 holds times to 17179869183 us"),
        (Evt3Writer, SENSOR, [(1 << 24, 1, 1, 1)], "EVT3 begins within 0 to 16777215 us"),
        (Evt3Writer, SENSOR, [(-1, 1, 1, 1)], "the first event is at -1 us"),
    ],
)
def test_what_a_format_cannot_hold_is_refused_by_name(tmp_path, writer, sensor, rows, words):
    with pytest.raises(SourceError, match=words):
        write(writer, tmp_path / "a.raw", sensor, rows)
    assert list(tmp_path.iterdir()) == []


def test_a_second_clock_is_refused(tmp_path):
    sink = Evt3Writer(tmp_path / "a.raw", SENSOR)
    sink.add(EventPacket(*events_of([(900, 1, 1, 1)]), 900))
    with pytest.raises(SourceError, match="epoch 1 begins at 100 us; EVT3: its one clock is at 900 us"):
        sink.add(EventPacket(*events_of([(100, 1, 1, 1)]), 100, 1))
    sink.discard()
    assert list(tmp_path.iterdir()) == []


def test_an_origin_is_written_and_added_again(tmp_path):
    rows = [(1_700_000_000_000_000 + k * 50, k, k, k % 2) for k in range(100)]
    assert write(Evt3Writer, tmp_path / "a.raw", SENSOR, rows, origin_us=1_700_000_000_000_000) == 100
    assert same(read_all(RawSource(tmp_path / "a.raw"))[0], rows)


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
