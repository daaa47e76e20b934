"""The frame gate: temporal attention on the frames decides, before the network runs, which are worth it.

TA-SNN's input attention with frame discarding (its Eq. 7-8), in a causal form: the gate of the newest frame,
from averages and maxima of the frames so far, against a threshold fixed in advance. The gate's own
statistics see every frame; a frame that it keeps enters the network as it is. Computed in NumPy, so that
every engine skips the same windows.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from spikeline.models.graph import Graph
from spikeline.pipeline.accounts import Skipped
from spikeline.pipeline.slicing import Window


class GateError(ValueError):
    """A gate that a model does not have, or a ratio that it was not trained for."""


class FrameGate:
    """A skip rule: `gate` for a frame whose weight lies under the threshold."""

    def __init__(self, graph: Graph, threshold: float) -> None:
        if graph.document.frame_gate is None:
            raise GateError("this model has no frame gate; wanted one trained with [gate]")
        self.threshold = threshold
        self.weight = 1.0  # of the newest frame, 0..1
        self._gate = graph.frame_gate_run()

    def reset(self) -> None:
        self._gate.reset()

    def __call__(self, window: Window, frame: NDArray[np.uint16]) -> Skipped | None:
        self.weight = self._gate(frame)
        return None if self.weight >= self.threshold else "gate"


def threshold_for(thresholds: Mapping[str, float], ratio: float) -> float:
    """The threshold that skips this share of the training windows: between table entries, linear.

    thresholds: skip ratio -> threshold, as a package has them.

    >>> threshold_for({"0.2": 0.3, "0.4": 0.5}, 0.3)
    0.4
    """
    if not thresholds:
        raise GateError("this model has no table of gate thresholds; it was trained without a gate")
    table = sorted((float(share), threshold) for share, threshold in thresholds.items())
    shares = [share for share, _ in table]
    if not 0 <= ratio <= shares[-1]:
        raise GateError(f"skip ratio {ratio}: this model's gate was trained for 0 to {shares[-1]:g}")
    return float(np.interp(ratio, shares, [threshold for _, threshold in table]))
