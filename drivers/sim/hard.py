"""What level hard adds to a clip: fingers, shadows, a thing in the hand, passers-by, bad light, shaking."""

from typing import NamedTuple

import numba
import numpy as np

from spikeline.drivers.sim.body import HEAD, LEFT_ARM, RIGHT_ARM, place
from spikeline.drivers.sim.draws import Draws
from spikeline.drivers.sim.effects import Effects, draw_effects
from spikeline.drivers.sim.looks import Look
from spikeline.drivers.sim.pose import LEAN, SHIFT_X, SHIFT_Y, cos_turns, sin_turns

FINGERS = 5  # of each hand; those that are not shown have no size
SHADOWED = (HEAD, RIGHT_ARM, RIGHT_ARM + 1, RIGHT_ARM + 2, LEFT_ARM, LEFT_ARM + 1, LEFT_ARM + 2)
_BEFORE_TORSO = 0.024  # depth at which shadows fall, on the torso and the wall behind
NOWHERE = -1000.0  # px


class Hard(NamedTuple):
    """What a clip of level hard has beyond one of level normal."""

    effects: Effects
    fingers: int
    finger_spread: float  # turns between neighbours
    shadow: float  # share of the light that is missing in it; 0: none
    shadow_x: float  # px
    shadow_y: float
    shadow_blur: float
    held: float  # length of what the idle hand holds, body units; 0: nothing
    held_side: float
    held_turn: float
    held_look: Look
    mover: int  # who walks through behind, a number of walkers.passer_by; -1: nobody
    mover_scale: float  # px of that walker's stature
    mover_from: float  # where they are at t = 0, in widths of the image
    mover_side: float  # direction, -1 or 1
    mover_floor: float  # in heights of the image
    mover_seed: int
    begin_us: float  # the hands rest until then; negative: the performance has begun before the clip
    end_us: float  # and from then on; negative: it goes on


def draw_hard(d: Draws, split_base: int, duration_s: float) -> Hard:
    """The same draws for every class. Movers in 20 % of clips, a beginning or an end inside in 30 %."""
    effects = draw_effects(d, duration_s)
    shadows, holds, moves, cut = d.chance(0.5), d.chance(0.15), d.chance(0.2), d.pick((0.7, 0.15, 0.15))
    at_us = round(d.uniform(0.2, 0.7) * duration_s * 1e6)
    return Hard(
        effects=effects,
        fingers=3 + d.below(3),
        finger_spread=d.uniform(0.01, 0.05),
        shadow=d.uniform(0.1, 0.5) if shadows else 0.0,
        shadow_x=d.uniform(-9.0, 9.0),
        shadow_y=d.uniform(-2.0, 9.0),
        shadow_blur=d.uniform(3.0, 6.0),
        held=d.uniform(0.08, 0.3) if holds else 0.0,
        held_side=-1.0 if d.chance(0.5) else 1.0,
        held_turn=d.uniform(0.0, 1.0),
        held_look=Look(
            d.uniform(0.05, 0.9), d.uniform(0.05, 0.9), d.uniform(0.2, 0.9), 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0
        ),
        mover=d.below(1 << 20) if moves else -1,
        mover_scale=d.uniform(60.0, 130.0),
        mover_from=d.uniform(-0.4, 0.6),
        mover_side=-1.0 if d.chance(0.5) else 1.0,
        mover_floor=d.uniform(0.85, 1.2),
        mover_seed=split_base + d.below(1 << 32),
        begin_us=float(at_us) if cut == 1 else -1.0,
        end_us=float(at_us) if cut == 2 else -1.0,
    )


@numba.njit(cache=True, nogil=True)
def hide(shape):
    """Put a shape (7,) where nobody sees it."""
    for k in range(6):
        shape[k] = NOWHERE
    shape[2], shape[5], shape[6] = 0.1, 0.1, 10.0


@numba.njit(cache=True, nogil=True)
def finger_shapes(body, view, pose, joints, hard, shapes):
    """Fingers of both hands into shapes (2 FINGERS, 7), and what is held into the row after them."""
    cy, sy = cos_turns(view.yaw_turns), sin_turns(view.yaw_turns)
    cr, sr = cos_turns(view.roll_turns), sin_turns(view.roll_turns)
    top, y = pose[SHIFT_X] + pose[LEAN], pose[SHIFT_Y]
    radius = 0.24 * body.hand_radius
    for i in range(2):
        wrist, tip = joints[i, 2], joints[i, 3]
        gx, gy, gz = tip[0] - wrist[0], tip[1] - wrist[1], tip[2] - wrist[2]
        n = max(np.sqrt(gx * gx + gy * gy + gz * gz), 1e-6)
        gx, gy, gz = gx / n, gy / n, gz / n
        across = max(np.sqrt(gx * gx + gy * gy), 1e-6)
        px, py = -gy / across, gx / across  # across the palm, as the camera sees it
        for f in range(FINGERS):
            row = i * FINGERS + f
            if f >= hard.fingers:
                hide(shapes[row])
                continue
            off = f - 0.5 * (hard.fingers - 1)
            c, s = cos_turns(off * hard.finger_spread), sin_turns(off * hard.finger_spread)
            dx, dy, dz = c * gx + s * px, c * gy + s * py, c * gz
            bx = tip[0] + 0.36 * off * body.hand_radius * px + 0.6 * body.hand_radius * gx
            by = tip[1] + 0.36 * off * body.hand_radius * py + 0.6 * body.hand_radius * gy
            length = body.hand_radius * (1.15 - 0.12 * abs(off))
            place(shapes, row, view, cy, sy, cr, sr, top + bx, y + by, tip[2], radius, top + bx + length * dx,
                  y + by + length * dy, tip[2] + length * dz, 0.8 * radius, 0.006)  # fmt: skip
    row = 2 * FINGERS
    if hard.held > 0.0:
        tip = joints[0 if hard.held_side < 0.0 else 1, 3]
        hx, hy = 0.5 * hard.held * cos_turns(hard.held_turn), 0.5 * hard.held * sin_turns(hard.held_turn)
        place(shapes, row, view, cy, sy, cr, sr, top + tip[0] - hx, y + tip[1] - hy, tip[2] + 0.02, 0.025,
              top + tip[0] + hx, y + tip[1] + hy, tip[2] + 0.02, 0.025, 0.008)  # fmt: skip
    else:
        hide(shapes[row])


@numba.njit(cache=True, nogil=True)
def shadow_shapes(shapes, shadowed, hard, out):
    """Copies of the shapes `shadowed` into out (n, 7), moved by the shadow's way."""
    if hard.shadow == 0.0:
        for k in range(shadowed.shape[0]):
            hide(out[k])
        return
    for k in range(shadowed.shape[0]):
        for j in range(7):
            out[k, j] = shapes[shadowed[k], j]
        out[k, 0] += hard.shadow_x
        out[k, 3] += hard.shadow_x
        out[k, 1] += hard.shadow_y
        out[k, 4] += hard.shadow_y
        out[k, 6] = _BEFORE_TORSO
