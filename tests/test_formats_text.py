"""Text files: exact times, columns that are never guessed, bad lines counted with their bytes."""

import gzip
import io
from decimal import ROUND_FLOOR, ROUND_HALF_UP, Decimal

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mutations import mutated, read_all, read_or_refuse, same
from test_sources_writers import Events, random_events

from spikeline.drivers import open_source
from spikeline.drivers.formats import text_lines as lines
from spikeline.drivers.formats.text import TextSource
from spikeline.drivers.formats.text_layout import find_layout
from spikeline.drivers.writers.csv import CsvWriter
from spikeline.pipeline.events import MAX_ABS_US, EventPacket, Sensor, SourceError

SENSOR = Sensor(16, 12)
COLUMNS = {"t": lines.T, "x": lines.X, "y": lines.Y, "p": lines.P, "-": lines.SKIP}


def rows(events, order="txyp", sep=",", t=str, p=str, end="\n"):
    """The events as lines; `t` and `p` write one number."""
    out = io.StringIO()
    for row in zip(*(column.tolist() for column in events), strict=True):
        named = {"t": t(row[0]), "x": str(row[1]), "y": str(row[2]), "p": p(row[3]), "-": "0.5"}
        out.write(sep.join(named[column] for column in order) + end)
    return out.getvalue()


def seconds(us):
    sign = "-" if us < 0 else ""
    return f"{sign}{abs(us) // 1_000_000}.{abs(us) % 1_000_000:06d}"


def write(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def parse(text, order="txyp", power=0, floor=False):
    data = np.frombuffer(text.encode() if isinstance(text, str) else text, np.uint8)
    most = int(np.count_nonzero(data == 10)) + 1
    t, x, y = np.empty(most, np.int64), np.empty(most, np.uint16), np.empty(most, np.uint16)
    p, bad = np.empty(most, np.int8), np.empty((lines.RANGES, 3), np.int64)
    columns = np.array([COLUMNS[c] for c in order], np.uint8)
    n, wrong, ranges = lines.parse(data, columns, power, floor, t, x, y, p, bad)
    return [column[:n].tolist() for column in (t, x, y, p)], wrong, bad[:ranges].tolist()


# --- numbers


def slow_time(word, power, floor):
    rounding = ROUND_FLOOR if floor else ROUND_HALF_UP
    us = int(Decimal(word).scaleb(power).to_integral_value(rounding))
    return us if abs(us) <= MAX_ABS_US else MAX_ABS_US + 1


def slow_whole(word, impossible):
    value = Decimal(word)
    return int(value) if value == value.to_integral_value() and abs(value) < 65_535 else impossible


@st.composite
def numbers(draw):
    """A number of up to 18 digits as people and programs write them."""
    digits = str(draw(st.integers(0, 10 ** draw(st.integers(1, 18)) - 1)))
    point = draw(st.integers(0, len(digits)))
    word = (
        draw(st.sampled_from(["", "-", "+"]))
        + digits[:point]
        + draw(st.sampled_from(["", "."]))
        + digits[point:]
    )
    return word + draw(st.sampled_from(["", "", "e0", "e+06", "E-3", "e-12", "e05"]))


@settings(deadline=None, max_examples=400)
@given(numbers(), st.sampled_from([6, 3, 0, -3]), st.booleans())
@example("0.5", 0, False)
@example("-0.5", 0, False)
@example("-0.5", 0, True)
@example("1468941032.229165", 6, False)
@example("9" * 17 + "e999", 0, False)
@example("0" * 40 + "1e-18", 6, False)
def test_a_time_is_exact(word, power, floor):
    (t, *_), wrong, _ = parse(f"{word} 1 2 1\n", power=power, floor=floor)
    assert (t, wrong) == ([slow_time(word, power, floor)], 0)


@settings(deadline=None)
@given(numbers())
@example("12.000")
@example("1.2e1")
@example("-0.0")
@example("65535")
def test_a_pixel_is_a_whole_number_or_refused(word):
    (_, x, y, p), wrong, _ = parse(f"5 {word} {word} {word}\n")
    expected = slow_whole(word, 65_535)
    expected = expected if expected >= 0 else 65_535
    assert (x, y, wrong) == ([expected], [expected], 0)
    value = slow_whole(word, 2)
    assert p == [value if -1 <= value <= 1 else 2]


@pytest.mark.parametrize(
    "word", ["", "-", ".", "1e", "1e+", "1.2.3", "0x10", "nan", "inf", "1_000", "ten", "1a", "--1"]
)
def test_what_is_no_number_makes_the_line_bad(word):
    text = f"1 2 3 1\n{word} 2 3 1\n2 2 3 1\n"
    (t, *_), wrong, bad = parse(text)
    assert (t, wrong, bad) == ([1, 2], 1, [[8, len(text) - 8, 1]])


def test_lines_of_every_kind():
    text = "# head\n\n1,2,3,1\r\n 4;5\t6 , true\n% note\n7,8,9\n7,8,9,1,2\nx\n10,11,12,False\n13,14,15,0"
    (t, x, y, p), wrong, bad = parse(text)
    assert (t, x, y, p) == ([1, 4, 10, 13], [2, 5, 11, 14], [3, 6, 12, 15], [1, 1, 0, 0])
    start = text.index("7,8,9\n")
    assert wrong == 3 and bad == [[start, text.index("10,11"), 3]]


def test_more_ranges_of_bad_lines_than_room():
    (t, *_), wrong, bad = parse("bad\n1 2 3 1\n" * 1_000)
    assert (len(t), wrong, len(bad)) == (1_000, 1_000, lines.RANGES)
    assert sum(count for _, _, count in bad) == 1_000 and bad[-1][1] == 12 * 999 + 4


# --- what the columns are


@pytest.mark.parametrize("order", ["txyp", "xypt", "xytp", "ptxy", "xpyt"])
@pytest.mark.parametrize("sep", [",", " ", "\t", "; "])
@pytest.mark.parametrize("form", [str, seconds], ids=["us", "s"])
def test_the_only_order_that_the_numbers_allow(tmp_path, order, sep, form):
    events = random_events(200)
    path = write(tmp_path / "a.txt", rows(events, order, sep, form))
    source = open_source(path, sensor=SENSOR)
    assert source.format == "CSV"
    found, report = read_all(source)
    assert same(found, events) and report.damage == [] and report.bytes == path.stat().st_size


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("10 1 1 1\n" * 3, "do not tell which column is which"),
        ("".join(f"{k} {k} 3 1\n" for k in range(50)), "do not tell"),  # two columns rise
        ("".join(f"5 3 {k} 1\n" for k in range(50)), "do not tell"),  # pixel by pixel at one time
        ("".join(f"{k * 100_000} 1 0 1\n" for k in range(50)), "do not tell"),  # two polarities
        ("".join(f"{k * 100_000} 9 7 {k % 5}\n" for k in range(50)), "do not tell"),  # none
        ("1 2 3 4 5\n" * 9, "lines of 5 numbers and no header; say it with"),
        ("a,b,c,d\n10,1,1,1\n", "do not tell"),
    ],
)
def test_columns_that_may_be_either_are_asked_for(tmp_path, text, found):
    path = write(tmp_path / "a.csv", text)
    with pytest.raises(SourceError, match=found) as caught:
        open_source(path, sensor=SENSOR)
    assert "?order=" in str(caught.value) and "\n" not in str(caught.value)


def test_the_users_word_on_order_and_unit(tmp_path):
    events = random_events(3)
    path = write(
        tmp_path / "a.csv",
        "one,two,three,four,five\n" + rows(events, "-pyxt", t=lambda us: f"{us * 1000 + 7}"),
    )
    source = open_source(f"{path}?order=-pyxt&unit=ns", sensor=SENSOR)
    found, report = read_all(source)
    assert same(found, events) and report.damage == []
    for query, message in (
        ("order=txy", "order=txy; wanted the letters"),
        ("order=xypt", "lines of 5 columns; order xypt has 4"),
        ("unit=h", "unit=h; choose from s, ms, us, ns"),
        ("columns=4", "unknown option columns"),
    ):
        with pytest.raises(SourceError, match=message):
            open_source(f"{path}?{query}", sensor=SENSOR)


@pytest.mark.parametrize(
    ("head", "order", "unit"),
    [
        ("t,x,y,p\r\n", "txyp", "us"),
        ("x,y,p,t\n", "xypt", "us"),
        ("timestamp,x,y,polarity\n", "txyp", "us"),
        ("x;y;timestamp_ns;pol\n", "xytp", "ns"),
        ('"x","y","t [ms]","on"\n', "xytp", "ms"),
        ("# t x y p\n", "txyp", "us"),
        ("\ufefft,x,y,p\n", "txyp", "us"),
        ("index,t,x,y,p\n", "-txyp", "us"),
    ],
)
def test_a_header_names_the_columns(tmp_path, head, order, unit):
    events = random_events(5)
    scale = {"ns": lambda us: f"{us}000", "ms": lambda us: f"{us // 1000}.{us % 1000:03d}", "us": str}[unit]
    path = write(tmp_path / "a.csv", head + rows(events, order, t=scale, end="\r\n"))
    found, report = read_all(TextSource(path, sensor=SENSOR))
    assert same(found, events) and report.refused == 0 and report.damage == []


def test_files_that_say_their_size(tmp_path):
    events = random_events(40)
    faery = write(tmp_path / "faery.csv", "t,x@16,y@12,on\r\n" + rows(events, end="\r\n"))
    e2vid = write(tmp_path / "e2vid.txt", "16 12\n" + rows(events, sep=" ", t=seconds))
    for path in (faery, e2vid):
        source = TextSource(path)
        assert source.sensor == SENSOR
        assert same(read_all(source)[0], events)
        with pytest.raises(SourceError, match="its sensor is 16x12; --sensor says 5x5"):
            TextSource(path, sensor=Sensor(5, 5))
    with pytest.raises(SourceError, match="--sensor"):
        TextSource(write(tmp_path / "a.csv", rows(events)))


def test_polarities_of_minus_one_and_words(tmp_path):
    events = random_events(300)
    for p in (
        lambda v: str(2 * v - 1),
        lambda v: str(bool(v)),
        lambda v: f"{v}.0",
        lambda v: str(bool(v)).lower(),
    ):
        path = write(tmp_path / "a.csv", rows(events, p=p))
        assert same(read_all(TextSource(path, sensor=SENSOR))[0], events)
    path = write(tmp_path / "b.csv", "t,x,y,p\n" + rows(events, p=lambda v: str(v + 1)))
    with TextSource(path, sensor=SENSOR) as source, pytest.raises(SourceError, match="p holds numbers other"):
        list(source)
    mixed = events._replace(p=events.p.astype("i1"))
    mixed.p[[10, 20]] = [7, -1]
    mixed.p[:3] = 0
    path = write(tmp_path / "c.csv", "t,x,y,p\n" + rows(mixed))
    found, report = read_all(TextSource(path, sensor=SENSOR))
    kept = np.delete(np.arange(300), [10, 20])
    assert same(found, [column[kept] for column in mixed]) and report.refused == 2


def test_floats_of_numpy_come_out_exactly(tmp_path):
    t = 1_468_941_032_229_165 + np.cumsum(np.random.default_rng(3).integers(1, 50, 2_000))
    events = random_events(2_000)._replace(t=t)
    np.savetxt(tmp_path / "a.txt", np.stack([t / 1e6, events.x, events.y, events.p], axis=1))
    assert same(read_all(TextSource(tmp_path / "a.txt", sensor=SENSOR))[0], events)


@pytest.mark.parametrize(
    ("t", "found"),
    [
        (lambda us: str(us * 10**12), "are no microseconds; say the unit"),
        (lambda us: f"{us}.0", "are hardly seconds; say the unit"),
        (lambda us: f"{us}.5e9", "are hardly seconds; say the unit"),
    ],
)
def test_a_unit_that_cannot_be_known_is_asked_for(tmp_path, t, found):
    path = write(tmp_path / "a.csv", rows(random_events(1_000), t=t))
    with pytest.raises(SourceError, match=found):
        TextSource(path, sensor=SENSOR)


# --- damage


def test_bad_lines_are_counted_and_reported_with_their_bytes(tmp_path):
    events = random_events(1_000)
    text = rows(events).splitlines(keepends=True)
    text[100] = "1,2,3\n"
    text[500:503] = ["\0\xff\n", "x,y,t,p\n", "1,2,3,4,5\n"]
    ends = np.cumsum([0, *(len(line.encode("latin-1")) for line in text)])
    path = write(tmp_path / "a.csv", "".join(text).encode("latin-1"))
    found, report = read_all(TextSource(path, sensor=SENSOR))
    kept = np.delete(np.arange(1_000), [100, 500, 501, 502])
    assert same(found, [column[kept] for column in events]) and report.refused == 4
    assert report.damage == [
        f"bytes {ends[100]} to {ends[101]}: a line that is no event",
        f"bytes {ends[500]} to {ends[503]}: 3 lines that are no events",
    ]


def test_one_damaged_time_costs_one_event(tmp_path):
    events = random_events(5_000)
    t = events.t.astype(object)
    t[1_000] += 10**12
    t[2_000] -= 4_000_000
    path = write(tmp_path / "a.csv", rows(Events(np.array(t), *events[1:])))
    found, report = read_all(TextSource(path, sensor=SENSOR))
    kept = np.delete(np.arange(5_000), [1_000, 2_000])
    assert same(found, [column[kept] for column in events])
    assert report.refused == 2 and report.epochs == 1


@pytest.mark.parametrize("order", ["txyp", "xypt"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_file_cut_at_any_byte(tmp_path, order, end):
    events = random_events(40)
    text = f"{','.join(order)}{end}" + rows(events, order, p=lambda v: str(2 * v - 1), end=end)
    path = write(tmp_path / "a.csv", text)
    whole = [len(text) - len("".join(text.splitlines(keepends=True)[k:])) for k in range(1, 42)]
    for stop in range(len(text) + 1):
        write(path, text[:stop])
        found, report = read_or_refuse(lambda: TextSource(path, sensor=SENSOR))
        if found is None:
            assert stop < whole[0] or stop == 0
            continue
        n = len(found.t)
        assert same(found, events.slice(0, n))
        certain = sum(stop >= at for at in whole[1:])
        bare = order == "txyp" and text[:stop].rstrip("\r\n")[-1:] == "1"  # all of the line but its end
        assert n in (certain, certain + bare)
        left = text[whole[certain] : stop].strip()
        assert report.truncated == (n == certain and left != "")
        assert report.refused == 0 and len(report.damage) == report.truncated


def test_a_header_alone_is_a_file_without_events(tmp_path):
    found, report = read_all(TextSource(write(tmp_path / "a.csv", "t,x@16,y@12,on\n")))
    assert len(found.t) == 0 and report.damage == [] and not report.truncated


@pytest.mark.parametrize("head", ["", "t,x,y,p\n"])
def test_damage_of_any_kind_is_survived(tmp_path, head):
    events = random_events(3_000)
    data = (head + rows(events)).encode()
    path = tmp_path / "a.csv"
    for kind, copy in mutated(data, 7, 200):
        write(path, copy)
        found, report = read_or_refuse(lambda: TextSource(path, sensor=SENSOR))
        if found is None or kind in ("swap", "truncate"):
            continue
        lost = {"noise": 250, "delete": 600}.get(kind, 20)
        assert len(found.t) >= 3_000 - lost and report.epochs <= 2


@pytest.mark.parametrize("block", [64, 1_000])
def test_any_blocks_give_the_same(tmp_path, monkeypatch, block):
    events = random_events(500)
    text = rows(events)
    text = text[:3_000] + "z" * 2_500 + "\n" + text[3_000:] + "no end"
    path = write(tmp_path / "a.csv", text)
    expected = read_all(TextSource(path, sensor=SENSOR))
    monkeypatch.setattr("spikeline.drivers.formats.text.BLOCK_BYTES", block)
    monkeypatch.setattr("spikeline.drivers.formats.text.HEAD_BYTES", 512)
    found = read_all(TextSource(path, sensor=SENSOR))
    assert same(found[0], expected[0]) and found[1].damage == expected[1].damage
    assert (found[1].refused, found[1].truncated) == (expected[1].refused, True) and expected[1].refused == 1


def test_a_packed_file_and_one_that_was_cut(tmp_path):
    events = random_events(20_000)
    data = gzip.compress(rows(events).encode())
    path = write(tmp_path / "a.csv.gz", data)
    found, report = read_all(open_source(path, sensor=SENSOR))
    assert same(found, events) and report.damage == [] and report.bytes == len(data)
    write(path, data[: len(data) // 2])
    found, report = read_all(open_source(path, sensor=SENSOR))
    n = len(found.t)
    assert 5_000 < n < 15_000 and same(found, events.slice(0, n)) and report.truncated
    assert "the packed file ends before its time" in report.damage[-1]
    damaged = bytearray(data)
    damaged[len(data) // 2] ^= 0x55
    found, report = read_or_refuse(lambda: open_source(write(path, bytes(damaged)), sensor=SENSOR))
    assert found is not None and "the packed file" in report.damage[-1]


def test_the_layout_is_found_in_a_damaged_head():
    text = rows(random_events(300)).encode()
    for kind, copy in mutated(text, 11, 100, ("flip one", "flip many")):
        layout = find_layout(copy, None, None, kind)
        assert (layout.order, layout.unit) == ("txyp", "us")


# --- the writer


def test_what_is_written_is_plain_text_and_comes_back(tmp_path):
    t = np.array([-12, 0, 7, 7, 1_700_000_000_000_000, MAX_ABS_US])
    events = random_events(6)._replace(t=t)
    writer = CsvWriter(tmp_path / "a.csv", SENSOR)
    writer.add(EventPacket(*events, int(t[-1])))
    assert writer.close() == 6
    lines = (tmp_path / "a.csv").read_text().split("\n")
    assert lines[0] == "t,x@16,y@12,on" and lines[-1] == ""
    assert lines[1:-1] == rows(events).split()
    found, report = read_all(open_source(f"{tmp_path}/a.csv"))
    assert same(found, events) and report.damage == [] and report.epochs == 3


def test_writing_many_events_and_two_clocks(tmp_path):
    events = random_events(200_000)
    writer = CsvWriter(tmp_path / "a.csv", SENSOR)
    writer.add(EventPacket(*events, int(events.t[-1])))
    with pytest.raises(SourceError, match=r"epoch 1 begins at .* us; CSV: its one clock is at"):
        writer.add(EventPacket(*events, 0, 1))
    assert writer.close() == 200_000
    assert same(read_all(open_source(tmp_path / "a.csv"))[0], events)
