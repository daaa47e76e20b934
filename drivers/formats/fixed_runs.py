"""Runs of records of one size, decoded at once where all of them are plain and in order.

That takes a tenth of the time; anything unusual makes the caller go on record by record for a while.
"""

import numba
import numpy as np

from spikeline.drivers.formats.fixed_fields import (
    AEDAT1,
    APS,
    DVS128,
    IMU,
    NMNIST,
    SOON_US,
    SPECIAL,
    big_endian,
    count_of,
    swapped,
)

MOST_RUN = 1_024  # records
LEAST_RUN = 64
ONE, TWO = np.uint64(1), np.uint64(2)  # an index that could be negative takes longer


@numba.njit(cache=True, nogil=True)
def take_run(data, layout, width, height, t, x, y, p, before, counts):
    """Decode `data`, as many records as `t` has places. Returns how many events, or -1: not all are plain.

    Times are as counted. `before` is the count of the record before; records of other kinds are counted.
    """
    if layout == AEDAT1:
        return _run_aedat1(data, t, x, y, p, before)
    if layout == NMNIST:
        return _run_nmnist(data, t, x, y, p, before, width, height)
    words = data.view(np.uint32)
    if layout == DVS128:
        return _run_dvs128(words, t, x, y, p, before)
    events = _run_davis(words, t, x, y, p, before, width, height)
    return events if events >= 0 else _run_mixed(words, t, x, y, p, before, width, height, counts)


@numba.njit(cache=True, nogil=True)
def _run_dvs128(words, t, x, y, p, before):
    odd = np.uint32(0)
    for j in range(np.uint64(len(t))):
        address = words[TWO * j]  # its bytes are big-endian: the first one is the highest
        odd |= address & np.uint32(0x0080FFFF)
        x[j] = np.uint16(127) - np.uint16(address >> np.uint32(25))
        y[j] = np.uint16(127) - np.uint16((address >> np.uint32(16)) & np.uint32(0x7F))
        p[j] = np.uint8(1) - np.uint8((address >> np.uint32(24)) & np.uint32(1))
    for j in range(np.uint64(len(t))):
        t[j] = np.int32(swapped(words[TWO * j + ONE]))
    return len(t) if odd == 0 and _rising(t, before) else -1


@numba.njit(cache=True, nogil=True)
def _run_davis(words, t, x, y, p, before, width, height):
    odd = np.uint32(0)
    for j in range(np.uint64(len(t))):
        address = swapped(words[TWO * j])
        across = np.uint16(width - 1) - np.uint16((address >> np.uint32(12)) & np.uint32(0x3FF))
        down = np.uint16(height - 1) - np.uint16((address >> np.uint32(22)) & np.uint32(0x1FF))
        odd |= (address & np.uint32(0x80000400)) | np.uint32((across | down) & np.uint16(0x8000))
        x[j] = across
        y[j] = down
        p[j] = np.uint8((address >> np.uint32(11)) & np.uint32(1))
    for j in range(np.uint64(len(t))):
        t[j] = np.int32(swapped(words[TWO * j + ONE]))
    return len(t) if odd == 0 and _rising(t, before) else -1


@numba.njit(cache=True, nogil=True)
def _run_mixed(words, t, x, y, p, before, width, height, counts):
    """As `_run_davis`, with records of other kinds in between, which are counted."""
    events = 0
    specials = 0
    imu = 0
    odd = np.int64(0)
    for j in range(np.uint64(len(t))):
        address = swapped(words[TWO * j])
        now = np.int64(np.int32(swapped(words[TWO * j + ONE])))
        across = np.uint16(width - 1) - np.uint16((address >> np.uint32(12)) & np.uint32(0x3FF))
        down = np.uint16(height - 1) - np.uint16((address >> np.uint32(22)) & np.uint32(0x1FF))
        t[events] = now
        x[events] = across
        y[events] = down
        p[events] = np.uint8((address >> np.uint32(11)) & np.uint32(1))
        sampled = (address & np.uint32(0x80000C00)) == np.uint32(0x80000C00)
        if sampled:
            wrong = (address & np.uint32(0x3FF)) != 0 or (address >> np.uint32(28)) == np.uint32(15)
        else:
            wrong = (across | down) & np.uint16(0x8000) != 0
        odd |= (now - before) | (SOON_US - (now - before)) | -np.int64(wrong)
        before = now
        events += (address & np.uint32(0x80000400)) == 0
        imu += sampled
        specials += (address & np.uint32(0x80000400)) == np.uint32(0x400)
    if odd < 0:
        return -1
    counts[SPECIAL] += specials
    counts[IMU] += imu
    counts[APS] += len(t) - events - specials - imu
    return events


@numba.njit(cache=True, nogil=True)
def _run_aedat1(data, t, x, y, p, before):
    odd = np.uint8(0)
    for j in range(np.uint64(len(t))):
        odd |= data[6 * j] & np.uint8(0x80)
        x[j] = np.uint16(127) - np.uint16(data[6 * j + 1] >> np.uint8(1))
        y[j] = np.uint16(127) - np.uint16(data[6 * j])
        p[j] = np.uint8(1) - (data[6 * j + 1] & np.uint8(1))
        t[j] = np.int32(big_endian(data, 6 * j + 2))
    return len(t) if odd == 0 and _rising(t, before) else -1


@numba.njit(cache=True, nogil=True)
def _run_nmnist(data, t, x, y, p, before, width, height):
    odd = False
    for j in range(np.uint64(len(t))):
        odd |= data[5 * j] >= width or data[5 * j + 1] >= height
        x[j] = data[5 * j]
        y[j] = data[5 * j + 1]
        p[j] = data[5 * j + 2] >> np.uint8(7)
        t[j] = count_of(data, 5 * j, NMNIST)
    return len(t) if not odd and _rising(t, before) else -1


@numba.njit(cache=True, nogil=True)
def _rising(t, before):
    """Whether the counts go forward from `before`, each by at most SOON_US."""
    odd = (t[0] - before) | (SOON_US - (t[0] - before))
    for j in range(1, len(t)):
        step = t[j] - t[j - 1]
        odd |= step | (SOON_US - step)  # negative if either is
    return odd >= 0
