"""What every fault is: settings, and `strike`, a generator from batches of raw events to batches."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from spikeline.drivers.faults.raw import Raw, Run, When, chance, draw
from spikeline.pipeline.events import Times


@dataclass(frozen=True, kw_only=True)
class Fault(ABC):
    """Base. `place` tells the faults of one script apart, so that each draws its own chances."""

    KIND: ClassVar[str]
    when: When = field(default_factory=When)
    place: int = 0

    @abstractmethod
    def strike(self, raws: Iterator[Raw], run: Run) -> Iterator[Raw]: ...

    def _chances(self, run: Run, numbers: Times) -> NDArray[np.float64]:
        return chance(draw(run.seed, self.place, numbers))

    def _wanted(self, name: str, least: float, most: float) -> None:
        value = getattr(self, name)
        if not least <= value <= most:
            raise ValueError(f"{name}={value}; wanted {least:g} to {most:g}")

    def _timed(self, *, length: bool) -> None:
        """Only seconds will do, and only some faults have a length."""
        when = self.when
        by_count = (when.at_event, when.at_packet, when.for_events, when.for_packets)
        if any(value is not None for value in by_count) or not (length or when.endless):
            raise ValueError(f"wanted at_s{' and for_s' if length else ''} at most")
