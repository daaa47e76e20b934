"""Count frames through a changed lens: rotated, scaled, sheared, shifted, pulled about; counts stay whole.

A cell of the new frame reads between four cells of the old; the number that it reads is rounded up or
down at random with the right mean, since a served network never sees half an event.
"""

import math

import numba
import numpy as np
from numpy.typing import NDArray

from spikeline.pipeline.training.augment_settings import AugmentConfig

NET = 5  # points a side of the net that `elastic` pulls


def lens(H: int, W: int, config: AugmentConfig, rng: np.random.Generator) -> NDArray[np.float32]:
    """(2, H, W): for each new cell, the y and x that it reads from. Always draws equally often."""
    angle = math.radians(config.rotation_deg * rng.uniform(-1, 1))
    zoom = config.scale ** rng.uniform(-1, 1)
    shear = config.shear * rng.uniform(-1, 1)
    dy, dx = config.shift * rng.uniform(-1, 1, 2)
    pulls = rng.normal(0, 1, (2, NET, NET))
    y, x = np.mgrid[:H, :W] - np.array([(H - 1) / 2 + dy, (W - 1) / 2 + dx])[:, None, None]
    cos, sin = math.cos(angle) / zoom, math.sin(angle) / zoom
    source = np.stack([cos * y + sin * x, cos * x - sin * y])
    source[1] += shear * source[0]
    source += np.array([(H - 1) / 2, (W - 1) / 2])[:, None, None]
    if config.elastic:
        source += config.elastic * (_between(H) @ pulls @ _between(W).T)
    return source.astype(np.float32)


def _between(n: int) -> NDArray[np.float64]:
    """(n, NET): linear weights of the net's points in each of n cells."""
    at = np.linspace(0, NET - 1, n)
    return np.maximum(0, 1 - abs(at[:, None] - np.arange(NET)))


@numba.njit(cache=True, nogil=True)
def warped(sample, source, rng, out):
    """out (T, 2, H, W) = sample (T, 2, H, W) read at source (2, H, W), rounded at random; 0 outside."""
    T, C, H, W = sample.shape
    for y in range(H):
        for x in range(W):
            sy, sx = source[0, y, x], source[1, y, x]
            if not (-1 < sy < H and -1 < sx < W):
                out[:, :, y, x] = 0
                continue
            y0, x0 = math.floor(sy), math.floor(sx)
            fy, fx = sy - y0, sx - x0
            for t in range(T):
                for c in range(C):
                    mean = 0.0
                    if y0 >= 0:
                        if x0 >= 0:
                            mean += (1 - fy) * (1 - fx) * sample[t, c, y0, x0]
                        if x0 + 1 < W:
                            mean += (1 - fy) * fx * sample[t, c, y0, x0 + 1]
                    if y0 + 1 < H:
                        if x0 >= 0:
                            mean += fy * (1 - fx) * sample[t, c, y0 + 1, x0]
                        if x0 + 1 < W:
                            mean += fy * fx * sample[t, c, y0 + 1, x0 + 1]
                    out[t, c, y, x] = math.floor(mean + rng.random()) if mean > 0 else 0


@numba.njit(cache=True, nogil=True)
def thinned(counts, keep, rng):
    """Each event of counts (any number,) stays with probability `keep`; in place."""
    for i in range(counts.shape[0]):
        left = 0
        for _ in range(counts[i]):
            if rng.random() < keep:
                left += 1
        counts[i] = left
