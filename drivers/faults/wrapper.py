"""Faults on purpose, around any source: what a camera, a cable or a disk does on a bad day.

    fault(drop=0.01;delay_ms=20;seed=1)+sim:gesture        fault(file=day.toml)+walk.aedat4

The source's packets become raw events again, the faults of the script do their work on them, and what
comes out goes through `Admission` like the words of any device: so the packet contract holds whatever
the faults did, and everything refused, clamped or lost is counted. The same seed gives the same stream.
"""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from types import TracebackType

from spikeline.drivers.faults.raw import Raw, Run, raws_of
from spikeline.drivers.faults.script import Script
from spikeline.drivers.wrappers import SLEEP_S, Wrapper
from spikeline.pipeline.events import Admission, EventPacket, Source, SourceReport

ADDING = ("burst", "duplicate")  # the counts of these say how many events were added
LOSING = ("silence", "drop", "drop_packets", "unplug", "underway")  # and of these how many were lost


class Faulty(Wrapper):
    """A source with the faults of a script.

    faults    kind -> how many events it added, lost or moved so far; `underway` were lost when the stream
              ended, with the cable that carried them
    held_ns   how much later than usual the latest packet is to be delivered, for who runs on a schedule
    """

    def __init__(self, source: Source, script: Script, *, keeps_time: bool = False) -> None:
        """keeps_time: packets come when they are due, as from a camera: a delay is waited for here."""
        super().__init__(source)
        self._script = script
        self._stop = threading.Event()
        self._run = Run(source.sensor, script.seed, self._stop)
        self._admission = Admission(source.sensor)
        self._keeps_time = keeps_time
        self._offset_ns: int | None = None  # host time of the clock's zero, by the earliest arrival
        self._held_ns = 0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        super().__exit__(kind, error, trace)

    @property
    def faults(self) -> dict[str, int]:
        return dict(self._run.counts)

    @property
    def held_ns(self) -> int:
        return 0 if self._keeps_time else self._held_ns

    def _packets(self) -> Iterator[EventPacket]:
        raws = self._arriving()
        for fault in self._script.faults:
            raws = fault.strike(raws, self._run)
        try:
            for raw in raws:
                self._held_ns = raw.held_ns
                if self._keeps_time and raw.held_ns and not self._wait(raw):
                    return
                if raw.fresh:
                    self._admission.new_epoch(origin_us=raw.origin_us)
                yield from self._admission.admit(raw.t, raw.x, raw.y, raw.p, until_us=raw.until_us)
        finally:
            came = self._events + self._admission.report.refused + self._lost
            self._run.count("underway", self._source.report().events + self.added - came)

    def report(self) -> SourceReport:
        inner, mine = self._source.report(), self._admission.report
        return replace(
            inner,
            events=self._events,
            packets=self._packets_out,
            dropped=inner.dropped + self._lost,
            refused=inner.refused + mine.refused,
            reordered=inner.reordered + mine.reordered,
            epochs=mine.epochs,
        )

    @property
    def added(self) -> int:
        """Events that faults made: in the end, read + added = handed out + refused here + lost here."""
        return sum(self._run.counts.get(kind, 0) for kind in ADDING)

    @property
    def _lost(self) -> int:
        return sum(self._run.counts.get(kind, 0) for kind in LOSING)

    def _arriving(self) -> Iterator[Raw]:
        """The source's packets as raw events; the earliest arrival tells when each of them was due."""
        for raw in raws_of(self._source):
            raw.held_ns = getattr(self._source, "held_ns", 0)
            offset_ns = time.monotonic_ns() - raw.until_at_us * 1_000
            if raw.fresh or self._offset_ns is None:
                self._offset_ns = offset_ns
            self._offset_ns = min(self._offset_ns, offset_ns)
            yield raw

    def _wait(self, raw: Raw) -> bool:
        """Sleep until the packet is due, late as it is; False: the source was closed."""
        assert self._offset_ns is not None
        due_ns = self._offset_ns + raw.until_at_us * 1_000 + raw.held_ns
        while (left_s := (due_ns - time.monotonic_ns()) / 1e9) > 0:
            if self._stop.wait(min(left_s, SLEEP_S)):
                return False
        return not self._stop.is_set()
