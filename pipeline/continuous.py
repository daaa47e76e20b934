"""Judge what a model announced over streams whose truth is known, as one who listens live would.

A label is announced at the end of its window and stands until the next window's end says otherwise; a
segment is a stretch of one label. `none` and no label at all are background: they make no segment.

neutral   between a performance's onset and one full period of it, and 150 ms around its onset and its
          offset, nothing is right or wrong: this time is cut out of the time axis
hit       a segment and a performance of its class with IoU >= 0.5 on that axis, one to one
false activation   a segment that begins where nothing is performed, not even within 150 ms
decision time   from the onset to the first moment until the offset at which the right label stands
flip      a window whose label is not that of the window before; of classes: background taken as one

docs/evaluation.md says the same at length.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikeline.pipeline.tracks import Track
from spikeline.pipeline.truth import Performance

NEUTRAL_US = 150_000
LEAST_IOU = 0.5

Span = tuple[int, int]


class Segment(NamedTuple):
    """A stretch of one label as a listener sees it: announced at start_us, withdrawn at end_us."""

    position: int
    start_us: int
    end_us: int


class Delay(NamedTuple):
    """From a performance's onset to its decision: sensor time, and this machine's work on that window."""

    sensor_us: int
    compute_us: float


@dataclass(frozen=True, eq=False)
class Tally:
    """What was counted in one stream. hits, extra, missed (K,): segments and performances of each class;
    the row `raw` (3, K) is the same three with no time neutral."""

    hits: NDArray[np.int64]
    extra: NDArray[np.int64]
    missed: NDArray[np.int64]
    raw: NDArray[np.int64]
    performances: int
    unscored: int  # performances that are neutral from end to end
    delays: tuple[Delay, ...]  # of the performances that were decided at all
    false_activations: int
    idle_us: int  # time in which an activation would be false
    span_us: int
    flips: int
    class_flips: int
    truth_changes: int  # flips of a model that is always right

    @property
    def negative(self) -> bool:
        return self.performances == 0


def judge(track: Track, labels: NDArray[np.int64], truth: Sequence[Performance], none: int) -> Tally:
    """labels (n,): what was announced at the end of each window of `track`, -1 for nothing; `none`: the
    position of the background class, -1 where the model has no such class."""
    span = int(track.start_us[0]), int(track.end_us[-1])
    shown = [_clipped(row, span[1]) for row in truth if row.position != none and row.onset_us < span[1]]
    found = [s for s in segments(labels, track.end_us) if s.position != none]
    busy = merged([(row.onset_us - NEUTRAL_US, row.offset_us + NEUTRAL_US) for row in shown])
    scored, raw = TimeAxis(neutral_zones(shown)), TimeAxis([])
    K = track.scores.shape[1]
    counts, unscored = _counts(found, shown, scored, K)
    return Tally(
        *counts,
        raw=np.stack(_counts(found, shown, raw, K)[0]),
        performances=len(shown),
        unscored=unscored,
        delays=tuple(d for d in (decision(row, labels, track) for row in shown) if d is not None),
        false_activations=sum(not inside(s.start_us, busy) for s in found),
        idle_us=TimeAxis(busy)(span[1]) - TimeAxis(busy)(span[0]),
        span_us=span[1] - span[0],
        flips=flips(labels),
        class_flips=flips(np.where(labels == none, -1, labels)),
        truth_changes=flips(true_labels(shown, track.end_us, none)),
    )


def segments(labels: NDArray[np.int64], end_us: NDArray[np.int64]) -> list[Segment]:
    """Stretches of one label. The last one ends with the last window."""
    edges = [0, *(np.flatnonzero(np.diff(labels)) + 1).tolist(), len(labels) - 1]
    return [
        Segment(int(labels[i]), int(end_us[i]), int(end_us[j])) for i, j in pairwise(edges) if labels[i] >= 0
    ]


def neutral_zones(shown: Sequence[Performance]) -> list[Span]:
    """Disjoint stretches, in order, in which nothing is right or wrong."""
    zones = []
    for row in shown:
        zones.append((row.onset_us - NEUTRAL_US, max(row.onset_us + NEUTRAL_US, row.full_us)))
        zones.append((row.offset_us - NEUTRAL_US, row.offset_us + NEUTRAL_US))
    return merged(zones)


def merged(zones: list[Span]) -> list[Span]:
    """The union of stretches as disjoint ones in order."""
    out: list[Span] = []
    for start, end in sorted(zones):
        if out and start <= out[-1][1]:
            out[-1] = out[-1][0], max(out[-1][1], end)
        else:
            out.append((start, end))
    return out


def inside(t_us: int, zones: list[Span]) -> bool:
    return any(start <= t_us <= end for start, end in zones)


class TimeAxis:
    """Sensor time with stretches cut out: axis(t) is t less what was cut before it.

    >>> [TimeAxis([(10, 20)])(t) for t in (5, 10, 15, 20, 25)]
    [5, 10, 10, 10, 15]
    """

    def __init__(self, cut: list[Span]) -> None:
        """cut: disjoint, in order."""
        self._starts = np.array([start for start, _ in cut], np.int64)
        self._ends = np.array([end for _, end in cut], np.int64)
        self._before = np.concatenate([[0], np.cumsum(self._ends - self._starts)])

    def __call__(self, t_us: int) -> int:
        k = int(self._starts.searchsorted(t_us, side="right"))
        if k == 0:
            return t_us
        within = min(t_us, int(self._ends[k - 1])) - int(self._starts[k - 1])
        return t_us - int(self._before[k - 1]) - within


def match(found: Sequence[Span], shown: Sequence[Span], least: float = LEAST_IOU) -> list[tuple[int, int]]:
    """Pairs (found, shown) with IoU >= least, as many as can be without using one twice."""
    partners = [np.flatnonzero(row).tolist() for row in iou(found, shown) >= least]
    taken: dict[int, int] = {}

    def place(i: int, tried: set[int]) -> bool:  # Kuhn: move who stands in the way, if that can be done
        for j in partners[i]:
            if j not in tried:
                tried.add(j)
                if j not in taken or place(taken[j], tried):
                    taken[j] = i
                    return True
        return False

    for i in range(len(found)):
        place(i, set())
    return sorted((i, j) for j, i in taken.items())


def iou(found: Sequence[Span], shown: Sequence[Span]) -> NDArray[np.float64]:
    """Length of the intersection over that of the union, (found, shown); 0 where both are empty."""
    a, b = (np.array(spans, np.int64).reshape(-1, 2) for spans in (found, shown))
    both = np.minimum(a[:, None, 1], b[None, :, 1]) - np.maximum(a[:, None, 0], b[None, :, 0])
    both = np.maximum(both, 0)
    either = (a[:, 1] - a[:, 0])[:, None] + (b[:, 1] - b[:, 0])[None] - both
    return both / np.maximum(either, 1)


def decision(row: Performance, labels: NDArray[np.int64], track: Track) -> Delay | None:
    """When the right label stood first, from the onset to the offset; at once if it did so already."""
    first, last = track.end_us.searchsorted([row.onset_us, row.offset_us], side="right")
    if first > 0 and labels[first - 1] == row.position:
        return Delay(0, 0.0)
    right = np.flatnonzero(labels[first:last] == row.position)
    if len(right) == 0:
        return None
    k = first + int(right[0])
    return Delay(int(track.end_us[k]) - row.onset_us, float(track.compute_us[k]))


def flips(labels: NDArray[np.int64]) -> int:
    return int(np.count_nonzero(np.diff(labels)))


def true_labels(shown: Sequence[Performance], at_us: NDArray[np.int64], none: int) -> NDArray[np.int64]:
    """The class performed at each time, `none` between performances."""
    labels = np.full(len(at_us), none, np.int64)
    for row in shown:
        labels[(at_us >= row.onset_us) & (at_us < row.offset_us)] = row.position
    return labels


def _counts(
    found: Sequence[Segment], shown: Sequence[Performance], axis: TimeAxis, classes: int
) -> tuple[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]], int]:
    """Hits, extra and missed of each class, and how many performances have no time on this axis."""
    hits, extra, missed = (np.zeros(classes, np.int64) for _ in range(3))
    spans = [(s.position, axis(s.start_us), axis(s.end_us)) for s in found]
    wanted = [(row.position, axis(row.onset_us), axis(row.offset_us)) for row in shown]
    neutral = sum(start == end for _, start, end in wanted)  # what has no time on this axis is left out
    for k in {position for position, _, _ in (*spans, *wanted)}:
        mine, theirs = (
            [(start, end) for position, start, end in rows if position == k and end > start]
            for rows in (spans, wanted)
        )
        hits[k] = len(match(mine, theirs))
        extra[k], missed[k] = len(mine) - hits[k], len(theirs) - hits[k]
    return (hits, extra, missed), neutral


def _clipped(row: Performance, end_us: int) -> Performance:
    """What can be seen of a performance that goes on when the stream ends."""
    return row._replace(full_us=min(row.full_us, end_us), offset_us=min(row.offset_us, end_us))
