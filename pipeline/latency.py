"""How late a prediction is, measured from the event, and where the time went.

The latency of an event is the publish time of the first prediction that contains it minus the event's
own time on this machine's clock. It is the sum of the stages

    wait        from the event to the end of its window
    transport   from there to the arrival of the packet that closes the window
    queue       until the loop takes the packet up
    bin, gate, infer, decide, publish   the loop's own work, one after another

Every event counts once, in each stage: the percentiles are over events. A source that runs on its own
schedule (a camera, a paced recording) does not wait for us, so a stall is felt by all events that fall
into it and nothing is omitted. Sensor time becomes host time by `ClockMap`.
"""

import itertools
from collections import deque
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

STAGES = ("wait", "transport", "queue", "bin", "gate", "infer", "decide", "publish")
PERCENTILES = (50.0, 90.0, 99.0, 99.9)

_SUB = 64  # buckets per doubling: values are known to 1.6 %
_BUCKETS = _SUB * 44  # up to 2^44 ns, five hours


class ClockMap:
    """Sensor microseconds to this machine's monotonic nanoseconds, from packets' arrivals.

    A packet cannot arrive before its last event: the smallest (arrival - sensor time) seen is the best
    estimate of the offset. It is kept per stretch of `span_s` and forgotten after `keep` stretches, so
    that the map follows the drift of the sensor's clock. A constant delay of the transport cannot be
    told from an offset and is not part of the latency, unless the source runs on a known schedule.
    """

    def __init__(self, span_s: float = 2.0, keep: int = 8) -> None:
        self._span_ns = int(span_s * 1e9)
        self._least: deque[int] = deque(maxlen=keep)
        self._until_ns = 0
        self.fixed_ns: int | None = None

    def observe(self, until_us: int, arrival_ns: int) -> None:
        """A packet whose clock stands at `until_us` has arrived."""
        offset = arrival_ns - until_us * 1_000
        if not self._least or arrival_ns >= self._until_ns:
            self._least.append(offset)
            self._until_ns = arrival_ns + self._span_ns
        elif offset < self._least[-1]:
            self._least[-1] = offset

    @property
    def known(self) -> bool:
        """Whether anything has arrived yet."""
        return bool(self._least)

    def fix(self, offset_ns: int) -> None:
        """The source runs on a known schedule: host = 1000 * sensor + offset."""
        self.fixed_ns = offset_ns

    def reset(self) -> None:
        """A new epoch: another clock."""
        self._least.clear()
        self.fixed_ns = None

    def host_ns(self, t_us: int) -> int:
        """When the sensor's clock stood at `t_us`, on time.monotonic_ns()."""
        offset = self.fixed_ns
        if offset is None:
            offset = min(self._least) if self._least else 0
        return t_us * 1_000 + offset


class Histogram:
    """Counts of durations in nanoseconds, in buckets 1.6 % wide; negative ones count as 0."""

    def __init__(self) -> None:
        self.counts = np.zeros(_BUCKETS, np.int64)
        self.max_ns = 0

    def add(self, value_ns: int, times: int = 1) -> None:
        if times > 0:
            self.counts[_bucket(value_ns)] += times
            self.max_ns = max(self.max_ns, value_ns)

    def percentile_us(self, share: float) -> float:
        """The duration that `share` percent of the values do not exceed, microseconds."""
        total = int(self.counts.sum())
        if total == 0:
            return 0.0
        wanted = max(1, int(np.ceil(total * share / 100)))
        bucket = int(np.searchsorted(np.cumsum(self.counts), wanted))
        return min(_edge_ns(bucket + 1), float(self.max_ns)) / 1_000

    def summary(self) -> dict[str, float]:
        """p50, p90, p99, p99.9 and max, microseconds."""
        found = {f"p{share:g}": self.percentile_us(share) for share in PERCENTILES}
        return found | {"max": self.max_ns / 1_000}


@dataclass(slots=True)
class Stamps:
    """Host times of one window's way, monotonic nanoseconds."""

    arrival: int = 0
    taken: int = 0
    binned: int = 0
    gated: int = 0
    inferred: int = 0
    decided: int = 0
    published: int = 0


class LatencyBook:
    """Latencies of every event so far: per stage, in total, and in total for skipped windows."""

    def __init__(self) -> None:
        self.stages = {name: Histogram() for name in STAGES}
        self.total = Histogram()
        self.skipped = Histogram()
        self.lateness = Histogram()  # of windows, with or without events: publish time minus their end
        self._waits = np.zeros(1 << 12, np.int64)
        self._pending = 0
        _add_waits(self._waits[:0], 0, 0, self.total.counts)  # compiled before the first window
        _bucket(0)

    def note(self, t: NDArray[np.int64], start: int, stop: int) -> None:
        """Events start..stop belong to the open window."""
        n = stop - start
        if n <= 0:
            return
        if self._pending + n > len(self._waits):
            self._waits = np.concatenate([self._waits, np.zeros(max(len(self._waits), n), np.int64)])
        self._waits[self._pending : self._pending + n] = t[start:stop]
        self._pending += n

    def median_wait_us(self, end_us: int) -> float:
        """How long the median event of the open window waited for its end; 0 without events."""
        n = self._pending
        return float(end_us - self._waits[(n - 1) // 2]) if n else 0.0

    def clear(self) -> None:
        """The open window will not be run."""
        self._pending = 0

    def window(self, end_us: int, end_ns: int, stamps: Stamps, *, skipped: bool) -> None:
        """The window that ended at `end_us`, on the host's clock `end_ns`, has been published."""
        s = stamps
        marks = (end_ns, s.arrival, s.taken, s.binned, s.gated, s.inferred, s.decided, s.published)
        spent = [after - before for before, after in itertools.pairwise(marks)]
        n = self._pending
        for name, ns in zip(STAGES[1:], spent, strict=True):
            self.stages[name].add(ns, n)
        total = self.skipped if skipped else self.total
        late_ns = s.published - end_ns
        self.lateness.add(late_ns)
        if n:
            times = self._waits[:n]
            self._add_all(self.stages["wait"], times, end_us, 0)
            self._add_all(total, times, end_us, late_ns)
        self._pending = 0

    @staticmethod
    def _add_all(histogram: Histogram, times: NDArray[np.int64], end_us: int, late_ns: int) -> None:
        longest = _add_waits(times, end_us, late_ns, histogram.counts)
        histogram.max_ns = max(histogram.max_ns, int(longest))

    def summary(self) -> dict[str, dict[str, float]]:
        """Percentiles in microseconds: by stage, `total`, `skipped` and `window` (lateness)."""
        rows = {name: histogram.summary() for name, histogram in self.stages.items()}
        rows |= {"total": self.total.summary(), "window": self.lateness.summary()}
        if self.skipped.counts.any():
            rows["skipped"] = self.skipped.summary()
        return rows


@numba.njit(cache=True, nogil=True)
def _bucket(value):
    """Index of a duration: linear up to _SUB ns, then _SUB buckets per doubling."""
    if value < _SUB:
        return max(value, 0)
    shift = 0
    while (value >> shift) >= 2 * _SUB:
        shift += 1
    return min(_SUB * (shift + 1) + (value >> shift) - _SUB, _BUCKETS - 1)


def _edge_ns(bucket: int) -> float:
    """Where bucket number `bucket` begins."""
    if bucket < _SUB:
        return float(bucket)
    shift, rest = divmod(bucket - _SUB, _SUB)
    return float((rest + _SUB) << shift)


@numba.njit(cache=True, nogil=True)
def _add_waits(times, end_us, late_ns, counts):
    """counts[bucket of (end - t + late)] += 1 for each t (n,) int64 us; return the longest, ns."""
    longest = np.int64(0)
    for i in range(times.shape[0]):
        value = (end_us - times[i]) * 1_000 + late_ns
        counts[_bucket(value)] += 1
        longest = max(longest, value)
    return longest
