"""Events from records of one size, each an address and a counter (see fixed_fields.py for the layouts).

* A record that is impossible, or whose time leaps by more than a second, is judged with those behind it: if
  they go on regularly, it alone is damaged, or it is a true step of the clock. If they do not, the bytes are
  noise, or shifted, and `take` stops there.
* A counter that falls by more than half its range has wrapped. One that falls by less, but by more than a
  second, and stays there is a new clock: its times are again those it counts.
"""

import numba
import numpy as np

from spikeline.drivers.formats.fixed_doubt import (
    FOLLOW,
    LOOK,
    false_start,
    find_records,
    regular,
    shifted,
    taken_back,
)
from spikeline.drivers.formats.fixed_fields import (
    AMBIGUOUS,
    APS,
    BAD,
    END_US,
    EVENT,
    IMU,
    KINDS,
    OVERFLOW,
    OVERFLOW_US,
    SOON_US,
    SPECIAL,
    UNIT,
    WIDTH_US,
    ZERO,
    count_of,
    kind_of,
    place,
    step_us,
)
from spikeline.drivers.formats.fixed_runs import LEAST_RUN, MOST_RUN, take_run
from spikeline.drivers.formats.records import Bytes, Room, Step
from spikeline.drivers.formats.searched import SearchingDecoder
from spikeline.pipeline.events import Sensor

COUNTED = {
    SPECIAL: "special event",
    APS: "frame pixel (APS)",
    IMU: "IMU value",
    OVERFLOW: "time overflow",
    AMBIGUOUS: "ambiguous clock wrap",
}
STARTED, BEFORE, SHIFT = range(3)  # is there a clock; its last trusted count; what to add to it
DISORDER, FOUND = 3, 4  # see `take`
STATE = 5


class FixedDecoder(SearchingDecoder):
    """Decodes one of the layouts of fixed_fields.py."""

    def __init__(self, layout: int, sensor: Sensor) -> None:
        super().__init__()
        self.unit = UNIT[layout]
        self.beyond = FOLLOW * UNIT[layout]
        self._layout, self._sensor = layout, sensor
        self._state = np.zeros(STATE, np.int64)

    def decode(self, data: Bytes, room: Room, final: bool) -> Step:
        counts = np.zeros(KINDS, np.int64)
        width, height = self._sensor.width, self._sensor.height
        used, events, odd = take(data, self._layout, width, height, *room, self._state, counts, final)
        for kind, name in COUNTED.items():
            self.count(name, int(counts[kind]))
        return Step(used, events, odd, int(counts[BAD]), not self._state[DISORDER])

    def find(self, data: Bytes, start: int, final: bool) -> int:
        width, height = self._sensor.width, self._sensor.height
        return find_records(data, self._layout, width, height, start, final)

    def resume(self, ahead: Bytes) -> None:
        self._state[FOUND] = 1


@numba.njit(cache=True, nogil=True)
def take(data, layout, width, height, t, x, y, p, state, counts, final):
    """Decode records from the begin of `data` (uint8) into t, x, y, p.

    width, height  the sensor      final  nothing comes after `data`
    counts         (KINDS,) int64, raised; BAD: records left out because they, or their times, are damaged
    state          (STATE,) int64, zeros at first; FOUND: the first record was searched, and those behind it
                   go on regularly; on return DISORDER: an event is earlier than the one before it

    Returns (bytes used, events written, True if what follows the bytes used cannot be records).
    """
    state[DISORDER] = 0
    unit = UNIT[layout]
    n = len(data) // unit
    i = ZERO
    k = ZERO
    careful = 0  # up to here record by record
    span = MOST_RUN
    while i < n and k < len(t):
        run = min(span, n - i, len(t) - k)
        if i >= careful and run >= LEAST_RUN and state[STARTED]:
            part, e = data[i * unit : (i + run) * unit], k + run
            events = take_run(
                part, layout, width, height, t[k:e], x[k:e], y[k:e], p[k:e], state[BEFORE], counts
            )
            if events >= 0:
                i += run
                span = min(2 * span, MOST_RUN)
                state[FOUND] = 0
                state[BEFORE] = count_of(data, i * unit - unit, layout)
                if state[SHIFT] != 0:
                    for j in range(k, k + events):
                        t[j] += state[SHIFT]
                k += events
                continue
            if run > LEAST_RUN:
                span = LEAST_RUN
                continue
            careful = i + LEAST_RUN
        at = i * unit
        kind = kind_of(data, at, layout, width, height)
        damaged = kind == BAD
        if kind == OVERFLOW:
            state[SHIFT] += OVERFLOW_US
            state[BEFORE] -= OVERFLOW_US  # the clock itself stands still
        else:
            count = count_of(data, at, layout)
            step = step_us(count, state[BEFORE], WIDTH_US[layout])
            if damaged or step < -SOON_US or step > SOON_US or not state[STARTED]:
                if n - i <= LOOK and not final:
                    break
                if not state[FOUND] and not regular(data, i, n, layout, width, height):
                    return at, k, True
                if not state[STARTED]:
                    damaged = damaged or false_start(data, i, n, layout, width, height)
                elif not damaged:
                    damaged = taken_back(data, i, n, layout, width, height, state[BEFORE])
                    if not damaged and not state[FOUND] and shifted(data, i, n, layout, width, height):
                        return at, k, True
            if not damaged:
                step = _advance(count, step, layout, state, counts)
        if kind == EVENT and not damaged:
            place(data, at, layout, width, height, x, y, p, k)
            t[k] = state[BEFORE] + state[SHIFT] + step
            k += 1
        state[FOUND] = 0
        counts[BAD if damaged and kind == EVENT else kind] += 1
        i += 1
    return i * unit, k, False


@numba.njit(cache=True, nogil=True)
def _advance(count, step, layout, state, counts):
    """The clock goes on to a trusted count. Returns 0, or how late it is (negative) if it is late."""
    if step < 0 and state[STARTED]:
        state[DISORDER] = 1
    if step < -SOON_US and state[STARTED]:
        state[SHIFT] = 0  # a new clock: its times are those it counts
    if step < -SOON_US or not state[STARTED]:
        state[STARTED], state[BEFORE] = 1, count
        return 0
    if step < 0:
        return step
    if count < state[BEFORE]:
        if step > SOON_US and state[BEFORE] < END_US[layout] - SOON_US:
            counts[AMBIGUOUS] += 1  # not from the counter's very end: a new clock looks the same
        state[SHIFT] += WIDTH_US[layout]
    state[BEFORE] = count
    return 0
