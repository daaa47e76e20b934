"""Faults on the way to us: overtaken events, lost and late packets, a cable that is pulled."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from spikeline.drivers.faults.base import Fault
from spikeline.drivers.faults.raw import Raw, Run, Span, chance, draw, joined
from spikeline.pipeline.events import SourceError


@dataclass(frozen=True, kw_only=True)
class Reorder(Fault):
    """Each event is overtaken with probability `share`: it comes 1 to `us` later, its time as it was."""

    KIND = "reorder"
    share: float
    us: int = 2_000

    def __post_init__(self) -> None:
        self._wanted("share", 0, 1)
        self._wanted("us", 1, 1 << 40)

    def strike(self, raws: Iterator[Raw], run: Run) -> Iterator[Raw]:
        span = Span(self.when)
        late: Raw | None = None  # events still on their way, and when they will be here
        due_us = np.empty(0, np.int64)
        for raw in raws:
            if late is not None and len(late) and raw.fresh:  # they belong to the epoch that ends
                yield replace(late, fresh=False, until_us=None)
                late = None
            bits = draw(run.seed, self.place, raw.number)
            slow = span.mask(raw)[:-1] & (chance(bits) < self.share)
            run.count(self.KIND, int(slow.sum()))
            by_us = draw(run.seed, self.place, raw.number, salt=1) % np.uint64(self.us)
            here_us = raw.at_us + np.where(slow, by_us.astype(np.int64) + 1, 0)
            if late is not None:
                raw = joined(raw, late, order := np.concatenate([here_us, due_us]))
                here_us = np.sort(order, kind="stable")
            else:
                order = np.argsort(here_us, kind="stable")
                raw, here_us = raw.pick(order), here_us[order]
            k = int(np.searchsorted(here_us, raw.until_at_us, "right"))
            late, due_us = raw.pick(slice(k, None)), here_us[k:]
            yield raw.pick(slice(k))
        if late is not None and len(late):
            yield replace(late, fresh=False, until_us=None)


@dataclass(frozen=True, kw_only=True)
class DropPackets(Fault):
    """Each packet is lost whole with probability `share`, clock mark and all."""

    KIND = "drop_packets"
    share: float

    def __post_init__(self) -> None:
        self._wanted("share", 0, 1)

    def strike(self, raws: Iterator[Raw], run: Run) -> Iterator[Raw]:
        span = Span(self.when)
        fresh = False  # an epoch began with a packet that was lost
        for raw in raws:
            fresh |= raw.fresh
            if span.mask(raw)[-1] and self._chances(run, np.array([raw.packet]))[0] < self.share:
                run.count(self.KIND, len(raw))
                continue
            yield replace(raw, fresh=fresh)
            fresh = False


@dataclass(frozen=True, kw_only=True)
class Delay(Fault):
    """Packets arrive `ms` later on the host's clock. Who does not run on that clock does not see it."""

    KIND = "delay"
    ms: float

    def __post_init__(self) -> None:
        self._wanted("ms", 0, 1e7)

    def strike(self, raws: Iterator[Raw], run: Run) -> Iterator[Raw]:
        span = Span(self.when)
        for raw in raws:
            held_ns = round(self.ms * 1e6) if span.mask(raw).any() else 0
            yield replace(raw, held_ns=raw.held_ns + held_ns)


@dataclass(frozen=True, kw_only=True)
class Block(Fault):
    """Reading blocks once, for `ms` on the host's clock; 0 is for ever, until the source is closed."""

    KIND = "block"
    ms: float = 0.0

    def __post_init__(self) -> None:
        self._wanted("ms", 0, 1e9)
        if not self.when.endless:
            raise ValueError("how long a read blocks is said by ms; found for_s, for_events or for_packets")

    def strike(self, raws: Iterator[Raw], run: Run) -> Iterator[Raw]:
        span = Span(self.when)
        struck = False
        for raw in raws:
            inside = span.mask(raw)
            if inside.any() and not struck:
                struck = True
                before, raw = raw.split(int(np.argmax(inside)))
                yield before
                if run.closed.wait(self.ms / 1e3 or None):
                    return
            yield raw


@dataclass(frozen=True, kw_only=True)
class Unplug(Fault):
    """The source is gone: its driver's error, or with a length, back after that on a clock of its own."""

    KIND = "unplug"

    def strike(self, raws: Iterator[Raw], run: Run) -> Iterator[Raw]:
        span = Span(self.when)
        away = False
        for raw in raws:
            inside = span.mask(raw)
            if inside.any() and not away:
                k = int(np.argmax(inside))
                before, raw = raw.split(k)
                yield before
                if self.when.endless:
                    at_us = int(raw.at_us[0]) if len(raw) else raw.until_at_us
                    raise SourceError(f"fault: unplugged on purpose, {at_us / 1e6:.6f} s after the begin")
                inside, away = inside[k:], True
            if away:
                if inside[-1]:
                    run.count(self.KIND, len(raw))
                    continue
                run.count(self.KIND, int(inside.sum()))
                raw, away = replace(raw.pick(~inside[:-1]), fresh=True, origin_us=None), False
            yield raw


@dataclass(frozen=True, kw_only=True)
class End(Fault):
    """The stream ends, as if all were well."""

    KIND = "end"

    def strike(self, raws: Iterator[Raw], run: Run) -> Iterator[Raw]:
        span = Span(self.when)
        for raw in raws:
            inside = span.mask(raw)
            if inside.any():
                yield raw.split(int(np.argmax(inside)))[0]
                return
            yield raw
