"""Events of a record file on their way into packets: rooms that fill, and what may leave them.

Packets are as full as they can be. Times are checked here, once, for all formats: events in order leave as
they are; others are settled first (see times.py) and then pass `Admission`. The last ones stay behind as long
as what follows could show that damage displaced them.
"""

from collections.abc import Iterator
from typing import Any

from numpy.typing import NDArray

from spikeline.drivers.formats.rooms import ROOM_EVENTS, Room, Rooms
from spikeline.drivers.formats.times import in_order, ready, settle
from spikeline.pipeline.events import Admission, EventPacket, Sensor


class Packing(Admission):
    """The events `_start` to `_fill` of the room are not handed out yet."""

    def __init__(self, sensor: Sensor, *, reuse: bool) -> None:
        super().__init__(sensor)
        self._rooms = Rooms(reuse=reuse)
        self._room = self._rooms.take()
        self._start = self._fill = 0
        self._doubted = 0  # from this one on, order is known

    @property
    def places(self) -> int:
        return ROOM_EVENTS - self._fill

    def space(self) -> Room:
        """Where the next events go."""
        return self._room.part(self._fill, ROOM_EVENTS) if self._fill else self._room

    def add(self, events: int, *, ordered: bool) -> None:
        """So many stand in `space` now; `ordered`: none is earlier than the one before it."""
        start, self._fill = self._fill, self._fill + events
        t = self._room.t
        if not ordered or (self._start < start < self._fill and t[start] < t[start - 1]):
            self._doubted = self._fill

    def hand_out(self, final: bool) -> Iterator[EventPacket]:
        """All events, if `final`; else those that nothing to come can cast doubt on."""
        room, start, stop = self._room, self._start, self._fill
        size = (self.sensor.width, self.sensor.height)
        state = (self._last_us, self._first)
        if stop > start and in_order(*room[:3], start, stop, *size, *state, self._doubted):
            self._start = stop if final else ready(room.t, start, stop, *state)
            self._doubted = self._start
            if self._start > start:
                yield self._packet(room.part(start, self._start))
        elif stop > start:
            self._fill, self._start, refused = settle(*room, start, stop, *size, *state, final)
            self._doubted = self._fill
            self.report.refused += refused
            yield from self.admit(*room.part(start, self._start))
        if self.places < ROOM_EVENTS // 8:
            self._move()

    def _packet(self, room: Room) -> EventPacket:
        """These are known to keep the contract."""
        if self.epoch < 0:
            self._open_epoch()
        self._first, self._last_us = False, int(room.t[-1])
        self.report.events += len(room.t)
        self.report.packets += 1
        return EventPacket(*room, self._last_us, self.epoch, self._origin_us)

    def _move(self) -> None:
        """To another room, with the events that stay behind."""
        kept: tuple[NDArray[Any], ...] = self._room.part(self._start, self._fill)
        room: tuple[NDArray[Any], ...] = self._rooms.take()
        n = self._fill - self._start
        for array, held in zip(room, kept, strict=True):
            array[:n] = held
        self._room = Room(*room)
        self._doubted -= self._start
        self._start, self._fill = 0, n

    def clock_reset(self) -> None:
        """All that comes is of a new clock; what came before must have been handed out."""
        if not self._first:
            self.new_epoch()

    def last_good(self) -> str:
        """The last time that was read, in words."""
        if self._fill > self._start:
            return f"last good time {self._room.t[self._fill - 1]} us"
        return "before the first event" if self._first else f"last good time {self._last_us} us"
