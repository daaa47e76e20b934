"""Threshold and hold time of a model, chosen on validation streams and written into its package.

The network runs once; every pair is tried on the scores that it gave. Wanted is the pair of highest
macro segment F1 among those that stay under a limit of false activations per hour.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec

from spikeline.pipeline.continuous import judge
from spikeline.pipeline.decision import DecisionConfig
from spikeline.pipeline.package import Package, Tuned, save_package
from spikeline.pipeline.stream_figures import StreamFigures
from spikeline.pipeline.tracks import Track
from spikeline.pipeline.truth import NONE, Performance

THRESHOLDS = tuple(round(0.05 * k, 2) for k in range(20))
MOST_HOLD_US = 600_000
FALSE_PER_HOUR = 30.0


class TuningError(ValueError):
    """No setting does what was asked: one line with the nearest one."""


@dataclass(frozen=True)
class Stream:
    """A stream that was run, and what happened in it."""

    uri: str
    engine: str
    track: Track
    truth: list[Performance]
    damaged: bool = False  # a recording of which a part could not be read
    clipped: int = 0  # membranes, by an engine of whole numbers


class Setting(NamedTuple):
    """A pair of threshold and hold time, and what the streams come to under it."""

    config: DecisionConfig
    found: StreamFigures

    @property
    def macro(self) -> float:
        return self.found.macro or 0.0

    @property
    def false_per_hour(self) -> float:
        return self.found.false_per_hour or 0.0

    def rank(self) -> tuple[float, ...]:
        """The less the better, limits apart."""
        return -self.macro, self.false_per_hour, self.config.hold_us, self.config.threshold


def figures(streams: Sequence[Stream], labels: Sequence[str], config: DecisionConfig) -> StreamFigures:
    """What the streams come to under one threshold and hold time."""
    none = labels.index(NONE) if NONE in labels else -1
    return StreamFigures.of([judge(s.track, s.track.labels(config), s.truth, none) for s in streams])


def settings(dt_us: int) -> Iterator[DecisionConfig]:
    """Every pair that is tried: thresholds in steps of 0.05, hold times in whole windows up to 0.6 s."""
    for hold_us in range(0, MOST_HOLD_US + 1, dt_us):
        for threshold in THRESHOLDS:
            yield DecisionConfig(threshold=threshold, hold_us=hold_us)


def sweep(streams: Sequence[Stream], labels: Sequence[str], dt_us: int) -> list[Setting]:
    """What every pair gives on these streams. Raises TuningError where nothing is performed in them."""
    rows = []
    for config in settings(dt_us):
        found = figures(streams, labels, config)
        if not found.positive:
            raise TuningError("tuning: nothing is performed in these streams; wanted gestures among them")
        rows.append(Setting(config, found))
    return rows


def choose(rows: Sequence[Setting], most_per_hour: float = FALSE_PER_HOUR) -> Setting:
    """The pair of highest F1 within the limit. Of equal ones that of fewer false activations, then of
    the shorter hold, then of the lower threshold. Raises TuningError where the limit keeps all out."""
    within = [row for row in rows if row.false_per_hour <= most_per_hour]
    if not within:
        nearest = min(rows, key=lambda row: (row.false_per_hour, -row.macro))
        raise TuningError(
            f"tuning: no setting stays under {most_per_hour:g} false activations per hour; the nearest has"
            f" {nearest.false_per_hour:.1f}, threshold {nearest.config.threshold} and hold_us"
            f" {nearest.config.hold_us}: allow more, or train longer"
        )
    return min(within, key=Setting.rank)


def frontier(rows: Sequence[Setting]) -> list[Setting]:
    """Pairs that no other one beats, by falling false activations: what each limit costs in F1."""
    best: list[Setting] = []
    for row in sorted(rows, key=lambda row: (row.false_per_hour, *row.rank())):
        if not best or row.macro > best[-1].macro:
            best.append(row)
    return best[::-1]


def tuned(package: Package, path: Path, chosen: Setting, data: str, most_per_hour: float) -> Package:
    """The package with this pair, written to `path`; all else stays, but for its digest."""
    facts = chosen.found.as_dict(package.manifest.labels)
    times = facts["onset_to_decision_ms"]["sensor"]
    record = Tuned(
        data=data,
        most_false_per_hour=most_per_hour,
        f1_macro=chosen.macro,
        false_per_hour=chosen.false_per_hour,
        hours=(facts["positive_minutes"] + facts["negative_minutes"]) / 60,
        decided_share=facts["decided_share"],
        decision_ms=times["median"] if times else None,
        flips_per_minute=facts["flips_per_minute"],
        of=package.digest,
    )
    manifest = msgspec.structs.replace(
        package.manifest, threshold=chosen.config.threshold, hold_us=chosen.config.hold_us, tuned=record
    )
    return save_package(path, manifest, package.graph)
