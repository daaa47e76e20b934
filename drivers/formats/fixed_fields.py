"""Fields of records of one size, each an address and a counter: AEDAT 1.0 and 2.0 (DVS128, DAVIS), N-MNIST.

    AEDAT 1.0  big-endian  uint16 address, int32 count       2.0  uint32 address, int32 count
    DVS128     address     15 (2.0: or 31) special, 8..14 y, 1..7 x, 0 polarity, inverted
    DAVIS      address     31 no event, 22..30 y, 12..21 x, 11 polarity, 10 special; both axes point backwards
               no event    IMU if bits 10 and 11 are set (28..30 which value), else a pixel of a frame (APS)
    N-MNIST    uint8 x, uint8 y, then big-endian 23 polarity, 0..22 count; y = 240 adds 2**13 us to all later

Kernels for single records; `at` is the byte where the record begins.
"""

from typing import Any

import numba
import numpy as np

AEDAT1, DVS128, DAVIS, NMNIST = range(4)  # layouts
UNIT = (6, 8, 8, 5)  # bytes of a record
WIDTH_US = (1 << 32, 1 << 32, 1 << 32, 1 << 23)  # where the counter wraps
END_US = (1 << 31, 1 << 31, 1 << 31, 1 << 23)  # the value it never reaches

EVENT, SPECIAL, APS, IMU, OVERFLOW, BAD = range(6)  # kinds of record
AMBIGUOUS = 6  # counted along with them: wraps that a new clock could have made
KINDS = 7

SOON_US = 1_000_000  # a step up to this needs no second look
OVERFLOW_Y = 240
OVERFLOW_US = 1 << 13
ZERO: Any = np.int64(0)  # for a literal 0 Numba compiles every function that is given it once more


@numba.njit(cache=True, nogil=True)
def step_us(now, before, width_us):
    """From one count to the next: the difference, or the way across the wrap."""
    step = now - before
    if step < -(width_us >> 1):
        return step + width_us
    if step > width_us - SOON_US:  # late by less than a second, and the wrap lies between
        return step - width_us
    return step


@numba.njit(cache=True, nogil=True)
def big_endian(data, at):
    return (
        (np.int64(data[at]) << 24)
        | (np.int64(data[at + 1]) << 16)
        | (np.int64(data[at + 2]) << 8)
        | np.int64(data[at + 3])
    )


@numba.njit(cache=True, nogil=True)
def swapped(word):
    return (
        (word << np.uint32(24))
        | ((word & np.uint32(0xFF00)) << np.uint32(8))
        | ((word >> np.uint32(8)) & np.uint32(0xFF00))
        | (word >> np.uint32(24))
    )


@numba.njit(cache=True, nogil=True)
def count_of(data, at, layout):
    """The counter of the record at byte `at`, signed where the format is."""
    if layout == NMNIST:
        return (np.int64(data[at + 2] & 0x7F) << 16) | (np.int64(data[at + 3]) << 8) | np.int64(data[at + 4])
    return ((big_endian(data, at + UNIT[layout] - 4)) ^ 0x80000000) - 0x80000000


@numba.njit(cache=True, nogil=True)
def kind_of(data, at, layout, width, height):
    if layout == AEDAT1:
        return SPECIAL if data[at] & 0x80 else EVENT
    if layout == NMNIST:
        if data[at + 1] == OVERFLOW_Y and height <= OVERFLOW_Y:
            return OVERFLOW
        return EVENT if data[at] < width and data[at + 1] < height else BAD
    address = big_endian(data, at)
    if layout == DVS128:
        if address & 0x7FFF0000:
            return BAD
        return SPECIAL if address & 0x80008000 else EVENT
    if address & 0x80000C00 == 0x80000C00:
        return IMU if address & 0x3FF == 0 and (address >> 28) & 7 < 7 else BAD
    if (address >> 12) & 0x3FF >= width or (address >> 22) & 0x1FF >= height:
        return BAD
    if address & 0x80000000:
        return APS
    return SPECIAL if address & 0x400 else EVENT


@numba.njit(cache=True, nogil=True)
def place(data, at, layout, width, height, x, y, p, k):
    """Coordinates, origin top left, and polarity of the record at byte `at`."""
    if layout == NMNIST:
        x[k], y[k], p[k] = data[at], data[at + 1], data[at + 2] >> 7
    elif layout == DAVIS:
        address = big_endian(data, at)
        x[k] = width - 1 - ((address >> 12) & 0x3FF)
        y[k] = height - 1 - ((address >> 22) & 0x1FF)
        p[k] = (address >> 11) & 1
    else:
        low = data[at + (1 if layout == AEDAT1 else 3)]
        x[k] = 127 - (low >> 1)
        y[k] = 127 - (data[at + (0 if layout == AEDAT1 else 2)] & 0x7F)
        p[k] = 1 - (low & 1)
