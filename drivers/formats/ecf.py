"""Prophesee's ECF codec (HDF5 filter 0x8ECF): one packed chunk in, arrays of events out.

A chunk: uint32 (n << 2 | yxp packed << 1 | xp packed), uint64 first time, then, all little-endian,

    t    bytes dt << 4 | count: dt microseconds later, so many events; count 15: it is the next uint16.
         dt 15: the low nibbles of such bytes, the first the lowest, are a longer dt without events
    yxp  4 events of 24 bits (y 12..23, x 1..11, p 0) in three uint32, if packed; else
    y    uint16 y << 5 | count; count 31: it is the next uint16
    xp   4 events of 12 bits (x 1..11, p 0) in three uint16, if packed; else
    x    uint16 x << 5 | mask: x, and x + 1 + k for each bit 4 - k of the mask
    p    bytes p << 7 | count; count 127: it is the next uint16

Every length is checked against the chunk's end and against n: a damaged chunk decodes to an error.
"""

import numba
import numpy as np

from spikeline.pipeline.events import Coordinates, Polarities, SourceError, Times

FILTER = 0x8ECF
MOST = 65_535  # events in a chunk

PARTS = {-1: "times", -2: "packed pixels", -3: "rows", -4: "columns", -5: "polarities"}


def decode(chunk: bytes, rows: int) -> tuple[Times, Coordinates, Coordinates, Polarities]:
    """The first `rows` events of a chunk; SourceError if it does not hold as many whole ones."""
    n = int.from_bytes(chunk[:4], "little") >> 2
    if len(chunk) < 12 or not rows <= n <= MOST:
        raise SourceError(f"an ECF chunk of {len(chunk)} bytes declares {n} events; wanted {rows} to {MOST}")
    t, x, y = np.empty(n, np.int64), np.empty(n, np.uint16), np.empty(n, np.uint16)
    p = np.empty(n, np.uint8)
    fault = decode_chunk(np.frombuffer(chunk, np.uint8), t, x, y, p)
    if fault < 0:
        raise SourceError(f"an ECF chunk of {len(chunk)} bytes: its {PARTS[int(fault)]} are damaged or cut")
    return t[:rows], x[:rows], y[:rows], p[:rows]


@numba.njit(cache=True, nogil=True)
def decode_chunk(data, t, x, y, p):
    """Fill t, x, y, p, whose length says how many events to expect; a fault is below zero.

    data  (bytes,) uint8, at least the 12 bytes of the head
    """
    at = _times(data, t, _u32(data, 4) | _u32(data, 8) << 32)
    if at >= 0 and data[0] & 2:
        at = _packed_yxp(data, at, x, y, p)
    elif at >= 0:
        at = _rows(data, at, y)
        if at >= 0 and data[0] & 1:
            at = _packed_xp(data, at, x, p)
        elif at >= 0:
            at = _columns(data, at, x)
            if at >= 0:
                at = _polarities(data, at, p)
    return at


@numba.njit(cache=True, nogil=True)
def _u16(data, at):
    return np.int64(data[at]) | np.int64(data[at + 1]) << 8


@numba.njit(cache=True, nogil=True)
def _u32(data, at):
    return _u16(data, at) | _u16(data, at + 2) << 16


@numba.njit(cache=True, nogil=True)
def _times(data, t, now):
    """Where the times end, or -1. `now` is the first time."""
    at, size = 12, data.shape[0]
    i, n = np.int64(0), t.shape[0]
    while i < n:
        if at >= size:
            return -1
        step, count = np.int64(data[at]) >> 4, np.int64(data[at]) & 15
        at += 1
        if step == 15:
            step, shift = count, 4
            while at < size and data[at] >> 4 == 15:
                if shift >= 60:
                    return -1
                step |= (np.int64(data[at]) & 15) << shift
                shift += 4
                at += 1
            now += step
            continue
        if count == 15:
            if at + 2 > size:
                return -1
            count = _u16(data, at)
            at += 2
        if i + count > n:
            return -1
        now += step
        t[i : i + count] = now
        i += count
    return at


@numba.njit(cache=True, nogil=True)
def _packed_yxp(data, at, x, y, p):
    n = x.shape[0]
    end = at + (n + 3) // 4 * 12
    if end > data.shape[0]:
        return -2
    for i in range(n):
        group = at + i // 4 * 12
        w0, w1, w2 = _u32(data, group), _u32(data, group + 4), _u32(data, group + 8)
        k = i & 3
        if k == 0:
            v = w0 >> 8
        elif k == 1:
            v = (w0 & 0xFF) | (w1 >> 16) << 8
        elif k == 2:
            v = (w1 & 0xFFFF) | (w2 >> 24) << 16
        else:
            v = w2 & 0xFFFFFF
        y[i], x[i], p[i] = v >> 12 & 0x7FF, v >> 1 & 0x7FF, v & 1
    return end


@numba.njit(cache=True, nogil=True)
def _packed_xp(data, at, x, p):
    n = x.shape[0]
    end = at + (n + 3) // 4 * 6
    if end > data.shape[0]:
        return -2
    for i in range(n):
        group = at + i // 4 * 6
        w0, w1, w2 = _u16(data, group), _u16(data, group + 2), _u16(data, group + 4)
        k = i & 3
        if k == 0:
            v = w0 >> 4
        elif k == 1:
            v = (w0 & 15) | (w1 >> 8) << 4
        elif k == 2:
            v = (w1 & 255) | (w2 >> 12) << 8
        else:
            v = w2 & 4095
        x[i], p[i] = v >> 1, v & 1
    return end


@numba.njit(cache=True, nogil=True)
def _rows(data, at, y):
    i, n, size = 0, y.shape[0], data.shape[0]
    while i < n:
        if at + 2 > size:
            return -3
        word = _u16(data, at)
        at += 2
        count = word & 31
        if count == 31:
            if at + 2 > size:
                return -3
            count = _u16(data, at)
            at += 2
        if count == 0 or i + count > n:
            return -3
        y[i : i + count] = word >> 5
        i += count
    return at


@numba.njit(cache=True, nogil=True)
def _columns(data, at, x):
    i, n, size = 0, x.shape[0], data.shape[0]
    while i < n:
        if at + 2 > size:
            return -4
        word = _u16(data, at)
        at += 2
        x[i] = word >> 5
        i += 1
        for k in range(5):
            if i < n and word >> (4 - k) & 1:  # bits behind the last event mean nothing: encoders leave some
                x[i] = (word >> 5) + 1 + k
                i += 1
    return at


@numba.njit(cache=True, nogil=True)
def _polarities(data, at, p):
    i, n, size = np.int64(0), p.shape[0], data.shape[0]
    while i < n:
        if at >= size:
            return -5
        value, count = data[at] >> 7, np.int64(data[at]) & 127
        at += 1
        if count == 127:
            if at + 2 > size:
                return -5
            count = _u16(data, at)
            at += 2
        if count == 0 or i + count > n:
            return -5
        p[i : i + count] = value
        i += count
    return at
