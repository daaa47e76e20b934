"""A pose and the arithmetic of poses; sines without libm.

Body coordinates: origin between the shoulders, unit = image height at nominal distance, x to the image's
right, y down, z towards the camera. The subject faces the camera and the image is not mirrored, so the
subject's right arm is at negative x. Angles and phases are in turns.

A pose is (POSE,) float64: right hand xyz, right elbow hint xyz, left hand, left hint, then body shift x, y,
head shift x, y, lean. The elbow hint is the point that the elbow bends towards.
"""

import numba
import numpy as np

POSE = 17
RIGHT, LEFT, SHIFT_X, SHIFT_Y, HEAD_X, HEAD_Y, LEAN = 0, 6, 12, 13, 14, 15, 16


@numba.njit(cache=True, nogil=True)
def sin_turns(u):
    """sin(2 pi u) by a polynomial (error < 1e-7): the same bits on every machine, unlike libm."""
    u = u - np.floor(u + 0.5)
    if u > 0.25:
        u = 0.5 - u
    elif u < -0.25:
        u = -0.5 - u
    x = 6.283185307179586 * u
    s = x * x
    return x * (
        1.0
        + s * (-1.0 / 6.0 + s * (1.0 / 120.0 + s * (-1.0 / 5040.0 + s * (1.0 / 362880.0 - s / 39916800.0))))
    )


@numba.njit(cache=True, nogil=True)
def cos_turns(u):
    return sin_turns(u + 0.25)


@numba.njit(cache=True, nogil=True)
def min_jerk(s):
    """10 s^3 - 15 s^4 + 6 s^5, held at 0 and 1 outside."""
    s = min(1.0, max(0.0, s))
    return s * s * s * (10.0 + s * (-15.0 + 6.0 * s))


@numba.njit(cache=True, nogil=True)
def put_arm(pose, arm, x, y, z, hint_x, hint_y, hint_z):
    """Hand and elbow hint of the arm that begins at index `arm`."""
    pose[arm] = x
    pose[arm + 1] = y
    pose[arm + 2] = z
    pose[arm + 3] = hint_x
    pose[arm + 4] = hint_y
    pose[arm + 5] = hint_z


@numba.njit(cache=True, nogil=True)
def arm_of(side):
    """Where in a pose the arm of a side begins: -1 right, +1 left."""
    return 0 if side < 0.0 else 6


@numba.njit(cache=True, nogil=True)
def blend_arm(start, pose, arm, weight):
    """Arm of `pose` = the way from `start` to it, `weight` 0 to 1, bowed forward around the shoulder."""
    dx, dy = pose[arm] - start[arm], pose[arm + 1] - start[arm + 1]
    bow = np.sqrt(dx * dx + dy * dy) * weight * (1.0 - weight)
    for i in range(arm, arm + 6):
        pose[i] = start[i] + weight * (pose[i] - start[i])
    pose[arm + 2] += 1.2 * bow
