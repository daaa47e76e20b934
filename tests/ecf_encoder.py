"""An encoder of ECF chunks, written from the description of the layout; the slow twin's other half."""

import struct


def _runs(values):
    """(value, count) of equal neighbours."""
    runs = []
    for value in values:
        if runs and runs[-1][0] == value and runs[-1][1] < 65_535:
            runs[-1][1] += 1
        else:
            runs.append([value, 1])
    return runs


def _times(t):
    out, now = bytearray(), t[0] if t else 0
    for value, count in _runs(t):
        step = value - now
        now = value
        if step > 14:
            while step:
                out.append(0xF0 | step & 15)
                step >>= 4
        out.append(step << 4 | min(count, 15))
        if count >= 15:
            out += struct.pack("<H", count)
    return bytes(out)


def _packed(values, bits):
    """Groups of four values of 24 or 12 bits in three words of 32 or 16."""
    values = [*values, *[0] * (-len(values) % 4)]
    out, third = bytearray(), bits // 3
    for a, b, c, d in zip(*(values[k::4] for k in range(4)), strict=True):
        low, mid = (1 << third) - 1, (1 << 2 * third) - 1
        words = a << third | b & low, b >> third << 2 * third | c & mid, c >> 2 * third << bits | d
        out += struct.pack("<3I" if bits == 24 else "<3H", *words)
    return bytes(out)


def _masks(x):
    out, k = bytearray(), 0
    while k < len(x):
        first, mask, last = x[k], 0, 0
        k += 1
        while k < len(x) and last < x[k] - first <= 5:
            last = x[k] - first
            mask |= 1 << (5 - last)
            k += 1
        out += struct.pack("<H", first << 5 | mask)
    return bytes(out)


def _counted(values, bits, form):
    """Runs with a count of so many bits beside the value."""
    out, most = bytearray(), (1 << bits) - 1
    for value, count in _runs(values):
        word = value << bits | min(count, most)
        out += struct.pack(form, word) + (struct.pack("<H", count) if count >= most else b"")
    return bytes(out)


def encode(t, x, y, p, mode):
    """One chunk; `mode`: "yxp" packed, "xp" packed, or "runs"."""
    t, x, y, p = ([int(v) for v in column] for column in (t, x, y, p))
    head = struct.pack("<IQ", len(t) << 2 | (mode == "yxp") << 1 | (mode == "xp"), t[0] if t else 0)
    if mode == "yxp":
        return head + _times(t) + _packed([b << 12 | a << 1 | c for a, b, c in zip(x, y, p, strict=True)], 24)
    rows = _counted(y, 5, "<H")
    if mode == "xp":
        return head + _times(t) + rows + _packed([a << 1 | c for a, c in zip(x, p, strict=True)], 12)
    return head + _times(t) + rows + _masks(x) + _counted(p, 7, "<B")
