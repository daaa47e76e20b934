"""Packets in, windows out: where one network step ends and the next begins.

`Slicer.push(packet)` yields pieces in order: events start..stop belong to the open slice, and if the
piece carries a window, that window closes after them. Windows depend on the events and the clock
alone, never on how the packets were cut.

    time   window k is [origin + k * hop, origin + k * hop + dt); it closes when the stream's clock
           reaches its end, with or without events
    count  a window is the next `count` events; its end is its last event's time
    mixed  whichever of the two comes first; the grid goes on from there
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from spikeline.pipeline.events import EventPacket
from spikeline.pipeline.kernels import first_at_or_after


class Window(NamedTuple):
    """A closed window: its number in the run, its epoch, its half-open span in sensor time."""

    seq: int
    epoch: int
    start_us: int
    end_us: int


class Piece(NamedTuple):
    """Events start..stop of the packet belong to the open slice.

    closes: the slice (one hop) ends after them; window: and with it this window.
    """

    start: int
    stop: int
    closes: bool
    window: Window | None


@dataclass(frozen=True, kw_only=True)
class SliceConfig:
    """How a stream is cut. dt_us and hop_us in microseconds; hop_us 0 means dt_us."""

    dt_us: int = 50_000
    hop_us: int = 0
    count: int = 0  # events per window; 0: no limit
    by_time: bool = True  # False: only `count` closes a window

    def __post_init__(self) -> None:
        if self.dt_us <= 0:
            raise ValueError(f"dt_us must be positive, got {self.dt_us}")
        if self.hop_us < 0 or self.dt_us % (self.hop_us or self.dt_us):
            raise ValueError(f"hop_us must divide dt_us {self.dt_us}, got {self.hop_us}")
        if self.count < 0 or (not self.by_time and self.count == 0):
            raise ValueError(f"count must be positive to cut by count, got {self.count}")
        if self.count and self.hops > 1:
            raise ValueError("windows cut by count do not overlap: leave hop_us out")

    @property
    def hop(self) -> int:
        return self.hop_us or self.dt_us

    @property
    def hops(self) -> int:
        """Hops per window: 1 unless windows overlap."""
        return self.dt_us // self.hop


class Slicer:
    """One stream's windows."""

    def __init__(self, config: SliceConfig) -> None:
        self.config = config
        self.epoch = -1
        self.seq = 0
        self._started = False
        self._start_us = 0  # of the open slice
        self._slices = 0  # closed in this epoch
        self._events = 0  # in the open slice

    def push(self, packet: EventPacket) -> Iterator[Piece]:
        """Pieces of `packet` in order. A new epoch starts a new grid."""
        if packet.epoch != self.epoch:
            self.restart(packet.epoch)
        n = len(packet)
        if not self._started:
            if packet.origin_us is not None:
                self._start_us = packet.origin_us
            elif n:
                self._start_us = int(packet.t[0])
            else:
                return  # no grid before the first event
            self._started = True
        config = self.config
        t = packet.t
        i = 0
        last_us = int(t[n - 1]) if n else packet.until_us
        while True:
            end_us = self._start_us + config.hop
            stop = n
            if config.by_time and last_us >= end_us:
                stop = first_at_or_after(t, i, n, end_us)
            if config.count and i + config.count - self._events <= stop:
                stop = i + config.count - self._events
                yield self._close(i, stop, int(t[stop - 1]))
            elif config.by_time and (stop < n or packet.until_us >= end_us):
                yield self._close(i, stop, end_us)
            else:
                if stop > i:
                    self._events += stop - i
                    yield Piece(i, stop, False, None)
                return
            i = stop

    def restart(self, epoch: int) -> None:
        """Start a new grid at the next event or origin."""
        self.epoch = epoch
        self._started = False
        self._slices = 0
        self._events = 0

    def _close(self, start: int, stop: int, end_us: int) -> Piece:
        config = self.config
        self._slices += 1
        window = None
        if self._slices >= config.hops:
            start_us = end_us - config.dt_us if config.hops > 1 else self._start_us
            window = Window(self.seq, self.epoch, start_us, end_us)
            self.seq += 1
        self._start_us = end_us
        self._events = 0
        return Piece(start, stop, True, window)
