"""The loops of the spike-driven engine, slow and obvious: whole arrays (C, H, W), one value after another."""

import numpy as np

FLUSH = np.float32(1e-30)


def taps(sizes, oy, ox):
    """Of an output its taps that lie inside the input: kernel row and column, input row and column."""
    H, W, rows, columns, stride, padding = sizes
    for a in range(rows):
        for b in range(columns):
            y, x = oy * stride + a - padding, ox * stride + b - padding
            if 0 <= y < H and 0 <= x < W:
                yield a, b, y, x


def conv(x, kernel, stride, padding, after):
    """(Cin, H, W) by (Cout, Cin, rows, columns) -> (Cout, *after[1:]), every tap by hand."""
    out = np.zeros(after)
    sizes = *x.shape[1:], *kernel.shape[2:], stride, padding
    for oy, ox in np.ndindex(*after[1:]):
        for a, b, y, x_ in taps(sizes, oy, ox):
            out[:, oy, ox] += kernel[:, :, a, b] @ x[:, y, x_]
    return out


def gathered(h, x, kernel, stride, padding):
    """h (Cout, Ho, Wo) float32 + the weights of all spikes, to the bit: in the order of rows, columns and
    channels, a value of 2 twice, in fours."""
    out = h.copy()
    sizes = *x.shape[1:], *kernel.shape[2:], stride, padding
    for oy, ox in np.ndindex(*h.shape[1:]):
        met = [
            kernel[:, c, a, b]
            for a, b, y, x_ in taps(sizes, oy, ox)
            for c in range(len(x))
            for _ in range(x[c, y, x_])
        ]
        met += [np.zeros(len(h), np.float32)] * (-len(met) % 4)
        for i in range(0, len(met), 4):
            out[:, oy, ox] += (met[i] + met[i + 1]) + (met[i + 2] + met[i + 3])
    return out


def average(x, size, step, after):
    out = np.zeros(after)
    for c, y, x_ in np.ndindex(*after):
        out[c, y, x_] = x[c, y * step : y * step + size, x_ * step : x_ * step + size].mean()
    return out


def maximum(x, size, stride, padding, after):
    out = np.zeros(after, x.dtype)
    for c, y, x_ in np.ndindex(*after):
        rows = range(max(0, y * stride - padding), min(x.shape[1], y * stride - padding + size))
        columns = range(max(0, x_ * stride - padding), min(x.shape[2], x_ * stride - padding + size))
        out[c, y, x_] = max((x[c, r, k] for r in rows for k in columns), default=0)
    return out


def joined(kind, a, b):
    a, b = a.astype(int), b.astype(int)
    return {"or": a + b - a * b, "and": a * b, "iand": (1 - a) * b, "add": a + b}[kind]


def step(h, drive, numbers):
    """One step of neurons h (..., C) in float32: membranes to carry, spikes."""
    a, threshold, p0, q0, p1, q1 = numbers.astype(np.float32)
    u = a * h + drive
    spikes = u >= threshold
    v = np.where(spikes, p1 * u + q1, p0 * u + q0)
    return np.where(abs(v) >= FLUSH, v, np.float32(0)), spikes.astype(np.uint8)


def summed(g, more, shift, numbers):
    """Whole membranes g (P, C) with sums `more`, shifted right and rounded, and how many were clipped."""
    _, _, _, soft, top = (int(n) for n in numbers)
    x = g.astype(np.int64) + ((more.astype(np.int64) + (1 << shift) // 2) >> shift)
    clipped = (x < -top) | ((x > top) & (soft != 0))
    return np.clip(x, -top, top), int(clipped.sum())


def whole_step(g, more, shift, drive, numbers):
    """A step of neurons g (P, C) in whole numbers after sums `more`: membranes, spikes, how many clipped."""
    keep, rate, half, soft, _ = (int(n) for n in numbers)
    fires, rest, spike, limit = drive.astype(np.int64)
    x, clipped = summed(g, more, shift, numbers)
    fired = x >= fires
    v = (x & keep) + ((x + half) * rate >> 16)
    v = np.where(fired, (v & soft) + rest + spike, v + rest)
    beyond = abs(v) > limit
    v = np.clip(v, -limit, limit)
    return v.astype(np.int16), fired.astype(np.uint8), clipped + int(beyond.sum())


def lists(values):
    """Values (C, H, W) as count, entries and where a pixel's begin and end: a value of v stands v times, as
    its column times C plus its channel."""
    C, H, W = values.shape
    entries, begin, end = [], [], []
    for y, x in np.ndindex(H, W):
        begin.append(len(entries))
        entries += [x * C + c for c in range(C) for _ in range(values[c, y, x])]
        end.append(len(entries))
    return (values > 0).sum(0).ravel(), entries, begin, end


def bits(values, lanes):
    """Values (C, H, W) as words of `lanes` bits, (P, J)."""
    C = len(values)
    flat = values.reshape(C, -1).T
    rows = [
        [sum(1 << int(i) for i in np.flatnonzero(row[c : c + lanes])) for c in range(0, C, lanes)]
        for row in flat
    ]
    return np.array(rows, np.uint64)


def columns_reached(occupied, wide, stride, padding, Wo):
    """Which of Wo output columns have one of the occupied (W,) input columns among theirs."""
    return [
        any(
            0 <= x < len(occupied) and occupied[x]
            for x in range(o * stride - padding, o * stride - padding + wide)
        )
        for o in range(Wo)
    ]
