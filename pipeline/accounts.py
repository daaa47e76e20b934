"""What became of every event and window, and the digests that prove two runs alike."""

import hashlib
import struct
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from spikeline.pipeline.slicing import Window

Skipped = Literal["gate", "overload"]
DECISIONS: dict[Skipped | None, int] = {None: 0, "gate": 1, "overload": 2}
_RECORD = struct.Struct("<qqqqB")


@dataclass(slots=True)
class Accounts:
    """Events: received = processed + gated + skipped + filtered + refused + unfinished + queued.

    outside and saturated are parts of the processed, gated and skipped: events outside the crop, and
    events at a cell that was full.
    """

    processed: int = 0
    gated: int = 0
    skipped: int = 0
    filtered: int = 0
    refused: int = 0
    unfinished: int = 0
    queued: int = 0
    outside: int = 0
    saturated: int = 0
    windows_run: int = 0
    windows_gated: int = 0
    windows_skipped: int = 0

    @property
    def received(self) -> int:
        return (
            self.processed
            + self.gated
            + self.skipped
            + self.filtered
            + self.refused
            + self.unfinished
            + self.queued
        )

    @property
    def windows(self) -> int:
        return self.windows_run + self.windows_gated + self.windows_skipped

    def window(self, events: int, skipped: Skipped | None) -> None:
        """A window with `events` new events was run or skipped."""
        if skipped is None:
            self.processed += events
            self.windows_run += 1
        elif skipped == "gate":
            self.gated += events
            self.windows_gated += 1
        else:
            self.skipped += events
            self.windows_skipped += 1


class Digests:
    """SHA-256 over one packed record per window: `<qqqqB` seq, epoch, start, end, decision (0 run,
    1 gated, 2 skipped), then in `full` scores `<f4`, spikes per layer `<i8`, synops `<q`.

    `input` leaves scores, spikes and synops out and is equal across engines; `full` is one per engine.
    """

    def __init__(self) -> None:
        self._full = hashlib.sha256()
        self._input = hashlib.sha256()

    def add(
        self,
        window: Window,
        skipped: Skipped | None,
        scores: NDArray[np.float32],
        spikes: NDArray[np.int64],
        synops: int,
    ) -> None:
        record = _RECORD.pack(window.seq, window.epoch, window.start_us, window.end_us, DECISIONS[skipped])
        self._input.update(record)
        body = scores.astype("<f4").tobytes() + spikes.astype("<i8").tobytes()
        self._full.update(record + body + struct.pack("<q", synops))

    @property
    def full(self) -> str:
        return self._full.hexdigest()

    @property
    def input(self) -> str:
        return self._input.hexdigest()
