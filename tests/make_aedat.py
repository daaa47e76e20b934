"""Small writers of AEDAT 1, 2 and 3, Event Stream and N-MNIST files, and their slow readers.

Both follow the tables of the formats event by event, in plain Python, and share nothing with the readers that
are tested. The readers expect whole files: no damage, no disorder.
"""

import struct

import numpy as np
from test_sources_writers import Events

CRLF = b"\r\n"
DVS128, DAVIS346 = "DVS128", "DAVIS346"
SIZES = {DVS128: (128, 128), DAVIS346: (346, 260), "DAVIS240C": (240, 180)}
SPECIAL_DVS128 = 0x8000
SPECIAL_DAVIS, APS = 0x400, 0x8000_0000


def rows(events):
    return list(zip(*(column.tolist() for column in events), strict=True))


def events_of(found):
    """Events from a list of (t, x, y, p)."""
    kinds = ("i8", "u2", "u2", "u1")
    table = list(zip(*found, strict=True)) or [()] * 4
    return Events(*(np.array(column, kind) for column, kind in zip(table, kinds, strict=True)))


def signed(count):
    return (count + (1 << 31)) % (1 << 32) - (1 << 31)


def dvs128_address(x, y, p):
    return (127 - y) << 8 | (127 - x) << 1 | (1 - p)


def davis_address(x, y, p, size):
    return (size[1] - 1 - y) << 22 | (size[0] - 1 - x) << 12 | p << 11


def imu_addresses(value):
    """The seven records of one IMU sample."""
    return [1 << 31 | code << 28 | (value & 0xFFFF) << 12 | 0xC00 for code in range(7)]


def aedat_header(version, chip=None, *, end_mark=True, ending=CRLF, extra=()):
    lines = [f"#!AER-DAT{version}", "# This is a raw AE data file - do not edit", *extra]
    if chip:
        lines.append(f"# AEChip: eu.seebetter.ini.chips.davis.{chip}")
    if end_mark:
        lines.append("#End Of ASCII Header")
    return b"".join(line.encode("latin-1") + ending for line in lines)


def aedat1(events, others=()):
    """Records; `others`: (index of the event it stands before, address, count)."""
    plain = ((dvs128_address(x, y, p), t) for t, x, y, p in rows(events))
    return b"".join(struct.pack(">Hi", a, signed(t)) for a, t in _woven(plain, others))


def aedat2(events, chip=DVS128, others=()):
    size = SIZES[chip]
    plain = (
        (dvs128_address(x, y, p) if chip == DVS128 else davis_address(x, y, p, size), t)
        for t, x, y, p in rows(events)
    )
    return b"".join(struct.pack(">Ii", a, signed(t)) for a, t in _woven(plain, others))


def _woven(plain, others):
    before = {}
    for index, address, count in others:
        before.setdefault(index, []).append((address, count))
    for index, record in enumerate(plain):
        yield from before.get(index, ())
        yield record


def slow_aedat12(body, version, chip=DVS128):
    """([(t, x, y, p)], records of other kinds)."""
    found, others = [], 0
    shift, before = 0, None
    record = struct.Struct(">Hi" if version == 1 else ">Ii")
    width, height = SIZES[chip]
    for address, count in record.iter_unpack(body[: len(body) // record.size * record.size]):
        if before is not None and before - count > 1 << 31:
            shift += 1 << 32
        before = count
        if chip == DVS128:
            x, y, p = 127 - (address >> 1 & 127), 127 - (address >> 8 & 127), 1 - (address & 1)
            event = not address & 0x8000_8000
        else:
            x, y = width - 1 - (address >> 12 & 1023), height - 1 - (address >> 22 & 511)
            p, event = address >> 11 & 1, not address & 0x8000_0400
        if event:
            found.append((count + shift, x, y, p))
        else:
            others += 1
    return found, others


def aedat3_header(version="3.1", sources=("#Source 1: DVS128",)):
    lines = [f"#!AER-DAT{version}", "#Format: RAW", *sources, "#Start-Time: 2016-09-01 10:00:00 (TZ+0200)"]
    if version != "3.0":
        lines.append("#!END-HEADER")
    return b"".join(line.encode() + CRLF for line in lines)


def aedat3_packet(kind, payload, number, *, source=1, size=8, time_at=4, overflow=0, capacity=None):
    capacity = number if capacity is None else capacity
    return struct.pack("<hhiiiiii", kind, source, size, time_at, overflow, capacity, number, number) + payload


def polarity_packet(events, *, invalid=(), old_height=None, **keywords):
    """One packet; `invalid`: indices of events marked as not valid; `old_height`: the layout of 3.0."""
    overflow = int(events.t[0]) >> 31
    words = []
    for k, (t, x, y, p) in enumerate(rows(events)):
        place = y << 2 | x << 17 if old_height is None else (old_height - 1 - y) << 4 | x << 18
        words.append(struct.pack("<II", place | p << 1 | (k not in invalid), t - (overflow << 31)))
    return aedat3_packet(1, b"".join(words), len(words), overflow=overflow, **keywords)


def aedat3(events, packet_events):
    """Polarity packets of at most so many events, none across the end of the 31-bit clock."""
    packets, start = [], 0
    for k in range(1, len(events.t) + 1):
        over = k < len(events.t) and events.t[k] >> 31 != events.t[start] >> 31
        if k == len(events.t) or k - start == packet_events or over:
            packets.append(polarity_packet(events.slice(start, k)))
            start = k
    return packets


def slow_aedat3(body, *, old_height=None):
    """[(t, x, y, p)] of the valid polarity events."""
    found, at = [], 0
    while at < len(body):
        kind, _, size, _, overflow, _, number, _ = struct.unpack_from("<hhiiiiii", body, at)
        at += 28
        for k in range(number if kind == 1 else 0):
            word, count = struct.unpack_from("<II", body, at + 8 * k)
            if old_height is None:
                x, y = word >> 17, word >> 2 & 0x7FFF
            else:
                x, y = word >> 18, old_height - 1 - (word >> 4 & 0x3FFF)
            if word & 1:
                found.append(((overflow << 31) + count, x, y, word >> 1 & 1))
        at += size * number
    return found


def es_header(width, height, kind=1, version=(2, 0, 0)):
    return b"Event Stream" + bytes((*version, kind)) + struct.pack("<HH", width, height)


def es(events, height, *, atis=False, exposures=(), resets=()):
    """Events; `exposures`: indices behind which an exposure event stands, `resets`: five reset bytes."""
    most, more, shift = (62, 63, 2) if atis else (126, 127, 1)
    out, now = bytearray(), 0
    for k, (t, x, y, p) in enumerate(rows(events)):
        step = t - now
        while step > most:
            times = min(step // more, 3 if atis else 1)
            out.append(0xFC | times if atis else 0xFF)
            step -= more * times
        out += bytes([step << shift | p << (shift - 1)]) + struct.pack("<HH", x, height - 1 - y)
        now = t
        if k in exposures:
            out += bytes([0b01]) + struct.pack("<HH", x, y)
        if k in resets:
            out += bytes([0xFC if atis else 0xFE] * 5)
    return bytes(out)


def slow_es(body, height, *, atis=False, flip_y=True):
    """([(t, x, y, p)], exposure events)."""
    found, others, at, now = [], 0, 0, 0
    while at < len(body):
        first = body[at]
        if first >= (0xFC if atis else 0xFE):
            now += (63 * (first & 3)) if atis else (127 * (first & 1))
            at += 1
            continue
        if at + 5 > len(body):
            break
        x, y = struct.unpack_from("<HH", body, at + 1)
        at += 5
        now += first >> (2 if atis else 1)
        if atis and first & 1:
            others += 1
        else:
            found.append((now, x, height - 1 - y if flip_y else y, first >> (1 if atis else 0) & 1))
    return found, others


def nmnist(events, overflows=()):
    """Records; `overflows`: indices before which 8,192 us are added to the clock."""
    out, ahead = bytearray(), 0
    for k, (t, x, y, p) in enumerate(rows(events)):
        for _ in range(list(overflows).count(k)):
            out += bytes([0, 240]) + ((t - ahead) % (1 << 23)).to_bytes(3, "big")
            ahead += 1 << 13
        out += bytes([x, y]) + (p << 23 | (t - ahead) % (1 << 23)).to_bytes(3, "big")
    return bytes(out)


def slow_nmnist(body):
    found, ahead, before = [], 0, 0
    for at in range(0, len(body) // 5 * 5, 5):
        x, y, rest = body[at], body[at + 1], int.from_bytes(body[at + 2 : at + 5], "big")
        if y == 240:
            ahead += 1 << 13
            continue
        count = rest & 0x7F_FFFF
        if before - count > 1 << 22:
            ahead += 1 << 23
        before = count
        found.append((count + ahead, x, y, rest >> 23))
    return found
