"""Admission for files whose events come as whole columns: times that only damage explains are refused.

`Admission` believes every event; a damaged time would refuse, or begin epochs for, those behind it. So the
last events are held back until what follows has confirmed their times (see times.py), and a block of noise
between two good times is taken out first.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from spikeline.drivers.formats.times import HORIZON, in_order, ready, settle
from spikeline.pipeline.events import (
    JUMP_US,
    RESET_BACK_US,
    Admission,
    Coordinates,
    EventPacket,
    Polarities,
    Sensor,
    Times,
)

AGREE = 3  # so many times in a row without a leap are good
FEW = 2  # steps back within HORIZON events: no clock was set so often
MANY = 8  # and so many are noise whatever stands around them


class Settled(Admission):
    def __init__(self, sensor: Sensor) -> None:
        super().__init__(sensor)
        self._held = _none()

    def settle(
        self, t: Times, x: Coordinates, y: Coordinates, p: Polarities, *, final: bool = False
    ) -> Iterator[EventPacket]:
        """The events that nothing to come can cast doubt on, as packets; the arrays are changed in place.

        final  nothing comes behind these: give out all that is held
        """
        if len(self._held[0]):
            held_t, held_x, held_y, held_p = self._held
            t, x = np.concatenate((held_t, t)), np.concatenate((held_x, x))
            y, p = np.concatenate((held_y, y)), np.concatenate((held_p, p))
            self._held = _none()
        if len(noise := noisy(t)):
            self.report.refused += len(noise)
            t, x, y, p = (np.delete(t, noise), np.delete(x, noise), np.delete(y, noise), np.delete(p, noise))
        n, size = len(t), (self.sensor.width, self.sensor.height)
        if n == 0:
            return
        if in_order(t, x, y, 0, n, *size, self._last_us, self._first):
            stop = n
            sure = n if final else ready(t, 0, n, self._last_us, self._first)
        else:
            stop, sure, refused = settle(t, x, y, p, 0, n, *size, self._last_us, self._first, final)
            self.report.refused += refused
        self._held = (t[sure:stop].copy(), x[sure:stop].copy(), y[sure:stop].copy(), p[sure:stop].copy())
        yield from self.admit(t[:sure], x[:sure], y[:sure], p[:sure])

    def finish(self) -> Iterator[EventPacket]:
        yield from self.settle(*_none(), final=True)


def noisy(t: Times) -> NDArray[np.intp]:
    """Which times are noise: among several that step back by more than a second within HORIZON events, as
    no clock does, those that do not lie between the good times before and behind.

    Where noise reaches to the begin or the end there is a good time on one side only, the one with more
    events; then an event is good within a second of it.
    """
    step = np.diff(t)
    leaps = np.flatnonzero((step < -RESET_BACK_US) | (step > RESET_BACK_US))
    found = [np.empty(0, np.intp)]
    if np.count_nonzero(step[leaps] < 0) < FEW:
        return found[0]
    for leap in np.split(leaps, np.flatnonzero(np.diff(leaps) > HORIZON) + 1):
        first, behind = int(leap[0]) + 1, int(leap[-1]) + 1
        before_us, after_us = int(t[first - 1]), int(t[behind])
        backward = np.count_nonzero(step[leap] < 0)
        both = min(first, len(t) - behind) >= AGREE and -RESET_BACK_US <= after_us - before_us <= JUMP_US
        if backward >= FEW and both:
            least, most = min(before_us, after_us), max(before_us, after_us)
        elif backward >= MANY and first >= len(t) - behind:
            least, most, behind = before_us, before_us + RESET_BACK_US, len(t)
        elif backward >= MANY:
            least, most, first = after_us - RESET_BACK_US, after_us, 0
        else:
            continue
        found.append(first + np.flatnonzero((t[first:behind] < least) | (t[first:behind] > most)))
    return np.unique(np.concatenate(found))


def _none() -> tuple[Times, Coordinates, Coordinates, Polarities]:
    return np.empty(0, np.int64), np.empty(0, np.uint16), np.empty(0, np.uint16), np.empty(0, np.uint8)
