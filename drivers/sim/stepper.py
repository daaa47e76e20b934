"""The one generator behind clips and streams: keyframe by keyframe, poses to shapes to light to events.

A keyframe is 5 ms; between keyframes shapes move linearly in steps of 1 ms. All state (pixels, painted
shapes, elbows, the bus) is carried from block to block, so a stream costs the same at any age.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from spikeline.drivers.sim.body import ARM_STATE, SHAPES, body_shapes, painters_order
from spikeline.drivers.sim.camera import PRESETS, read_out
from spikeline.drivers.sim.gestures import Motion
from spikeline.drivers.sim.motion import blended_pose
from spikeline.drivers.sim.pixel import light_tile, settle, step_pixels
from spikeline.drivers.sim.pixel_state import STEP_US, make_pixels
from spikeline.drivers.sim.pose import POSE
from spikeline.drivers.sim.render import (
    MOVED_PX,
    PIXELS,
    TILE,
    background_image,
    mark_tiles,
    paint_tile,
    to_tiles,
)
from spikeline.drivers.sim.scene import Clip

KEYFRAME_US = 5_000
STEPS = KEYFRAME_US // STEP_US
SETTLE_US = 200_000  # simulated before t = 0 and thrown away
BLOCK_EVENTS = 1 << 17

Events = tuple[NDArray[np.int64], NDArray[np.uint16], NDArray[np.uint16], NDArray[np.uint8]]


class Stepper:
    """Simulate one scene, 5 ms per call of `advance`, starting SETTLE_US before t = 0.

    `motion` may be changed between calls; `turn_to` blends into another one.
    """

    def __init__(self, clip: Clip) -> None:
        preset = PRESETS[clip.preset]
        self.clip = clip
        self.t_us = -SETTLE_US
        self.lost = 0  # events dropped by the bus or the per-pixel cap
        self.motion = clip.motion
        self.idle = clip.idle
        self._next: Motion = clip.motion
        self._turn_us: tuple[int, int] | None = None  # the way to it: from, until
        self._columns, rows = preset.width // TILE, preset.height // TILE
        tiles = self._columns * rows
        wall = clip.wall
        image = background_image(
            wall.seed, preset.width, preset.height, wall.albedo, wall.contrast, wall.furniture
        )
        self._background = to_tiles(image)
        self._looks = np.array(clip.looks, np.float32)
        self.pixels = make_pixels(clip.camera, clip.camera_seed, tiles)
        self._memory = np.zeros((2, ARM_STATE))
        self.joints = np.zeros((2, 4, 3))
        self._pose = np.zeros((2, POSE))
        self._shapes = np.zeros((2, SHAPES, 7))
        self._order = np.zeros((2, SHAPES), np.int64)
        self._drawn = np.zeros((SHAPES, 6), np.float32)
        self._dirty = np.ones(tiles, np.uint8)
        self._scratch = np.zeros((2, PIXELS), np.float32)
        self._block_t = np.empty(BLOCK_EVENTS, np.int64)
        self._block_pixel = np.empty(BLOCK_EVENTS, np.int64)
        self._block_p = np.empty(BLOCK_EVENTS, np.uint8)
        self._out_t = np.empty(BLOCK_EVENTS, np.int64)
        self._out_x = np.empty(BLOCK_EVENTS, np.uint16)
        self._out_y = np.empty(BLOCK_EVENTS, np.uint16)
        self._out_p = np.empty(BLOCK_EVENTS, np.uint8)
        self._held = 0  # events read out but later than the end of the block
        self._last_out_us = -SETTLE_US - 1
        self._draw_seed = np.uint64(clip.draw_seed)
        self._keyframe(first=True)
        self._shapes[0], self._order[0] = self._shapes[1], self._order[1]
        self._drawn[:] = self._shapes[0, :, :6]
        self._light(first=True)

    def turn_to(self, motion: Motion, start_us: int, duration_us: int) -> None:
        """Blend from the present motion into another by minimum jerk, from `start_us` on."""
        self._next, self._turn_us = motion, (start_us, start_us + duration_us)

    def advance(self) -> Events:
        """The events of the next KEYFRAME_US, as new arrays; `t_us` is then the block's end."""
        end_us = self.t_us + KEYFRAME_US
        self._shapes[0], self._order[0] = self._shapes[1], self._order[1]
        self._keyframe()
        n = self._light()
        m, self._last_out_us, lost = read_out(
            self._block_t, self._block_pixel, self._block_p, n, self._columns, self._last_out_us,
            self._out_t, self._out_x, self._out_y, self._out_p, self._held,
        )  # fmt: skip
        self.lost += int(lost)
        self.t_us = end_us
        stop = int(np.searchsorted(self._out_t[:m], end_us))
        events = tuple(a[:stop].copy() for a in (self._out_t, self._out_x, self._out_y, self._out_p))
        self._held = m - stop
        for a in (self._out_t, self._out_x, self._out_y, self._out_p):
            a[: self._held] = a[stop:m].copy()
        return events  # type: ignore[return-value]

    def _keyframe(self, first: bool = False) -> None:
        """Shapes at the end of the block (or, first, at its start)."""
        t_us = self.t_us if first else self.t_us + KEYFRAME_US
        weight = 0.0
        if self._turn_us is not None:
            start_us, stop_us = self._turn_us
            weight = (t_us - start_us) / (stop_us - start_us)
            if weight >= 1.0:
                self.motion, self._turn_us, weight = self._next, None, 0.0
        _make_keyframe(
            self.motion, self._next, weight, self.idle, self.clip.body, self.clip.view, t_us * 1e-6, first,
            self._pose, self._memory, self._shapes[1], self.joints, self._order[1],
        )  # fmt: skip

    def _light(self, first: bool = False) -> int:
        clip = self.clip
        n, lost = _run_block(
            self._shapes, self._order, self._drawn, self._looks, self._background, self._dirty, self._columns,
            clip.view.blur_px, clip.light, self.pixels, clip.camera, self._draw_seed, self.t_us, first,
            self._scratch, self._scratch.view(np.uint32), self._block_t, self._block_pixel, self._block_p,
        )  # fmt: skip
        self.lost += int(lost)
        return int(n)


@numba.njit(cache=True, nogil=True)
def _make_keyframe(
    motion, following, weight, idle, body, view, t_s, first, pose, memory, shapes, joints, order
):
    """One pose (a blend of two motions where weight > 0), its shapes and their painter's order."""
    shown = blended_pose(motion, following, weight, idle, body, t_s, pose)
    body_shapes(body, view, shown, memory, first, shapes, joints)
    painters_order(shapes, order)


@numba.njit(cache=True, nogil=True)
def _run_block(
    shapes, order, drawn, looks, background, dirty, columns, blur_px, light, px, values, seed, t_us, first,
    scratch, bits, out_t, out_pixel, out_p,
):  # fmt: skip
    """The steps of one block: move, paint what moved, filter, fire. Returns (events, events lost)."""
    n = 0
    lost = 0
    blur = np.float32(blur_px)
    illumination = np.float32(light.level)
    light_x, light_y = np.float32(light.x), np.float32(light.y)
    count = shapes.shape[1]
    rows = dirty.shape[0] // columns
    now = np.empty(6, np.float32)
    flags = np.zeros(dirty.shape[0], np.uint8)
    reflectance, level, level_bits = scratch[0], scratch[1], bits[1]
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
                mark_tiles(drawn[s], blur, columns, rows, dirty)
                for k in range(6):
                    drawn[s, k] = now[k]
                mark_tiles(drawn[s], blur, columns, rows, dirty)
        for tile in range(dirty.shape[0]):
            if dirty[tile] == 1:
                paint_tile(
                    tile, columns, background, drawn, order[1], looks, blur, light_x, light_y, reflectance
                )
                light_tile(
                    tile, reflectance, illumination, light_levels, log_light, a, b, z_per_light, log_table,
                    a_table, b_table, level, level_bits,
                )  # fmt: skip
                hot[tile] = 1
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


def simulate(clip: Clip) -> Events:
    """The whole clip: t int64 us from 0 to its duration, x, y uint16, p uint8 (1 ON)."""
    stepper = Stepper(clip)
    blocks: list[Events] = []
    while stepper.t_us < clip.duration_us:
        kept = stepper.t_us >= 0
        events = stepper.advance()
        if kept:
            blocks.append(events)
    t, x, y, p = (np.concatenate([block[i] for block in blocks]) for i in range(4))
    n = int(np.searchsorted(t, clip.duration_us))
    return t[:n], x[:n], y[:n], p[:n]
