"""The continuous figures of a model: what was counted in several streams, added up.

Segment F1, decision times and flips are of the streams in which something is performed (positive), false
activations per hour of the streams in which nothing is (negative), and of the pauses of the positive ones.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeline.pipeline.continuous import Tally

HOUR_US = 3_600_000_000
MINUTE_US = 60_000_000
DRAWS = 2_000  # of the bootstrap over streams


@dataclass(frozen=True)
class StreamFigures:
    """Tallies of streams, judged under one threshold and hold time."""

    positive: tuple[Tally, ...]
    negative: tuple[Tally, ...]

    @classmethod
    def of(cls, tallies: Sequence[Tally]) -> "StreamFigures":
        return cls(tuple(t for t in tallies if not t.negative), tuple(t for t in tallies if t.negative))

    @property
    def counts(self) -> NDArray[np.int64]:
        """Hits, extra and missed of each class, of each positive stream: (streams, 3, K)."""
        return np.array([(t.hits, t.extra, t.missed) for t in self.positive])

    @property
    def macro(self) -> float | None:
        """Mean segment F1 over the classes that were performed or announced; None without any."""
        return macro_f1(self.counts.sum(0)) if self.positive else None

    @property
    def false_per_hour(self) -> float | None:
        """False activations per hour of the negative streams; of the pauses where there are none of these."""
        tallies = self.negative or self.positive
        idle = sum(t.idle_us for t in tallies)
        return sum(t.false_activations for t in tallies) * HOUR_US / idle if idle else None

    def as_dict(self, labels: Sequence[str]) -> dict[str, Any]:
        facts: dict[str, Any] = {
            "positive_streams": len(self.positive),
            "positive_minutes": _sum(self.positive, "span_us") / MINUTE_US,
            "negative_streams": len(self.negative),
            "negative_minutes": _sum(self.negative, "span_us") / MINUTE_US,
        }
        if self.positive:
            facts |= self._segments(labels) | self._times()
            minutes = _sum(self.positive, "span_us") / MINUTE_US
            facts["flips_per_minute"] = _sum(self.positive, "flips") / minutes
            facts["class_flips_per_minute"] = _sum(self.positive, "class_flips") / minutes
            facts["truth_changes_per_minute"] = _sum(self.positive, "truth_changes") / minutes
            facts["false_activations_in_pauses"] = _rate(self.positive)
        if self.negative:
            facts["false_activations_negative"] = _rate(self.negative)
        return facts

    def _segments(self, labels: Sequence[str]) -> dict[str, Any]:
        counts = self.counts.sum(0)
        raw = sum(t.raw for t in self.positive)
        used = np.flatnonzero(counts.any(0)).tolist()
        return {
            "performances": _sum(self.positive, "performances"),
            "performances_unscored": _sum(self.positive, "unscored"),
            "f1_macro": macro_f1(counts),
            "f1_macro_interval": bootstrap(self.counts),
            "f1_micro": f1(counts.sum(1)),
            "f1_macro_no_neutral_time": macro_f1(np.asarray(raw)),
            "f1": {labels[k]: f1(counts[:, k]) for k in used},
            "hits": {labels[k]: int(counts[0, k]) for k in used},
            "extra": {labels[k]: int(counts[1, k]) for k in used},
            "missed": {labels[k]: int(counts[2, k]) for k in used},
        }

    def _times(self) -> dict[str, Any]:
        delays = [d for t in self.positive for d in t.delays]
        sensor = np.array([d.sensor_us for d in delays]) / 1e3
        compute = np.array([d.compute_us for d in delays]) / 1e3
        performances = _sum(self.positive, "performances")
        return {
            "decided": len(delays),
            "decided_share": len(delays) / performances if performances else None,
            "onset_to_decision_ms": {
                "sensor": _percentiles(sensor),
                "compute": _percentiles(compute),
                "sum": _percentiles(sensor + compute),
            },
        }


def f1(counts: NDArray[np.int64]) -> float:
    """2 hits / (2 hits + extra + missed)."""
    hits, extra, missed = (int(n) for n in counts)
    return 2 * hits / (2 * hits + extra + missed) if hits + extra + missed else 0.0


def macro_f1(counts: NDArray[np.int64]) -> float:
    """Mean F1 of the classes of counts (3, K) of which there was anything."""
    used = counts[:, counts.any(0)]
    return float(np.mean([f1(column) for column in used.T])) if used.size else 0.0


def bootstrap(counts: NDArray[np.int64], seed: int = 1) -> tuple[float, float] | None:
    """95 % interval of the macro F1, by drawing as many streams again with replacement; None of one."""
    if len(counts) < 2:
        return None
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(counts), size=(DRAWS, len(counts)))
    low, high = np.quantile([macro_f1(counts[rows].sum(0)) for rows in drawn], [0.025, 0.975])
    return float(low), float(high)


def poisson_interval(n: int) -> tuple[float, float]:
    """Exact 95 % interval of the mean of a count of n.

    >>> [round(x, 2) for x in poisson_interval(0) + poisson_interval(5)]
    [0.0, 3.69, 1.62, 11.67]
    """

    def at_most(count: int, mean: float) -> float:
        return sum(math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(count + 1))

    def solve(count: int, share: float) -> float:
        low, high = 1e-9, 10.0 * (count + 5)
        for _ in range(100):
            middle = (low + high) / 2
            low, high = (middle, high) if at_most(count, middle) > share else (low, middle)
        return low

    return (solve(n - 1, 0.975) if n else 0.0), solve(n, 0.025)


def _rate(tallies: Sequence[Tally]) -> dict[str, Any]:
    """Activations, the hours in which they would be false, and per hour with a 95 % interval."""
    n, hours = _sum(tallies, "false_activations"), _sum(tallies, "idle_us") / HOUR_US
    low, high = poisson_interval(n)
    return {
        "count": n,
        "hours": hours,
        "per_hour": n / hours if hours else None,
        "per_hour_low": low / hours if hours else None,
        "per_hour_high": high / hours if hours else None,
    }


def _percentiles(values: NDArray[np.float64]) -> dict[str, float] | None:
    if len(values) == 0:
        return None
    median, p90 = np.percentile(values, [50, 90])
    return {"median": float(median), "p90": float(p90)}


def _sum(tallies: Sequence[Tally], name: str) -> int:
    return sum(getattr(t, name) for t in tallies)
