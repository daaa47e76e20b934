"""The base of record files: packets, their memory, times that damage made, and where records begin again."""

import gc
import resource
import subprocess
import sys
import textwrap

import make_prophesee as make
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_formats_prophesee import random_rows, same

from spikeline.drivers.formats import rooms
from spikeline.drivers.formats.dat import DatSource
from spikeline.drivers.formats.evt3 import Evt3Decoder
from spikeline.drivers.formats.feed import Feed
from spikeline.drivers.formats.resync import NO_TIME, first_run
from spikeline.drivers.formats.rooms import Blocks, Rooms
from spikeline.drivers.formats.times import HORIZON, follow, in_order, ready, settle
from spikeline.pipeline.events import MAX_ABS_US, PACKET_EVENTS, REORDER_US, Sensor, SourceError

SENSOR = Sensor(64, 48)
WIDTH_US = 1 << 24


def dat_file(path, rows):
    path.write_bytes(make.dat_header(*SENSOR[:2]) + make.events_dat(rows))
    return path


def small_rows(n, seed=0, **keywords):
    return random_rows(np.random.default_rng(seed), n, width=64, height=48, **keywords)


def long_file(path, n):
    """A DAT file of `n` events, made at once."""
    place = np.arange(n, dtype=np.uint32)
    where = place % 64 | place % 48 << 14 | (place & 1) << 28
    data = np.stack([place * 3, where], axis=1).astype("<u4").tobytes()
    path.write_bytes(make.dat_header(*SENSOR[:2]) + data)
    return path


# Packets and their memory


def test_packets_are_full_and_in_order(tmp_path):
    rows = small_rows(200_000, gap_us=3)
    with DatSource(dat_file(tmp_path / "a.dat", rows)) as source:
        packets = list(source)
    assert [len(p) for p in packets] == [rooms.ROOM_EVENTS] * 6 + [200_000 - 6 * rooms.ROOM_EVENTS]
    assert rooms.ROOM_EVENTS <= PACKET_EVENTS
    columns = [np.concatenate([getattr(p, name) for p in packets]) for name in ("t", "x", "y", "p")]
    assert same(columns, rows)


def test_a_packet_that_is_held_never_changes(tmp_path):
    """Memory is used again only when nobody holds it, in whatever form."""
    with DatSource(long_file(tmp_path / "a.dat", 600_000)) as source:
        held, copies = [], []
        for k, packet in enumerate(source):
            kept = (packet, packet.t[5:9], memoryview(packet.x), packet.part(1, 3))[k % 4]
            held.append(kept)
            array = {0: packet.t, 1: packet.t[5:9], 2: packet.x, 3: packet.t[1:3]}[k % 4]
            copies.append(array.copy())
            del packet, array
        del kept
    for k, (kept, copy) in enumerate(zip(held, copies, strict=True)):
        found = kept.t if k % 4 in (0, 3) else np.asarray(kept)
        np.testing.assert_array_equal(found, copy)


def test_memory_that_nobody_holds_is_used_again(tmp_path):
    path = long_file(tmp_path / "a.dat", 600_000)
    with DatSource(path) as source:
        places = {packet.t.ctypes.data - packet.t.ctypes.data % 4_096 for packet in source}
    assert len(places) <= 3
    with DatSource(path, reuse=True) as source:
        packets = list(source)
    assert all(np.shares_memory(packet.t, packets[0].t) for packet in packets[1:-1])


def test_a_room_is_free_again_when_its_last_view_is_gone():
    pool = Rooms(reuse=False)
    first = pool.take()
    part = first.t[10:20]
    del first
    gc.collect()
    other = pool.take()
    assert not np.shares_memory(other.t, part)
    del part, other
    assert len({pool.take().t.ctypes.data for _ in range(5)}) == 1


def test_blocks_lie_at_a_pages_begin_and_end_with_the_file(tmp_path):
    data = np.random.default_rng(0).bytes(300_001)
    path = tmp_path / "a"
    path.write_bytes(data)
    blocks = Blocks(path, 1 << 16)
    try:
        assert blocks.read(0).ctypes.data % rooms.PAGE == 0
        for offset in (5, 70_000, 299_999, 300_001, 1_000_000):
            assert blocks.read(offset).tobytes() == data[offset : offset + (1 << 16)]
    finally:
        blocks.close()
    with pytest.raises(SourceError, match="cannot be read: No such file"):
        Blocks(tmp_path / "nothing", 4_096)


@pytest.mark.full
def test_a_large_file_needs_little_memory(tmp_path):
    """2 GB of records, most of them a hole of zeros, in a process of its own."""
    path = tmp_path / "large.dat"
    with open(path, "wb") as file:
        file.write(make.dat_header(*SENSOR[:2]))
        file.truncate(2_000_000_000)
    program = rf"""
        import re
        from pathlib import Path
        from spikeline.drivers.formats.dat import DatSource
        with DatSource({str(path)!r}) as source:
            events = sum(len(packet) for packet in source)
        peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        print(events, int(peak[1]) // 1024)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    events, megabytes = map(int, done.stdout.split())
    assert events == (2_000_000_000 - len(make.dat_header(*SENSOR[:2]))) // 8 and megabytes < 300


def test_reading_twice_or_after_the_end_is_refused(tmp_path):
    source = DatSource(dat_file(tmp_path / "a.dat", small_rows(10)))
    with source:
        assert len(list(source)) == 1
        with pytest.raises(SourceError, match="already being read"):
            list(source)
    with pytest.raises(SourceError, match="closed"):
        list(source)


def test_a_refused_file_leaves_nothing_open(tmp_path):
    path = tmp_path / "a.dat"
    path.write_bytes(make.dat_header(0, 0))
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    for _ in range(2_000 if before[0] > 1_500 else before[0] + 10):
        with pytest.raises(SourceError, match="does not say its size"):
            DatSource(path)


# Times


def slow_settle(rows, width, height, last_us, final):
    """`settle` on a list of (t, x, y, p), with a list for what stays; last_us None: no event yet."""
    rows = [r for r in rows if r[1] < width and r[2] < height and abs(r[0]) <= MAX_ABS_US]
    sure = len(rows) if final else len(rows) - 2 * HORIZON - 2
    kept, i = [], 0
    while i < len(rows):
        now = rows[i][0]
        before = kept[-1][0] if kept else last_us
        if before is not None and before - now > REORDER_US and i < sure:
            run = []
            while len(run) <= HORIZON and len(run) < len(kept) and kept[-1 - len(run)][0] > now + REORDER_US:
                run.append(kept[-1 - len(run)])
            root = kept[-1 - len(run)][0] if len(run) < len(kept) else last_us
            first = run[-1][0] if run else 0
            leapt = root is None or (first - root > REORDER_US and now >= root - REORDER_US)
            if run and len(run) <= HORIZON and leapt:
                following = rows[i : i + len(run) + 1]
                if len(following) > len(run) and all(r[0] < first for r in following):
                    del kept[-len(run) :]
                    continue
            late = before - now
            if late > 1_000_000 or (late >= 100_000 and 0 <= now < 10_000):
                there = before - max(1_000, min(1_000_000, late // 4))
                back = next(
                    (j for j in range(i + 1, min(len(rows), i + HORIZON)) if rows[j][0] >= there), None
                )
                if back is not None:
                    wanted = back - i + 1
                    following = rows[back : back + wanted]
                    agree = next((k for k, r in enumerate(following) if r[0] < there), len(following))
                    if agree == wanted or (final and back + agree == len(rows)):
                        i = back
                        continue
        kept.append(rows[i])
        i += 1
    return kept


def run_settle(rows, last_us, final):
    t, x, y, p = (
        np.array(c, k) for c, k in zip(zip(*rows, strict=True), ("i8", "u2", "u2", "u1"), strict=True)
    )
    first, last = last_us is None, last_us or 0
    stop, sure, refused = settle(t, x, y, p, 0, len(t), 64, 48, last, first, final)
    assert refused == len(rows) - stop and sure <= stop
    assert not final or sure == stop
    return list(zip(*(column[:stop].tolist() for column in (t, x, y, p)), strict=True)), sure


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_settle_is_as_its_slow_twin(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    n = data.draw(st.integers(1, 80))
    t = np.cumsum(rng.integers(0, 300, n)) + 5_000_000
    for _ in range(data.draw(st.integers(0, 5))):
        at, size = int(rng.integers(n)), int(rng.integers(1, 12))
        t[at : at + size] += int(
            rng.choice([-4_999_000, -3_000_000, -5_000, -700, 900, 20_000, 4_000_000_000])
        )
    rows = [(int(v), int(rng.integers(70)), int(rng.integers(48)), int(rng.integers(2))) for v in t]
    last_us = data.draw(st.sampled_from([None, 0, 4_999_500, 5_200_000]))
    final = data.draw(st.booleans())
    assert run_settle(rows, last_us, final)[0] == slow_settle(rows, 64, 48, last_us, final)


def test_one_time_that_leaps_away_is_refused_and_no_other():
    rows = [(1_000_000 + 50 * k, k % 64, 1, 1) for k in range(500)]
    for leap in (10_000, 5_000_000, 1 << 40, -1_009_999):
        damaged = [(t + leap * (k == 200), *place) for k, (t, *place) in enumerate(rows)]
        assert run_settle(damaged, 999_000, True)[0] == rows[:200] + rows[201:]


def test_two_damaged_times_one_of_them_ahead_cost_no_others():
    rows = [(1_000_000_000 + 50 * k, k % 64, 1, 1) for k in range(500)]
    damaged = [(t + {200: 15_000, 201: -900_000_000}.get(k, 0), *place) for k, (t, *place) in enumerate(rows)]
    assert run_settle(damaged, 999_999_000, True)[0] == rows[:200] + rows[202:]


def test_an_event_that_is_only_late_is_left_to_admission():
    rows = [(1_000_000 + 50 * k, k % 64, 1, 1) for k in range(500)]
    for late in (900, 90_000):
        damaged = [(t - late * (k == 400), *place) for k, (t, *place) in enumerate(rows)]
        assert run_settle(damaged, 999_000, True)[0] == damaged


def test_a_clock_that_is_set_stays_set():
    rows = [(9_000_000 + k, 1, 1, 1) for k in range(500)] + [(k, 1, 1, 1) for k in range(500)]
    assert run_settle(rows, 8_999_999, True)[0] == rows


def test_more_events_that_agree_outweigh_the_fewer():
    early = [(k * 10, 1, 1, 1) for k in range(100)]
    ahead = [(50_000 + k * 10, 2, 2, 0) for k in range(60)]
    late = [(1_000 + k * 10, 3, 3, 1) for k in range(100)]
    assert run_settle(early + ahead + late, None, True)[0] == early + late
    assert run_settle(early + late + ahead, None, True)[0] == early + late + ahead


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6_000))
def test_what_is_sure_does_not_depend_on_what_follows(seed, cut):
    """The certain part of a first look is the begin of what the whole gives."""
    rng = np.random.default_rng(seed)
    t = np.cumsum(rng.integers(0, 40, 6_000)) + 5_000_000
    for at in rng.integers(0, 6_000, 6):
        t[at : at + int(rng.integers(1, 400))] += int(rng.choice([-3_000_000, 20_000, 9_000_000]))
    rows = [(int(v), 1, 1, 1) for v in t]
    part, sure = run_settle(rows[:cut], 4_999_999, False)
    whole, _ = run_settle(rows, 4_999_999, True)
    assert part[:sure] == whole[:sure]


@settings(deadline=None)
@given(st.lists(st.integers(-3, 4_000), min_size=1, max_size=50), st.integers(0, 2_000), st.booleans())
def test_ready_ends_before_the_first_step_in_doubt(steps, last_us, first):
    t = np.cumsum(np.array(steps, np.int64)) + 1_000
    before = [last_us, *t[:-1].tolist()]
    doubts = [k for k in range(len(t)) if abs(int(t[k]) - before[k]) > REORDER_US or (first and k == 0)]
    assert ready(t, 0, len(t), last_us, first) == (doubts[0] if doubts else len(t))


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(-1, 60), st.integers(0, 66), st.integers(0, 50)), min_size=1), st.data()
)
def test_in_order_means_no_event_needs_a_look(rows, data):
    steps, x, y = (np.array(column) for column in zip(*rows, strict=True))
    t = np.cumsum(steps.astype(np.int64))
    last_us, first = data.draw(st.integers(-2, 3)), data.draw(st.booleans())
    expected = bool(
        (np.diff(t) >= 0).all() and (x < 64).all() and (y < 48).all() and (first or t[0] >= last_us)
    )
    args = (t, x.astype(np.uint16), y.astype(np.uint16), 0, len(t), 64, 48, last_us, first)
    assert in_order(*args) == expected
    known = data.draw(st.integers(0, len(t)))
    if (np.diff(t[known:]) >= 0).all():
        assert in_order(*args, known) == expected


@settings(deadline=None)
@given(st.integers(0, 3 * WIDTH_US), st.lists(st.integers(-999_999, WIDTH_US // 2 - 1), max_size=40))
def test_follow_goes_over_every_wrap(start_us, steps):
    truth = np.cumsum([start_us + 40_000_000, *steps]).tolist()
    last = truth[0]
    for t in truth:
        last = follow(t % WIDTH_US, last, WIDTH_US)
        assert last == t


# Where records begin


def eights(data):
    """Records of 8 bytes: four zeros, then a time."""
    values = data.view("<u4").reshape(-1, 2)
    return values[:, 0] == 0, values[:, 1].astype(np.int64)


def find(data, final=True, good=eights):
    return first_run(
        np.frombuffer(data, np.uint8), good, unit=8, run=32, step_us=1_000, wrap_us=1 << 32, final=final
    )


def eight_bytes(n, start=100):
    return np.stack([np.zeros(n), start + 10 * np.arange(n)], axis=1).astype("<u4").tobytes()


@pytest.mark.parametrize("lost", [8, 9, 11, 15, 16, 200, 1_003])
def test_the_first_run_behind_noise(lost):
    noise = b"\xa5" + np.random.default_rng(1).bytes(lost - 1)
    assert find(noise + eight_bytes(40)) == lost
    assert find(noise + eight_bytes(20), final=False) is None
    assert find(noise + eight_bytes(20)[:-3]) == lost  # the file ends there, within a record


def test_no_run_goes_over_a_time_that_does_not_follow():
    data = bytes([1] * 8) + eight_bytes(20) + eight_bytes(40, start=900_000)
    assert find(data) == 8 * 21


def test_noise_has_no_run_and_some_formats_none_at_all():
    assert find(np.random.default_rng(2).bytes(50_000)) is None
    assert find(eight_bytes(50), good=lambda data: None) is None


def test_a_run_of_words_without_a_time_counts():
    good = lambda data: (eights(data)[0], np.full(len(data) // 8, NO_TIME))  # noqa: E731
    assert find(b"\x01" * 16 + eight_bytes(40), good=good) == 16


# Bytes in pieces


def test_a_gap_in_the_pieces_makes_the_row_unknown():
    feed = Feed(Evt3Decoder())
    first = make.evt3([0x8001, 0x6005, 0x0007, 0x2001])
    assert feed.events(first + b"\x01").x.tolist() == [1]
    feed.gap()
    later = feed.events(make.evt3([0x2002, 0x8001, 0x6009, 0x0008, 0x2003]), final=True)
    assert (later.x.tolist(), later.y.tolist(), later.t.tolist()) == ([3], [8], [4_096 + 9])
    assert (feed.refused, feed.lost_bytes) == (1, 1)


def test_damage_in_pieces_is_passed_over_and_counted():
    rows = small_rows(20_000, gap_us=5)
    body = make.events_evt3(rows, repeat_us=16)
    noise = np.random.default_rng(1).bytes(512)
    half = len(body) // 4 * 2
    feed = Feed(Evt3Decoder())
    found = feed.events(body[:half] + noise + body[half:], final=True)
    known = set(rows)
    right = sum(row in known for row in zip(*(column.tolist() for column in found), strict=True))
    assert right > 0.99 * len(rows) and 400 <= feed.lost_bytes <= 600
