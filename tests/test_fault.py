"""Faults on purpose: what each does, against plain answers; the packet contract and the account under all."""

import os
import threading
import time
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_sources_recording import plain, streams
from test_sources_writers import aedat4, pieces, random_events

from spikeline.drivers import base_of, keeps_time, open_source
from spikeline.drivers.faults.script import IN_ORDER, read_script
from spikeline.drivers.faults.wrapper import ADDING, LOSING, Faulty
from spikeline.drivers.recording import write_npz
from spikeline.drivers.wrappers import Paced
from spikeline.pipeline.commands import run
from spikeline.pipeline.commands.live import endless
from spikeline.pipeline.commands.session import open_pipeline
from spikeline.pipeline.events import EventPacket, Sensor, SourceError, SourceReport
from spikeline.pipeline.package import save_package

from helpers import small_graph, small_manifest

SENSOR = Sensor(64, 48, "TEST")
SPAN_US = 2_000_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """even.npz: an event each 100 us for 2 s from time 5,000,000 on, in packets of 10 ms with clock marks."""
    folder = tmp_path_factory.mktemp("faults")
    rng = np.random.default_rng(3)
    t = 5_000_000 + np.arange(0, SPAN_US, 100)
    x, y = rng.integers(0, 64, len(t)).astype(np.uint16), rng.integers(0, 48, len(t)).astype(np.uint16)
    p = rng.integers(0, 2, len(t)).astype(np.uint8)
    packets = []
    for k in range(0, len(t), 100):
        s = slice(k, k + 100)
        packets.append(EventPacket(t[s], x[s], y[s], p[s], int(t[k]) + 10_000, 0, 5_000_000))
    write_npz(folder / "even.npz", packets, SENSOR)
    return folder


def faulty(folder, told, inside=""):
    source = open_source(
        f"fault({told})+{folder / 'even.npz'}"
        if not inside
        else f"fault({told}),{inside}+{folder / 'even.npz'}"
    )
    with source:
        packets = list(source)
    return packets, source


def rows(packets):
    columns = [(p.t.tolist(), p.x.tolist(), p.y.tolist(), p.p.tolist()) for p in packets]
    return [row for four in columns for row in zip(*four, strict=True)]


def times(packets):
    return [t for packet in packets for t in packet.t.tolist()]


@pytest.fixture(scope="module")
def whole(folder):
    with open_source(folder / "even.npz") as source:
        return rows(source)


# any script: contract, account, determinism

AMOUNTS = {
    "burst": {"rate": st.sampled_from([100, 20_000]), "pixels": st.integers(0, 3)},
    "silence": {},
    "drop": {"share": st.sampled_from([0.0, 0.3, 1.0])},
    "duplicate": {"share": st.sampled_from([0.3, 1.0])},
    "wrap": {"bits": st.integers(10, 24)},
    "reset": {"to_us": st.sampled_from([0, -7, 10**9])},
    "jump": {"us": st.sampled_from([-1, 1, -900, -500_000, -5_000_000, 4 * 10**9])},
    "reorder": {"share": st.sampled_from([0.3, 1.0]), "us": st.sampled_from([5, 900, 50_000])},
    "drop_packets": {"share": st.sampled_from([0.3, 1.0])},
    "delay": {"ms": st.just(1)},
    "block": {"ms": st.just(0.01)},
    "unplug": {},
    "end": {},
}


@st.composite
def scripts(draw):
    """The text of a script with one to four faults."""
    lines = [f"seed = {draw(st.integers(0, 9))}"]
    for kind in draw(st.lists(st.sampled_from(sorted(AMOUNTS)), min_size=1, max_size=4)):
        table = {name: draw(amount) for name, amount in AMOUNTS[kind].items()}
        units = ["s"] if kind in ("burst", "wrap") else ["s", "event", "packet"]
        if draw(st.booleans()):
            unit = draw(st.sampled_from(units))
            table[f"at_{unit}"] = (
                draw(st.integers(0, 40_000)) / 1e6 if unit == "s" else draw(st.integers(0, 12))
            )
        if kind == "unplug" or (kind not in ("wrap", "reset", "block", "end") and draw(st.booleans())):
            unit = draw(st.sampled_from(units))
            length = draw(st.integers(0, 40_000)) / 1e6 if unit == "s" else draw(st.integers(0, 12))
            table["for_s" if unit == "s" else f"for_{unit}s"] = length
        lines += ["[[fault]]", f'kind = "{kind}"', *(f"{name} = {value}" for name, value in table.items())]
    return "\n".join(lines)


@settings(deadline=None, max_examples=300, derandomize=True)
@given(streams(), scripts())
def test_whatever_the_script_packets_keep_the_contract_and_every_event_is_accounted_for(
    tmp_path_factory, packets, text
):
    folder = tmp_path_factory.mktemp("script")
    sensor = Sensor(6, 4)
    write_npz(folder / "a.npz", packets, sensor)
    (folder / "f.toml").write_text(text)
    uri = f"fault(file={folder / 'f.toml'})+{folder / 'a.npz'}"
    runs = []
    for _ in range(2):
        with open_source(uri) as source:
            given_out = list(source)
        runs.append(plain(given_out))
    assert runs[0] == runs[1]  # the same seed, the same stream
    for packet in given_out:
        assert np.all(packet.x < 6) and np.all(packet.y < 4) and np.all(packet.p <= 1)
        assert np.all(np.diff(packet.t) >= 0) and (not len(packet) or packet.until_us >= packet.t[-1])
        assert packet.origin_us is None or packet.origin_us <= min([*packet.t.tolist(), packet.until_us])
    for before, after in pairwise(given_out):
        assert after.epoch >= before.epoch
        if before.epoch == after.epoch:
            assert before.until_us <= (after.t[0] if len(after) else after.until_us)
            assert before.origin_us == after.origin_us
    report, counts = source.report(), source.faults
    read = source._source.report()
    added, lost = (sum(counts.get(kind, 0) for kind in kinds) for kinds in (ADDING, LOSING))
    assert read.events + added == report.events + report.refused + lost
    assert report.events == sum(map(len, given_out)) and report.dropped == lost
    assert report.epochs >= len({packet.epoch for packet in given_out})


def test_the_table_of_kinds_is_complete():
    assert set(AMOUNTS) == {kind.KIND for kind in IN_ORDER}


@pytest.mark.parametrize(
    "told", ["drop=0.3", "duplicate=0.3", "silence_s=0.4;at_s=0.7", "burst=20000;at_s=0.1;for_s=1"]
)
def test_what_happens_does_not_depend_on_how_packets_are_cut(folder, told):
    one, _ = faulty(folder, told)
    two, _ = faulty(folder, told, "cut(events=7)")
    assert rows(one) == rows(two)


def test_the_seed_decides(folder):
    first, _ = faulty(folder, "drop=0.3;seed=1")
    again, _ = faulty(folder, "drop=0.3;seed=1")
    other, _ = faulty(folder, "drop=0.3;seed=2")
    assert rows(first) == rows(again) != rows(other)


def test_a_file_and_the_uri_say_the_same(folder, tmp_path):
    (tmp_path / "f.toml").write_text(
        "seed = 4\n"
        '[[fault]]\nkind = "drop"\nshare = 0.2\nat_s = 0.5\nfor_s = 1\n'
        '[[fault]]\nkind = "jump"\nus = -900\nat_s = 0.5\nfor_s = 1.0\n'
    )
    by_file, _ = faulty(folder, f"file={tmp_path / 'f.toml'}")
    by_uri, _ = faulty(folder, "drop=0.2;jump_us=-900;at_s=0.5;for_s=1;seed=4")
    assert plain(by_file) == plain(by_uri)
    other, _ = faulty(folder, f"file={tmp_path / 'f.toml'};seed=5")
    assert plain(other) != plain(by_file)


def test_each_pass_of_a_loop_has_the_same_faults(folder):
    with open_source(f"loop(times=2),fault(drop=0.5;at_s=1)+{folder / 'even.npz'}") as source:
        packets = list(source)
    one, two = (rows([p for p in packets if p.epoch == k]) for k in (0, 1))
    assert one == two and 12_000 < len(one) < 18_000
    assert source.report().dropped == 2 * (20_000 - len(one))


# what happens


def test_silence_takes_the_events_of_its_time_and_leaves_the_clock(folder, whole):
    packets, source = faulty(folder, "silence_s=0.5;at_s=1")
    assert rows(packets) == [row for row in whole if not 6_000_000 <= row[0] < 6_500_000]
    assert [p.until_us for p in packets][-1] == 7_000_000
    assert any(6_100_000 < p.until_us < 6_400_000 for p in packets)
    assert source.report().dropped == source.faults["silence"] == 5_000


@pytest.mark.parametrize(
    ("told", "low", "high"), [("drop=0.1", 1_800, 2_200), ("drop=0", 0, 0), ("drop=1", 20_000, 20_000)]
)
def test_drop_loses_its_share(folder, whole, told, low, high):
    packets, source = faulty(folder, told)
    left = rows(packets)
    lost = source.report().dropped
    assert low <= lost <= high and len(left) == 20_000 - lost
    assert not Counter(left) - Counter(whole)


def test_duplicate_gives_events_twice_in_place(folder, whole):
    packets, source = faulty(folder, "duplicate=0.25;at_s=0.5;for_s=0.5")
    twice = [row for row, n in Counter(rows(packets)).items() if n == 2]
    assert len(twice) == source.faults["duplicate"] and 1_100 < len(twice) < 1_400
    assert list(dict.fromkeys(rows(packets))) == whole
    assert all(5_500_000 <= row[0] < 6_000_000 for row in twice)


def test_a_burst_adds_its_rate_for_its_time(folder, whole):
    packets, source = faulty(folder, "burst=1e6;at_s=0.25;for_s=0.5;burst_pixels=10")
    more = Counter(rows(packets)) - Counter(whole)
    assert sum(more.values()) == source.faults["burst"] == 500_000
    added = sorted(t for row, n in more.items() for t in [row[0]] * n)
    assert (added[0], added[-1]) == (5_250_000, 5_749_999)
    assert set(np.diff(added)) <= {0, 1, 2}
    assert len({row[1:3] for row in more}) <= 10 and {row[3] for row in more} == {0, 1}
    everywhere, _ = faulty(folder, "burst=1e5")
    assert len({row[1:3] for row in rows(everywhere)}) == 64 * 48


def test_a_burst_in_an_hour_of_silence_comes_in_bounded_packets(tmp_path):
    mark = EventPacket(*(np.empty(0, kind) for kind in ("i8", "u2", "u2", "u1")), 3_600_000_000, 0, 0)
    write_npz(tmp_path / "mark.npz", [mark], SENSOR)
    with open_source(f"fault(burst=1000)+{tmp_path / 'mark.npz'}") as source:
        packets = list(source)
    assert sum(map(len, packets)) == 3_600_001 and max(map(len, packets)) <= 65_536
    assert packets[-1].until_us == 3_600_000_000


# the clock


def test_a_clock_that_wraps_opens_an_epoch_each_time(folder):
    packets, source = faulty(folder, "wrap_bits=20;at_s=0.5")
    truth = [(t - 5_500_000) % (1 << 20) for t in range(5_000_000, 7_000_000, 100)]
    assert times(packets) == truth
    assert source.report().epochs == 3  # 1.05 s: it wraps at 0.5 and at 1.55
    assert packets[0].origin_us == (1 << 20) - 500_000 and packets[-1].origin_us is None


def test_a_reset_starts_the_clock_at_zero_in_a_new_epoch(folder):
    packets, source = faulty(folder, "reset_us=0;at_s=1.5")
    assert times(packets) == [*range(5_000_000, 6_500_000, 100), *range(0, 500_000, 100)]
    assert [p.epoch for p in packets if len(p)] == [0] * 150 + [1] * 50
    assert packets[-1].until_us == 500_000 and source.report().refused == 0


@pytest.mark.parametrize(
    ("us", "refused", "reordered", "epochs"),
    [
        (-1, 0, 0, 1),
        (-150, 0, 1, 1),
        (-900, 0, 8, 1),
        (-500_000, 4_989, 10, 1),
        (-1_500_000, 0, 0, 2),
    ],
)
def test_a_jump_of_the_clock_is_clamped_refused_or_an_epoch(folder, us, refused, reordered, epochs):
    packets, source = faulty(folder, f"jump_us={us};at_s=1")
    report = source.report()
    assert (report.refused, report.reordered, report.epochs) == (refused, reordered, epochs)
    assert report.events == 20_000 - refused
    assert times(packets)[-1] == 6_999_900 + us


def test_a_jump_of_more_than_an_hour_ahead_is_an_epoch_and_for_a_while_two(folder, tmp_path):
    (tmp_path / "f.toml").write_text(
        '[[fault]]\nkind = "jump"\nus = 3_700_000_000\nat_packet = 100\nfor_packets = 50\n'
    )
    packets, source = faulty(folder, f"file={tmp_path / 'f.toml'}")
    assert [p.epoch for p in packets if len(p)] == [0] * 100 + [1] * 50 + [2] * 50
    assert times(packets)[10_000] == 3_706_000_000 and times(packets)[15_000] == 6_500_000
    assert source.report().events == 20_000


def test_a_span_may_be_counted_in_events_or_packets(folder, tmp_path, whole):
    def lost(when):
        (tmp_path / "f.toml").write_text(f'[[fault]]\nkind = "silence"\n{when}\n')
        packets, _ = faulty(folder, f"file={tmp_path / 'f.toml'}")
        missing = Counter(whole) - Counter(rows(packets))
        numbers = sorted(whole.index(row) for row in missing)
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        return numbers[0], len(numbers)

    assert lost("at_event = 1234\nfor_events = 10") == (1_234, 10)
    assert lost("at_packet = 3\nfor_packets = 2") == (300, 200)
    assert lost("at_s = 0.5\nfor_events = 7") == (5_000, 7)
    assert lost("at_event = 250\nfor_packets = 1") == (250, 50)
    assert lost("at_packet = 10\nfor_s = 0.015") == (1_000, 150)
    assert lost("for_events = 5") == (0, 5)


# the way to us


def test_overtaken_events_are_clamped_up_to_a_millisecond_and_refused_beyond(folder, whole):
    packets, source = faulty(folder, "reorder=0.2;reorder_us=900")
    report = source.report()
    assert (
        report.refused == 0
        and report.events == 20_000
        and 3_000 < report.reordered <= source.faults["reorder"]
    )
    assert Counter(row[1:] for row in rows(packets)) == Counter(row[1:] for row in whole)
    assert rows(packets) != whole
    _, source = faulty(folder, "reorder=0.2;reorder_us=100000")
    report = source.report()
    assert report.refused > 3_500 and report.events + report.refused == 20_000
    assert report.refused + report.reordered <= source.faults["reorder"]


def test_lost_packets_are_lost_whole(folder, whole):
    packets, source = faulty(folder, "drop_packets=0.3")
    lost = source.report().dropped
    assert lost % 100 == 0 and 4_000 <= lost <= 8_000
    missing = Counter(whole) - Counter(rows(packets))
    assert all(n == 100 for n in Counter((row[0] - 5_000_000) // 10_000 for row in missing).values())
    marks = {p.until_us for p in packets if not len(p)}
    assert len(marks) == 200 - lost // 100


def test_a_delay_is_felt_by_who_runs_on_the_clock_and_by_no_one_else(folder):
    begin = time.monotonic()
    packets, _ = faulty(folder, "delay_ms=10000")
    assert len(rows(packets)) == 20_000 and time.monotonic() - begin < 8
    uri = f"clip(stop=0.3),fault(delay_ms=80;at_s=0.1;for_s=0.1)+{folder / 'even.npz'}"
    late_ms = []
    with Paced(open_source(uri), 1.0) as source:
        begin_ns = time.monotonic_ns()
        for packet in source:
            late_ms.append(
                (packet.until_us, (time.monotonic_ns() - begin_ns) / 1e6 - (packet.until_us - 5e6) / 1e3)
            )
    held = [late for until, late in late_ms if 5_105_000 <= until < 5_195_000]
    free = [late for until, late in late_ms if until < 5_095_000]
    assert min(held) >= 79 and min(free) < 40
    after = [late for until, late in late_ms if until > 5_290_000]
    assert min(after) < 40  # what came later caught up


def test_a_blocked_read_goes_on_after_its_time_or_ends_when_closed(folder, whole):
    begin = time.monotonic()
    packets, _ = faulty(folder, "block_ms=150;at_s=1")
    assert time.monotonic() - begin >= 0.15 and rows(packets) == whole
    source = open_source(f"fault(block_ms=0;at_s=1)+{folder / 'even.npz'}")
    got = []
    reader = threading.Thread(target=lambda: got.extend(source))
    reader.start()
    deadline = time.monotonic() + 20
    while times(got)[-1:] != [5_999_900] and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert reader.is_alive() and times(got)[-1] == 5_999_900
    source.__exit__(None, None, None)
    reader.join(20)
    assert not reader.is_alive()


def test_an_unplugged_source_gives_what_came_before_and_one_line(folder, whole):
    got = []
    with open_source(f"fault(unplug_s=0;at_s=1.00005)+{folder / 'even.npz'}") as source:
        with pytest.raises(SourceError, match=r"^fault: unplugged on purpose, 1\.000100 s after the begin$"):
            got.extend(source)
        report = source.report()
    assert rows(got) == [row for row in whole if row[0] < 6_000_050]
    assert report.dropped == 99  # of the packet that had come half way
    assert report.events + report.dropped == source._source.report().events


def test_a_source_that_comes_back_does_so_in_a_new_epoch(folder, whole):
    packets, source = faulty(folder, "unplug_s=0.255;at_s=1")
    assert rows([p for p in packets if p.epoch == 0]) == [row for row in whole if row[0] < 6_000_000]
    back = [p for p in packets if p.epoch == 1]
    assert rows(back) == [row for row in whole if row[0] >= 6_255_000]
    assert back[0].origin_us is None and source.report().dropped == 2_550
    assert max(p.until_us for p in packets if p.epoch == 0) == 5_999_900  # the mark at 1 s is lost too


def test_a_hundred_unplugs_leave_nothing_behind(folder):
    def once(k):
        uri = f"fault(unplug_s=0;at_s={k / 50})+{folder / 'even.npz'}"
        with open_source(uri) as source, pytest.raises(SourceError, match="unplugged"):
            list(source)

    once(1)
    before = len(os.listdir("/proc/self/fd")), threading.active_count()
    for k in range(100):
        once(k)
    assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == before


def test_a_stream_may_just_end(folder, whole):
    packets, source = faulty(folder, "end_s=1")
    assert rows(packets) == [row for row in whole if row[0] < 6_000_000]
    assert source.report().dropped == source._source.report().events - 10_000


# the file


def test_a_cut_file_reads_like_its_begin(folder, tmp_path):
    data = (folder / "even.npz").read_bytes()
    (tmp_path / "even.npz").write_bytes(data[: len(data) // 2])
    with pytest.raises(SourceError) as plainly:
        open_source(tmp_path / "even.npz")
    path = folder / "even.npz"
    with pytest.raises(SourceError) as cut:
        open_source(f"fault(cut_at={len(data) // 2})+{path}")
    assert str(cut.value) == str(plainly.value).replace(str(tmp_path), str(folder))


def test_bytes_missing_from_a_recording_are_found_by_its_reader_and_the_copy_goes(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", None)
    data = aedat4(pieces(random_events(5_000), 1_000)).data
    (tmp_path / "a.aedat4").write_bytes(data)
    for told, cut in {
        "cut_at=9000": data[:9_000],
        "cut_every=5000;cut_bytes=3": b"".join(data[k : k + 4_997] for k in range(0, len(data), 5_000)),
        "cut_at=6000;cut_every=5000;cut_bytes=100": data[:6_000]
        + b"".join(data[k : k + 4_900] for k in range(6_000, len(data), 5_000)),
    }.items():
        (tmp_path / "cut.aedat4").write_bytes(cut)
        with open_source(tmp_path / "cut.aedat4") as source:
            wanted, report = plain(source), source.report()
        with open_source(f"fault({told})+{tmp_path / 'a.aedat4'}") as source:
            assert len(os.listdir(tmp_path / "tmp")) == 1
            assert plain(source) == wanted
            found = source.report()
        assert os.listdir(tmp_path / "tmp") == []
        assert (found.damage, found.truncated, found.bytes) == (report.damage, report.truncated, report.bytes)
        assert found.damage and "spikeline-fault" not in "".join(found.damage)
    assert (tmp_path / "a.aedat4").read_bytes() == data


# what cannot be done


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ("", "no fault; wanted file=f.toml or one of burst"),
        ("foo=1", "unknown option foo; choose from"),
        ("drop=1.5", "drop: share=1.5; wanted 0 to 1"),
        ("drop=x", "drop=x; wanted a number"),
        ("drop=nan", "drop: share = nan; wanted a number"),
        ("wrap_bits=20.5", "wrap: bits = 20.5; wanted a whole number"),
        ("wrap_bits=99", "wrap: bits=99; wanted 10 to 60"),
        ("wrap_bits=20;for_s=1", "for_s=1: no fault here takes it"),
        ("at_s=1", "at_s=1: no fault here takes it"),
        ("drop=0.1;at_s=-1", "drop: at_s=-1.0; wanted 0 or more"),
        ("reorder_us=9", "reorder: no share"),
        ("cut_bytes=9", "cut: every=0, bytes=9; wanted 0 < bytes < every"),
        ("seed=x;drop=0", "seed=x; wanted a whole number"),
        ("file=nowhere.toml", "nowhere.toml: cannot be read: No such file"),
    ],
)
def test_wrong_options_are_refused_in_one_line(folder, told, says):
    with pytest.raises(SourceError) as error:
        open_source(f"fault({told})+{folder / 'even.npz'}")
    assert says in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("fault = 3", "fault; wanted [[fault]] tables"),
        ("seed = 'x'", "seed = 'x'; wanted a whole number"),
        ("sead = 1", "unknown option sead; choose from fault, seed"),
        ("[[fault]]", "fault 1: kind = None; choose from burst"),
        ("[[fault]]\nkind = 'drip'", "fault 1: kind = 'drip'; choose from burst"),
        ("[[fault]]\nkind = 'drop'\nshare = 'all'", "drop: share = all; wanted a number"),
        ("[[fault]]\nkind = 'drop'\nshare = true", "drop: share = True; wanted a number"),
        (
            "[[fault]]\nkind = 'drop'\nshare = 0.1\nms = 3",
            "fault 1: drop: unknown option ms; choose from at_event",
        ),
        (
            "[[fault]]\nkind = 'silence'\nat_s = 1\nat_event = 2",
            "silence: at_s and at_event; wanted one of them",
        ),
        ("[[fault]]\nkind = 'silence'\nfor_packets = 1.5", "for_packets = 1.5; wanted a whole number"),
        ("[[fault]]\nkind = 'reset'\nfor_s = 1", "reset: a reset has no length"),
        ("[[fault]]\nkind = 'burst'\nrate = 9\nat_event = 2", "burst: wanted at_s and for_s at most"),
        ("[[fault]]\nkind = 'wrap'\nbits = 20\nfor_s = 2", "wrap: wanted at_s at most"),
        ("[[fault]]\nkind = 'block'\nfor_s = 2", "block: how long a read blocks is said by ms"),
        ("[[fault]]\nkind = 'cut'\nat_s = 2", "cut: unknown option at_s"),
        ("[[fault]\n", "f.toml: "),
        ("\x00", "f.toml: "),
    ],
)
def test_wrong_scripts_are_refused_in_one_line(folder, tmp_path, text, says):
    (tmp_path / "f.toml").write_text(text)
    with pytest.raises(SourceError) as error:
        open_source(f"fault(file={tmp_path / 'f.toml'})+{folder / 'even.npz'}")
    assert says in str(error.value) and "\n" not in str(error.value)


def test_bytes_can_be_cut_only_out_of_a_file():
    for base in ("sim:gesture?seed=1", "-", "no/such/file"):
        with pytest.raises(SourceError, match="bytes can only be cut out of a file"):
            open_source(f"fault(cut_at=9)+{base}")


def test_a_script_is_sorted_into_the_order_in_which_faults_act():
    script = read_script({"end_s": "3", "jump_us": "4", "drop": "0.5", "burst": "9", "cut_at": "7"}, "here")
    assert [fault.KIND for fault in script.faults] == ["burst", "drop", "jump", "end"]
    assert [cut.at_byte for cut in script.cuts] == [7]


# in a run


@pytest.fixture(scope="module")
def model(folder):
    graph = small_graph(2)
    changes = {"dt_us": 40_000, "dt_range_us": (40_000, 40_000), "sensor": (64, 48)}
    save_package(folder / "small.safetensors", small_manifest(graph, **changes), graph)
    return folder / "small.safetensors"


def test_a_faulty_run_gives_the_same_digest_again_and_accounts_for_everything(folder, model):
    told = "drop=0.05;burst=30000;reorder=0.1;reset_us=0;unplug_s=0.2;at_s=0.8;for_s=0.5;seed=6"
    digests = set()
    for inside in ("", ",cut(events=3)"):
        for _ in range(2):
            with open_pipeline(f"fault({told}){inside}+{folder / 'even.npz'}", model) as session:
                for _ in session:
                    pass
            summary = session.summary()
            account = session.account()
            assert account.queued == 0 and account.received == summary["source"]["events"] + account.refused
            digests.add((inside, summary["digest"]))
    assert len(digests) == 2  # packets lie elsewhere, and faults of the way to us act on packets


def test_a_delay_on_purpose_is_seen_as_transport(folder, model):
    with open_pipeline(
        f"fault(delay_ms=60)+{folder / 'even.npz'}", model, live=True, speed=1.0, stop_s=1.0
    ) as session:
        for _ in session:
            pass
    rows = session.pipeline.latency.summary()
    assert rows["transport"]["p50"] >= 60_000 and rows["infer"]["p50"] < 60_000
    assert rows["total"]["p50"] >= 60_000


@pytest.mark.parametrize(
    ("uri", "base", "live", "endlessly"),
    [
        ("fault(drop=0.1)+dv://host:7", "dv://host:7", True, "fault(drop=0.1)+dv://host:7"),
        ("camera:", "camera:", True, "camera:"),
        ("cut(events=9)+sim:gesture", "sim:gesture", False, "cut(events=9)+sim:gesture?duration_s=0"),
        ("loop+sim:gesture?seed=2", "sim:gesture?seed=2", False, "loop+sim:gesture?seed=2&duration_s=0"),
        ("loop+a.npz", "a.npz", False, "loop+a.npz"),
    ],
)
def test_wrappers_do_not_hide_what_a_source_is(uri, base, live, endlessly):
    assert (base_of(uri), keeps_time(uri), endless(uri)) == (base, live, endlessly)


def test_a_camera_on_the_network_with_a_delay_is_late_by_it():
    """It keeps time by itself: the delay is waited for here, and nobody paces it a second time."""
    packets = [(k * 5_000, (k + 1) * 5_000) for k in range(60)]

    class Camera:
        sensor, format = SENSOR, "test camera"

        def __iter__(self):
            begin_ns = time.monotonic_ns()
            for start_us, until_us in packets:
                time.sleep(max(0, begin_ns + until_us * 1_000 - time.monotonic_ns()) / 1e9)
                one = np.zeros(1, np.uint16)
                yield EventPacket(np.array([start_us]), one, one, one.astype(np.uint8), until_us, 0, 0)

        def __exit__(self, kind, error, trace): ...

        def report(self):
            return SourceReport(events=60)

    late_ms = []
    source = Faulty(Camera(), read_script({"delay_ms": "50"}, "here"), keeps_time=True)
    begin_ns = time.monotonic_ns()
    for packet in source:
        late_ms.append((time.monotonic_ns() - begin_ns) / 1e6 - packet.until_us / 1e3)
    assert source.held_ns == 0 and len(late_ms) == 120  # a packet and its clock mark
    assert min(late_ms) >= 45 and np.median(late_ms) < 90


def test_a_live_run_outlives_a_source_that_blocks_for_ever(folder, model):
    session = open_pipeline(
        f"fault(block_ms=0;at_s=0.205)+{folder / 'even.npz'}", model, live=True, speed=1.0
    )
    begin = time.monotonic()
    with session:
        session.deadline_ns = session.pipeline.now_ns() + 4e9  # a first run compiles in it
        ends = [result.t_end_us for result in session]
    assert time.monotonic() - begin < 20
    assert ends == [5_000_000 + k * 40_000 for k in range(1, 6)]
    assert session.account().queued == 0


def test_the_command_line_ends_with_the_drivers_error(folder, model, capsys):
    code = run(["replay", f"fault(unplug_s=0;at_s=1)+{folder / 'even.npz'}", "--model", str(model)])
    err = capsys.readouterr().err
    assert (
        code == 2
        and err.splitlines()[-1] == "spikeline: fault: unplugged on purpose, 1.000000 s after the begin"
    )
