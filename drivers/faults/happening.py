"""Faults in what happens: more events than there were, or fewer."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from spikeline.drivers.faults.base import Fault
from spikeline.drivers.faults.raw import Raw, Run, Span, draw, joined
from spikeline.pipeline.events import PACKET_EVENTS, Times


@dataclass(frozen=True, kw_only=True)
class Burst(Fault):
    """`rate` events a second come on top, evenly, at random pixels: any, or only `pixels` of them."""

    KIND = "burst"
    rate: float
    pixels: int = 0

    def __post_init__(self) -> None:
        self._wanted("rate", 1e-3, 1e9)
        self._wanted("pixels", 0, 1 << 32)
        self._timed(length=True)

    def strike(self, raws: Iterator[Raw], run: Run) -> Iterator[Raw]:
        made = 0
        for raw in raws:
            due = self._due(raw.until_at_us)
            while due - made > PACKET_EVENTS:  # however long nothing was heard: a piece at a time
                until_us = int(self._times(made + PACKET_EVENTS - 1)[0])
                piece, raw = raw.split(int(np.searchsorted(raw.at_us, until_us, "right")), until_us)
                yield self._with_more(piece, run, made, made + PACKET_EVENTS)
                made += PACKET_EVENTS
            yield self._with_more(raw, run, made, due)
            made = max(made, due)

    def _due(self, at_us: int) -> int:
        """Events of the burst up to a true time."""
        begin_us = round((self.when.at_s or 0) * 1e6)
        last_us = (
            at_us if self.when.for_s is None else min(at_us, begin_us + round(self.when.for_s * 1e6) - 1)
        )
        return int((last_us - begin_us) * self.rate / 1e6) + 1 if last_us >= begin_us else 0

    def _times(self, start: int, stop: int | None = None) -> Times:
        numbers = np.arange(start, start + 1 if stop is None else stop)
        return round((self.when.at_s or 0) * 1e6) + (numbers * 1e6 / self.rate).astype(np.int64)

    def _with_more(self, raw: Raw, run: Run, start: int, stop: int) -> Raw:
        if stop <= start:
            return raw
        run.count(self.KIND, stop - start)
        numbers, at_us = np.arange(start, stop), self._times(start, stop)
        bits = draw(run.seed, self.place, numbers)
        pixel = bits >> np.uint64(8)
        if self.pixels:
            pixel = draw(run.seed, self.place, (pixel % np.uint64(self.pixels)).astype(np.int64), salt=1)
        W, H = np.uint64(run.sensor.width), np.uint64(run.sensor.height)
        assert raw.until_us is not None  # nothing has been split off yet
        more = replace(
            raw,
            t=at_us + (raw.until_us - raw.until_at_us),
            x=(pixel % W).astype(np.uint16),
            y=(pixel // W % H).astype(np.uint16),
            p=(bits & np.uint64(1)).astype(np.uint8),
            at_us=at_us,
            number=-1 - numbers,
        )
        return joined(raw, more, np.concatenate([raw.at_us, at_us]))


@dataclass(frozen=True, kw_only=True)
class Silence(Fault):
    """No event comes; the clock goes on."""

    KIND = "silence"

    def strike(self, raws: Iterator[Raw], run: Run) -> Iterator[Raw]:
        span = Span(self.when)
        for raw in raws:
            lost = span.mask(raw)[:-1]
            run.count(self.KIND, int(lost.sum()))
            yield raw.pick(~lost)


@dataclass(frozen=True, kw_only=True)
class Drop(Fault):
    """Each event is lost with probability `share`."""

    KIND = "drop"
    share: float

    def __post_init__(self) -> None:
        self._wanted("share", 0, 1)

    def strike(self, raws: Iterator[Raw], run: Run) -> Iterator[Raw]:
        span = Span(self.when)
        for raw in raws:
            lost = span.mask(raw)[:-1] & (self._chances(run, raw.number) < self.share)
            run.count(self.KIND, int(lost.sum()))
            yield raw.pick(~lost)


@dataclass(frozen=True, kw_only=True)
class Duplicate(Fault):
    """Each event comes twice with probability `share`."""

    KIND = "duplicate"
    share: float

    def __post_init__(self) -> None:
        self._wanted("share", 0, 1)

    def strike(self, raws: Iterator[Raw], run: Run) -> Iterator[Raw]:
        span = Span(self.when)
        for raw in raws:
            twice = span.mask(raw)[:-1] & (self._chances(run, raw.number) < self.share)
            run.count(self.KIND, int(twice.sum()))
            yield raw.pick(np.repeat(np.arange(len(raw)), 1 + twice))
