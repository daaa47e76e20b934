"""Lines of text to events: a Numba parser that reads digits as digits, so that no time is ever rounded twice.

A number is read as whole mantissa and power of ten. 1468941032.229165 seconds come out as
1468941032229165 us, which no float of 64 bits can promise; what lies below a microsecond is rounded.
"""

import numba
import numpy as np

from spikeline.pipeline.events import MAX_ABS_US

IMPOSSIBLE_US = MAX_ABS_US + 1
IMPOSSIBLE_XY = 65_535
IMPOSSIBLE_P = 2

SKIP, T, X, Y, P = range(5)  # what a column is
RANGES = 256  # ranges of bad lines told apart in one call

_MANTISSA = (1 << 63) // 10  # a mantissa below it has room for one more digit; later ones are not kept
_NL = 10
_SEPARATES = np.array([chr(byte) in " ,;\t\r" for byte in range(256)])
_ENDS = np.array([chr(byte) in " ,;\t\r\n" for byte in range(256)])  # a number
_HASH, _PERCENT, _PLUS, _MINUS, _POINT, _ZERO, _NINE, _E = 35, 37, 43, 45, 46, 48, 57, 101
_TRUE, _FALSE = np.frombuffer(b"true", np.uint8), np.frombuffer(b"false", np.uint8)


@numba.njit(cache=True, nogil=True)
def parse(data, columns, power, floor, t, x, y, p, bad):
    """Parse whole lines; return (events, bad lines, ranges of bad lines used).

    data     (bytes,) uint8; the last line needs no end
    columns  (k,) uint8: what each number of a line is (SKIP, T, X, Y, P); a line of more or fewer is bad
    power    times are in units of 10**power microseconds
    floor    times go down to the microsecond that they lie in, not to the nearest
    t x y p  room for an event of each line; p is int8: 1, 0, -1, and IMPOSSIBLE_P for any other number
    bad      (RANGES, 3) int64: first and last byte (exclusive) of runs of bad lines, and how many they are;
             when it is full, its last row takes in all that follow

    Empty lines and those that begin with # or % are neither.
    """
    n, at, size, width = 0, 0, data.shape[0], columns.shape[0]
    wrong, ranges, joins = 0, 0, False
    while at < size:  # all in one function: a call for each line or number would cost more than its work
        begin = at
        column = 0
        good = True
        while True:
            while at < size and _SEPARATES[data[at]]:
                at += 1
            if at == size or data[at] == _NL:
                break
            if column == 0 and (data[at] == _HASH or data[at] == _PERCENT):
                at = _line_end(data, at, size)
                break
            if column == width:
                good = False
                at = _line_end(data, at, size)
                break
            kind = columns[column]
            column += 1
            first, value, exponent = at, np.int64(0), np.int64(0)
            while at < size and _ZERO <= data[at] <= _NINE:
                value = 10 * value + (data[at] - _ZERO)
                at += 1
            if at == first or at - first > 17 or (at < size and not _ENDS[data[at]]):  # more than digits
                value, exponent, at = _number(data, first, size)
                if at < 0 and kind == P:
                    value, at = _word(data, first, size)
                if at < 0:
                    good = False
                    at = _line_end(data, first, size)
                    break
            if kind == T:
                exponent += power
                t[n] = value if exponent == 0 else _scaled(value, exponent, floor)
            elif kind != SKIP:
                if exponent != 0:
                    value = _whole(value, exponent)
                if kind == X:
                    x[n] = value if 0 <= value < IMPOSSIBLE_XY else IMPOSSIBLE_XY
                elif kind == Y:
                    y[n] = value if 0 <= value < IMPOSSIBLE_XY else IMPOSSIBLE_XY
                else:
                    p[n] = value if -1 <= value <= 1 else IMPOSSIBLE_P
        at = min(size, at + 1)
        if good and column == width:
            n += 1
            joins = False
        elif column or not good:
            wrong += 1
            if ranges and (joins or ranges == RANGES):
                bad[ranges - 1, 1] = at
                bad[ranges - 1, 2] += 1
            else:
                bad[ranges, 0], bad[ranges, 1], bad[ranges, 2] = begin, at, 1
                ranges += 1
            joins = True
    return n, wrong, ranges


@numba.njit(cache=True, nogil=True)
def _line_end(data, at, size):
    while at < size and data[at] != _NL:
        at += 1
    return at


@numba.njit(cache=True, nogil=True)
def _number(data, at, size):
    """(mantissa, power of ten, where it ends; -1 if it is no number)."""
    negative = data[at] == _MINUS
    if negative or data[at] == _PLUS:
        at += 1
    mantissa, exponent, digits = np.int64(0), np.int64(0), 0
    point = False
    while at < size:
        byte = data[at]
        if _ZERO <= byte <= _NINE:
            digits += 1
            if mantissa < _MANTISSA:
                mantissa = 10 * mantissa + (byte - _ZERO)
                exponent -= point
            elif not point:
                exponent += 1
        elif byte == _POINT and not point:
            point = True
        else:
            break
        at += 1
    if digits and at < size and data[at] | 32 == _E:
        at += 1
        down = at < size and data[at] == _MINUS
        if at < size and (down or data[at] == _PLUS):
            at += 1
        shift, digits = 0, 0
        while at < size and _ZERO <= data[at] <= _NINE:
            shift = min(10_000, 10 * shift + (data[at] - _ZERO))
            digits += 1
            at += 1
        exponent += -shift if down else shift
    if digits == 0 or (at < size and not _ENDS[data[at]]):
        at = -1
    return (-mantissa if negative else mantissa), exponent, at


@numba.njit(cache=True, nogil=True)
def _word(data, at, size):
    """1 for "true", 0 for "false", whatever the case, and where it ends; -1 if it is neither."""
    true = data[at] | 32 == _TRUE[0]
    word = _TRUE if true else _FALSE
    if at + len(word) > size or (at + len(word) < size and not _ENDS[data[at + len(word)]]):
        return np.int64(0), -1
    for k in range(len(word)):
        if data[at + k] | 32 != word[k]:
            return np.int64(0), -1
    return np.int64(true), at + len(word)


@numba.njit(cache=True, nogil=True)
def _scaled(mantissa, exponent, floor):
    """mantissa * 10**exponent as a whole number, to the nearest, halves away from zero, or downwards."""
    if exponent >= 0:
        for _ in range(min(exponent, 20)):
            if abs(mantissa) > MAX_ABS_US // 10:
                return IMPOSSIBLE_US
            mantissa *= 10
        return mantissa if abs(mantissa) <= MAX_ABS_US else IMPOSSIBLE_US
    if exponent < -18:
        return np.int64(-1 if floor and mantissa < 0 else 0)
    divisor = np.int64(1)
    for _ in range(-exponent):
        divisor *= 10
    if floor:
        return mantissa // divisor
    whole = abs(mantissa) // divisor
    rest = abs(mantissa) - whole * divisor
    whole += rest >= divisor - rest
    return -whole if mantissa < 0 else whole


@numba.njit(cache=True, nogil=True)
def _whole(mantissa, exponent):
    """mantissa * 10**exponent if it is a whole number; else one that no pixel and no polarity has."""
    while exponent < 0 and mantissa != 0:
        if mantissa % 10:
            return np.int64(IMPOSSIBLE_XY)
        mantissa //= 10
        exponent += 1
    return _scaled(mantissa, max(exponent, 0), False)
