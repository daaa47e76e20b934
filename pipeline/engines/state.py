"""What an engine carries from step to step, and what a step gives."""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeline.pipeline.engines.activity import Activity

States = dict[str, NDArray[np.float32]]
Counts = dict[str, NDArray[np.float32]]  # spiking node -> nonzero values per position (B, H, W) or (B,)


class EngineError(ValueError):
    """A state or frame that does not belong to the engine, or a result that is not a number."""


@dataclass(slots=True)
class EngineState:
    """One batch of streams. Opaque to callers; `snapshot` gives the canonical form."""

    arrays: States  # graph.states: membranes and statistics of gates, (B, *shape) float32
    ring: NDArray[np.float32]  # (B, T, K): outputs of the last T steps, oldest first
    ran: NDArray[np.float32]  # (B, T): 1 where that step was run, 0 where idle or not yet
    ema: NDArray[np.float32]  # (B, K): running mean of the outputs, for the `ema` readout
    steps: NDArray[np.int64]  # (B,): steps since the reset, idle ones too
    window: NDArray[np.uint16]  # (B, T, 2, H, W): frames taken so far; T = 0 but for a window network
    extra: Any = None  # an engine's own buffers

    @property
    def batch(self) -> int:
        return len(self.steps)

    def copy(self) -> "EngineState":
        """The same state, without an engine's buffers."""
        names = (name for name in self.__slots__ if name != "extra")
        return EngineState(**{name: deepcopy(getattr(self, name)) for name in names})


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a step gives, for each of the B streams.

    scores     (B, K) float32: the readout after this step
    ready      (B,) bool: False while a window network fills its buffer
    activity   spikes, synaptic operations and MAC of this step alone; of a window, at its last step
    steps      (B,) int64: steps since the reset; fewer than T: the score is warming up
    processed  (B,) int64: how many of the readout's steps were run, not idle
    """

    scores: NDArray[np.float32]
    ready: NDArray[np.bool_]
    activity: Activity
    steps: NDArray[np.int64]
    processed: NDArray[np.int64]
