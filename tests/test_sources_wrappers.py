"""Cut, Clip, Paced, Loop and Chain: what they give, against plain answers from the whole stream."""

import itertools
import threading
import time
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_sources_recording import plain, streams

from spikeline.drivers.chain import Chain
from spikeline.drivers.formats.arrays import NpzSource
from spikeline.drivers.recording import write_npz
from spikeline.drivers.wrappers import PACED_SPAN_NS, Clip, Cut, Loop, Paced
from spikeline.pipeline.events import EventPacket, Sensor, SourceError, clock_mark

SENSOR = Sensor(6, 4, "TEST")


def packet(times, until_us=None, epoch=0, origin_us=None):
    t = np.array(times, np.int64)
    zeros = np.zeros(len(t), np.uint16)
    until = int(t[-1]) if until_us is None else until_us
    return EventPacket(t, zeros, zeros, zeros.astype(np.uint8), until, epoch, origin_us)


@pytest.fixture
def recorded(tmp_path):
    """A function that records packets and opens the recording."""

    def record(packets, name="a.npz"):
        write_npz(tmp_path / name, packets, SENSOR)
        return NpzSource(tmp_path / name)

    return record


def events(packets):
    return [
        (p.epoch, *row)
        for p in packets
        for row in zip(p.t.tolist(), p.x.tolist(), p.y.tolist(), p.p.tolist(), strict=True)
    ]


@settings(deadline=None, max_examples=60, derandomize=True)
@given(streams(), st.integers(1, 4))
def test_cut_changes_no_event_and_no_clock_mark(tmp_path_factory, packets, most):
    path = tmp_path_factory.mktemp("cut") / "a.npz"
    write_npz(path, packets, SENSOR)
    with Cut(NpzSource(path), most) as source:
        parts = list(source)
        assert source.report().packets == len(parts)
    assert events(parts) == events(packets)
    assert all(len(part) <= most for part in parts)
    expected = []
    for whole in packets:
        n = len(whole)
        ends = [*range(most, n, most), n]
        expected += [int(whole.t[end - 1]) for end in ends[:-1]] + [whole.until_us]
    assert [part.until_us for part in parts] == expected


@pytest.mark.parametrize("most", [0, -1])
def test_cut_refuses_packets_without_room(recorded, most):
    with recorded([]) as source, pytest.raises(SourceError, match=f"events={most}; wanted 1"):
        Cut(source, most)


@settings(deadline=None, max_examples=100, derandomize=True)
@given(streams(), st.integers(0, 3_000), st.one_of(st.none(), st.integers(1, 60_000)))
def test_clip_keeps_the_events_of_its_seconds_and_counts_the_others(
    tmp_path_factory, packets, start_us, length_us
):
    path = tmp_path_factory.mktemp("clip") / "a.npz"
    write_npz(path, packets, SENSOR)
    stop_us = None if length_us is None else start_us + length_us
    with Clip(NpzSource(path), start_us / 1e6, None if stop_us is None else stop_us / 1e6) as source:
        parts = list(source)
        report = source.report()
    rows, elapsed, epoch, zero = [], 0, None, None  # the plain answer: a clock that runs on over epochs
    for whole in packets:
        if whole.epoch != epoch:
            epoch = whole.epoch
            begin = int(whole.t[0]) if len(whole) else whole.until_us
            zero = begin - elapsed if zero is not None else (begin if len(whole) else None)
        if zero is None and len(whole):
            zero = int(whole.t[0])
        for row in events([whole]):
            if row[1] - zero >= start_us and (stop_us is None or row[1] - zero < stop_us):
                rows.append(row)
        if zero is not None:
            elapsed = max(elapsed, whole.until_us - zero)
            if stop_us is not None and elapsed >= stop_us:
                break
    assert events(parts) == rows
    inner = source._source.report()
    assert report.events == len(rows) and report.events + report.filtered == inner.events
    for part in parts:
        assert len(part) == 0 or part.until_us >= part.t[-1]
    for before, after in itertools.pairwise(parts):
        if before.epoch == after.epoch:
            assert before.until_us <= (after.t[0] if len(after) else after.until_us)


def test_clip_ends_with_a_clock_mark_at_its_stop_and_reads_no_further(recorded):
    source = Clip(recorded([packet([100, 200]), packet([300, 400]), packet([500])]), stop_s=0.000_250)
    with source:
        assert [(p.t.tolist(), p.until_us) for p in source] == [([100, 200], 200), ([300], 350)]
        assert source.report().filtered == 1
        assert source._source.report().events == 4


def test_clip_with_a_start_puts_the_window_grid_there(recorded):
    packets = [
        packet([0, 50], origin_us=-5),
        packet([60, 200], origin_us=-5),
        packet([7], epoch=1, origin_us=3),
    ]
    with Clip(recorded(packets), start_s=0.000_060) as source:
        assert [(p.t.tolist(), p.epoch, p.origin_us) for p in source] == [([60, 200], 0, 60), ([7], 1, 3)]
        assert source.report().filtered == 2
    with Clip(recorded(packets)) as source:
        assert plain(source) == plain(packets)


@pytest.mark.parametrize(("start", "stop"), [(-1.0, None), (1.0, 1.0), (2.0, 1.0), (float("nan"), None)])
def test_clip_refuses_times_out_of_order(recorded, start, stop):
    with recorded([]) as source, pytest.raises(SourceError, match="wanted 0 <= start < stop"):
        Clip(source, start, stop)


def test_paced_delivers_when_due_and_never_early(recorded):
    times = [0, 10_000, 20_000, 20_100, 40_000]
    packets = [packet(times[:4], until_us=30_000), packet(times[4:]), packet([7, 5_007], epoch=1)]
    arrived = []
    with Paced(recorded(packets), speed=1.0) as source:
        begin = time.monotonic_ns()
        for part in source:
            arrived.append((time.monotonic_ns(), part.epoch, part.until_us, len(part)))
        late_ns = source.late_max_ns
    assert [row[1:] for row in arrived] == [
        (0, 0, 1),
        (0, 10_000, 1),
        (0, 20_100, 2),
        (0, 30_000, 0),
        (0, 40_000, 1),
        (1, 7, 1),
        (1, 5_007, 1),
    ]
    for now, epoch, until_us, _ in arrived:
        zero = begin if epoch == 0 else begin + 40_000_000
        assert now >= zero + (until_us - (7 if epoch else 0)) * 1_000
    assert 0 <= late_ns < 2_000_000_000


def test_paced_cuts_packets_to_two_milliseconds_of_wall_time(recorded):
    times = np.arange(0, 400_000, 100)
    for speed in (10.0, 200.0):
        with Paced(recorded([packet(times)]), speed) as source:
            parts = list(source)
        span_us = PACED_SPAN_NS * speed / 1_000
        assert max(int(p.t[-1] - p.t[0]) for p in parts) < span_us
        assert len(parts) == np.ceil(400_000 / span_us)
        assert events(parts) == events([packet(times)])


def test_a_slow_consumer_does_not_move_the_schedule(recorded):
    with Paced(recorded([packet([t]) for t in range(0, 60_000, 10_000)]), 1.0) as source:
        begin = time.monotonic_ns()
        for k, _ in enumerate(source):
            if k == 0:
                time.sleep(0.05)  # four packets become due meanwhile
        took = time.monotonic_ns() - begin
        assert took < 50_000_000 + 1_000_000_000
        assert source.late_max_ns >= 35_000_000


def test_a_paced_source_that_is_closed_wakes_up(recorded):
    source = Paced(recorded([packet([0]), packet([3_000_000_000])]), 1.0)
    timer = threading.Timer(0.1, source.__exit__, (None, None, None))
    timer.start()
    begin = time.monotonic()
    assert len(list(source)) == 1
    assert time.monotonic() - begin < 30
    timer.join()


@pytest.mark.parametrize("speed", [0.0, -1.0, float("nan"), float("inf")])
def test_paced_refuses_an_impossible_speed(recorded, speed):
    with recorded([]) as source, pytest.raises(SourceError, match="wanted more than 0"):
        Paced(source, speed)


def test_loop_gives_each_pass_epochs_of_its_own(recorded, tmp_path):
    packets = [packet([1, 2]), packet([5], epoch=1, origin_us=4)]
    recorded(packets).close()
    with Loop(partial(NpzSource, tmp_path / "a.npz"), 3) as source:
        got = list(source)
        report = source.report()
    assert [p.epoch for p in got] == [0, 1, 2, 3, 4, 5]
    assert [p.t.tolist() for p in got] == [[1, 2], [5]] * 3
    assert [p.origin_us for p in got] == [None, 4] * 3
    assert (report.events, report.packets, report.epochs) == (9, 6, 6)


def test_an_endless_loop_goes_on_and_one_without_packets_ends_in_an_error(recorded, tmp_path):
    recorded([packet([1])]).close()
    with Loop(partial(NpzSource, tmp_path / "a.npz"), 0) as source:
        assert [p.epoch for p, _ in zip(source, range(1_000), strict=False)] == list(range(1_000))
    recorded([], "empty.npz").close()
    with (
        Loop(partial(NpzSource, tmp_path / "empty.npz"), 0) as source,
        pytest.raises(SourceError, match="never end"),
    ):
        list(source)
    with pytest.raises(SourceError, match="times=-1"):
        Loop(partial(NpzSource, tmp_path / "a.npz"), -1)
    with pytest.raises(SourceError, match="nowhere"):
        Loop(partial(NpzSource, tmp_path / "nowhere.npz"), 2)


def test_a_chain_goes_on_behind_a_file_that_cannot_be_read(recorded, tmp_path):
    recorded([packet([1, 2]), clock_mark(9, 0, None)], "a.npz").close()
    (tmp_path / "b.npz").write_bytes(b"PK\3\4 no zip")
    write_npz(tmp_path / "c.npz", [packet([3])], SENSOR)
    names = [str(tmp_path / name) for name in ("b.npz", "a.npz", "b.npz", "c.npz")]
    with Chain([(name, partial(NpzSource, name)) for name in names]) as source:
        assert [(p.epoch, p.until_us, len(p)) for p in source] == [(0, 2, 2), (0, 9, 0), (1, 3, 1)]
        damage = source.report().damage
    assert len(damage) == 2 and all("b.npz: not a whole zip file" in line for line in damage)
    with pytest.raises(SourceError, match=r"b\.npz"):
        Chain([(names[0], partial(NpzSource, names[0]))])
    with pytest.raises(SourceError, match="no source"):
        Chain([])


def test_a_chain_refuses_a_second_sensor(recorded, tmp_path):
    recorded([packet([1])], "a.npz").close()
    write_npz(tmp_path / "b.npz", [packet([3])], Sensor(5, 4))
    files = [(name, partial(NpzSource, tmp_path / name)) for name in ("a.npz", "b.npz")]
    with Chain(files) as source, pytest.raises(SourceError, match="5x4 pixels; the files before it have 6x4"):
        list(source)
