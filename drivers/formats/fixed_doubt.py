"""A doubtful record is judged by those behind it: is it one, does its time hold, are the bytes shifted?"""

import numba
import numpy as np

from spikeline.drivers.formats.fixed_fields import (
    AEDAT1,
    BAD,
    EVENT,
    OVERFLOW,
    OVERFLOW_US,
    SOON_US,
    UNIT,
    WIDTH_US,
    count_of,
    kind_of,
    step_us,
)

LOOK = 256  # records looked at, at most
CALM = 64  # records whose steps are added up
REGULAR = 24  # records that tell whether the bytes are records at all
FOLLOW = 32  # records that prove it where they were searched
FOLLOW_AT_END = 4  # where fewer are left
AGREE = 8  # so many in a row, each soon after the other, prove the clock they are on
RISING = 32  # and so do so many that only go forward
DISORDER_US = 1_000  # late by so much is no step back
MINUTE_US = 60_000_000


@numba.njit(cache=True, nogil=True)
def regular(data, i, n, layout, width, height):
    """Whether records i.. are records: nine in ten are possible, and their counts go forward."""
    unit = UNIT[layout]
    good = 0
    timed = False
    before = np.int64(0)
    stop = min(n, i + REGULAR)
    for j in range(i, stop):
        kind = kind_of(data, j * unit, layout, width, height)
        if kind == BAD:
            continue
        now = count_of(data, j * unit, layout)
        if kind == OVERFLOW:
            before -= OVERFLOW_US
            good += 1
            continue
        good += not timed or step_us(now, before, WIDTH_US[layout]) >= -DISORDER_US
        timed = True
        before = now
    return stop - i < AGREE or good * 10 >= (stop - i) * 9


@numba.njit(cache=True, nogil=True)
def taken_back(data, i, n, layout, width, height, before):
    """Whether the records behind i go on from the count `before`, and not from that of i: it is damaged."""
    unit = UNIT[layout]
    width_us = WIDTH_US[layout]
    last = count_of(data, i * unit, layout)
    leap = step_us(last, before, width_us)
    window = SOON_US if leap > 0 else min(MINUTE_US, width_us >> 3)
    gone = np.int64(0)  # since record i, if its count is right
    agree = 0  # steps in a row from 0 to SOON_US
    rising = 0  # steps in a row that go forward
    back = 0  # counts that go on from `before`
    looked = 0
    for j in range(i + 1, min(n, i + LOOK)):
        kind = kind_of(data, j * unit, layout, width, height)
        if kind == OVERFLOW:
            last -= OVERFLOW_US
            before -= OVERFLOW_US
        if kind in (BAD, OVERFLOW):
            continue
        looked += 1
        now = count_of(data, j * unit, layout)
        step = step_us(now, last, width_us)
        gone += step
        if leap > 0 and gone < -DISORDER_US and leap + gone >= -DISORDER_US:
            return True
        if -DISORDER_US <= step_us(now, before, width_us) <= window:
            back += 1
            if back == 2:
                return True
        rising = rising + 1 if step >= -DISORDER_US else 0
        agree = agree + 1 if -DISORDER_US <= step <= SOON_US else 0
        if agree == AGREE or rising == RISING:
            return False
        last = now
    return rising < looked or back * 2 > looked


@numba.njit(cache=True, nogil=True)
def false_start(data, i, n, layout, width, height):
    """Whether the very first count lies beyond the next ones, which agree among themselves."""
    unit = UNIT[layout]
    last = count_of(data, i * unit, layout)
    agree = -1
    for j in range(i + 1, min(n, i + LOOK)):
        kind = kind_of(data, j * unit, layout, width, height)
        if kind == OVERFLOW:
            last -= OVERFLOW_US
        if kind in (BAD, OVERFLOW):
            continue
        now = count_of(data, j * unit, layout)
        step = now - last
        if agree < 0:
            if step >= -DISORDER_US or step + WIDTH_US[layout] <= SOON_US:
                return False
        elif step < -DISORDER_US or step > SOON_US:
            return False
        last = now
        agree += 1
        if agree == AGREE:
            return True
    return False


@numba.njit(cache=True, nogil=True)
def shifted(data, i, n, layout, width, height):
    """Whether AEDAT 1.0 records begin at another byte. In other formats impossible addresses tell.

    A byte or two late, counts are 256 or 65,536 times what they were and look like a clock: so the calmest
    reading wins.
    """
    if layout != AEDAT1 or n - i <= AGREE:
        return False
    unit = UNIT[layout]
    least = _unrest(data, i * unit + 1, n, layout, width, height)
    for shift in range(2, unit):
        least = min(least, _unrest(data, i * unit + shift, n, layout, width, height))
    return (least + 1) * 16 < _unrest(data, i * unit, n, layout, width, height)


@numba.njit(cache=True, nogil=True)
def _unrest(data, at, n, layout, width, height):
    """Steps of time, added up, of CALM records of AEDAT 1.0 from byte `at` on.

    One that goes back, or is longer than a second, or belongs to a special record, counts as a second.
    """
    unit = UNIT[layout]
    total = np.int64(0)
    last = count_of(data, at, layout) if at + unit <= n * unit else np.int64(0)
    for _ in range(CALM):
        if at + unit > n * unit:
            break
        now = count_of(data, at, layout)
        step = step_us(now, last, WIDTH_US[layout])
        calm = 0 <= step <= SOON_US and kind_of(data, at, layout, width, height) == EVENT
        total += step if calm else SOON_US
        last = now
        at += unit
    return total


@numba.njit(cache=True, nogil=True)
def find_records(data, layout, width, height, start, final):
    """The first byte from `start` on where records begin again, or -1.

    Unless `final`, the last FOLLOW records are not searched: more must follow them. Of the bytes of one
    record, the one counts from which time runs the least.
    """
    unit = UNIT[layout]
    stop = len(data) - (FOLLOW_AT_END if final else FOLLOW) * unit
    for at in range(start, stop + 1):
        if _follow(data, at, layout, width, height) >= 0:
            best = at
            for begin in range(at + 1, min(at + unit, stop + 1)):
                span = _follow(data, begin, layout, width, height)
                if 0 <= span < _follow(data, best, layout, width, height):
                    best = begin
            return best
    return -1


@numba.njit(cache=True, nogil=True)
def _follow(data, at, layout, width, height):
    """The time that FOLLOW records (or those left) take from byte `at` on, or -1 if they are none."""
    unit = UNIT[layout]
    span = np.int64(0)
    last = np.int64(0)
    timed = False
    for k in range(min(FOLLOW, (len(data) - at) // unit)):
        kind = kind_of(data, at + k * unit, layout, width, height)
        if kind == BAD:
            return -1
        if kind == OVERFLOW:
            last -= OVERFLOW_US
        else:
            now = count_of(data, at + k * unit, layout)
            step = step_us(now, last, WIDTH_US[layout])
            if timed and (step < -DISORDER_US or step > MINUTE_US):
                return -1
            span += max(step, 0) if timed else 0
            last = now
            timed = True
    return span
