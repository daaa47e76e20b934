"""A labelled data set: which clips there are, and each clip's events as packets.

What a layout on disk, a simulator or a library offers is described once, here; `frames` are made of it by
the slicer and kernels that serve live input. `sets/` holds one file for each layout.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikeline.pipeline.events import (
    Admission,
    Coordinates,
    EventPacket,
    Polarities,
    Sensor,
    SourceError,
    SourceReport,
    Times,
)


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
    report   what reading the clip at hand has refused so far
    """

    name: str  # for people, as in a report
    key: str  # with a clip's: all that decides its events (versions, file sizes and times, options)
    labels: tuple[str, ...]
    sensor: Sensor
    clips: tuple[Clip, ...]
    flipped: tuple[int, ...] | None = None
    at_hand: bool = False  # all in memory: not worth other processes
    report: SourceReport

    @abstractmethod
    def packets(self, clip: Clip) -> Iterator[EventPacket]:
        """The clip's events as packets of one epoch; its window grid starts at their origin."""


class Events(NamedTuple):
    """A clip's events as arrays of its own, and where its clock starts and ends if that is known.

    origin_us  where the window grid starts; None: at the first event
    until_us   the clip's clock has reached this time; None: that of the last event
    """

    t: Times
    x: Coordinates
    y: Coordinates
    p: Polarities
    origin_us: int | None = None
    until_us: int | None = None


class EventSet(DataSet):
    """A set whose clips come as whole arrays."""

    @abstractmethod
    def events(self, clip: Clip) -> Events:
        """The clip's events; the arrays are changed in place."""

    def packets(self, clip: Clip) -> Iterator[EventPacket]:
        t, x, y, p, origin_us, until_us = self.events(clip)
        admission = Admission(self.sensor, origin_us=origin_us)
        self.report = admission.report
        yield from admission.admit(t, x, y, p, until_us=until_us)


class PictureSet(DataSet):
    """Still pictures: no events, one frame that is shown in every window.

    A pixel's value 0 to 255 stands where a count would; a network takes it times 1/255.
    """

    @abstractmethod
    def picture(self, clip: Clip, grid: tuple[int, int]) -> NDArray[np.uint8]:
        """(channels, H, W) for a grid of (W, H)."""

    def packets(self, clip: Clip) -> Iterator[EventPacket]:
        raise SourceError(f"{self.name}: has pictures; wanted a set with events")
