"""The clock of a silent stream, on given times: microseconds on both sides, the sensor's 10^9 ahead."""

import numpy as np
import pytest

from spikeline.drivers.arrival_clock import DRIFT, MARGIN_US, STALL_US, START_MARGIN_US, ArrivalClock

AHEAD = 1_000_000_000


def arrive(clock, host_us, delay_us, waited=True):
    clock.arrived(host_us - delay_us + AHEAD, host_us * 1_000, waited)


def lag(clock, host_us):
    """How far the mark is behind the sensor's present."""
    return host_us + AHEAD - clock.mark(host_us * 1_000)


def test_a_mark_stays_behind_the_slowest_packet_of_late():
    clock = ArrivalClock()
    assert clock.mark(0) is None
    arrive(clock, 0, 2_000)
    assert lag(clock, 0) == 2_000 + START_MARGIN_US + MARGIN_US
    rng = np.random.default_rng(1)
    delays = rng.integers(500, 12_000, 20_000)
    delays[4_500:] //= 4
    lags = []
    for k, delay in enumerate(delays.tolist()):
        lags.append(lag(clock, 10_000 * k) if k else 0)
        arrive(clock, 10_000 * k, delay)
        assert not k or lags[-1] > delay
    assert lags[4_000] == max(delays[1:4_000]) + MARGIN_US + int(DRIFT * 10_000)  # the start is forgotten
    assert lags[-1] == max(delays[-1_000:]) + MARGIN_US + int(DRIFT * 10_000)  # and the slow packets


def test_a_mark_allows_for_drift_in_a_long_silence():
    clock = ArrivalClock()
    arrive(clock, 0, 1_000)
    hour_us = 3_600_000_000
    assert lag(clock, hour_us) - lag(clock, 0) == DRIFT * hour_us
    assert clock.mark(hour_us * 1_000) > AHEAD + 0.999 * hour_us


def test_packets_that_lay_in_the_socket_are_not_timed():
    clock = ArrivalClock()
    arrive(clock, 2_000_000, 2_000_000, waited=False)  # nothing better is known
    assert clock.mark((2_000_000 + STALL_US - 1) * 1_000) is None
    assert lag(clock, 2_000_000 + STALL_US) > 2_000_000
    arrive(clock, 3_000_000, 3_000)
    assert lag(clock, 3_000_000) == 3_000 + START_MARGIN_US + MARGIN_US
    arrive(clock, 3_010_000, 4_000, waited=False)  # quick enough: it did not lie there
    assert clock.mark(3_010_000_000) is not None


def test_no_mark_while_a_sender_that_was_held_back_may_not_have_gone_on():
    clock = ArrivalClock()
    arrive(clock, 0, 3_000)
    usual = lag(clock, 0)
    for k in range(5):
        arrive(clock, 600_000, 580_000 - 10_000 * k, waited=False)
    assert clock.mark(750_000_000) is None
    arrive(clock, 760_000, 690_000)  # TCP goes on; this is our delay and not the sender's
    assert clock.mark(770_000_000) is None
    arrive(clock, 780_000, 3_000, waited=False)
    assert lag(clock, 780_000) == pytest.approx(usual, abs=DRIFT * 1e6)


@pytest.mark.parametrize("waited", [True, False])
def test_a_broken_promise_counts_twice(waited):
    clock = ArrivalClock()
    arrive(clock, 0, 0)
    promised = lag(clock, 500_000)
    arrive(clock, 500_000, promised + 7_000, waited)
    later = 500_000 + (0 if waited else STALL_US)
    again = lag(clock, later)
    assert promised + 2 * 7_000 <= again <= promised + 2 * 7_000 + MARGIN_US
    clock = ArrivalClock()
    arrive(clock, 0, 0)
    lag(clock, 500_000)
    for k in range(10):  # held up together, and read one after another
        arrive(clock, 500_000, promised + 7_000 - 500 * k, waited and not k)
    assert lag(clock, later) == pytest.approx(again, abs=DRIFT * STALL_US)
