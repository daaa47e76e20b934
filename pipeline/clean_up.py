"""Clean-up between source and slicer: noise, hot pixels, rate, and which way the sensor looks.

    packet -> stage -> stage -> ... -> packet of the events kept, for a sensor that may have another size

Rules that every stage obeys. Which events it keeps depends on the events alone, never on how packets were
cut, on clock marks or on the host's clock. Every packet gives a packet: one that has lost all its events
still says how far the stream's clock is. A new epoch starts from a fresh state. Each stage counts what it
leaves out. The source's own arrays are never written to.

docs/clean-up.md defines each stage.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from spikeline.pipeline.clean_up_settings import Settings
from spikeline.pipeline.clean_up_stages import Columns, Stage, open_stage
from spikeline.pipeline.events import EventPacket, Sensor


class CleanUp:
    """The stages of one stream, in order. `clean(packet)` gives what the slicer gets.

    sensor  the size after the last stage

    >>> from spikeline.pipeline.clean_up_settings import parse
    >>> stages = CleanUp(parse("crop(x=8,w=16,h=16),transpose"), Sensor(64, 32))
    >>> stages.sensor
    Sensor(width=16, height=16, model='')
    """

    def __init__(self, settings: Sequence[Settings], sensor: Sensor) -> None:
        self.stages: list[Stage] = []
        for one in settings:
            self.stages.append(open_stage(one, sensor))
            sensor = self.stages[-1].sensor
        self.sensor = sensor
        self._epoch: int | None = None
        self._origin_us: int | None = None
        nothing = _room(0)
        for stage in self.stages:  # compiled before the first packet
            stage.clean(nothing, nothing)

    def __str__(self) -> str:
        return ",".join(str(stage.settings) for stage in self.stages)

    @property
    def filtered(self) -> int:
        """Events left out so far."""
        return sum(stage.filtered for stage in self.stages)

    def clean(self, packet: EventPacket) -> EventPacket:
        """The packet without the events that the stages leave out; its clock is the same.

        The window grid begins where it would begin without clean-up: at the epoch's first event, kept or not.
        """
        if not self.stages:
            return packet
        if packet.epoch != self._epoch:
            self.reset()
            self._epoch = packet.epoch
        n = len(packet.t)
        if packet.origin_us is not None:
            self._origin_us = packet.origin_us
        elif n and self._origin_us is None:
            self._origin_us = int(packet.t[0])
        events: Columns = (packet.t, packet.x, packet.y, packet.p)
        room: Columns | None = None  # our own arrays: made for the first stage that moves events
        for stage in self.stages:
            if not n:
                break
            if stage.moves:  # later ones move events within the arrays that they are in
                room = _room(n) if room is None else events
            events = stage.clean(events, room or events)
            kept = len(events[0])
            stage.filtered += n - kept
            n = kept
        return EventPacket(*events, packet.until_us, packet.epoch, self._origin_us)

    def reset(self) -> None:
        """Forget the past; the counts stay."""
        self._epoch = self._origin_us = None
        for stage in self.stages:
            stage.reset()

    def report(self) -> list[dict[str, Any]]:
        """A row per stage: what it is, how many events it left out, what it found."""
        rows = []
        for stage in self.stages:
            rows.append({"stage": str(stage.settings), "filtered": stage.filtered, **stage.found()})
        return rows


def _room(n: int) -> Columns:
    return np.empty(n, np.int64), np.empty(n, np.uint16), np.empty(n, np.uint16), np.empty(n, np.uint8)
