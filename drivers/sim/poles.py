"""From reflectance to the voltage that a pixel compares: log light, photoreceptor, source follower.

All tiles are (64,) float32; the equations are in pixel.py.
"""

import numba
import numpy as np

from spikeline.drivers.sim.pixel_state import (
    LOG_BASE,
    LOG_LAST,
    LOG_SHIFT,
    POLE_BASE,
    POLE_LAST,
    POLE_SHIFT,
    STEP_US,
)
from spikeline.drivers.sim.render import PIXELS

I_DARK = 0.008  # adds to the light everywhere: what limits contrast in the dark
F_MAX_HZ = 3_000.0

_F = np.float32
_FOLLOWED = _F(0.003)  # ln: a pixel this close to the light counts as having followed it


@numba.njit(cache=True, nogil=True)
def light_tile(
    tile, reflectance, illumination, light, log_light, a, b, z_per_light, log_table, a_table, b_table,
    scratch, bits,
):  # fmt: skip
    """Light one tile anew: its log light and pole from tables; `bits` is `scratch` (64,) seen as uint32."""
    dark, z_max = _F(I_DARK), _F(2.0 * np.pi * F_MAX_HZ * STEP_US * 1e-6)
    for i in range(PIXELS):
        light[tile, i] = reflectance[i] * illumination
        scratch[i] = light[tile, i] + dark
    for i in range(PIXELS):
        k = np.int64(bits[i] >> LOG_SHIFT) - LOG_BASE
        log_light[tile, i] = log_table[min(max(k, np.int64(0)), np.int64(LOG_LAST))]
    for i in range(PIXELS):
        scratch[i] = min(z_max, z_per_light[tile, i] * scratch[i])
    for i in range(PIXELS):
        k = np.int64(bits[i] >> POLE_SHIFT) - POLE_BASE
        k = min(max(k, np.int64(0)), np.int64(POLE_LAST))
        a[tile, i] = a_table[k]
        b[tile, i] = b_table[k]


@numba.njit(cache=True, nogil=True)
def filter_once(hot, painted, flags, v, v_old, now, before, a, b, ref, on, off, leak, t1):
    """The photoreceptor of every hot tile; flags[tile] = 1 if a pixel crosses or the tile falls asleep.

    Ten plain arrays and loops without branches: that is what the compiler turns into vector code.
    """
    for tile in range(hot.shape[0]):
        flags[tile] = 0
        if hot[tile] == 0:
            continue
        for i in range(PIXELS):
            old = v[tile, i]
            v_old[tile, i] = old
            v[tile, i] = (
                old + a[tile, i] * (before[tile, i] - old) + b[tile, i] * (now[tile, i] - before[tile, i])
            )
        crossing = 0
        for i in range(PIXELS):
            d = v[tile, i] - ref[tile, i] + leak[tile, i] * t1
            crossing += (d >= on[tile, i]) | (d <= -off[tile, i])
        following = 0
        for i in range(PIXELS):
            following += abs(now[tile, i] - v[tile, i]) > _FOLLOWED
            before[tile, i] = now[tile, i]
        if following == 0 and painted[tile] == 0:
            for i in range(PIXELS):
                v[tile, i] = now[tile, i]
            hot[tile] = 2  # asleep once this step's events are out
            flags[tile] = 1
        elif crossing > 0:
            flags[tile] = 1


@numba.njit(cache=True, nogil=True)
def filter_twice(hot, painted, flags, first, v, v_old, now, before, a, b, ref, on, off, leak, t1, share):
    """`filter_once` with a second pole behind the first."""
    for tile in range(hot.shape[0]):
        flags[tile] = 0
        if hot[tile] == 0:
            continue
        for i in range(PIXELS):
            old = first[tile, i]
            first[tile, i] = (
                old + a[tile, i] * (before[tile, i] - old) + b[tile, i] * (now[tile, i] - before[tile, i])
            )
            v_old[tile, i] = v[tile, i]
            v[tile, i] = v[tile, i] + share * (first[tile, i] - v[tile, i])
        crossing = 0
        following = 0
        for i in range(PIXELS):
            d = v[tile, i] - ref[tile, i] + leak[tile, i] * t1
            crossing += (d >= on[tile, i]) | (d <= -off[tile, i])
            following += abs(now[tile, i] - first[tile, i]) > _FOLLOWED
            following += abs(now[tile, i] - v[tile, i]) > _FOLLOWED
            before[tile, i] = now[tile, i]
        if following == 0 and painted[tile] == 0:
            for i in range(PIXELS):
                first[tile, i] = now[tile, i]
                v[tile, i] = now[tile, i]
            hot[tile] = 2  # asleep once this step's events are out
            flags[tile] = 1
        elif crossing > 0:
            flags[tile] = 1


@numba.njit(cache=True, nogil=True)
def follower_share(hz):
    """1 - exp(-z) of a pole in one step, by a series of its own: no libm decides an event."""
    z = 2.0 * np.pi * min(hz, F_MAX_HZ) * STEP_US * 1e-6 / 32.0
    keep = 1.0 - z * (1.0 - z * (0.5 - z * (1.0 / 6.0 - z * (1.0 / 24.0 - z / 120.0))))
    for _ in range(5):
        keep = keep * keep
    return 1.0 - keep
