"""Columns of events with damaged times: what stays, whatever pieces they come in."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_sources_writers import random_events

from spikeline.drivers.formats.settled import Settled, noisy
from spikeline.pipeline.events import Sensor

SENSOR = Sensor(16, 12)


def through(events, cuts=()):
    """(times handed out, report) of the events in pieces."""
    admission = Settled(SENSOR)
    packets = []
    for a, b in zip([0, *cuts], [*cuts, len(events.t)], strict=True):
        packets += admission.settle(*(column[a:b].copy() for column in events))
    packets += admission.finish()
    times = [t for packet in packets for t in packet.t.tolist()]
    assert admission.report.events == len(times)
    return times, admission.report


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.sampled_from([0, 1, 90, 5_000, 3_000_000, 4_000_000_000]), min_size=1, max_size=200),
    st.lists(st.integers(0, 200), max_size=4),
)
def test_times_that_only_rise_are_never_touched(steps, cuts):
    t = np.cumsum(np.array(steps, np.int64))
    events = random_events(len(t))._replace(t=t)
    assert len(noisy(t)) == 0
    times, report = through(events, sorted(min(cut, len(t)) for cut in cuts))
    assert times == t.tolist() and report.refused == report.reordered == 0


@pytest.mark.parametrize("at", [0, 1, 3_000, 5_500, 5_998])
@pytest.mark.parametrize("count", [1, 2, 40, 2_500])
@pytest.mark.parametrize("cuts", [(), (1_000, 3_010, 5_000)])
def test_noise_costs_only_itself(at, count, cuts):
    events = random_events(6_000)
    t = events.t.copy()
    stop = min(6_000, at + count)
    t[at:stop] = np.random.default_rng(5).integers(-(1 << 33), 1 << 33, stop - at)
    times, report = through(events._replace(t=t), cuts)
    good = np.r_[events.t[:at], events.t[stop:]].tolist()
    lost = len(set(good) - set(times))
    assert lost <= 3 and report.epochs <= (3 if at + count >= 5_998 else 2)
    if 8 < count < 1_000 and 1_000 < at < 5_000:
        assert lost == 0 and report.epochs == 1 and set(times) <= set(good)


@pytest.mark.parametrize("cuts", [(), (100, 2_999, 3_001), (2_500,)])
def test_a_clock_that_was_set_is_a_new_epoch(cuts):
    events = random_events(6_000)
    t = events.t.copy()
    t[3_000:] -= t[3_000] - 17
    times, report = through(events._replace(t=t), cuts)
    assert times == t.tolist() and report.epochs == 2 and report.refused == 0
