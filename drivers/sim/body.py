"""From a pose to shapes on the image: two-link arms, lagging hands, yaw, perspective, painter's order.

Every shape is a capsule with two radii. Joints cannot flip: bend plane, upper arm and forearm turn by at
most JOINT_TURN per keyframe, and the reach saturates smoothly before the arm is straight, where the
elbow's speed would otherwise be unbounded. Screen geometry is rounded to 1/4096 px, so that the last bit of
an arithmetic result cannot decide an event.
"""

from typing import NamedTuple

import numba
import numpy as np

from spikeline.drivers.sim.pose import (
    HEAD_X,
    HEAD_Y,
    LEAN,
    LEFT,
    RIGHT,
    SHIFT_X,
    SHIFT_Y,
    cos_turns,
    sin_turns,
)

SHAPES = 13
LEG, TORSO, SHOULDERS, NECK, HAIR, HEAD, RIGHT_ARM, LEFT_ARM = 0, 2, 3, 4, 5, 6, 7, 10
ARM_STATE = 12  # directions xyz: the elbow's bend, the forearm as the hand lags it, upper arm, forearm
JOINT_TURN = 0.0725  # rad per 5 ms keyframe: 14.5 rad/s


class Body(NamedTuple):
    """What stays with a person, in units of the image height."""

    shoulder_width: float
    upper_arm: float
    forearm: float  # to the middle of the palm
    arm_radius: float
    hand_radius: float
    head_radius: float
    torso: float
    torso_radius: float
    hair: float
    roll_radius: float
    swivel: float  # moves the elbows out (+) or down (-)
    wrist: float  # 0 stiff to 1 loose
    wrist_keep: float  # share of the lagged direction kept per keyframe


class View(NamedTuple):
    """Where the person stands and how the camera sees it."""

    x_px: float  # mid-shoulders
    y_px: float
    scale_px: float  # pixels per body unit
    yaw_turns: float
    roll_turns: float
    perspective: float
    blur_px: float


@numba.njit(cache=True, nogil=True)
def _unit(x, y, z):
    n = np.sqrt(x * x + y * y + z * z)
    if n < 1e-9:
        return 0.0, 1.0, 0.0
    return x / n, y / n, z / n


@numba.njit(cache=True, nogil=True)
def _toward(ox, oy, oz, x, y, z, ax, ay, az):
    """Direction xyz, or as near to it as JOINT_TURN from oxyz allows; opposite ones turn by way of axyz."""
    c = x * ox + y * oy + z * oz
    if c >= 1.0 - 0.5 * JOINT_TURN * JOINT_TURN:
        return x, y, z
    qx, qy, qz = x - c * ox, y - c * oy, z - c * oz
    if qx * qx + qy * qy + qz * qz < 1e-12:
        c = ax * ox + ay * oy + az * oz
        qx, qy, qz = ax - c * ox, ay - c * oy, az - c * oz
    qx, qy, qz = _unit(qx, qy, qz)
    return _unit(ox + JOINT_TURN * qx, oy + JOINT_TURN * qy, oz + JOINT_TURN * qz)


@numba.njit(cache=True, nogil=True)
def solve_arm(sx, sy, sz, pose, arm, side, body, memory, first, joints):
    """Elbow, wrist and fingertip of one arm into joints (3, 3); `memory` (ARM_STATE,) is carried over."""
    ua, fa = body.upper_arm, body.forearm
    dx, dy, dz = pose[arm] - sx, pose[arm + 1] - sy, pose[arm + 2] - sz
    nx, ny, nz = _unit(dx, dy, dz)
    d = np.sqrt(dx * dx + dy * dy + dz * dz)
    full = ua + fa
    over = d / full - 0.88
    if over > 0.0:  # slope 1 at 0.88, never beyond 0.985
        d = full * (0.88 + 0.105 * over / (over + 0.105))
    d = max(d, 0.4 * full)
    along = (ua * ua - fa * fa + d * d) / (2.0 * d)
    bend = np.sqrt(max(ua * ua - along * along, 0.0))
    hx = pose[arm + 3] - sx + side * 0.12 * body.swivel
    hy = pose[arm + 4] - sy - 0.12 * body.swivel
    hz = pose[arm + 5] - sz
    k = hx * nx + hy * ny + hz * nz
    px, py, pz = _unit(hx - k * nx, hy - k * ny, hz - k * nz)
    if first:
        memory[0], memory[1], memory[2] = px, py, pz
    k = memory[0] * nx + memory[1] * ny + memory[2] * nz
    ox, oy, oz = _unit(memory[0] - k * nx, memory[1] - k * ny, memory[2] - k * nz)
    px, py, pz = _toward(ox, oy, oz, px, py, pz, nx, ny, nz)
    memory[0], memory[1], memory[2] = px, py, pz
    ux, uy, uz = _unit(along * nx + bend * px, along * ny + bend * py, along * nz + bend * pz)
    if first:
        memory[6], memory[7], memory[8] = ux, uy, uz
    ux, uy, uz = _toward(memory[6], memory[7], memory[8], ux, uy, uz, px, py, pz)
    memory[6], memory[7], memory[8] = ux, uy, uz
    ex, ey, ez = sx + ua * ux, sy + ua * uy, sz + ua * uz
    fx, fy, fz = _unit(sx + d * nx - ex, sy + d * ny - ey, sz + d * nz - ez)
    if first:
        memory[9], memory[10], memory[11] = fx, fy, fz
    fx, fy, fz = _toward(memory[9], memory[10], memory[11], fx, fy, fz, px, py, pz)
    memory[9], memory[10], memory[11] = fx, fy, fz
    if first:
        memory[3], memory[4], memory[5] = fx, fy, fz
    keep = body.wrist_keep
    memory[3] = keep * memory[3] + (1.0 - keep) * fx
    memory[4] = keep * memory[4] + (1.0 - keep) * fy
    memory[5] = keep * memory[5] + (1.0 - keep) * fz
    w = body.wrist
    gx, gy, gz = _unit(fx + w * (memory[3] - fx), fy + w * (memory[4] - fy), fz + w * (memory[5] - fz))
    joints[0, 0], joints[0, 1], joints[0, 2] = ex, ey, ez
    joints[1, 0], joints[1, 1], joints[1, 2] = ex + 0.82 * fa * fx, ey + 0.82 * fa * fy, ez + 0.82 * fa * fz
    palm = 0.3 * fa
    joints[2, 0] = joints[1, 0] + palm * gx
    joints[2, 1] = joints[1, 1] + palm * gy
    joints[2, 2] = joints[1, 2] + palm * gz


@numba.njit(cache=True, nogil=True)
def place(shapes, i, view, cy, sy, cr, sr, x0, y0, z0, r0, x1, y1, z1, r1, front):
    """Turn, project and round one capsule: shapes[i] = x0, y0, r0, x1, y1, r1 (px), depth."""
    for end in range(2):
        x, y, z, r = (x0, y0, z0, r0) if end == 0 else (x1, y1, z1, r1)
        xt, zt = cy * x + sy * z, cy * z - sy * x
        f = view.scale_px * (1.0 + view.perspective * zt)
        u, v = f * xt, f * y
        shapes[i, 3 * end] = np.floor((view.x_px + cr * u - sr * v) * 4096.0 + 0.5) / 4096.0
        shapes[i, 3 * end + 1] = np.floor((view.y_px + sr * u + cr * v) * 4096.0 + 0.5) / 4096.0
        shapes[i, 3 * end + 2] = np.floor(f * r * 4096.0 + 0.5) / 4096.0
        if end == 0:
            shapes[i, 6] = 0.5 * zt + front
        else:
            shapes[i, 6] += 0.5 * zt


@numba.njit(cache=True, nogil=True)
def body_shapes(body, view, pose, memory, first, shapes, joints):
    """Fill shapes (SHAPES, 7) for one keyframe.

    memory  (2, ARM_STATE) carried from keyframe to keyframe    joints  (2, 4, 3) shoulder, elbow, wrist, tip
    """
    cy, sy = cos_turns(view.yaw_turns), sin_turns(view.yaw_turns)
    cr, sr = cos_turns(view.roll_turns), sin_turns(view.roll_turns)
    x, y, lean = pose[SHIFT_X], pose[SHIFT_Y], pose[LEAN]
    sw, tr = body.shoulder_width, body.torso_radius
    top = x + lean  # the shoulders; the hips stay at x
    hip = body.torso
    for i in range(2):
        s = -1.0 if i == 0 else 1.0
        place(shapes, LEG + i, view, cy, sy, cr, sr, x + s * 0.085, y + hip, 0.0, 0.1,
               x * 0.5 + s * 0.11, y + hip + 0.7, 0.0, 0.07, -0.3)  # fmt: skip
    place(shapes, TORSO, view, cy, sy, cr, sr, top, y + 0.12, 0.0, tr,
           x, y + hip - 0.08, 0.0, 0.92 * tr, -0.01)  # fmt: skip
    half = 0.5 * sw
    place(shapes, SHOULDERS, view, cy, sy, cr, sr, top - half * 0.82, y + 0.035, 0.0, 0.062,
           top + half * 0.82, y + 0.035, 0.0, 0.062, 0.0)  # fmt: skip
    head_x, head_y = top + 0.6 * lean + pose[HEAD_X], y + pose[HEAD_Y]
    hr = body.head_radius
    place(shapes, NECK, view, cy, sy, cr, sr, top, y, 0.02, 0.055, head_x, head_y - 0.12, 0.02, 0.05, 0.0)
    place(shapes, HAIR, view, cy, sy, cr, sr, head_x, head_y - 0.14 - 1.55 * hr, 0.01,
           hr * (0.85 + body.hair), head_x, head_y - 0.14 - hr, 0.01,
           hr * (0.95 + body.hair), 0.015)  # fmt: skip
    place(shapes, HEAD, view, cy, sy, cr, sr, head_x, head_y - 0.14 - 1.2 * hr, 0.04, 0.92 * hr,
           head_x, head_y - 0.12 - 0.45 * hr, 0.04, 0.72 * hr, 0.0)  # fmt: skip
    for i in range(2):
        side = -1.0 if i == 0 else 1.0
        arm, first_shape = (RIGHT, RIGHT_ARM) if i == 0 else (LEFT, LEFT_ARM)
        j = joints[i]
        j[0, 0], j[0, 1], j[0, 2] = side * half, 0.03, 0.0
        solve_arm(side * half, 0.03, 0.0, pose, arm, side, body, memory[i], first, j[1:])
        ar = body.arm_radius
        place(shapes, first_shape, view, cy, sy, cr, sr, top + j[0, 0], y + j[0, 1], j[0, 2], ar,
               top + j[1, 0], y + j[1, 1], j[1, 2], 0.82 * ar, 0.0)  # fmt: skip
        place(shapes, first_shape + 1, view, cy, sy, cr, sr, top + j[1, 0], y + j[1, 1], j[1, 2], 0.8 * ar,
               top + j[2, 0], y + j[2, 1], j[2, 2], 0.58 * ar, 0.0)  # fmt: skip
        place(shapes, first_shape + 2, view, cy, sy, cr, sr, top + j[2, 0], y + j[2, 1], j[2, 2],
               0.85 * body.hand_radius, top + j[3, 0], y + j[3, 1], j[3, 2],
               body.hand_radius, 0.004)  # fmt: skip


@numba.njit(cache=True, nogil=True)
def painters_order(shapes, order):
    """Indices of the shapes from back to front: a stable insertion sort by depth."""
    for i in range(order.shape[0]):
        order[i] = i
    for i in range(1, order.shape[0]):
        index = order[i]
        k = i - 1
        while k >= 0 and shapes[order[k], 6] > shapes[index, 6]:
            order[k + 1] = order[k]
            k -= 1
        order[k + 1] = index
