"""The contract between sources and the pipeline: events, packets, and what a source owes its users.

A source is a context manager and an iterator of `EventPacket`s, with a `sensor` and a `report()`.
Every source passes its raw events through `Admission`, which enforces the rules that everything
downstream relies on: coordinates inside the sensor, polarity 0 or 1, times that never go backwards
within an epoch. What does not fit is clamped or refused, and counted; nothing is lost in silence.

Events are four separate arrays: of three layouts, from decode to publish, the fastest at one event per
packet and within 9 % of the fastest at 10,000 (docs/packet-layout.md).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Protocol, Self

import numba
import numpy as np
from numpy.typing import NDArray

REORDER_US = 1_000  # an event late by at most this is moved to the latest time seen
RESET_BACK_US = 1_000_000  # a step back beyond this is a clock reset: a new epoch
RESET_NEAR_ZERO_US = 10_000  # and so is a step back of RESET_TO_ZERO_US or more to below this
RESET_TO_ZERO_US = 100_000
JUMP_US = 3_600_000_000  # a step forward beyond an hour is a clock step, not silence: a new epoch
MAX_ABS_US = 1 << 61  # times beyond this (73,000 years) are damage; differences cannot overflow
MOST_WORDS = 200  # letters of a library's message: some quote half of the file
PACKET_EVENTS = 65_536  # the largest packet a source hands out

Times = NDArray[np.int64]
Coordinates = NDArray[np.uint16]
Polarities = NDArray[np.uint8]


class SourceError(ValueError):
    """A source that cannot be opened or read: one line naming the thing, what was found and wanted."""


class Sensor(NamedTuple):
    """A sensor's size in pixels, and its model name where known."""

    width: int
    height: int
    model: str = ""


class EventPacket:
    """Events of one stream in time order.

    t  (n,) int64 microseconds    x, y  (n,) uint16, origin top left    p  (n,) uint8, 0 OFF, 1 ON
    until_us   the stream's clock has reached this time: every later event of the epoch has t >= until_us
    epoch      counts the clocks this stream has had; a reset, a reconnect or a loop starts a new one
    origin_us  where the epoch's window grid starts, at or before its first event; None: at that event
    """

    __slots__ = ("epoch", "origin_us", "p", "t", "until_us", "x", "y")

    def __init__(
        self,
        t: Times,
        x: Coordinates,
        y: Coordinates,
        p: Polarities,
        until_us: int,
        epoch: int = 0,
        origin_us: int | None = None,
    ) -> None:
        self.t, self.x, self.y, self.p = t, x, y, p
        self.until_us = until_us
        self.epoch = epoch
        self.origin_us = origin_us

    def __len__(self) -> int:
        return len(self.t)

    def part(self, start: int, stop: int, until_us: int | None = None) -> "EventPacket":
        """Events start..stop (views) as a packet of their own, by default until its last event."""
        if until_us is None:
            until_us = int(self.t[stop - 1])
        return EventPacket(
            self.t[start:stop],
            self.x[start:stop],
            self.y[start:stop],
            self.p[start:stop],
            until_us,
            self.epoch,
            self.origin_us,
        )


def clock_mark(until_us: int, epoch: int, origin_us: int | None) -> EventPacket:
    """A packet without events: it only says that the stream's clock has reached `until_us`."""
    return EventPacket(
        np.empty(0, np.int64),
        np.empty(0, np.uint16),
        np.empty(0, np.uint16),
        np.empty(0, np.uint8),
        until_us,
        epoch,
        origin_us,
    )


@dataclass(slots=True)
class SourceReport:
    """What a source has done so far. `events` were handed out; the others never were, and say why.

    Events read so far = events + refused + filtered.
    """

    events: int = 0
    packets: int = 0
    bytes: int = 0
    dropped: int = 0  # lost before they reached us, as told by the device
    refused: int = 0  # outside the sensor, not a polarity, or late by more than REORDER_US
    filtered: int = 0  # left out because the user asked for it (a clip)
    reordered: int = 0  # late by at most REORDER_US: handed out at the latest time seen
    truncated: bool = False
    damage: list[str] = field(default_factory=list)  # one line per damaged range: where and what was lost
    epochs: int = 0


class Source(Protocol):
    """What every driver offers. `report()` may be called at any time, also after the end."""

    sensor: Sensor
    format: str  # what the bytes are: "AEDAT4", "npz", "sim:gesture", ...

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def __iter__(self) -> Iterator[EventPacket]: ...
    def report(self) -> SourceReport: ...


class Admission:
    """Raw events in, packets out that keep the contract. One per stream; `report` counts as it goes."""

    def __init__(self, sensor: Sensor, *, origin_us: int | None = None) -> None:
        self.sensor = sensor
        self.report = SourceReport()
        self.epoch = -1  # the first event or mark opens epoch 0
        self._origin_us = origin_us
        self._first = True  # no clock yet in this epoch
        self._last_us = 0

    def admit(
        self, t: Times, x: Coordinates, y: Coordinates, p: Polarities, *, until_us: int | None = None
    ) -> Iterator[EventPacket]:
        """Yield the events as packets of at most PACKET_EVENTS; the arrays are changed in place.

        until_us: the clock has reached this time after the last of these events (a clock mark).
        """
        report = self.report
        start, n = 0, len(t)
        while start < n:
            stop = min(n, start + PACKET_EVENTS)
            next_start, kept, last_us, refused, reordered, fresh = _admit(
                t, x, y, p, start, stop, self.sensor.width, self.sensor.height, self._last_us, self._first
            )
            report.refused += refused
            report.reordered += reordered
            if kept:
                if self.epoch < 0:
                    self._open_epoch()
                self._first, self._last_us = False, int(last_us)
                report.events += kept
                report.packets += 1
                s = slice(start, start + kept)
                yield EventPacket(t[s], x[s], y[s], p[s], self._last_us, self.epoch, self._origin_us)
            if fresh:
                self.new_epoch(int(t[next_start]))
            start = next_start
        if until_us is not None:
            yield from self.mark(until_us)

    def mark(self, until_us: int) -> Iterator[EventPacket]:
        """The clock has reached `until_us` without further events; beyond JUMP_US ahead it is a new clock."""
        if self.epoch < 0:
            self._open_epoch()
        if not self._first and until_us - self._last_us > JUMP_US:
            self.new_epoch()
        if not self._first and until_us <= self._last_us:
            return
        self._first, self._last_us = False, until_us
        self.report.packets += 1
        yield clock_mark(until_us, self.epoch, self._origin_us)

    def new_epoch(self, t_us: int | None = None, *, origin_us: int | None = None) -> None:
        """The stream's clock has started anew at `t_us`; None: wherever its first event is."""
        self._open_epoch()
        self._first = t_us is None
        self._last_us = t_us or 0
        self._origin_us = origin_us

    def _open_epoch(self) -> None:
        self.epoch += 1
        self.report.epochs = self.epoch + 1


@numba.njit(cache=True, nogil=True)
def _admit(t, x, y, p, start, stop, width, height, last_us, first):
    """Keep the events start..stop that fit, moved together to `start`; stop early at a new clock.

    Returns (where to go on, kept, latest time, refused, reordered, True if a new epoch begins there).
    """
    j = start
    refused = 0
    reordered = 0
    for i in range(start, stop):
        now = t[i]
        if x[i] >= width or y[i] >= height or p[i] > 1 or now > MAX_ABS_US or now < -MAX_ABS_US:
            refused += 1
            continue
        if first:
            first = False
        else:
            late = last_us - now
            if late > 0:
                if late > RESET_BACK_US or (
                    late >= RESET_TO_ZERO_US and now >= 0 and now < RESET_NEAR_ZERO_US
                ):
                    return i, j - start, last_us, refused, reordered, True
                if late > REORDER_US:
                    refused += 1
                    continue
                reordered += 1
                now = last_us
            elif -late > JUMP_US:
                return i, j - start, last_us, refused, reordered, True
        last_us = now
        t[j] = now
        x[j] = x[i]
        y[j] = y[i]
        p[j] = p[i]
        j += 1
    return stop, j - start, last_us, refused, reordered, False


def foreign_error(where: str | Path, error: BaseException) -> SourceError:
    """One line for whatever a foreign decoder raised; an interrupt or an exit passes through."""
    if isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit):
        raise error
    text = " ".join(str(error).split())[:MOST_WORDS] or type(error).__name__
    text = text if text.isprintable() else ascii(text)
    return SourceError(f"{where}: {text}")
