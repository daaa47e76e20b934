"""A still picture on a screen before an event camera that looks around: the three saccades of N-MNIST.

The camera turns so that the picture runs along a triangle on the sensor (Orchard et al. 2015); PATH is how it
moved there, measured on real clips every 5 ms. Arithmetic is float64 on a raster finer than the pixels.
"""

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from spikeline.drivers.sim.array import Events, SensorArray
from spikeline.drivers.sim.camera import Readout
from spikeline.drivers.sim.handwriting import FIELD, FINE, MARGIN
from spikeline.drivers.sim.pixel import settle, step_pixels
from spikeline.drivers.sim.pixel_state import STEP_US, PixelValues
from spikeline.drivers.sim.poles import light_tile
from spikeline.drivers.sim.render import PIXELS, TILE

SIZE = 34  # of the sensor, in pixels
COLUMNS = -(-SIZE // TILE)
KNOT_US = 5_000
BLOCK_STEPS = 5
SETTLE_US = 20_000
END_US = 310_000  # the picture is back where it was

# Where the picture is, in pixels from where it starts.
PATH_X: tuple[float, ...] = (
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0.1, 0.38, 0.66, 0.95,
    1.3, 1.6, 1.75, 1.85, 1.95, 2.05, 2.12, 2.17, 2.2, 2.23, 2.35, 2.5, 2.66,
    2.9, 3.17, 3.4, 3.6, 3.77, 3.95, 4.19, 4.4, 4.55, 4.73, 4.9, 5.02, 5.1,
    5.23, 5.4, 5.53, 5.6, 5.63, 5.63, 5.57, 5.38, 4.97, 4.55, 4.11, 3.63, 3.08,
    2.58, 2.12, 1.74, 1.42, 1.15, 0.9, 0.65, 0.45, 0.3, 0.2, 0.15,
)  # fmt: skip
PATH_Y: tuple[float, ...] = (
    0, 0, 0.02, 0.07, 0.2, 0.5, 0.9, 1.45, 2.03, 2.7, 3.37, 4, 4.42,
    4.73, 4.9, 5, 5.05, 5.05, 5.03, 5, 4.98, 4.97, 4.95, 4.95, 4.91, 4.82,
    4.57, 4.15, 3.69, 3.09, 2.48, 1.95, 1.43, 1.05, 0.83, 0.67, 0.55, 0.5, 0.5,
    0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.35, 0.23, 0.22, 0.21, 0.2, 0.19, 0.18,
    0.17, 0.15, 0.13, 0.11, 0.09, 0.07, 0.07, 0.07, 0.07, 0.07, 0.07,
)  # fmt: skip


class Screen(NamedTuple):
    white: float  # light of white on a pixel
    black: float  # share of it that black still sends


class Turn(NamedTuple):
    """How this recording's saccades differ from PATH."""

    scale_x: float
    scale_y: float
    late_us: float


def watch(
    image: NDArray[np.float64], screen: Screen, turn: Turn, values: PixelValues, readout: Readout,
    camera_seed: int, draw_seed: int, duration_us: int,
) -> Events:  # fmt: skip
    """The events of one look at the picture, from 0 to `duration_us`."""
    array = SensorArray(COLUMNS, COLUMNS, values, camera_seed, readout, -SETTLE_US)
    _only_inside(array)
    x_px, y_px = (np.array(path) * scale for path, scale in ((PATH_X, turn.scale_x), (PATH_Y, turn.scale_y)))
    scratch = np.zeros((2, PIXELS), np.float32)
    blocks: list[Events] = []
    for t_us in range(-SETTLE_US, duration_us, BLOCK_STEPS * STEP_US):
        n, lost = _run_steps(
            image, x_px, y_px, turn.late_us, screen.black, screen.white, t_us, t_us == -SETTLE_US,
            array.pixels, values, np.uint64(draw_seed), scratch, scratch.view(np.uint32),
            array.block_t, array.block_pixel, array.block_p,
        )  # fmt: skip
        array.lost += lost
        events = array.send(n, t_us + BLOCK_STEPS * STEP_US)
        if t_us >= 0:
            blocks.append(events)
    t, x, y, p = (np.concatenate([block[i] for block in blocks]) for i in range(4))
    n = int(np.searchsorted(t, duration_us))
    return t[:n], x[:n], y[:n], p[:n]


def _only_inside(array: SensorArray) -> None:
    """Nothing comes from the tiles' pixels that are beyond the sensor."""
    tile, inner = np.divmod(np.arange(COLUMNS * COLUMNS * PIXELS), PIXELS)
    x, y = tile % COLUMNS * TILE + inner % TILE, tile // COLUMNS * TILE + inner // TILE
    outside = ((x >= SIZE) | (y >= SIZE)).reshape(-1, PIXELS)
    px = array.pixels
    px.theta_on[outside], px.theta_off[outside] = np.inf, np.inf
    px.noise_gain[outside], px.hot_hz[outside], px.leak[outside] = 0.0, 0.0, 0.0


@numba.njit(cache=True, nogil=True)
def _run_steps(
    image, x_px, y_px, late_us, black, white, t_us, first, px, values, seed, scratch, bits, out_t, out_pixel,
    out_p,
):  # fmt: skip
    n = 0
    lost = 0
    tiles = px.hot.shape[0]
    flags = np.zeros(tiles, np.uint8)
    painted = np.ones(tiles, np.uint8)
    offset = 0.5 * (SIZE - FIELD)
    for step in range(-1 if first else 0, BLOCK_STEPS):
        at = (t_us + (step + 1) * STEP_US - late_us) / KNOT_US
        k = min(max(int(np.floor(at)), 0), x_px.shape[0] - 2)
        w = min(max(at - k, 0.0), 1.0)
        dx = x_px[k] + w * (x_px[k + 1] - x_px[k])
        dy = y_px[k] + w * (y_px[k + 1] - y_px[k])
        for tile in range(tiles):
            for i in range(PIXELS):
                x = (tile % COLUMNS) * TILE + i % TILE
                y = (tile // COLUMNS) * TILE + i // TILE
                u = (x + 0.5 - offset - dx + MARGIN) * FINE - 0.5
                v = (y + 0.5 - offset - dy + MARGIN) * FINE - 0.5
                g = _between(image, u, v)
                scratch[0, i] = np.float32(black + (1.0 - black) * g)
            light_tile(
                tile, scratch[0], np.float32(white), px.light, px.log_light, px.a, px.b, px.z_per_light,
                px.log_table, px.a_table, px.b_table, scratch[1], bits[1],
            )  # fmt: skip
            px.hot[tile] = 1
        if step < 0:
            settle(px, values, seed, t_us)
        else:
            n, dropped = step_pixels(
                px, values, seed, t_us + step * STEP_US, painted, flags, out_t, out_pixel, out_p, n
            )
            lost += dropped
    return n, lost


@numba.njit(cache=True, nogil=True)
def _between(image, u, v):
    u = min(max(u, 0.0), image.shape[1] - 1.001)
    v = min(max(v, 0.0), image.shape[0] - 1.001)
    iu, iv = int(u), int(v)
    fu, fv = u - iu, v - iv
    top = image[iv, iu] + fu * (image[iv, iu + 1] - image[iv, iu])
    low = image[iv + 1, iu] + fu * (image[iv + 1, iu + 1] - image[iv + 1, iu])
    return top + fv * (low - top)
