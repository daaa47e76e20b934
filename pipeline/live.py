"""A source read by a thread of its own, so that the camera never waits for the network.

    thread: source -> bounded queue -> loop: `for packet in queued`

What does not fit into the queue is dropped and counted, but the stream's clock goes on, so windows still
close. When the source says nothing for a while, a clock mark that says nothing new is handed out, so
that the loop can look after its bus.
"""

import queue
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from spikeline.pipeline.events import EventPacket, Source, SourceReport, clock_mark

HEARTBEAT_S = 0.1
MOST_EVENTS = 4_000_000  # waiting in the queue: 52 MB
MOST_PACKETS = 20_000
CLOSE_S = 2.0


class Queued:
    """Iterate for packets. After each one, `arrival_ns` says when it came from the source, on
    time.monotonic_ns(), and `schedule_ns` which schedule it came on, if the source runs on one.

    delay_s  {"transport": s, "queue": s}: hold packets up that long, to check a latency measurement
    """

    def __init__(self, source: Source, *, delay_s: Mapping[str, float] | None = None) -> None:
        self.sensor = source.sensor
        self.format = source.format
        self.truth = getattr(source, "truth", [])
        self.decisions = getattr(source, "decisions", {})
        self.arrival_ns = 0
        self.schedule_ns: int | None = None
        self.dropped = 0
        self._source = source
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._put = self._taken = 0  # events ever put into the queue, and taken from it
        self._closing = False
        self._thread = threading.Thread(target=self._read, name="spikeline-reader", daemon=True)
        delay_s = delay_s or {}
        self._transport_ns = int(delay_s.get("transport", 0) * 1e9)
        self._hold_ns = int(delay_s.get("queue", 0) * 1e9)

    @property
    def waiting(self) -> int:
        """Events in the queue."""
        return self._put - self._taken

    def __enter__(self) -> Self:
        self._source.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        self._source.__exit__(kind, error, trace)
        if self._thread.ident is not None:
            self._thread.join(CLOSE_S)  # a source that blocks for ever is left behind: a daemon thread

    def report(self) -> SourceReport:
        inner = self._source.report()
        return replace(inner, events=inner.events - self.dropped, dropped=inner.dropped + self.dropped)

    def __iter__(self) -> Iterator[EventPacket]:
        self._thread.start()
        latest = clock_mark(0, -1, None)  # before the first packet: no epoch, no window
        while True:
            try:
                item = self._queue.get(timeout=HEARTBEAT_S)
            except queue.Empty:
                self.arrival_ns = time.monotonic_ns()
                yield clock_mark(latest.until_us, latest.epoch, latest.origin_us)
                continue
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            packet, arrival_ns, self.schedule_ns = item
            if self._transport_ns or self._hold_ns:
                arrival_ns += self._transport_ns
                time.sleep(max(0, arrival_ns + self._hold_ns - time.monotonic_ns()) / 1e9)
            self.arrival_ns = arrival_ns
            self._taken += len(packet)
            latest = packet
            yield packet

    def _read(self) -> None:
        """The thread: everything the source says goes into the queue, its end and its errors too."""
        try:
            for packet in self._source:
                n = len(packet)
                if self._queue.qsize() > MOST_PACKETS:  # a later packet will say how late it is
                    self.dropped += n
                    continue
                if n and self.waiting + n > MOST_EVENTS:
                    self.dropped += n
                    packet, n = clock_mark(packet.until_us, packet.epoch, packet.origin_us), 0
                self._put += n
                schedule_ns = getattr(self._source, "schedule_ns", None)
                self._queue.put((packet, time.monotonic_ns(), schedule_ns))
                if self._closing:
                    break
            self._queue.put(None)
        except BaseException as error:
            self._queue.put(error)
