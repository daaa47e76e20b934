"""Faults of the clock: it wraps, starts anew, or is off."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from spikeline.drivers.faults.base import Fault
from spikeline.drivers.faults.raw import Raw, Run, Span

MOST_US = 10**15  # thirty years


@dataclass(frozen=True, kw_only=True)
class Wrap(Fault):
    """The clock is a counter of `bits` bits that nobody unwraps; it is 0 at `at_s`, by default the start."""

    KIND = "wrap"
    bits: int

    def __post_init__(self) -> None:
        self._wanted("bits", 10, 60)
        self._timed(length=False)

    def strike(self, raws: Iterator[Raw], run: Run) -> Iterator[Raw]:
        zero_us = round((self.when.at_s or 0) * 1e6)
        for raw in raws:
            at_us = np.append(raw.at_us, raw.until_at_us)
            assert raw.until_us is not None
            says = at_us + (raw.until_us - raw.until_at_us)
            yield raw.moved(((at_us - zero_us) & ((1 << self.bits) - 1)) - says)


@dataclass(frozen=True, kw_only=True)
class Reset(Fault):
    """The clock starts anew, at `to_us`."""

    KIND = "reset"
    to_us: int = 0

    def __post_init__(self) -> None:
        self._wanted("to_us", -MOST_US, MOST_US)
        if not self.when.endless:
            raise ValueError("a reset has no length; wanted at_s, at_event or at_packet at most")

    def strike(self, raws: Iterator[Raw], run: Run) -> Iterator[Raw]:
        span = Span(self.when)
        zero_us: int | None = None  # true time at which the clock was set
        for raw in raws:
            inside = span.mask(raw)
            at_us = np.append(raw.at_us, raw.until_at_us)
            if zero_us is None and inside.any():
                zero_us = int(at_us[np.argmax(inside)])
            assert raw.until_us is not None
            says = np.append(raw.t, raw.until_us)
            wanted = says if zero_us is None else np.where(inside, at_us - zero_us + self.to_us, says)
            yield raw.moved(wanted - says)


@dataclass(frozen=True, kw_only=True)
class Jump(Fault):
    """The clock is `us` off: back if that is less than 0."""

    KIND = "jump"
    us: int

    def __post_init__(self) -> None:
        self._wanted("us", -MOST_US, MOST_US)

    def strike(self, raws: Iterator[Raw], run: Run) -> Iterator[Raw]:
        span = Span(self.when)
        for raw in raws:
            yield raw.moved(span.mask(raw) * self.us)
