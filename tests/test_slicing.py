from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeline.pipeline.events import clock_mark
from spikeline.pipeline.slicing import SliceConfig, Slicer

import reference
from strategies import cuts, event_streams, packets_of


def windows_and_slices(config, packets):
    """Every closed window, and the event times of every closed slice, and of the open one."""
    slicer = Slicer(config)
    windows, slices, current = [], [], []
    for packet in packets:
        for piece in slicer.push(packet):
            current += packet.t[piece.start : piece.stop].tolist()
            if piece.closes:
                slices.append(current)
                current = []
            if piece.window:
                windows.append(piece.window)
    return windows, slices, current


@settings(deadline=None, max_examples=150)
@given(event_streams(gap_us=900), st.data())
def test_time_windows_are_those_of_the_slow_reference(stream, data):
    t, x, y, p = stream
    hops = data.draw(st.integers(1, 4))
    hop_us = data.draw(st.integers(1, 3_000))
    until_us = int(t[-1] if len(t) else 0) + data.draw(st.integers(0, 20_000))
    config = SliceConfig(dt_us=hop_us * hops, hop_us=hop_us)
    cut = data.draw(cuts(len(t)))
    windows, slices, left = windows_and_slices(config, packets_of(t, x, y, p, cut, until_us))
    origin = int(t[0]) if len(t) else 0
    wanted = reference.time_windows(t, until_us, origin, config.dt_us, hop_us) if len(t) else []
    assert [(w.start_us, w.end_us) for w in windows] == [(a, b) for a, b, _ in wanted]
    assert [w.seq for w in windows] == list(range(len(windows)))
    for i, (_, _, inside) in enumerate(wanted):
        assert list(chain(*slices[i : i + hops])) == t[inside].tolist()
    assert [*chain(*slices), *left] == t.tolist()


@settings(deadline=None, max_examples=150)
@given(event_streams(gap_us=900), st.integers(1, 9), st.booleans(), st.data())
def test_windows_never_depend_on_how_packets_were_cut(stream, count, by_time, data):
    t, x, y, p = stream
    config = SliceConfig(dt_us=2_000, count=count, by_time=by_time)
    until_us = int(t[-1]) + 5_000 if len(t) else 5_000
    whole = windows_and_slices(config, packets_of(t, x, y, p, [], until_us))
    parts = windows_and_slices(config, packets_of(t, x, y, p, data.draw(cuts(len(t))), until_us))
    assert parts == whole
    if not by_time:
        assert all(len(events) == count for events in whole[1])
    else:
        assert all(len(events) <= count for events in whole[1])


def test_a_still_scene_still_makes_windows():
    config = SliceConfig(dt_us=10_000)
    windows, slices, _ = windows_and_slices(config, [clock_mark(0, 0, 0), clock_mark(10_000_000, 0, 0)])
    assert len(windows) == 1_000 and not any(slices)
    assert windows[-1].end_us == 10_000_000


def test_an_unclosed_window_is_not_given():
    t = np.array([0, 9_999], np.int64)
    one = np.zeros(2, np.uint16)
    windows, _, left = windows_and_slices(
        SliceConfig(dt_us=10_000), packets_of(t, one, one, one.astype(np.uint8), [], 9_999)
    )
    assert windows == [] and left == [0, 9_999]


def test_a_new_epoch_starts_a_new_grid():
    slicer = Slicer(SliceConfig(dt_us=1_000))
    first = [p.window for p in slicer.push(clock_mark(2_500, 0, 0)) if p.window]
    slicer.restart(1)
    second = [p.window for p in slicer.push(clock_mark(1_700, 1, 500)) if p.window]
    assert [(w.seq, w.epoch, w.start_us) for w in first + second] == [(0, 0, 0), (1, 0, 1_000), (2, 1, 500)]


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"dt_us": 0}, "dt_us must be positive, got 0"),
        ({"dt_us": 10, "hop_us": 3}, "hop_us must divide dt_us 10, got 3"),
        ({"by_time": False}, "count must be positive"),
        ({"dt_us": 10, "hop_us": 5, "count": 2}, "do not overlap"),
    ],
)
def test_settings_that_cannot_be_name_the_value(settings_, message):
    with pytest.raises(ValueError, match=message):
        SliceConfig(**settings_)
