"""From scores to a label: threshold, hold time, and segments that begin, go on and end.

A label is a class whose score reaches the threshold and has been the best for `hold_us`. `none` is a
class like any other; no label (None) means that no class was sure enough.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Segment = Literal["new", "update", "end"]


class Verdict(NamedTuple):
    """label and its position are None where no class is announced; segment says what became of it."""

    label: str | None
    position: int | None  # of the label, in label order
    score: float
    segment: Segment | None


UNDECIDED = Verdict(None, None, 0.0, None)  # while a network waits for the rest of its window


@dataclass(frozen=True, kw_only=True)
class DecisionConfig:
    """threshold: 0..1, a score below it is no prediction; hold_us: how long a class must be the best."""

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
        self._since_us = 0
        self._announced: int | None = None

    def __call__(self, scores: NDArray[np.float32], start_us: int, end_us: int) -> Verdict:
        """The label after the window start_us..end_us; scores (K,)."""
        best = int(scores.argmax())
        score = float(scores[best])
        candidate = best if score > 0 and score >= self.config.threshold else None
        if candidate != self._candidate:
            self._candidate, self._since_us = candidate, start_us
        held = candidate is not None and end_us - self._since_us >= self.config.hold_us
        index = candidate if held else None
        segment: Segment | None
        if index is not None:
            segment = "update" if index == self._announced else "new"
        else:
            segment = "end" if self._announced is not None else None
        self._announced = index
        return Verdict(None if index is None else self.labels[index], index, score, segment)
