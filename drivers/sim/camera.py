"""Camera presets: from which ranges a clip's pixel values are drawn, and the readout of the DVS128."""

from typing import NamedTuple

import numba
import numpy as np

from spikeline.drivers.sim.draws import Draws
from spikeline.drivers.sim.pixel_state import PixelValues

READOUT_BACKLOG_US = 250  # the DVS128's bus queue holds no more than this; what overflows is lost


class Readout(NamedTuple):
    """How events leave the array: `bus_us` apart (0: at once), with times in steps of `stamp_us`."""

    bus_us: int = 1
    stamp_us: int = 1  # a divisor of 1000


DVS128_BUS = Readout()


class Preset(NamedTuple):
    """Ranges (low, high) of a camera's values. The DVS128 ranges are fitted to real recordings."""

    width: int
    height: int
    model: str
    theta_on: tuple[float, float]
    theta_off: tuple[float, float]
    theta_spread: tuple[float, float]
    f_ref_hz: tuple[float, float]
    refractory_us: tuple[float, float]
    leak_hz: tuple[float, float]
    noise_bright_hz: tuple[float, float]
    noise_dark_hz: tuple[float, float]
    rebound_after_off: tuple[float, float]
    rebound_after_on: tuple[float, float]
    duplicate: tuple[float, float]
    readout: Readout = DVS128_BUS
    follower_hz: tuple[float, float] = (0.0, 0.0)  # of the second pole; 0: none


PRESETS: dict[str, Preset] = {
    "dvs128-fast": Preset(
        128, 128, "DVS128", (0.30, 0.45), (0.24, 0.34), (0.20, 0.35), (40, 150), (200, 400), (0.01, 0.05),
        (0.02, 0.06), (0.2, 0.6), (0.45, 0.75), (0.08, 0.20), (0.11, 0.14),
    ),
    "dvs128-slow": Preset(
        128, 128, "DVS128", (0.22, 0.32), (0.25, 0.36), (0.20, 0.35), (40, 100), (3_000, 9_000), (0.02, 0.15),
        (0.002, 0.02), (0.02, 0.2), (0.0, 0.0), (0.0, 0.0), (0.04, 0.12),
    ),
    # fitted to two recordings of a waving hand with tools/simstats.py; see docs/simulator.md
    "dvs128-hands": Preset(
        128, 128, "DVS128", (0.38, 0.50), (0.21, 0.29), (0.20, 0.32), (45, 110), (90, 160), (0.01, 0.05),
        (0.008, 0.025), (0.07, 0.2), (0.65, 0.78), (0.18, 0.28), (0.145, 0.175),
    ),
}  # fmt: skip


def draw_camera(draws: Draws, preset: Preset, middle: float) -> PixelValues:
    """Values from the preset's ranges; `middle` 1 draws from the full range, 0 takes the centre."""

    def between(low_high: tuple[float, float], log: bool = False) -> float:
        low, high = low_high
        if log and low > 0:
            centre = (low * high) ** 0.5
            return draws.log_uniform(
                low**middle * centre ** (1 - middle), high**middle * centre ** (1 - middle)
            )
        half = 0.5 * (high - low) * middle
        return draws.uniform(0.5 * (low + high) - half, 0.5 * (low + high) + half)

    values = PixelValues(
        theta_on=between(preset.theta_on),
        theta_off=between(preset.theta_off),
        theta_spread=between(preset.theta_spread),
        f_ref_hz=between(preset.f_ref_hz, log=True),
        refractory_us=between(preset.refractory_us, log=True),
        leak_hz=between(preset.leak_hz, log=True),
        noise_bright_hz=between(preset.noise_bright_hz, log=True),
        noise_dark_hz=between(preset.noise_dark_hz, log=True),
        noise_spread=draws.uniform(1.5, 2.0),
        hot_share=draws.log_uniform(1e-4, 1e-3),
        rebound_after_off=between(preset.rebound_after_off),
        rebound_after_on=between(preset.rebound_after_on),
        rebound_us=draws.uniform(600.0, 1_200.0),
        duplicate=between(preset.duplicate),
    )
    if preset.follower_hz[1] > 0.0:
        values = values._replace(follower_hz=between(preset.follower_hz, log=True))
    return values


def harder_camera(draws: Draws, values: PixelValues) -> PixelValues:
    """A camera of level hard: more noise and hot pixels, and now and then a slow source follower."""
    noise, slow = draws.log_uniform(1.0, 3.0), draws.chance(0.3)
    return values._replace(
        theta_spread=max(values.theta_spread, 0.05),
        noise_bright_hz=round(values.noise_bright_hz * noise, 6),
        noise_dark_hz=round(values.noise_dark_hz * noise, 6),
        hot_share=round(values.hot_share * draws.log_uniform(1.0, 3.0), 6),
        rebound_after_off=min(max(values.rebound_after_off, 0.0), 0.9),
        rebound_after_on=min(max(values.rebound_after_on, 0.0), 0.9),
        duplicate=min(max(values.duplicate, 0.0), 0.3),
        follower_hz=draws.log_uniform(60.0, 600.0) if slow else 0.0,
    )


@numba.njit(cache=True, nogil=True)
def read_out(t, pixel, p, n, columns, last_us, out_t, out_x, out_y, out_p, m, bus_us=1):
    """The bus: one event per `bus_us`, first come first served; a queue of READOUT_BACKLOG_US at most.

    The first n unsorted events go to out_* from index m on, pixel numbers (tile-major) as x and y.
    Events of one instant leave in an order that favours no corner of the array.
    Returns (m, time of the last event sent, events lost).
    """
    if n == 0:
        return m, last_us, 0
    first = t[0]
    for i in range(n):
        first = min(first, t[i])
    key = np.empty(n, np.int64)
    for i in range(n):
        shuffled = (np.int64(pixel[i]) * 40503) & 0x3FFFF
        key[i] = (((t[i] - first) << 18) | shuffled) << 20 | i
    key.sort()
    lost = 0
    for k in range(n):
        i = key[k] & 0xFFFFF
        now = max(t[i], last_us + bus_us)
        if now - t[i] > READOUT_BACKLOG_US:
            lost += 1
            continue
        last_us = now
        tile, inner = pixel[i] // 64, pixel[i] % 64
        out_t[m] = now
        out_x[m] = (tile % columns) * 8 + inner % 8
        out_y[m] = (tile // columns) * 8 + inner // 8
        out_p[m] = p[i]
        m += 1
    return m, last_us, lost
