"""Prophesee words and records, one after another in plain Python: the slow twins of the decoding kernels.

For undamaged streams only. Each gives a list of (t, x, y, p), and counts what is no event.
"""

import struct

SECOND_US = 1_000_000


class Clock:
    """Times of a counter of so many bits, unwrapped: back by more than half of it is a wrap."""

    def __init__(self, bits):
        self.width = 1 << bits
        self.last = None

    def at(self, raw):
        if self.last is None:
            self.last = raw
        else:
            t = self.last - self.last % self.width + raw
            if self.last - t > self.width // 2:
                t += self.width
            self.last = t
        return self.last


def evt2(data):
    clock, high, events, others = Clock(34), None, [], {}
    for (word,) in struct.iter_unpack("<I", data[: len(data) // 4 * 4]):
        kind = word >> 28
        if kind == 8:
            high = clock.at((word & 0xFFF_FFFF) << 6)
        elif kind < 2 and high is not None:
            events.append((high + ((word >> 22) & 63), (word >> 11) & 2047, word & 2047, kind))
        else:
            others[kind] = others.get(kind, 0) + 1
    return events, others


def evt21(data, order="little"):
    clock, high, events, others = Clock(34), None, [], {}
    for first, second in struct.iter_unpack("<II", data[: len(data) // 8 * 8]):
        mask, word = (first, second) if order == "little" else (second, first)
        kind = word >> 28
        if kind == 8:
            high = clock.at((word & 0xFFF_FFFF) << 6)
        elif kind < 2 and high is not None:
            t, x, y = high + ((word >> 22) & 63), (word >> 11) & 2047, word & 2047
            events += [(t, x + k, y, kind) for k in range(32) if mask >> k & 1]
        else:
            others[kind] = others.get(kind, 0) + 1
    return events, others


def evt3(data):
    clock, high, low, y, base, p = Clock(24), None, 0, None, None, 0
    events, others = [], {}
    for (word,) in struct.iter_unpack("<H", data[: len(data) // 2 * 2]):
        kind, value = word >> 12, word & 0xFFF
        placed = high is not None and y is not None
        if kind == 0:
            y = value & 2047
        elif kind == 2 and placed:
            events.append((high + low, value & 2047, y, value >> 11))
        elif kind == 3:
            base, p = value & 2047, value >> 11
        elif kind in (4, 5) and base is not None:
            width = 12 if kind == 4 else 8
            if placed:
                events += [(high + low, base + k, y, p) for k in range(width) if value >> k & 1]
            base += width
        elif kind == 6:
            low = value
        elif kind == 8:
            before, high = high, clock.at(value << 12)
            low = low if high == before else 0
        else:
            others[kind] = others.get(kind, 0) + 1
    return events, others


def dat(data, version=2):
    x_bits, y_bits, p_bits = (9, 8, 1) if version == 1 else (14, 14, 4)
    clock, events = Clock(32), []
    for raw, where in struct.iter_unpack("<II", data[: len(data) // 8 * 8]):
        x, y = where & ((1 << x_bits) - 1), (where >> x_bits) & ((1 << y_bits) - 1)
        events.append((clock.at(raw), x, y, (where >> (x_bits + y_bits)) & ((1 << p_bits) - 1)))
    return events, {}
