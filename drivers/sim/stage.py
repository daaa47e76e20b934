"""Figures before a wall, seen by a pixel array: from keyframes of shapes to events, 5 ms at a time.

A keyframe is 5 ms; between keyframes shapes and camera move linearly in steps of 1 ms. All state (pixels,
painted shapes, the bus) is carried from block to block, so a stream costs the same at any age.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import numba
import numpy as np
from numpy.typing import NDArray

from spikeline.drivers.sim.array import Events, SensorArray
from spikeline.drivers.sim.body import painters_order
from spikeline.drivers.sim.camera import Preset, Readout
from spikeline.drivers.sim.effects import MARGIN, Effects, displacement, gains
from spikeline.drivers.sim.looks import Light, Look, Wall
from spikeline.drivers.sim.pixel import settle, step_pixels
from spikeline.drivers.sim.pixel_state import STEP_US, Pixels, PixelValues
from spikeline.drivers.sim.poles import light_tile
from spikeline.drivers.sim.render import (
    MOVED_PX,
    PIXELS,
    TILE,
    background_image,
    mark_tiles,
    paint_tile,
    shift_background,
    to_tiles,
)

KEYFRAME_US = 5_000
STEPS = KEYFRAME_US // STEP_US
SETTLE_US = 200_000  # simulated before t = 0 and thrown away


class Figure(Protocol):
    """What moves: `shapes` capsules with their looks.

    blurs  half width of each outline, px    shades  0, or how much a shadow takes from what is behind it
    """

    @property
    def looks(self) -> Sequence[Look]: ...
    @property
    def blurs(self) -> Sequence[float]: ...
    @property
    def shades(self) -> Sequence[float]: ...

    def keyframe(self, t_us: int, first: bool, shapes: NDArray[np.float64]) -> None:
        """Fill shapes (n, 7): x0, y0, r0, x1, y1, r1 in px, and depth."""


class Stage:
    """One scene before one camera, KEYFRAME_US per call of `advance`, starting SETTLE_US before t = 0."""

    def __init__(
        self, figure: Figure, preset: Preset, camera: PixelValues, readout: Readout, wall: Wall, light: Light,
        effects: Effects | None, *, camera_seed: int, draw_seed: int,
    ) -> None:  # fmt: skip
        self.figure = figure
        self.t_us = -SETTLE_US
        columns, rows = preset.width // TILE, preset.height // TILE
        tiles, count = columns * rows, len(figure.looks)
        self.array = SensorArray(columns, rows, camera, camera_seed, readout, self.t_us)
        self._camera, self._light, self._effects = camera, light, effects
        margin = MARGIN if effects is not None and effects.shakes else 0
        self._wall = background_image(
            wall.seed, preset.width + 2 * margin, preset.height + 2 * margin, wall.albedo, wall.contrast,
            wall.furniture,
        )  # fmt: skip
        inner = self._wall[margin : margin + preset.height, margin : margin + preset.width]
        self._background = to_tiles(np.ascontiguousarray(inner))
        self._looks = np.array([tuple(look) for look in figure.looks], np.float32)
        self._blurs = np.array(figure.blurs, np.float32)
        self._shades = np.array(figure.shades, np.float32)
        self._shapes = np.zeros((2, count, 7))
        self._order = np.zeros((2, count), np.int64)
        self._shift = np.zeros((2, 2))
        self._gains = np.ones(STEPS, np.float32)
        self._gain = np.zeros(1, np.float32)  # with which the tiles are lit
        self._drawn = np.zeros((count, 6), np.float32)
        self._dirty = np.ones(tiles, np.uint8)
        self._reflectance = np.zeros((tiles, PIXELS), np.float32)
        self._scratch = np.zeros(PIXELS, np.float32)
        self._draw_seed = np.uint64(draw_seed)
        self._keyframe(first=True)
        self._begin_block()
        self._drawn[:] = self._shapes[0, :, :6]
        self._run(first=True)

    @property
    def lost(self) -> int:
        """Events dropped by the bus or the per-pixel cap."""
        return self.array.lost

    @property
    def pixels(self) -> Pixels:
        return self.array.pixels

    def advance(self) -> Events:
        """The events of the next KEYFRAME_US, as new arrays; `t_us` is then the block's end."""
        end_us = self.t_us + KEYFRAME_US
        self._begin_block()
        self._keyframe()
        n = self._run()
        self.t_us = end_us
        return self.array.send(n, end_us)

    def _begin_block(self) -> None:
        self._shapes[0], self._order[0], self._shift[0] = self._shapes[1], self._order[1], self._shift[1]

    def _keyframe(self, first: bool = False) -> None:
        """Shapes at the end of the block (or, first, at its start)."""
        t_us = self.t_us if first else self.t_us + KEYFRAME_US
        shapes = self._shapes[1]
        self.figure.keyframe(t_us, first, shapes)
        if self._effects is not None:
            self._shift[1] = displacement(self._effects, t_us)
            shapes[:, [0, 3]] += self._shift[1, 0]
            shapes[:, [1, 4]] += self._shift[1, 1]
        painters_order(shapes, self._order[1])

    def _run(self, first: bool = False) -> int:
        effects, light = self._effects, self._light
        self._gains[:] = light.level
        if effects is not None:
            self._gains *= gains(effects, self.t_us, STEPS)
        moving = effects is not None and effects.shakes
        n, lost = _run_block(
            self._shapes, self._order, self._drawn, self._looks, self._blurs, self._shades, self._background,
            self._wall, self._shift, moving, self._reflectance, self._dirty, self.array.columns, light.x,
            light.y, self._gains, self._gain, self.array.pixels, self._camera, self._draw_seed, self.t_us,
            first, self._scratch, self._scratch.view(np.uint32), self.array.block_t, self.array.block_pixel,
            self.array.block_p,
        )  # fmt: skip
        self.array.lost += int(lost)
        return int(n)


@numba.njit(cache=True, nogil=True)
def _run_block(
    shapes, order, drawn, looks, blurs, shades, background, wall, shift, moving, reflectance, dirty, columns,
    light_x, light_y, gains, lit, px, values, seed, t_us, first, level, level_bits, out_t, out_pixel, out_p,
):  # fmt: skip
    """The steps of one block: move, paint what moved, filter, fire. Returns (events, events lost)."""
    n = 0
    lost = 0
    light_x, light_y = np.float32(light_x), np.float32(light_y)
    count = shapes.shape[1]
    rows = dirty.shape[0] // columns
    now = np.empty(6, np.float32)
    flags = np.zeros(dirty.shape[0], np.uint8)
    light_levels, log_light, a, b, z_per_light = px.light, px.log_light, px.a, px.b, px.z_per_light
    log_table, a_table, b_table, hot = px.log_table, px.a_table, px.b_table, px.hot
    for step in range(1 if first else STEPS):
        w = 0.0 if first else (step + 1) / STEPS
        if not first:
            for tile in range(dirty.shape[0]):
                dirty[tile] = 0
        for s in range(count):
            moved = np.float32(0.0)
            for k in range(6):
                now[k] = shapes[0, s, k] + w * (shapes[1, s, k] - shapes[0, s, k])
                moved = max(moved, abs(now[k] - drawn[s, k]))
            if moved > MOVED_PX or (step == 0 and _rank(order[0], s) != _rank(order[1], s)):
                mark_tiles(drawn[s], blurs[s], columns, rows, dirty)
                for k in range(6):
                    drawn[s, k] = now[k]
                mark_tiles(drawn[s], blurs[s], columns, rows, dirty)
        if moving:
            shift_background(
                wall, shift[0, 0] + w * (shift[1, 0] - shift[0, 0]),
                shift[0, 1] + w * (shift[1, 1] - shift[0, 1]), columns, background,
            )  # fmt: skip
            dirty[:] = 1
        relight = gains[step] != lit[0]
        lit[0] = gains[step]
        for tile in range(dirty.shape[0]):
            if dirty[tile] == 1:
                paint_tile(
                    tile, columns, background, drawn, order[1], looks, blurs, shades, light_x, light_y,
                    reflectance[tile],
                )  # fmt: skip
            if dirty[tile] == 1 or relight:
                light_tile(
                    tile, reflectance[tile], gains[step], light_levels, log_light, a, b, z_per_light,
                    log_table, a_table, b_table, level, level_bits,
                )  # fmt: skip
                hot[tile] = 1
                dirty[tile] = 1
        if first:
            settle(px, values, seed, t_us)
        else:
            n, dropped = step_pixels(
                px, values, seed, t_us + step * STEP_US, dirty, flags, out_t, out_pixel, out_p, n
            )
            lost += dropped
    return n, lost


@numba.njit(cache=True, nogil=True)
def _rank(order, shape):
    for k in range(order.shape[0]):
        if order[k] == shape:
            return k
    return -1


def all_events(
    stage: Stage, duration_us: int, before_block: Callable[[int], None] = lambda t_us: None
) -> Events:
    """Everything from t = 0 to `duration_us`: t int64, x, y uint16, p uint8 (1 ON)."""
    blocks: list[Events] = []
    while stage.t_us < duration_us:
        kept = stage.t_us >= 0
        before_block(stage.t_us)
        events = stage.advance()
        if kept:
            blocks.append(events)
    t, x, y, p = (np.concatenate([block[i] for block in blocks]) for i in range(4))
    n = int(np.searchsorted(t, duration_us))
    return t[:n], x[:n], y[:n], p[:n]
