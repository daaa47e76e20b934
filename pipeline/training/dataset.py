"""A labelled data set: which clips there are, and each clip's events as packets.

What a layout on disk, a simulator or a library offers is described once, here; `frames` are made of it by
the slicer and kernels that serve live input.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import NamedTuple

from spikeline.pipeline.events import EventPacket, Sensor


class Clip(NamedTuple):
    """One labelled stretch of a stream.

    key     names it within its set, and with the set's `key` everything that decides its events
    person  who performs it, -1 where unknown: a person is never in two splits
    split   train, validation or test where the set itself says so
    """

    key: str
    label: int
    person: int = -1
    split: str = ""


class DataSet(ABC):
    """Clips and their events.

    labels   class names, in the order of the label numbers
    flipped  the class that a left-right flip makes of each; None: flips make no sense here
    """

    name: str  # for people, as in a report
    key: str  # with a clip's: all that decides its events (versions, file sizes and times, options)
    labels: tuple[str, ...]
    sensor: Sensor
    clips: tuple[Clip, ...]
    flipped: tuple[int, ...] | None = None

    @abstractmethod
    def packets(self, clip: Clip) -> Iterator[EventPacket]:
        """The clip's events as packets of one epoch; its window grid starts at their origin."""
