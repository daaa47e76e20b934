"""Raw events on their way through faults: what a packet is before anything is checked.

A fault is a generator over `Raw` batches. It sees three clocks: `t`, which is what the faulty source says;
`at_us`, the time that has truly passed since the stream began, over all its epochs; and counts of events
and packets. Where and how long a fault acts is a `When`, by any of the true ones.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from threading import Event

import numpy as np
from numpy.typing import NDArray

from spikeline.pipeline.events import Coordinates, EventPacket, Polarities, Sensor, Times

FOREVER = 1 << 62
_UNITS = ("s", "event", "packet")


@dataclass(slots=True)
class Raw:
    """Events and a clock mark after them. Arrays are the batch's own; `t` may go anywhere.

    t, x, y, p     (n,) as in a packet
    at_us, number  (n,) int64: true time since the stream began, and the event's number in the stream;
                   negative for one that a fault has made
    until_us       what the clock says after them; None: nothing
    until_at_us    the same in true time
    packet         number of the packet that this was, or was part of
    fresh          a new epoch begins here, its window grid at `origin_us`
    held_ns        how much later than usual it arrives, on the host's clock
    """

    t: Times
    x: Coordinates
    y: Coordinates
    p: Polarities
    at_us: Times
    number: Times
    until_us: int | None
    until_at_us: int
    packet: int
    fresh: bool = False
    origin_us: int | None = None
    held_ns: int = 0

    def __len__(self) -> int:
        return len(self.t)

    def pick(self, which: NDArray[np.bool_] | NDArray[np.int64] | slice) -> "Raw":
        """The same batch with these events of it."""
        return replace(
            self,
            t=self.t[which],
            x=self.x[which],
            y=self.y[which],
            p=self.p[which],
            at_us=self.at_us[which],
            number=self.number[which],
        )

    def split(self, k: int, at_us: int | None = None) -> tuple["Raw", "Raw"]:
        """The first k events, with the clock at true time `at_us` if given, and the rest."""
        first, rest = self.pick(slice(k)), replace(self.pick(slice(k, None)), fresh=False)
        if at_us is None:
            first.until_us, first.until_at_us = None, int(self.at_us[k - 1]) if k else -1
        else:
            assert self.until_us is not None
            first.until_us, first.until_at_us = self.until_us - (self.until_at_us - at_us), at_us
        return first, rest

    def moved(self, shift_us: NDArray[np.int64]) -> "Raw":
        """With times shifted: (n + 1,), the last for the clock mark. The window grid moves with the begin,
        unless a time comes before it then."""
        t = self.t + shift_us[:-1]
        assert self.until_us is not None  # nothing has been split off yet
        until_us = self.until_us + int(shift_us[-1])
        origin_us = None if self.origin_us is None else self.origin_us + int(shift_us[0])
        if origin_us is not None and min(t.min(initial=until_us), until_us) < origin_us:
            origin_us = None
        return replace(self, t=t, until_us=until_us, origin_us=origin_us)


def joined(one: Raw, two: Raw, order_us: NDArray[np.int64]) -> Raw:
    """The events of both, in the order of `order_us` (len(one) + len(two),); all else is of `one`."""
    both = replace(
        one,
        t=np.concatenate([one.t, two.t]),
        x=np.concatenate([one.x, two.x]),
        y=np.concatenate([one.y, two.y]),
        p=np.concatenate([one.p, two.p]),
        at_us=np.concatenate([one.at_us, two.at_us]),
        number=np.concatenate([one.number, two.number]),
    )
    return both.pick(np.argsort(order_us, kind="stable"))


def raws_of(packets: Iterable[EventPacket]) -> Iterator[Raw]:
    """A source's packets as batches that may be changed."""
    epoch: int | None = None
    zero_us = reached_us = count = 0
    for number, packet in enumerate(packets):
        n = len(packet)
        fresh = packet.epoch != epoch
        if fresh:
            begin_us = int(packet.t[0]) if n else packet.until_us
            if packet.origin_us is not None:
                begin_us = packet.origin_us
            epoch, zero_us = packet.epoch, begin_us - reached_us
        t = packet.t.astype(np.int64)
        yield Raw(
            t,
            packet.x.copy(),
            packet.y.copy(),
            packet.p.copy(),
            t - zero_us,
            np.arange(count, count + n),
            packet.until_us,
            packet.until_us - zero_us,
            number,
            fresh,
            packet.origin_us if fresh else None,
        )
        count += n
        reached_us = max(reached_us, packet.until_us - zero_us)


@dataclass(frozen=True, kw_only=True)
class When:
    """From when on, and how long: by seconds, events or packets; at most one of each three.

    Without a begin: from the start. Without a length: for ever.
    """

    at_s: float | None = None
    at_event: int | None = None
    at_packet: int | None = None
    for_s: float | None = None
    for_events: int | None = None
    for_packets: int | None = None

    def __post_init__(self) -> None:
        for names in (("at_s", "at_event", "at_packet"), ("for_s", "for_events", "for_packets")):
            given = [name for name in names if getattr(self, name) is not None]
            if len(given) > 1:
                raise ValueError(f"{' and '.join(given)}; wanted one of them")
            for name in given:
                value = getattr(self, name)
                if not 0 <= value < 1e9 * (1 if name.endswith("_s") else 1_000_000):
                    raise ValueError(f"{name}={value}; wanted 0 or more")

    @property
    def endless(self) -> bool:
        return self.for_s is None and self.for_events is None and self.for_packets is None


class Span:
    """Where a `When` lies in a stream, found as its batches go by."""

    def __init__(self, when: When) -> None:
        begin = (when.at_s, when.at_event, when.at_packet)
        length = (when.for_s, when.for_events, when.for_packets)
        self._unit, self._begin = _measure(begin, 0)
        self._long_unit, self._length = _measure(length, FOREVER)
        self._end: int | None = None  # in the unit of the length, once the begin has been reached
        self._last_number = -1

    def mask(self, raw: Raw) -> NDArray[np.bool_]:
        """(n + 1,): which events are inside, and last whether an event at the clock mark would be."""
        n = len(raw)
        self._last_number = max(self._last_number, int(raw.number.max(initial=-1)))
        places = {
            "s": np.append(raw.at_us, raw.until_at_us),
            "event": np.append(raw.number, self._last_number + 1),
            "packet": np.full(n + 1, raw.packet),
        }
        inside = places[self._unit] >= self._begin
        if self._end is None and inside.any():
            if self._long_unit == self._unit:
                self._end = self._begin + self._length
            else:
                self._end = int(places[self._long_unit][np.argmax(inside)]) + self._length
        return inside if self._end is None else inside & (places[self._long_unit] < self._end)


def _measure(values: tuple[float | None, ...], default: int) -> tuple[str, int]:
    for unit, value in zip(_UNITS, values, strict=True):
        if value is not None:
            return unit, round(value * 1e6) if unit == "s" else int(value)
    return "s", default


@dataclass(slots=True)
class Run:
    """What all faults of one stream share, and what each has done to how many events."""

    sensor: Sensor
    seed: int
    closed: Event
    counts: dict[str, int] = field(default_factory=dict)

    def count(self, kind: str, events: int) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + events


def draw(seed: int, fault: int, numbers: NDArray[np.int64], salt: int = 0) -> NDArray[np.uint64]:
    """64 random bits for each number: a hash, so that they do not depend on how the stream was cut.

    The finaliser is that of SplitMix64 (Steele, Lea, Flood 2014), applied once per ingredient.
    """
    bits = np.full(len(numbers), seed & (1 << 64) - 1, np.uint64)
    for part in (np.uint64(fault), np.uint64(salt), numbers.astype(np.uint64)):
        bits = (bits ^ part) + np.uint64(0x9E3779B97F4A7C15)
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        bits = bits ^ (bits >> np.uint64(31))
    return bits


def chance(bits: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Random bits as numbers of 0 up to 1."""
    return (bits >> np.uint64(11)).astype(np.float64) / (1 << 53)
