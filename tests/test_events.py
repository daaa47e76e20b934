"""Admission against a slow twin: the rules, the account, and that cuts in the input change nothing."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeline.pipeline.events import (
    JUMP_US,
    MAX_ABS_US,
    PACKET_EVENTS,
    REORDER_US,
    RESET_BACK_US,
    RESET_NEAR_ZERO_US,
    RESET_TO_ZERO_US,
    Admission,
    EventPacket,
    Sensor,
    clock_mark,
    foreign_error,
)

SENSOR = Sensor(6, 4)

steps_us = st.one_of(
    st.integers(0, 3_000),
    st.integers(-REORDER_US - 2, 0),
    st.sampled_from([-RESET_BACK_US, -RESET_BACK_US - 1, -RESET_TO_ZERO_US, 60_000_000]),
    st.sampled_from([JUMP_US, JUMP_US + 1]),
)
times_us = st.one_of(  # a step from the time before, or a time of its own
    st.tuples(st.just("step"), steps_us),
    st.tuples(
        st.just("at"), st.sampled_from([0, 1, RESET_NEAR_ZERO_US - 1, RESET_NEAR_ZERO_US, -5, 2_000_000])
    ),
    st.tuples(
        st.just("at"), st.sampled_from([MAX_ABS_US, MAX_ABS_US + 1, -MAX_ABS_US - 1, 2**63 - 1, -(2**63)])
    ),
)
raw_events = st.lists(
    st.tuples(times_us, st.integers(0, SENSOR.width), st.integers(0, SENSOR.height), st.integers(0, 2)),
    max_size=60,
)


def arrays(events):
    """Strategy output as t, x, y, p; steps count from the last time that can be one."""
    t, now = [], 1_000_000
    for (kind, value), *_ in events:
        now = now + value if kind == "step" else value
        t.append(max(-(2**63), min(2**63 - 1, now)))
        if abs(now) > MAX_ABS_US:
            now = 1_000_000
    x, y, p = ([event[i] for event in events] for i in (1, 2, 3))
    return np.array(t, np.int64), np.array(x, np.uint16), np.array(y, np.uint16), np.array(p, np.uint8)


def admit_slowly(t, x, y, p, sensor):
    """The rules of admission, one event at a time: (rows of epoch, t, x, y, p), refused, reordered."""
    rows, refused, reordered, epoch, last = [], 0, 0, -1, None
    for event in zip(t.tolist(), x.tolist(), y.tolist(), p.tolist(), strict=True):
        now = event[0]
        if event[1] >= sensor.width or event[2] >= sensor.height or event[3] > 1 or abs(now) > MAX_ABS_US:
            refused += 1
            continue
        if last is None:
            epoch = 0
        elif is_new_clock(last, now):
            epoch += 1
        elif last - now > REORDER_US:
            refused += 1
            continue
        elif now < last:
            reordered += 1
            now = last
        last = now
        rows.append((epoch, now, *event[1:]))
    return rows, refused, reordered


def is_new_clock(last, now):
    near_zero = last - now >= RESET_TO_ZERO_US and 0 <= now < RESET_NEAR_ZERO_US
    return near_zero or last - now > RESET_BACK_US or now - last > JUMP_US


def rows_of(packets):
    return [
        (packet.epoch, *row)
        for packet in packets
        for row in zip(
            packet.t.tolist(), packet.x.tolist(), packet.y.tolist(), packet.p.tolist(), strict=True
        )
    ]


@settings(deadline=None, max_examples=300, derandomize=True)
@given(raw_events)
def test_admission_follows_the_rules_event_by_event(events):
    t, x, y, p = arrays(events)
    rows, refused, reordered = admit_slowly(t, x, y, p, SENSOR)
    admission = Admission(SENSOR)
    assert rows_of(admission.admit(t, x, y, p)) == rows
    report = admission.report
    assert (report.events, report.refused, report.reordered) == (len(rows), refused, reordered)
    assert report.events + report.refused == len(events)
    assert report.epochs == (rows[-1][0] + 1 if rows else 0)


@settings(deadline=None, max_examples=150, derandomize=True)
@given(raw_events, st.lists(st.integers(0, 60), max_size=6))
def test_admitted_events_do_not_depend_on_how_the_input_is_cut(events, cuts):
    whole, parts = Admission(SENSOR), Admission(SENSOR)
    expected = rows_of(whole.admit(*arrays(events)))
    edges = [0, *sorted(min(cut, len(events)) for cut in cuts), len(events)]
    columns = arrays(events)
    got = []
    for start, stop in itertools.pairwise(edges):
        got += rows_of(parts.admit(*(column[start:stop] for column in columns)))
    assert got == expected
    counts = [(r.events, r.refused, r.reordered, r.epochs) for r in (whole.report, parts.report)]
    assert counts[0] == counts[1]


def test_a_long_array_becomes_packets_of_the_largest_size():
    n = 2 * PACKET_EVENTS + 7
    admission = Admission(SENSOR)
    zeros = np.zeros(n, np.uint16)
    packets = list(admission.admit(np.arange(n), zeros, zeros.copy(), np.zeros(n, np.uint8)))
    assert [len(packet) for packet in packets] == [PACKET_EVENTS, PACKET_EVENTS, 7]
    assert [packet.until_us for packet in packets] == [PACKET_EVENTS - 1, 2 * PACKET_EVENTS - 1, n - 1]
    assert admission.report.packets == 3


def one_event(t):
    return np.array([t]), np.zeros(1, np.uint16), np.zeros(1, np.uint16), np.zeros(1, np.uint8)


def test_a_clock_mark_holds_back_what_comes_before_it():
    admission = Admission(SENSOR, origin_us=5)
    (mark,) = admission.mark(10_000)
    assert (len(mark), mark.until_us, mark.epoch, mark.origin_us) == (0, 10_000, 0, 5)
    assert list(admission.mark(10_000)) == []
    assert list(admission.mark(9_000)) == []
    (late,) = admission.admit(*one_event(9_500))
    assert late.t.tolist() == [10_000]
    assert list(admission.admit(*one_event(8_000))) == []
    event, mark = admission.admit(*one_event(12_000), until_us=15_000)
    assert (event.until_us, mark.until_us) == (12_000, 15_000)
    report = admission.report
    assert (report.events, report.packets, report.reordered, report.refused) == (2, 4, 1, 1)


def test_a_new_epoch_takes_any_time_and_an_origin_of_its_own():
    admission = Admission(SENSOR, origin_us=7)
    (first,) = admission.admit(*one_event(5_000_000))
    admission.new_epoch(origin_us=40)
    (second,) = admission.admit(*one_event(4_999_000))
    assert (first.epoch, first.origin_us) == (0, 7)
    assert (second.epoch, second.origin_us, second.t.tolist()) == (1, 40, [4_999_000])
    admission.new_epoch(100)
    (third,) = admission.admit(*one_event(50))
    assert (third.epoch, third.origin_us, third.t.tolist()) == (2, None, [100])


def test_part_keeps_the_epoch_and_says_its_own_until():
    packet = EventPacket(
        np.array([1, 5, 9]),
        np.arange(3, dtype=np.uint16),
        np.zeros(3, np.uint16),
        np.ones(3, np.uint8),
        20,
        3,
        0,
    )
    part = packet.part(0, 2)
    assert (part.t.tolist(), part.x.tolist(), part.until_us, part.epoch, part.origin_us) == (
        [1, 5],
        [0, 1],
        5,
        3,
        0,
    )
    assert packet.part(2, 3, packet.until_us).until_us == 20
    assert len(clock_mark(9, 0, None)) == 0


def test_foreign_errors_become_one_line_and_interrupts_pass():
    assert str(foreign_error("a.dat", ValueError("two\nlines"))) == "a.dat: two lines"
    assert len(str(foreign_error("a.dat", ValueError("x" * 13_000)))) == len("a.dat: ") + 200
    assert str(foreign_error("a.dat", ValueError("bell \a"))) == r"a.dat: 'bell \x07'"
    assert str(foreign_error("a.dat", ValueError())) == "a.dat: ValueError"
    with pytest.raises(KeyboardInterrupt):
        foreign_error("a.dat", KeyboardInterrupt())


def test_a_mark_far_ahead_is_a_new_clock_and_not_a_million_empty_windows():
    admission = Admission(Sensor(4, 4))
    marks = [*admission.mark(1_000), *admission.mark(1_000 + JUMP_US), *admission.mark(2_001 + 2 * JUMP_US)]
    assert [(m.until_us, m.epoch) for m in marks] == [
        (1_000, 0),
        (1_000 + JUMP_US, 0),
        (2_001 + 2 * JUMP_US, 1),
    ]
    assert admission.report.epochs == 2
