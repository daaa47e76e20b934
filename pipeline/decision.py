"""From scores to a label: threshold, hold time, and segments that begin, go on and end.

The candidate of a window is the class of the best score, if that reaches the threshold. A class becomes
the label once it has been the candidate for `hold_us`; it stays the label until another one is, or until
it has not been the candidate for `hold_us`. `none` is a class like any other; no label (None) means that
no class was sure enough.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

Segment = Literal["new", "update", "end"]


class Verdict(NamedTuple):
    """label and its position are None where no class is announced; score is the label's, or the best one
    where there is no label; segment says what became of the label."""

    label: str | None
    position: int | None  # of the label, in label order
    score: float
    segment: Segment | None


UNDECIDED = Verdict(None, None, 0.0, None)  # while a network waits for the rest of its window


@dataclass(frozen=True, kw_only=True)
class DecisionConfig:
    """threshold: 0..1, a score below it is no prediction; hold_us: how long a class must be the best to
    become the label, and must not be to stop being it."""

    threshold: float = 0.0
    hold_us: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold must be 0 to 1, got {self.threshold}")
        if self.hold_us < 0:
            raise ValueError(f"hold_us must be at least 0, got {self.hold_us}")


class Decision:
    """One stream's label over time.

    >>> decide = Decision(["left", "right"], DecisionConfig(threshold=0.5))
    >>> decide(np.array([0.2, 0.7], np.float32), 0, 50_000)
    Verdict(label='right', position=1, score=0.699999988079071, segment='new')
    """

    def __init__(self, labels: list[str], config: DecisionConfig) -> None:
        self.labels = labels
        self.config = config
        self.reset()

    def reset(self) -> None:
        """Forget the candidate and the label (a new epoch)."""
        self._candidate: int | None = None
        self._since_us = 0  # the candidate's first window began
        self._announced: int | None = None
        self._seen_us = 0  # the last window ended whose candidate was the label

    def __call__(self, scores: NDArray[np.float32], start_us: int, end_us: int) -> Verdict:
        """The label after the window start_us..end_us; scores (K,)."""
        best = int(scores.argmax())
        score = float(scores[best])
        candidate = best if score > 0 and score >= self.config.threshold else None
        if candidate != self._candidate:
            self._candidate, self._since_us = candidate, start_us
        index = self._announced
        if candidate is not None and end_us - self._since_us >= self.config.hold_us:
            index = candidate
        elif candidate != index and end_us - self._seen_us >= self.config.hold_us:
            index = None
        if candidate == index:
            self._seen_us = end_us
        segment: Segment | None
        if index is not None:
            segment = "update" if index == self._announced else "new"
        else:
            segment = "end" if self._announced is not None else None
        self._announced = index
        if index is None:
            return Verdict(None, None, score, segment)
        return Verdict(self.labels[index], index, float(scores[index]), segment)


def decide_all(
    best: NDArray[np.int64],
    score: NDArray[np.float32],
    start_us: NDArray[np.int64],
    end_us: NDArray[np.int64],
    ready: NDArray[np.bool_],
    config: DecisionConfig,
) -> NDArray[np.int64]:
    """The label of each window of one epoch, -1 for none: what `Decision` says, for many settings in turn.

    best, score (n,): the class of the best score, and that score; ready (n,): the network had an answer
    """
    return _decide_all(best, score, start_us, end_us, ready, config.threshold, config.hold_us)


@numba.njit(cache=True, nogil=True)
def _decide_all(best, score, start_us, end_us, ready, threshold, hold_us):
    labels = np.full(best.shape[0], -1, np.int64)
    candidate = announced = -1
    since_us = seen_us = 0
    for i in range(best.shape[0]):
        if not ready[i]:
            continue  # no verdict: the label in the table stays -1, as it is published
        now = best[i] if score[i] > 0 and score[i] >= threshold else -1
        if now != candidate:
            candidate, since_us = now, start_us[i]
        if candidate >= 0 and end_us[i] - since_us >= hold_us:
            announced = candidate
        elif candidate != announced and end_us[i] - seen_us >= hold_us:
            announced = -1
        if candidate == announced:
            seen_us = end_us[i]
        labels[i] = announced
    return labels
