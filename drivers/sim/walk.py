"""A walking body: joint angles over the stride to capsules on the image. Lengths are in statures.

Base curves, in degrees over the stride from heel strike on, are harmonics fitted to the ranges of clinical
gait tables: hip 30 to -10, knee 0 to 60, ankle 10 to -18. A walker bends them (see Gait). The lower ankle
stays on the floor, which gives the bounce at twice the stride.

Axes: forward, left, down; the floor is at 0, so heights are negative. Phases and angles are in turns.
"""

from typing import NamedTuple

import numba
import numpy as np

from spikeline.drivers.sim.pose import cos_turns, sin_turns

WALKER_SHAPES = 18
THIGH, SHANK, FOOT, PELVIS, CHEST, NECK, HEAD, HAIR, UPPER_ARM, FOREARM, HAND, BAG = (
    0, 2, 4, 6, 7, 8, 9, 10, 11, 13, 15, 17,
)  # fmt: skip
THIGH_LENGTH, SHANK_LENGTH, FOOT_LENGTH, TRUNK, ANKLE = 0.245, 0.246, 0.152, 0.29, 0.04
_DEG = 1.0 / 360.0


class Gait(NamedTuple):
    """What makes a walker one: no more, no less decides who it is."""

    cadence: float  # steps per minute
    stride: float  # statures
    arm_swing: float  # degrees
    arm_asymmetry: float
    step_asymmetry: float
    lean: float  # of the trunk, degrees
    sway: float  # of the trunk, degrees
    knee: float  # gain
    width: float  # between the feet, statures
    bounce: float  # gain
    head: float  # carriage, degrees forward
    arm_lag: float  # turns
    second: float  # weight of the second harmonic
    legs: float  # their share of the body, 1 the usual
    girth: float


class Path(NamedTuple):
    """Where somebody walks before the camera, and when."""

    heading: float  # turns: 0 to the image's right, 0.25 towards the camera
    distance: float  # of the camera, statures
    scale_px: float  # a stature at that distance
    x_px: float  # where the walker is at `middle_s`
    floor_px: float  # where the floor is there
    eye: float  # height of the camera, statures
    middle_s: float
    tempo: float  # of this walk against the walker's own
    phase: float  # of the stride at `middle_s`
    wander: float  # sideways, statures
    wander_hz: float


@numba.njit(cache=True, nogil=True)
def hip_angle(u, second):
    return (
        13.2 + 20.7 * cos_turns(u) - 2.9 * sin_turns(u)
        + second * (-3.1 * cos_turns(2.0 * u) - 1.9 * sin_turns(2.0 * u))
    )  # fmt: skip


@numba.njit(cache=True, nogil=True)
def knee_angle(u, second):
    return (
        21.8 - 2.3 * cos_turns(u) - 19.2 * sin_turns(u)
        + second * (-14.4 * cos_turns(2.0 * u) + 7.9 * sin_turns(2.0 * u))
        - 0.1 * cos_turns(3.0 * u) + 5.1 * sin_turns(3.0 * u) + 0.3 * sin_turns(4.0 * u)
    )  # fmt: skip


@numba.njit(cache=True, nogil=True)
def ankle_angle(u):
    return (
        0.4 - 2.0 * cos_turns(u) + 6.2 * sin_turns(u) + 0.5 * cos_turns(2.0 * u) - 8.3 * sin_turns(2.0 * u)
        - 2.3 * cos_turns(3.0 * u) + 0.7 * sin_turns(3.0 * u)
        + 2.9 * cos_turns(4.0 * u) - 0.3 * sin_turns(4.0 * u)
    )  # fmt: skip


@numba.njit(cache=True, nogil=True)
def _limb(shapes, i, path, at, height, f0, l0, v0, r0, f1, l1, v1, r1):
    """Project one capsule: points are forward and left of the body, and down from the floor."""
    ch, sh = cos_turns(path.heading), sin_turns(path.heading)
    for end in range(2):
        f, left, v, r = (f0, l0, v0, r0) if end == 0 else (f1, l1, v1, r1)
        f, left, v = f * height, left * height, v * height
        x = at[0] + f * ch + left * sh
        z = at[1] + f * sh - left * ch
        scale = path.scale_px * path.distance / max(path.distance - z, 0.2)
        shapes[i, 3 * end] = np.floor((path.x_px + scale * x) * 4096.0 + 0.5) / 4096.0
        y = path.floor_px - path.scale_px * path.eye + scale * (v + path.eye)
        shapes[i, 3 * end + 1] = np.floor(y * 4096.0 + 0.5) / 4096.0
        shapes[i, 3 * end + 2] = np.floor(scale * r * height * 4096.0 + 0.5) / 4096.0
        if end == 0:
            shapes[i, 6] = 0.5 * z
        else:
            shapes[i, 6] += 0.5 * z


@numba.njit(cache=True, nogil=True)
def walker_shapes(gait, path, bag, t_s, shapes):
    """Fill shapes (WALKER_SHAPES, 7) for the walker at `t_s`; `bag` 0 none, -1 right hand, +1 left hand."""
    dt = t_s - path.middle_s
    strides_hz = gait.cadence * path.tempo / 120.0
    stride = gait.stride * (0.5 + 0.5 * path.tempo)
    u0 = strides_hz * dt + path.phase
    way = stride * strides_hz * dt
    ch, sh = cos_turns(path.heading), sin_turns(path.heading)
    aside = path.wander * sin_turns(path.wander_hz * dt)
    at = (way * ch + aside * sh, way * sh - aside * ch)
    legs, girth = gait.legs, gait.girth
    reach = stride / 0.8
    hip_down = np.zeros(2)
    angles = np.zeros((2, 3))
    for i in range(2):  # right, left
        u = u0 + 0.5 * i + gait.step_asymmetry * 0.5 * i
        angles[i, 0] = (13.2 + reach * (hip_angle(u, gait.second) - 13.2)) * _DEG
        knee = max(21.8 + gait.knee * (knee_angle(u, gait.second) - 21.8), 1.0) * _DEG
        angles[i, 1] = angles[i, 0] - knee
        angles[i, 2] = angles[i, 1] + ankle_angle(u) * _DEG
        hip_down[i] = legs * (THIGH_LENGTH * cos_turns(angles[i, 0]) + SHANK_LENGTH * cos_turns(angles[i, 1]))
    apart = hip_down[0] - hip_down[1]
    standing = 0.5 * (hip_down[0] + hip_down[1] + np.sqrt(apart * apart + 0.0004))  # the longer leg, smoothly
    usual = legs * 0.97 * (THIGH_LENGTH + SHANK_LENGTH)
    pelvis = -(ANKLE + usual + gait.bounce * (standing - usual))
    height = 1.0
    side_way = 0.012 * gait.bounce * sin_turns(u0)  # the pelvis goes over the standing foot
    for i in range(2):
        s = -1.0 if i == 0 else 1.0
        hip_l, foot_l = s * 0.05 * girth + side_way, s * 0.5 * gait.width
        kf = legs * THIGH_LENGTH * sin_turns(angles[i, 0])
        kv = pelvis + legs * THIGH_LENGTH * cos_turns(angles[i, 0])
        kl = 0.5 * (hip_l + foot_l)
        af = kf + legs * SHANK_LENGTH * sin_turns(angles[i, 1])
        av = min(kv + legs * SHANK_LENGTH * cos_turns(angles[i, 1]), -ANKLE * 0.9)
        _limb(
            shapes, THIGH + i, path, at, height, 0.0, hip_l, pelvis, 0.058 * girth, kf, kl, kv, 0.04 * girth
        )
        _limb(shapes, SHANK + i, path, at, height, kf, kl, kv, 0.038 * girth, af, foot_l, av, 0.026)
        tf = af + 0.8 * FOOT_LENGTH * cos_turns(angles[i, 2])
        tv = min(av + 0.018 - 0.8 * FOOT_LENGTH * sin_turns(angles[i, 2]), -0.014)
        _limb(shapes, FOOT + i, path, at, height, af - 0.02, foot_l, av + 0.014, 0.022, tf,
              foot_l + s * 0.01, tv, 0.015)  # fmt: skip
    lean = gait.lean * _DEG
    roll = gait.sway * _DEG * sin_turns(u0 + 0.05)
    trunk = 1.0 - legs * 0.491 - ANKLE - 0.18
    cf, cl, cv = trunk * sin_turns(lean), trunk * sin_turns(roll) + side_way, pelvis - trunk * cos_turns(lean)
    _limb(shapes, PELVIS, path, at, height, 0.0, side_way, pelvis, 0.078 * girth, 0.8 * cf, 0.8 * cl,
          pelvis + 0.8 * (cv - pelvis), 0.072 * girth)  # fmt: skip
    twist = -0.02 * cos_turns(u0 + 0.5)
    _limb(shapes, CHEST, path, at, height, cf - twist, cl - 0.085, cv + 0.02, 0.048 * girth, cf + twist,
          cl + 0.085, cv + 0.02, 0.048 * girth)  # fmt: skip
    nod = (gait.head + 2.0 * cos_turns(2.0 * u0 + 0.1)) * _DEG + lean
    hf, hv = cf + 0.1 * sin_turns(nod), cv - 0.1 * cos_turns(nod)
    _limb(shapes, NECK, path, at, height, cf, cl, cv, 0.034, hf, cl, hv, 0.032)
    _limb(shapes, HEAD, path, at, height, hf + 0.012, cl, hv + 0.012, 0.042, hf + 0.01, cl, hv - 0.045, 0.052)
    _limb(shapes, HAIR, path, at, height, hf - 0.012, cl, hv - 0.02, 0.048, hf - 0.004, cl, hv - 0.062, 0.05)
    for i in range(2):
        s = -1.0 if i == 0 else 1.0
        swing = gait.arm_swing * (1.0 + 0.5 * s * gait.arm_asymmetry)
        held = 0.35 if bag == s else 1.0
        u = u0 + 0.5 * i + 0.5 + gait.arm_lag
        shoulder = (-8.0 + held * swing * cos_turns(u + 0.03)) * _DEG
        elbow = shoulder + (20.0 + held * 6.0 * (1.0 + cos_turns(u - 0.06))) * _DEG
        sl = cl + s * 0.115 * girth
        ef, ev = cf + 0.186 * sin_turns(shoulder), cv + 0.02 + 0.186 * cos_turns(shoulder)
        wf, wv = ef + 0.146 * sin_turns(elbow), ev + 0.146 * cos_turns(elbow)
        _limb(shapes, UPPER_ARM + i, path, at, height, cf, sl, cv + 0.02, 0.032 * girth, ef, sl + s * 0.01,
              ev, 0.027 * girth)  # fmt: skip
        _limb(shapes, FOREARM + i, path, at, height, ef, sl + s * 0.01, ev, 0.026 * girth, wf, sl + s * 0.012,
              wv, 0.02)  # fmt: skip
        _limb(shapes, HAND + i, path, at, height, wf, sl + s * 0.012, wv, 0.022, wf + 0.06 * sin_turns(elbow),
              sl + s * 0.012, wv + 0.06 * cos_turns(elbow), 0.02)  # fmt: skip
        if bag == s:
            _limb(
                shapes, BAG, path, at, height, wf - 0.03, sl, wv + 0.16, 0.06, wf + 0.03, sl, wv + 0.16, 0.06
            )
    if bag == 0.0:
        for k in range(6):
            shapes[BAG, k] = -1000.0
        shapes[BAG, 2], shapes[BAG, 5], shapes[BAG, 6] = 0.1, 0.1, 10.0
