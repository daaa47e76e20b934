"""The slow, obvious versions: what kernels and streams are compared with."""

import numpy as np


def count_frame(x, y, p, cells, n_cells):
    """Counts (2, n_cells) uint16 stopping at 65,535, and how many fell outside or did not fit."""
    frame = np.zeros((2, n_cells), np.int64)
    outside = 0
    for i in range(len(x)):
        cell = cells[y[i], x[i]]
        if cell < 0:
            outside += 1
        else:
            frame[p[i], cell] += 1
    saturated = int((frame - np.minimum(frame, 65_535)).sum())
    return np.minimum(frame, 65_535).astype(np.uint16), outside, saturated


def time_windows(t, until_us, origin_us, dt_us, hop_us):
    """[(start, end, indices)] of all windows closed when the clock reaches until_us."""
    windows = []
    start = origin_us
    while start + dt_us <= until_us:
        inside = [i for i in range(len(t)) if start <= t[i] < start + dt_us]
        windows.append((start, start + dt_us, inside))
        start += hop_us
    return windows


def mean_of_last(outputs, ran, T):
    """The readout after the last of these steps: mean of the outputs that were run among the last T."""
    recent = [o for o, r in list(zip(outputs, ran, strict=True))[-T:] if r]
    return np.mean(recent, axis=0) if recent else np.zeros_like(outputs[0])


def synops(x, weight, stride, padding):
    """Weight taps met by nonzero inputs of one image x (C, H, W), of those inside the output."""
    out, _, k, _ = weight.shape
    _, H, W = x.shape
    Ho, Wo = (H + 2 * padding - k) // stride + 1, (W + 2 * padding - k) // stride + 1
    total = 0
    for oy in range(Ho):
        for ox in range(Wo):
            for i in range(k):
                for j in range(k):
                    iy, ix = oy * stride + i - padding, ox * stride + j - padding
                    if 0 <= iy < H and 0 <= ix < W:
                        total += out * int((x[:, iy, ix] != 0).sum())
    return total
