"""What a model said of a stream, kept window by window, so that the decision can be taken again.

The network runs once over a stream; threshold and hold time are then tried on its scores as often as
one likes, and give what a live run with them would have announced.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spikeline.pipeline.decision import DecisionConfig, decide_all
from spikeline.pipeline.run import WindowResult


class TrackError(ValueError):
    """A stream that cannot be judged: one line naming what was found and wanted."""


@dataclass(frozen=True, eq=False)
class Track:
    """One row per window of a stream.

    start_us, end_us (n,)  of the window    ready (n,)  the network had an answer
    scores (n, K) float32    compute_us (n,) float64  bin, gate, step and decision on this machine
    skipped  windows on which the network did not step    spikes, synops, mac  sums over the stream
    """

    start_us: NDArray[np.int64]
    end_us: NDArray[np.int64]
    ready: NDArray[np.bool_]
    scores: NDArray[np.float32]
    compute_us: NDArray[np.float64]
    skipped: int = 0
    spikes: int = 0
    synops: int = 0
    mac: int = 0

    def __len__(self) -> int:
        return len(self.end_us)

    def labels(self, config: DecisionConfig) -> NDArray[np.int64]:
        """The class announced at the end of each window, -1 for none."""
        best = self.scores.argmax(1)
        score = np.take_along_axis(self.scores, best[:, None], 1)[:, 0]
        return decide_all(best, score, self.start_us, self.end_us, self.ready, config)


def track(results: Iterable[WindowResult], where: str, *, windowed: bool = False) -> Track:
    """Follow a run to its end. windowed: the network answers only when its window is full.

    Raises TrackError where the stream's clock starts anew: its truth could mean either clock.
    """
    rows, scores = [], []
    skipped = spikes = synops = mac = 0
    for r in results:
        if r.epoch > 0:
            raise TrackError(
                f"{where}: its clock starts anew at window {r.seq}; wanted one clock, as the truth has"
            )
        rows.append((r.t_start_us, r.t_end_us, not (windowed and r.warming), sum(r.timing) / 1e3))
        scores.append(r.scores)
        skipped += r.skipped is not None
        spikes += sum(r.spikes.values())
        synops += r.synops
        mac += r.mac
    if not rows:
        raise TrackError(f"{where}: not one window; wanted a stream longer than the model's window")
    start_us, end_us, ready, compute_us = zip(*rows, strict=True)
    return Track(
        np.array(start_us, np.int64),
        np.array(end_us, np.int64),
        np.array(ready, bool),
        np.stack(scores),
        np.array(compute_us),
        skipped,
        spikes,
        synops,
        mac,
    )
