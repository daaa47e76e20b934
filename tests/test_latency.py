import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeline.pipeline.latency import STAGES, ClockMap, Histogram, LatencyBook, Stamps


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(0, 10**11), min_size=1, max_size=200), st.sampled_from([1, 50, 90, 99, 99.9, 100])
)
def test_a_percentile_is_that_of_the_sorted_values_within_a_bucket(values, share):
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    wanted = sorted(values)[max(0, int(np.ceil(len(values) * share / 100)) - 1)]
    found_ns = histogram.percentile_us(share) * 1_000
    assert wanted * (1 - 1e-9) <= found_ns <= wanted * (1 + 1 / 64) + 1
    assert histogram.summary()["max"] == max(values) / 1_000


def test_an_empty_histogram_and_a_negative_duration_are_zero():
    histogram = Histogram()
    assert histogram.percentile_us(99) == 0
    histogram.add(-5_000)
    assert histogram.percentile_us(50) == 0


@given(st.integers(-(10**12), 10**12), st.integers(0, 2**32 - 1))
def test_the_clock_map_finds_the_least_delay(offset_us, seed):
    """Host time is sensor time plus an offset plus a delay of 0 to 5 ms: the least delay is the estimate."""
    rng = np.random.default_rng(seed)
    clock = ClockMap()
    delays = rng.integers(0, 5_000_000, 100)
    for k, delay in enumerate(delays):
        clock.observe(k * 1_000, (k * 1_000 + offset_us) * 1_000 + int(delay))
    assert clock.host_ns(7) == (7 + offset_us) * 1_000 + delays.min()


def test_the_clock_map_follows_drift_and_forgets_the_past():
    clock = ClockMap(span_s=1.0, keep=3)
    for ms in range(60_000):  # the sensor's clock is 100 ppm slow
        clock.observe(ms * 1_000, int(ms * 1_000_000 * (1 + 1e-4)))
    true_ns = 60_000 * 1_000_000 * (1 + 1e-4)
    assert abs(clock.host_ns(60_000_000) - true_ns) < 400_000
    clock.fix(5)
    assert clock.host_ns(1) == 1_005
    clock.reset()
    assert clock.host_ns(1) == 1_000


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 9_999), max_size=50), st.lists(st.integers(0, 10**7), min_size=7, max_size=7))
def test_every_event_counts_once_and_its_stages_sum_to_its_total(times, spent):
    book = LatencyBook()
    t = np.array(sorted(times), np.int64)
    book.note(t, 0, len(t) // 2)
    book.note(t, len(t) // 2, len(t))
    marks = (1_000_000 + np.cumsum(spent)).tolist()
    book.window(10_000, 1_000_000, Stamps(*marks), skipped=False)
    n = len(times)
    assert all(book.stages[name].counts.sum() == n for name in STAGES)
    assert book.total.counts.sum() == n and book.skipped.counts.sum() == 0
    if n:
        longest = (10_000 - min(times)) * 1_000 + sum(spent)
        assert book.total.max_ns == longest
        for name, ns in zip(STAGES[1:], spent, strict=True):
            assert book.stages[name].max_ns == ns
    assert book.lateness.max_ns == sum(spent)


def test_events_of_skipped_windows_stand_in_a_row_of_their_own():
    book = LatencyBook()
    book.note(np.array([1, 2, 3], np.int64), 0, 3)
    book.window(10, 0, Stamps(), skipped=True)
    rows = book.summary()
    assert "skipped" in rows and book.skipped.counts.sum() == 3 and book.total.counts.sum() == 0


def test_events_of_a_window_that_never_ran_are_forgotten():
    book = LatencyBook()
    book.note(np.array([1, 2, 3], np.int64), 0, 3)
    book.clear()
    book.window(10, 0, Stamps(), skipped=False)
    assert book.total.counts.sum() == 0
    assert book.summary()["window"]["max"] == pytest.approx(0)
