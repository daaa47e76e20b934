"""What bodies do when they do no gesture: rest, fidget, sway, scratch, lean, begin and give up.

Coordinates and the layout of a pose are those of pose.py.
"""

from typing import NamedTuple

import numba

from spikeline.drivers.sim.gestures import gesture_pose
from spikeline.drivers.sim.pose import (
    HEAD_X,
    HEAD_Y,
    LEAN,
    LEFT,
    RIGHT,
    SHIFT_X,
    SHIFT_Y,
    arm_of,
    blend_arm,
    min_jerk,
    put_arm,
    sin_turns,
)

PLAIN_NONE_VARIANTS, NONE_VARIANTS = 10, 14
EMPTY_ROOM, STANDING, HALF_GESTURE = 0, 1, 5


class Idle(NamedTuple):
    """What the body does by itself: resting arms, fidgeting, sway, breath."""

    right_rest: int  # 0 hanging, 1 on the hip, 2 before the belly, 3 behind the back
    left_rest: int
    right_dx: float
    right_dy: float
    left_dx: float
    left_dy: float
    fidget: float  # 0 none, -1 right hand, +1 left hand
    fidget_hz: float
    fidget_phase: float
    fidget_amp: float
    sway: float
    sway_hz: float
    sway_phase: float
    nod: float
    nod_hz: float


@numba.njit(cache=True, nogil=True)
def rest_pose(idle, half_width, reach, t_s, pose):
    """The body at rest at `t_s`, fidgeting and sway included."""
    _rest_arm(pose, -1.0, idle.right_rest, idle.right_dx, idle.right_dy, half_width, reach)
    _rest_arm(pose, 1.0, idle.left_rest, idle.left_dx, idle.left_dy, half_width, reach)
    if idle.fidget != 0.0:
        u = idle.fidget_hz * t_s + idle.fidget_phase
        on = min_jerk(1.2 * sin_turns(0.31 * u) + 0.4)
        arm = arm_of(idle.fidget)
        pose[arm] += idle.fidget_amp * on * sin_turns(u)
        pose[arm + 1] -= idle.fidget_amp * on * (1.0 + 0.6 * sin_turns(1.7 * u + 0.2))
        pose[arm + 2] += idle.fidget_amp * on
    pose[SHIFT_X] = idle.sway * sin_turns(idle.sway_hz * t_s + idle.sway_phase)
    pose[SHIFT_Y] = 0.3 * idle.sway * sin_turns(0.63 * idle.sway_hz * t_s + 2.0 * idle.sway_phase)
    pose[HEAD_X] = idle.nod * sin_turns(idle.nod_hz * t_s + idle.sway_phase)
    pose[HEAD_Y] = 0.6 * idle.nod * sin_turns(0.7 * idle.nod_hz * t_s)
    pose[LEAN] = 0.5 * idle.sway * sin_turns(0.8 * idle.sway_hz * t_s + 0.3)


@numba.njit(cache=True, nogil=True)
def none_pose(m, body, half_width, u, a, t_s, pose):
    """Everything that is no gesture: empty room, standing, and what people do while they wait."""
    v, side = m.variant, m.side
    arm = arm_of(side)
    outer = side * (half_width + 0.2)
    slow = min_jerk(0.5 + 0.9 * sin_turns(0.35 * u))  # up and down again with holds
    if v == EMPTY_ROOM:
        pose[SHIFT_X] = 10.0
    elif v == 2:  # fidgeting with both hands before the belly
        for s in (-1.0, 1.0):
            put_arm(pose, arm_of(s), s * 0.03 + m.dx + 0.03 * a * sin_turns(u + 0.2 * s),
                    0.3 + m.dy + 0.03 * a * sin_turns(1.3 * u + 0.3 * s), 0.24,
                    s * (half_width + 0.15), 0.3, 0.0)  # fmt: skip
    elif v == 3 or v == 7:  # scratching, hair, glasses, phone: the hand goes up to the head and stays a while
        shake = 0.025 * a * sin_turns(3.0 * u) if v == 3 else 0.006 * sin_turns(u)
        _blend(pose, arm, slow, side * (0.07 + abs(m.dx)) + shake, -0.2 + m.dy + shake, 0.15,
               side * (half_width + 0.25), 0.1, 0.1)  # fmt: skip
    elif v == 4:  # crossed arms
        for s in (-1.0, 1.0):
            put_arm(pose, arm_of(s), -s * 0.12 + 0.01 * sin_turns(0.4 * u), 0.2 + m.dy + 0.02 * s,
                    0.16 + 0.03 * s, s * (half_width + 0.2), 0.32, 0.0)  # fmt: skip
        pose[SHIFT_X] += 0.02 * a * sin_turns(0.25 * u)
    elif v == HALF_GESTURE:  # up to the pose of a gesture, a moment there, and down again
        saved = pose.copy()
        frozen = m.wander_phase + 0.05 * sin_turns(0.4 * u)
        gesture_pose(m, m.half_of, body, half_width, frozen, a, t_s, pose)
        blend_arm(saved, pose, RIGHT, slow)
        blend_arm(saved, pose, LEFT, slow)
    elif v == 6:  # leaning over and back
        pose[LEAN] += 0.12 * a * sin_turns(0.3 * u)
        pose[SHIFT_X] += 0.05 * a * sin_turns(0.3 * u)
        pose[SHIFT_Y] += 0.03 * a * sin_turns(0.3 * u + 0.25)
    elif v == 8:  # drinking
        _blend(pose, arm, slow, side * 0.02, -0.1 + m.dy, 0.17, outer, 0.2, 0.1)
        pose[HEAD_Y] -= 0.02 * slow
    elif v == 9:  # stepping from side to side
        pose[SHIFT_X] += 0.16 * a * sin_turns(0.3 * u)
        pose[SHIFT_Y] += 0.012 * sin_turns(1.2 * u)
        pose[LEAN] += 0.03 * sin_turns(0.3 * u + 0.2)
    elif v == 10:  # walking through, and back
        pose[SHIFT_X] += 1.3 * sin_turns(0.12 * u)
        pose[SHIFT_Y] += 0.012 * sin_turns(1.5 * u)
        for s in (-1.0, 1.0):
            swing = 0.1 * a * s * sin_turns(0.75 * u)
            put_arm(pose, arm_of(s), s * (half_width + 0.04) + swing, 0.46, 0.08 + swing,
                    s * (half_width + 0.15), 0.28, -0.2)  # fmt: skip
    elif v == 11:  # sitting down and getting up
        pose[SHIFT_Y] += 0.3 * slow
        pose[LEAN] += 0.1 * a * side * slow * (1.0 - slow) * 4.0
        _blend(pose, RIGHT, slow, -0.12, 0.44, 0.25, -(half_width + 0.1), 0.3, 0.0)
        _blend(pose, LEFT, slow, 0.12, 0.44, 0.25, half_width + 0.1, 0.3, 0.0)
    elif v == 12:  # looking at a telephone that the hand holds before the chest
        put_arm(pose, arm, side * 0.04 + m.dx, 0.14 + m.dy + 0.008 * sin_turns(u), 0.3, outer, 0.3, 0.0)
        pose[HEAD_Y] += 0.02
    elif v == 13:  # stretching both arms out and letting them fall
        _blend(pose, RIGHT, slow, -(half_width + 0.42), -0.1 + m.dy, 0.05, -(half_width + 0.3), 0.3, 0.0)
        _blend(pose, LEFT, slow, half_width + 0.42, -0.1 + m.dy, 0.05, half_width + 0.3, 0.3, 0.0)


@numba.njit(cache=True, nogil=True)
def _rest_arm(pose, side, style, dx, dy, half_width, reach):
    if style == 0:
        put_arm(pose, arm_of(side), side * (half_width + 0.06 + dx), (0.93 + 0.5 * dy) * reach, 0.06 + dx,
                side * (half_width + 0.15), 0.28, -0.2)  # fmt: skip
    elif style == 1:
        put_arm(pose, arm_of(side), side * (half_width - 0.03 + dx), 0.40 + dy, 0.06,
                side * (half_width + 0.3), 0.2, -0.08)  # fmt: skip
    elif style == 2:
        put_arm(pose, arm_of(side), side * (0.05 + dx), 0.33 + dy, 0.2, side * (half_width + 0.15), 0.3, 0.0)
    else:
        put_arm(
            pose, arm_of(side), side * (0.05 + dx), 0.40 + dy, -0.14, side * (half_width + 0.15), 0.25, -0.2
        )


@numba.njit(cache=True, nogil=True)
def _blend(pose, arm, weight, x, y, z, hint_x, hint_y, hint_z):
    saved = pose.copy()
    put_arm(pose, arm, x, y, z, hint_x, hint_y, hint_z)
    blend_arm(saved, pose, arm, weight)
