"""The state of a pixel array and what makes its pixels differ: thresholds, bandwidth, noise, rebound.

Mismatch is drawn per pixel from the camera's seed alone; `pixel.py` has the equations.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikeline.drivers.sim.draws import delay_table, normal_map, uniform_map, wait_table
from spikeline.drivers.sim.render import PIXELS

STEP_US = 1_000
NEVER = 1 << 60
FREE = -NEVER  # not in reset; times before the settling are negative, so no small number will do
MAX_REBOUND = 0.95

LOG_BITS, LOG_LOW, LOG_HIGH = 11, -12, 4  # table of ln over 2^-12 .. 2^4, 2^11 parts per octave
POLE_BITS, POLE_LOW, POLE_HIGH = 8, -16, 6
LOG_SHIFT, POLE_SHIFT = np.uint32(23 - LOG_BITS), np.uint32(23 - POLE_BITS)
LOG_BASE = (127 + LOG_LOW) << LOG_BITS
POLE_BASE = (127 + POLE_LOW) << POLE_BITS
LOG_LAST = ((LOG_HIGH - LOG_LOW) << LOG_BITS) - 1
POLE_LAST = ((POLE_HIGH - POLE_LOW) << POLE_BITS) - 1


class PixelValues(NamedTuple):
    """A camera's values before mismatch, as drawn for a clip."""

    theta_on: float
    theta_off: float
    theta_spread: float  # relative, log-normal
    f_ref_hz: float  # bandwidth at I = 1
    refractory_us: float
    leak_hz: float
    noise_bright_hz: float
    noise_dark_hz: float
    noise_spread: float  # log-normal sigma over pixels, whose mean stays 1
    hot_share: float
    rebound_after_off: float
    rebound_after_on: float
    rebound_us: float
    duplicate: float
    mismatch: float = 1.0  # scales how far bandwidth, leak and reset differ from pixel to pixel
    follower_hz: float = 0.0  # bandwidth of the second pole, the source follower; 0: far above the first


class Pixels(NamedTuple):
    """State and mismatch of an array; all but the last four are (tiles, 64) or (tiles,)."""

    first: NDArray[np.float32]  # behind the first pole, where there is a second
    v: NDArray[np.float32]  # what is compared with the reference
    v_old: NDArray[np.float32]
    log_light: NDArray[np.float32]
    log_light_old: NDArray[np.float32]
    light: NDArray[np.float32]
    a: NDArray[np.float32]
    b: NDArray[np.float32]
    ref: NDArray[np.float32]  # NaN while in reset: no comparison holds
    theta_on: NDArray[np.float32]
    theta_off: NDArray[np.float32]
    leak: NDArray[np.float32]  # ln per us
    z_per_light: NDArray[np.float32]
    noise_gain: NDArray[np.float32]
    hot_hz: NDArray[np.float32]
    refractory_us: NDArray[np.int64]
    rebound_off: NDArray[np.uint16]  # probability in 1/65536 of an ON after an OFF
    rebound_on: NDArray[np.uint16]
    forced_us: NDArray[np.int64]
    forced_p: NDArray[np.uint8]
    reset_us: NDArray[np.int64]  # end of the reset, or FREE
    draws: NDArray[np.uint64]  # how many draws the pixel has used
    hot: NDArray[np.uint8]  # (tiles,) 1: the filter runs
    wake_us: NDArray[np.int64]  # (tiles,) nothing forced happens before
    log_table: NDArray[np.float32]
    a_table: NDArray[np.float32]
    b_table: NDArray[np.float32]
    waits: NDArray[np.float64]
    delays: NDArray[np.float64]


@cache
def _light_tables() -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """ln, a and b by the exponent and leading mantissa bits of a float32, at the middle of each part."""
    light = np.arange(LOG_LAST + 1, dtype=np.uint32)
    light = ((light + np.uint32(LOG_BASE)) << LOG_SHIFT) + np.uint32(1 << (22 - LOG_BITS))
    z = np.arange(POLE_LAST + 1, dtype=np.uint32)
    z = ((z + np.uint32(POLE_BASE)) << POLE_SHIFT) + np.uint32(1 << (22 - POLE_BITS))
    z64 = z.view(np.float32).astype(np.float64)
    a = -np.expm1(-z64)
    b = np.where(z64 < 1e-3, z64 / 2, 1.0 - a / z64)
    log = np.log(light.view(np.float32).astype(np.float64))
    return _rounded(log, 26), _rounded(a, 26), _rounded(b, 26)


def _rounded(values: NDArray[np.float64], bits: int) -> NDArray[np.float32]:
    """To a grid of 2^-bits, so that the last bit of a machine's exp or log cannot show."""
    grid = 2.0**bits
    return (np.round(values * grid) / grid).astype(np.float32)


def make_pixels(values: PixelValues, seed: int, tiles: int) -> Pixels:
    """A pixel array with the mismatch of camera `seed`, before it has seen any light."""
    shape = (tiles, PIXELS)
    n = tiles * PIXELS

    def normal(stream: int) -> NDArray[np.float64]:
        return normal_map(seed, stream, n).reshape(shape)

    common, only_on, only_off = normal(1), normal(2), normal(3)
    half = np.sqrt(0.5)  # ON and OFF thresholds correlate by 0.5
    spread = values.theta_spread
    on = np.maximum(values.theta_on * np.exp(spread * half * (common + only_on)), 0.05)
    off = np.maximum(values.theta_off * np.exp(spread * half * (common + only_off)), 0.05)
    leak = values.leak_hz * 1e-6 * values.theta_on * np.exp(0.4 * values.mismatch * normal(4))
    z = 2.0 * np.pi * values.f_ref_hz * np.exp(0.2 * values.mismatch * normal(5)) * STEP_US * 1e-6
    hot = uniform_map(seed, 7, n).reshape(shape) < values.hot_share
    hot_hz = np.where(hot, 5.0 + 55.0 * uniform_map(seed, 8, n).reshape(shape) ** 2, 0.0)
    latent = np.exp(-0.8 * normal(9))

    def rebound(q: float) -> NDArray[np.uint16]:
        if q <= 0.0:
            return np.zeros(shape, np.uint16)
        return (np.minimum(1.0 / (1.0 + (1.0 / q - 1.0) * latent), MAX_REBOUND) * 65535.0).astype(np.uint16)

    def level(fill: float = 0.0) -> NDArray[np.float32]:
        return np.full(shape, fill, np.float32)

    log_table, a_table, b_table = _light_tables()
    return Pixels(
        first=level(),
        v=level(),
        v_old=level(),
        log_light=level(),
        log_light_old=level(),
        light=level(1.0),
        a=level(),
        b=level(),
        ref=level(),
        theta_on=_rounded(on, 40),
        theta_off=_rounded(off, 40),
        leak=_rounded(leak, 40),
        z_per_light=_rounded(z, 40),
        noise_gain=_rounded(
            np.exp(values.noise_spread * (normal(6) - 0.5 * values.noise_spread)), 40
        ),  # mean 1
        hot_hz=_rounded(hot_hz, 40),
        refractory_us=np.maximum(
            values.refractory_us * np.exp(0.1 * values.mismatch * normal(10)), 1.0
        ).astype(np.int64),
        rebound_off=rebound(values.rebound_after_off),
        rebound_on=rebound(values.rebound_after_on),
        forced_us=np.full(shape, NEVER, np.int64),
        forced_p=np.zeros(shape, np.uint8),
        reset_us=np.full(shape, FREE, np.int64),
        draws=np.zeros(shape, np.uint64),
        hot=np.ones(tiles, np.uint8),
        wake_us=np.full(tiles, -NEVER, np.int64),
        log_table=log_table,
        a_table=a_table,
        b_table=b_table,
        waits=wait_table(),
        delays=delay_table(),
    )
