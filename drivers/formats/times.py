"""Times as recorded: the clock of few bits made one that goes on, and leaps that damage makes.

An event that is late by more than REORDER_US is refused (see `Admission`). That is right for a late event,
and wrong for what follows one flipped bit: an event an hour too early in time would refuse, or begin epochs
for, all that comes behind it. `settle` looks at what follows before it decides whom to believe.
"""

import numba
import numpy as np

from spikeline.pipeline.events import (
    JUMP_US,
    MAX_ABS_US,
    REORDER_US,
    RESET_BACK_US,
    RESET_NEAR_ZERO_US,
    RESET_TO_ZERO_US,
)

HORIZON = 1_024  # events that damage may displace and still be told from a clock that was set
_LOOK = 2 * HORIZON + 2  # events behind one, by which it is judged
_TAIL = _LOOK + HORIZON + 1  # it casts doubt on so many before it


@numba.njit(cache=True, nogil=True)
def follow(raw, last_us, width_us):
    """The time whose last bits are `raw`, going on from `last_us`.

    A step back of more than half the width is a wrap; any other is disorder, or a clock that was set. Nearly
    a whole width forward is a late time from before the wrap.
    """
    t = last_us - last_us % width_us + raw
    if last_us - t > width_us // 2:
        return t + width_us
    if t - last_us > width_us - RESET_BACK_US:
        return t - width_us
    return t


@numba.njit(cache=True, nogil=True)
def in_order(t, x, y, start, stop, width, height, last_us, first, ordered=1 << 62):
    """True if all events start..stop lie in the sensor and follow each other, and `last_us`, in time.

    ordered  from this event on the order is known
    """
    if not first and (t[start] < last_us or t[start] - last_us > JUMP_US):
        return False
    if t[start] < -MAX_ABS_US or t[stop - 1] > MAX_ABS_US or t[stop - 1] - t[start] > JUMP_US:
        return False
    return (
        _inside(x[start:stop], width)
        and _inside(y[start:stop], height)
        and _rising(t[start : min(stop, ordered + 1)])
    )


@numba.njit(cache=True, nogil=True)
def _inside(x, width):
    most = np.uint16(0)
    for i in range(x.shape[0]):
        most = max(most, x[i])
    return most < width


@numba.njit(cache=True, nogil=True)
def _rising(t):
    back = 0
    for i in range(1, t.shape[0]):
        back |= t[i] < t[i - 1]
    return back == 0


@numba.njit(cache=True, nogil=True)
def ready(t, start, stop, last_us, first):
    """Where the events end that nothing behind them can cast doubt on: before a step among the last."""
    begin = max(start, stop - _TAIL)
    if begin == start and (first or abs(t[start] - last_us) > REORDER_US):
        return start
    if begin > start:
        begin -= 1
    tail = t[begin:stop]
    far = np.int64(0)
    for i in range(1, tail.shape[0]):
        step = tail[i] - tail[i - 1]
        far |= (REORDER_US - step) | (REORDER_US + step)
    if far >= 0:
        return stop
    i = begin + 1
    while abs(t[i] - t[i - 1]) <= REORDER_US:
        i += 1
    return i


@numba.njit(cache=True, nogil=True)
def settle(t, x, y, p, start, stop, width, height, last_us, first, final):
    """Take out events outside the sensor, and short runs whose times leap away and come back.

    A run that leaps forward goes if more events behind it contradict it than it has; one that steps back
    as a reset does goes if the clock then returns to where it was. Each at most HORIZON events long.
    Returns (stop of what stays, moved together; where the certain part ends; events refused).
    """
    n = start
    for i in range(start, stop):
        if x[i] < width and y[i] < height and -MAX_ABS_US <= t[i] <= MAX_ABS_US:
            t[n], x[n], y[n], p[n] = t[i], x[i], y[i], p[i]
            n += 1
    sure = n if final else n - _LOOK
    k = start
    i = start
    while i < n:
        now = t[i]
        if k == start and first:
            before = now
        else:
            before = t[k - 1] if k > start else last_us
        if before - now > REORDER_US and i < sure:
            s = k
            while s > start and k - s <= HORIZON and t[s - 1] > now + REORDER_US:
                s -= 1
            e = k - s
            root = t[s - 1] if s > start else last_us
            rooted = s > start or not first
            if 0 < e <= HORIZON and (not rooted or (t[s] - root > REORDER_US and now >= root - REORDER_US)):
                against = 0
                while against <= e and i + against < n and t[i + against] < t[s]:
                    against += 1
                if against > e:
                    k = s
                    continue
            if _is_reset(before, now):
                r = i + 1
                most = min(n, i + HORIZON)
                there = before - max(REORDER_US, min(RESET_BACK_US, (before - now) // 4))
                while r < most and t[r] < there:
                    r += 1
                d = r - i
                if r < most:
                    with_us = 0
                    while with_us <= d and r + with_us < n and there <= t[r + with_us]:
                        with_us += 1
                    if with_us > d or (final and r + with_us == n):
                        i = r
                        continue
        t[k], x[k], y[k], p[k] = t[i], x[i], y[i], p[i]
        k += 1
        i += 1
    return k, (k if final else ready(t, start, k, last_us, first)), stop - start - (k - start)


@numba.njit(cache=True, nogil=True)
def _is_reset(before, now):
    late = before - now
    return late > RESET_BACK_US or (late >= RESET_TO_ZERO_US and now >= 0 and now < RESET_NEAR_ZERO_US)
