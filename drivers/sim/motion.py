"""A motion in time: tempo, its wander, amplitude, and how far the trunk follows the hands."""

import numba

from spikeline.drivers.sim.gestures import NONE, gesture_pose
from spikeline.drivers.sim.idle import none_pose, rest_pose
from spikeline.drivers.sim.pose import (
    HEAD_X,
    HEAD_Y,
    LEFT,
    RIGHT,
    SHIFT_X,
    SHIFT_Y,
    blend_arm,
    min_jerk,
    sin_turns,
)


@numba.njit(cache=True, nogil=True)
def motion_pose(m, idle, body, t_s, pose):
    """The pose of motion `m` at `t_s`; arms that it leaves alone rest as `idle` says."""
    half_width = 0.5 * body.shoulder_width
    rest_pose(idle, half_width, body.upper_arm + body.forearm, t_s, pose)
    u = m.hz * t_s + m.phase + m.wander * sin_turns(m.wander_hz * t_s + m.wander_phase)
    a = m.amp * (1.0 + m.amp_wander * sin_turns(1.3 * m.wander_hz * t_s + 3.0 * m.wander_phase))
    if m.kind == NONE:
        none_pose(m, body, half_width, u, a, t_s, pose)
    else:
        gesture_pose(m, m.kind, body, half_width, u, a, t_s, pose)
        pose[SHIFT_X] += m.coupling * a * sin_turns(u + 0.1)
        pose[SHIFT_Y] += 0.5 * m.coupling * a * sin_turns(u + 0.4)
        pose[HEAD_X] += 2.0 * m.coupling * a * sin_turns(u - 0.1)
        pose[HEAD_Y] += 2.0 * m.coupling * a * sin_turns(u + 0.2)


@numba.njit(cache=True, nogil=True)
def blended_pose(motion, following, weight, idle, body, t_s, pose):
    """The row of pose (2, POSE) to show: `weight` of the time from one motion to the next has gone."""
    motion_pose(motion, idle, body, t_s, pose[0])
    if weight <= 0.0:
        return pose[0]
    w = min_jerk(weight)
    motion_pose(following, idle, body, t_s, pose[1])
    blend_arm(pose[0], pose[1], RIGHT, w)
    blend_arm(pose[0], pose[1], LEFT, w)
    for i in range(SHIFT_X, pose.shape[1]):
        pose[1, i] = pose[0, i] + w * (pose[1, i] - pose[0, i])
    return pose[1]
