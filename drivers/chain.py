"""Sources one after another as one stream, each with its own epochs: a glob's files, or a loop's passes."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, replace
from types import TracebackType
from typing import Self

from spikeline.drivers.base import DAMAGE_LINES
from spikeline.pipeline.events import EventPacket, Source, SourceError, SourceReport


def sum_reports(one: SourceReport, two: SourceReport) -> SourceReport:
    """What both have done together, as a report of its own."""
    return SourceReport(
        **{
            f.name: getattr(one, f.name) + getattr(two, f.name)
            for f in fields(SourceReport)
            if f.type in (int, "int")
        },
        truncated=one.truncated or two.truncated,
        damage=(one.damage + two.damage)[: DAMAGE_LINES + 1],
    )


class Chain:
    """`openers`: (name, function that opens the source), in order; opened one at a time.

    The sensor is the first source's and every other must have the same. One that cannot be opened
    or read is reported as damage, and the next one follows; only if none can be opened is that an
    error. (A loop, `keeps_going` False, ends with the first error.)
    """

    keeps_going = True

    def __init__(self, openers: Iterable[tuple[str, Callable[[], Source]]]) -> None:
        self._openers = iter(openers)
        self._past = SourceReport()  # of the sources that are through
        self._now: Source | None = None
        self._name = ""
        self._begun = self._closed = False
        self._epoch_base = 0
        self.decisions: dict[tuple[int, int], str] = {}  # of recordings: (epoch, start_us) -> why skipped
        first = self._open_next(None)
        if first is None:
            raise SourceError(self._past.damage[0] if self._past.damage else "no source to read")
        self._take_decisions(first, 0)
        self.sensor = first.sensor
        self.format = first.format

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        if self._now is not None:
            self._retire(self._now)

    def __iter__(self) -> Iterator[EventPacket]:
        if self._closed or self._begun:
            raise SourceError("this source has been read; open it again to read it again")
        self._begun = True
        source = self._now
        while source is not None:
            base, next_base = self._epoch_base, self._epoch_base
            self._take_decisions(source, base)
            try:
                for packet in source:
                    next_base = max(next_base, base + packet.epoch + 1)
                    if base:
                        packet = EventPacket(
                            packet.t,
                            packet.x,
                            packet.y,
                            packet.p,
                            packet.until_us,
                            base + packet.epoch,
                            packet.origin_us,
                        )
                    yield packet
                    if self._closed:
                        return
            except SourceError as error:  # what came before is kept, as with any other damage
                self._note(error)
            self._epoch_base = next_base
            self._retire(source)
            self._after(next_base > base)
            source = self._open_next(self.sensor)

    def _take_decisions(self, source: Source, base: int) -> None:
        own = getattr(source, "decisions", {})
        self.decisions.update({(base + epoch, start): why for (epoch, start), why in own.items()})

    @property
    def held_ns(self) -> int:
        """Of the source that is being read (see faults/)."""
        return getattr(self._now, "held_ns", 0)

    def report(self) -> SourceReport:
        return sum_reports(self._past, SourceReport() if self._now is None else self._named_report(self._now))

    def _after(self, any_packet: bool) -> None:
        """One source is through; for a loop to say that it will never end."""

    def _note(self, error: SourceError) -> None:
        if not self.keeps_going:
            raise error
        if len(self._past.damage) <= DAMAGE_LINES:
            self._past.damage.append(str(error))

    def _named_report(self, source: Source) -> SourceReport:
        report = source.report()
        return replace(report, damage=[f"{self._name}: {line}" for line in report.damage])

    def _retire(self, source: Source) -> None:
        self._past = sum_reports(self._past, self._named_report(source))
        self._now = None
        source.__exit__(None, None, None)

    def _open_next(self, sensor: object) -> Source | None:
        for name, opener in self._openers:
            self._name = name
            try:
                source = opener()
            except SourceError as error:
                self._note(error)
                continue
            if sensor is not None and source.sensor[:2] != self.sensor[:2]:
                found = source.sensor
                source.__exit__(None, None, None)
                raise SourceError(
                    f"{self._name}: sensor of {found.width}x{found.height} pixels; the files before it have "
                    f"{self.sensor.width}x{self.sensor.height}"
                )
            self._now = source
            source.__enter__()
            return source
        return None
