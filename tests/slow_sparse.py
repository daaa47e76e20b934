"""The loops of the spike-driven engine, slow and obvious: whole arrays (C, H, W), one value after another."""

import numpy as np

FLUSH = 1e-30


def conv(x, kernel, stride, padding, after):
    """(Cin, H, W) by (Cout, Cin, k, k) -> (Cout, *after[1:]), every tap by hand."""
    out = np.zeros(after)
    for o, i, a, b in np.argwhere(np.ones(kernel.shape, bool)):
        for y in range(after[1]):
            for x_ in range(after[2]):
                row, column = y * stride + a - padding, x_ * stride + b - padding
                if 0 <= row < x.shape[1] and 0 <= column < x.shape[2]:
                    out[o, y, x_] += kernel[o, i, a, b] * x[i, row, column]
    return out


def average(x, size, step, after):
    out = np.zeros(after)
    for c, y, x_ in np.argwhere(np.ones(after, bool)):
        out[c, y, x_] = x[c, y * step : y * step + size, x_ * step : x_ * step + size].mean()
    return out


def maximum(x, size, stride, padding, after):
    out = np.zeros(after, x.dtype)
    for c, y, x_ in np.argwhere(np.ones(after, bool)):
        rows = range(max(0, y * stride - padding), min(x.shape[1], y * stride - padding + size))
        columns = range(max(0, x_ * stride - padding), min(x.shape[2], x_ * stride - padding + size))
        out[c, y, x_] = max((x[c, r, k] for r in rows for k in columns), default=0)
    return out


def joined(kind, a, b):
    a, b = a.astype(int), b.astype(int)
    return {"or": a + b - a * b, "and": a * b, "iand": (1 - a) * b, "add": a + b}[kind]


def step(h, drive, numbers):
    """One step of neurons h (P, C) in float32: membranes to carry, spikes."""
    a, threshold, p0, q0, p1, q1 = (np.float32(n) for n in numbers)
    after, spikes = h.copy(), np.zeros(h.shape, np.uint8)
    for p, c in np.argwhere(np.ones(h.shape, bool)):
        u = np.float32(np.float32(a * h[p, c]) + drive[c])
        spikes[p, c] = u >= threshold
        v = np.float32(p1 * u) + q1 if spikes[p, c] else np.float32(p0 * u) + q0
        after[p, c] = v if abs(v) >= FLUSH else 0
    return after, spikes


def whole_step(g, more, shift, drive, numbers):
    """A step of neurons g (P, C) in whole numbers after sums `more`: membranes, spikes, how many clipped."""
    keep, rate, half, soft, top, _ = (int(n) for n in numbers)
    after, spikes, clipped = g.copy(), np.zeros(g.shape, np.uint8), 0
    for p, c in np.argwhere(np.ones(g.shape, bool)):
        fires, rest, spike, limit = (int(n) for n in drive[:, c])
        x = int(g[p, c]) + ((int(more[p, c]) + (1 << shift) // 2) >> shift)
        clipped += x < -top or (x > top and soft != 0)
        x = max(-top, min(top, x))
        v = (x if keep else 0) + ((x + half) * rate >> 16)
        spikes[p, c] = x >= fires
        v = (v if soft or x < fires else 0) + rest + (spike if x >= fires else 0)
        clipped += abs(v) > limit
        after[p, c] = max(-limit, min(limit, v))
    return after, spikes, clipped


def lists(values):
    """Values (P, C) as count, first, entries, channels: a value of v stands v times."""
    channels = [[c for c in range(values.shape[1]) for _ in range(values[p, c])] for p in range(len(values))]
    entries = [len(row) for row in channels]
    first = np.concatenate([[0], np.cumsum(entries)[:-1]])
    return (values > 0).sum(1), first, np.array(entries), [c for row in channels for c in row]
