"""RAW files: what their headers say, and what our writers make of a recording."""

from itertools import pairwise

import make_prophesee as make
import numpy as np
import pytest
import slow_decoders as slow
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import read_all, read_or_refuse
from test_formats_prophesee import (
    EACH,
    HEADERS,
    SENSOR,
    events_of,
    random_rows,
    same,
    write,
    written,
)

from spikeline.drivers.formats.prophesee import RawSource
from spikeline.drivers.writers.evt2 import Evt2Writer
from spikeline.drivers.writers.evt3 import Evt3Writer
from spikeline.pipeline.events import EventPacket, Sensor, SourceError

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


@pytest.mark.parametrize("end", [True, False], ids=["ended", "old"])
def test_a_damaged_line_of_the_header_is_said_and_passed_over(tmp_path, end):
    rows = random_rows(np.random.default_rng(3), 300, width=64, height=48)
    data = bytearray(b"% Date 2024-01-01\n" + make.header("EVT3", end=end) + make.events_evt3(rows))
    data[10] = 0x80
    data[:0] = b"% serial_number 1\n"
    path = tmp_path / "a.raw"
    path.write_bytes(bytes(data))
    found, report = read_all(RawSource(path))
    assert same(found, rows) and "this line of the header is damaged" in report.damage[0]


def test_a_damaged_end_of_the_header_is_an_end(tmp_path):
    rows = random_rows(np.random.default_rng(3), 300, width=64, height=48)
    data = make.header("EVT21").replace(b"% end\n", b"% end\x8a") + make.events_evt21(rows)
    path = tmp_path / "a.raw"
    path.write_bytes(data)
    assert same(read_all(RawSource(path))[0], rows)


# What our writers make


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
