"""Do two engines agree? Spike for spike on one stream.

Both run freely until the first step on which their spike counts differ; up to there scores must lie
within 1e-4. A float that lands on the other side of a threshold is not an error, but from then on two
free runs say nothing; so every step is also run by both engines from the reference's state, and the
spikes that differ are counted per million.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spikeline.pipeline.engines import Engine

SCORE_TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class Agreement:
    """steps; first_difference: the first step whose spike counts differ in free runs, or None.

    score_error      largest difference of scores before it
    spikes           of the reference, over all steps
    differing        spikes, each step from the reference's state: differences of counts per layer
    """

    steps: int
    first_difference: int | None
    score_error: float
    spikes: int
    differing: int

    @property
    def per_million(self) -> float:
        """Differing spikes per million of the reference's spikes."""
        return 1e6 * self.differing / max(self.spikes, 1)

    @property
    def agrees(self) -> bool:
        return self.score_error <= SCORE_TOLERANCE


def compare(reference: Engine, other: Engine, frames: Iterable[NDArray[np.uint16]]) -> Agreement:
    """Both engines over one stream of frames (1, 2, H, W)."""
    state, free = reference.init_state(), other.init_state()
    first = None
    score_error = 0.0
    steps = spikes = differing = 0
    for frame in frames:
        led = other.restore(reference.snapshot(state))
        a, b, c = reference.step(frame, state), other.step(frame, free), other.step(frame, led)
        if first is None:
            if np.array_equal(a.activity.spikes, b.activity.spikes):
                score_error = max(score_error, float(np.abs(a.scores - b.scores).max()))
            else:
                first = steps
        spikes += int(a.activity.spikes.sum())
        differing += int(np.abs(a.activity.spikes - c.activity.spikes).sum())
        steps += 1
    return Agreement(steps, first, score_error, spikes, differing)
