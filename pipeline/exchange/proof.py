"""Are two networks the same? Both run over the same frames, from rest, and every spike is counted.

They may come from different files and name their states differently; layers go by name.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spikeline.models.graph import Graph
from spikeline.pipeline.engines import Engine


@dataclass(frozen=True, slots=True)
class Proof:
    """What two runs over the same frames had in common."""

    steps: int
    spikes: int
    differing: int  # differences of spike counts per layer and step
    score_error: float  # the largest difference of two scores

    @property
    def equal(self) -> bool:
        return self.differing == 0 and self.score_error <= 1e-4


def prove(a: Engine, b: Engine, frames: Iterable[NDArray[np.uint16]]) -> Proof:
    """Run both over frames (C, H, W), one stream."""
    state_a, state_b = a.init_state(), b.init_state()
    order = [b.meter.layers.index(name) for name in a.meter.layers]
    steps = spikes = differing = 0
    error = 0.0
    for frame in frames:
        one, two = a.step(frame[None], state_a), b.step(frame[None], state_b)
        mine, theirs = one.activity.spikes[0], two.activity.spikes[0][order]
        spikes += int(mine.sum())
        differing += int(np.abs(mine - theirs).sum())
        error = max(error, float(np.abs(one.scores - two.scores).max()))
        steps += 1
    return Proof(steps, spikes, differing, error)


def random_frames(graph: Graph, seed: int = 1) -> list[NDArray[np.uint16]]:
    """Three samples of noise, from nearly none to several counts a cell."""
    rng = np.random.default_rng(seed)
    shape = graph.document.input_shape
    return [rng.poisson(rate, shape).astype(np.uint16) for rate in rng.uniform(0, 1.5, 3 * graph.steps)]
