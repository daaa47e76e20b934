"""Sources around sources: cut packets, a clip in time, delivery on schedule, the same again.

Each is a source itself and keeps the packet contract: cut packets say `until_us` as truly as whole ones.
"""

import itertools
import math
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import TracebackType
from typing import Self

import numpy as np

from spikeline.drivers.chain import Chain
from spikeline.pipeline.events import EventPacket, Source, SourceError, SourceReport, clock_mark

PACED_SPAN_NS = 2_000_000  # wall time: a paced packet holds no more than this
SLEEP_S = 0.5  # so that a close from another thread is noticed


class Wrapper(ABC):
    """Base: everything goes to the source inside; `events` and `packets` count what came out here."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.sensor = source.sensor
        self.format = source.format
        self.truth = getattr(source, "truth", [])  # of a simulator; grows as the stream is read
        self.decisions = getattr(source, "decisions", {})  # of a recording
        self._events = self._packets_out = self._filtered = 0
        self._closed = False

    def __enter__(self) -> Self:
        self._source.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        self._source.__exit__(kind, error, trace)

    def __iter__(self) -> Iterator[EventPacket]:
        for packet in self._packets():
            self._events += len(packet)
            self._packets_out += 1
            yield packet
            if self._closed:
                return

    @abstractmethod
    def _packets(self) -> Iterator[EventPacket]: ...

    @property
    def held_ns(self) -> int:
        """How much later than it is due the latest packet comes, on purpose (see faults/)."""
        return getattr(self._source, "held_ns", 0)

    def report(self) -> SourceReport:
        inner = self._source.report()
        return replace(
            inner,
            events=self._events,
            packets=self._packets_out,
            filtered=inner.filtered + self._filtered,
        )


class Cut(Wrapper):
    """Packets of at most `events` events. Windows never depend on how packets are cut."""

    def __init__(self, source: Source, events: int) -> None:
        if events < 1:
            raise SourceError(f"cut: events={events}; wanted 1 or more")
        super().__init__(source)
        self._most = events

    def _packets(self) -> Iterator[EventPacket]:
        for packet in self._source:
            start, n = 0, len(packet)
            while n - start > self._most:
                yield packet.part(start, start + self._most)
                start += self._most
            yield packet.part(start, n, packet.until_us) if start else packet


class Clip(Wrapper):
    """Events from `start_s` up to but without `stop_s`, in seconds after the stream's first event.

    Events outside are counted as filtered; reading ends at `stop_s`, and what lies behind it is
    not read at all. A later epoch continues where the clock of the one before it ended. Times stay
    as they are; with a start, the window grid of the epoch that it falls into begins there.
    """

    def __init__(self, source: Source, start_s: float = 0.0, stop_s: float | None = None) -> None:
        stop = math.inf if stop_s is None else stop_s
        if not (0.0 <= start_s < stop and start_s < 1e12):
            raise SourceError(f"clip: start={start_s}, stop={stop_s}; wanted 0 <= start < stop, in seconds")
        super().__init__(source)
        self._start_us = round(start_s * 1e6)
        self._stop_us = None if stop >= 1e12 else round(stop * 1e6)

    def _packets(self) -> Iterator[EventPacket]:
        epoch = -1
        zero: int | None = None  # this epoch's time at which the clip's clock was 0
        reached = 0  # the clip's clock
        for packet in self._source:
            if packet.epoch != epoch:
                epoch = packet.epoch
                begin = int(packet.t[0]) if len(packet) else packet.until_us
                started = zero is not None
                zero = begin - reached if started else (begin if len(packet) else None)
            elif zero is None and len(packet):
                zero = int(packet.t[0])
            if zero is None:  # a clock mark before the first event
                if self._start_us == 0:
                    yield packet
                continue
            reached = max(reached, packet.until_us - zero)
            start_us = zero + self._start_us
            first = int(np.searchsorted(packet.t, start_us)) if self._start_us else 0
            last = len(packet)
            done = False
            until_us = packet.until_us
            if self._stop_us is not None and until_us >= zero + self._stop_us:
                until_us = zero + self._stop_us
                last = max(first, int(np.searchsorted(packet.t, until_us)))
                done = True
            self._filtered += len(packet) - (last - first)
            if until_us >= start_us and (last > first or until_us > start_us or not self._start_us):
                part = packet.part(first, last, until_us)
                if self._start_us and self._holds_start(packet, start_us):
                    part.origin_us = start_us
                yield part
            if done:
                return

    def _holds_start(self, packet: EventPacket, start_us: int) -> bool:
        """Whether the clip's start lies in this packet's epoch; decided at the first packet it gives."""
        if self._packets_out == 0:
            self._start_epoch = packet.epoch
        return packet.epoch == self._start_epoch


class Paced(Wrapper):
    """Every packet when its `until_us` is due: sensor time at `speed` on the monotonic clock.

    Packets are cut first so that none spans more than 2 ms of wall time. A new epoch starts the
    schedule anew. A slow consumer does not move the schedule: what is late is delivered at once.

    late_max_ns   how far behind the schedule a packet was delivered, at most
    schedule_ns   host time minus 1000 x sensor time on the schedule, at speed 1; else None
    """

    schedule_ns: int | None = None

    def __init__(self, source: Source, speed: float = 1.0) -> None:
        if not (math.isfinite(speed) and speed > 0):
            raise SourceError(f"speed={speed}; wanted more than 0")
        super().__init__(source)
        self._speed = speed
        self._span_us = max(1, int(PACED_SPAN_NS * speed / 1_000))
        self._stop = threading.Event()
        self.late_max_ns = 0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        super().__exit__(kind, error, trace)

    def _packets(self) -> Iterator[EventPacket]:
        epoch: int | None = None
        zero_us = zero_ns = 0
        for packet in self._source:
            for part in self._short(packet):
                if part.epoch != epoch:
                    epoch = part.epoch
                    zero_us = int(part.t[0]) if len(part) else part.until_us
                    zero_ns = time.monotonic_ns()
                    if self._speed == 1:
                        self.schedule_ns = zero_ns - zero_us * 1_000
                due_ns = zero_ns + int((part.until_us - zero_us) * 1_000 / self._speed)
                if not self._wait(due_ns + self.held_ns):
                    return
                yield part

    def _short(self, packet: EventPacket) -> Iterator[EventPacket]:
        start, n = 0, len(packet)
        while start < n:
            end = int(packet.t[start]) + self._span_us
            stop = int(np.searchsorted(packet.t, end))
            if stop == n and packet.until_us <= end:
                yield packet.part(start, n, packet.until_us) if start else packet
                return
            yield packet.part(start, stop)
            start = stop
        if n == 0 or packet.until_us > int(packet.t[-1]):
            yield clock_mark(packet.until_us, packet.epoch, packet.origin_us)

    def _wait(self, due_ns: int) -> bool:
        """Sleep until then; False: the source was closed."""
        while (left_s := (due_ns - time.monotonic_ns()) / 1e9) > 0:
            if self._stop.wait(min(left_s, SLEEP_S)):
                return False
        self.late_max_ns = max(self.late_max_ns, time.monotonic_ns() - due_ns)
        return not self._stop.is_set()


class Loop(Chain):
    """The same source `times` times (0: for ever); each pass opens it anew and has epochs of its own."""

    keeps_going = False

    def __init__(self, factory: Callable[[], Source], times: int) -> None:
        if times < 0:
            raise SourceError(f"loop: times={times}; wanted 1 or more, or 0 for ever")
        passes = itertools.count(1) if times == 0 else range(1, times + 1)
        super().__init__((f"pass {k}", factory) for k in passes)

    def _after(self, any_packet: bool) -> None:
        if not any_packet:
            raise SourceError("loop: the source gives no packets; a loop over it would never end")
