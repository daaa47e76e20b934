"""Prophesee words made by hand, one function a word, and streams of events in them."""

import struct

OTHER3 = (0xE014, 0xF123, 0x7001)  # "other" with two continued words


def cd2(t, x, y, p):
    return p << 28 | (t & 63) << 22 | x << 11 | y


def high2(t):
    return 8 << 28 | (t >> 6) & 0xFFF_FFFF


def trigger2(t, number, edge):
    return 0xA << 28 | (t & 63) << 22 | number << 8 | edge


def evt2(words):
    return struct.pack(f"<{len(words)}I", *words)


def evt21(words, order="little"):
    """`words`: 64-bit numbers."""
    if order == "legacy":
        words = [(word << 32 | word >> 32) & (1 << 64) - 1 for word in words]
    return struct.pack(f"<{len(words)}Q", *words)


def evt3(words):
    return struct.pack(f"<{len(words)}H", *words)


def events_evt2(events, *, repeat_us=None):
    """EVT2 words of (t, x, y, p): a TIME_HIGH where its value changes, or every `repeat_us`."""
    words, last = [], None
    for t, x, y, p in events:
        part = t // (repeat_us or 64)
        if part != last:
            words.append(high2(t))
        last = part
        words.append(cd2(t, x, y, p))
    return evt2(words)


def events_evt21(events, order="little"):
    """EVT2.1 words of (t, x, y, p): neighbours of one time in one word."""
    words, high, i = [], None, 0
    while i < len(events):
        t, x, y, p = events[i]
        if t >> 6 != high:
            high = t >> 6
            words.append(8 << 60 | (high & 0xFFF_FFFF) << 32)
        base, mask = x & ~31, 0
        while i < len(events):
            t2, x2, y2, p2 = events[i]
            if (t2, y2, p2, x2 & ~31) != (t, y, p, base) or mask >> (x2 & 31):
                break
            mask |= 1 << (x2 & 31)
            i += 1
        words.append(p << 60 | (t & 63) << 54 | base << 43 | y << 32 | mask)
    return evt21(words, order)


def events_evt3(events, *, vectors=True, repeat_us=None):
    """EVT3 words of (t, x, y, p); neighbours of one time and row as one vector."""
    words, last, low, row, i = [], None, None, None, 0
    while i < len(events):
        t, x, y, p = events[i]
        part = t // (repeat_us or 4_096)
        if part != last:
            words.append(0x8000 | (t >> 12) & 0xFFF)
            last, low = part, None
        if t & 0xFFF != low:
            low = t & 0xFFF
            words.append(0x6000 | low)
        if y != row:
            row = y
            words.append(y)
        base, mask, j = x & ~31, 0, i
        while j < len(events):
            t2, x2, y2, p2 = events[j]
            if (t2, y2, p2, x2 & ~31) != (t, y, p, base) or mask >> (x2 & 31):
                break
            mask |= 1 << (x2 & 31)
            j += 1
        if vectors and j - i > 1:
            words += [0x3000 | p << 11 | base, 0x4000 | mask & 0xFFF]
            words += [0x4000 | mask >> 12 & 0xFFF, 0x5000 | mask >> 24]
            i = j
        else:
            words.append(0x2000 | p << 11 | x)
            i += 1
    return evt3(words)


def events_dat(events, version=2):
    x_bits, y_bits = (9, 8) if version == 1 else (14, 14)
    return b"".join(
        struct.pack("<II", t & 0xFFFF_FFFF, x | y << x_bits | p << (x_bits + y_bits)) for t, x, y, p in events
    )


def header(name="EVT3", width=64, height=48, *, more="", end=True):
    version = {"EVT2": "2.0", "EVT21": "2.1", "EVT3": "3.0"}[name]
    text = f"% evt {version}\n% format {name};height={height};width={width}\n{more}"
    return (text + ("% end\n" if end else "")).encode()


def dat_header(width=64, height=48, *, version=2, kind=b"\x0c\x08", more=""):
    text = f"% Data file containing CD events.\n% Version {version}\n{more}"
    return (text + (f"% Width {width}\n% Height {height}\n" if width else "")).encode() + kind
