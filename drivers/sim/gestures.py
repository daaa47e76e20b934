"""The eleven classes of the DVS128 Gesture set (and `none`): where the hands go as a function of phase.

A turn that the subject sees as clockwise runs counter-clockwise in the image. Coordinates and the layout of
a pose are those of pose.py; amplitudes are multiplied by `a`, phases `u` are in turns.
"""

from typing import NamedTuple

import numba
import numpy as np

from spikeline.drivers.sim.pose import arm_of, cos_turns, put_arm, sin_turns

GESTURES: tuple[str, ...] = (
    "hand_clap",
    "right_hand_wave",
    "left_hand_wave",
    "right_arm_clockwise",
    "right_arm_counter_clockwise",
    "left_arm_clockwise",
    "left_arm_counter_clockwise",
    "arm_roll",
    "air_drums",
    "air_guitar",
    "other",
    "none",
)
# A left-right flip turns a right arm into a left one and clockwise into counter-clockwise.
FLIPPED: tuple[int, ...] = (0, 2, 1, 6, 5, 4, 3, 7, 8, 9, 10, 11)
OTHER, NONE = 10, 11
OTHER_VARIANTS = 9


class Motion(NamedTuple):
    """One performance of one class. Fields that a class does not use are drawn all the same."""

    kind: int  # index into GESTURES
    variant: int
    side: float  # -1 the right arm leads, +1 the left, where the class leaves it open
    hz: float
    phase: float  # turns at t = 0
    wander: float  # tempo wander, turns
    wander_hz: float
    wander_phase: float
    amp: float
    amp_wander: float
    ease: float  # flattens (or sharpens) the sine
    lag: float  # turns between the hands
    dx: float  # where the whole movement is held
    dy: float
    dz: float
    tilt: float  # of the plane of a circle
    aspect: float  # of an ellipse
    asymmetry: float  # left amplitude against right
    half_of: int  # half gestures: of which class
    coupling: float  # how much the trunk follows the hands


@numba.njit(cache=True, nogil=True)
def gesture_pose(m, kind, body, half_width, u, a, t_s, pose):
    """Class `kind` at phase u into `pose`; arms it leaves alone stay as they are."""
    wave = sin_turns(u + m.ease * sin_turns(2.0 * u) / 6.2832)
    if kind == 0:
        _clap(m, half_width, u, a, pose)
    elif kind == 1:
        _wave(m, -1.0, body, half_width, wave, a, pose)
    elif kind == 2:
        _wave(m, 1.0, body, half_width, wave, a, pose)
    elif kind == 3:
        _circle(m, -1.0, -u, half_width, a, pose)
    elif kind == 4:
        _circle(m, -1.0, u, half_width, a, pose)
    elif kind == 5:
        _circle(m, 1.0, -u, half_width, a, pose)
    elif kind == 6:
        _circle(m, 1.0, u, half_width, a, pose)
    elif kind == 7:
        _roll(m, body, half_width, u, a, pose)
    elif kind == 8:
        _drums(m, half_width, u, a, t_s, pose)
    elif kind == 9:
        _guitar(m, half_width, wave, u, a, pose)
    else:
        _other(m, half_width, wave, u, a, pose)


@numba.njit(cache=True, nogil=True)
def _clap(m, half_width, u, a, pose):
    c = 0.5 * (1.0 + cos_turns(u + m.ease * 0.5 * sin_turns(u) / 6.2832))
    gap = 0.035 + 0.22 * a * c * (1.25 - 0.25 * c)  # near c^0.8: a short stop on contact
    for side in (-1.0, 1.0):
        put_arm(pose, arm_of(side), side * gap + 0.4 * m.dx, 0.2 + m.dy, 0.33 + m.dz,
                side * (half_width + 0.15), 0.32 + m.dy, 0.0)  # fmt: skip


@numba.njit(cache=True, nogil=True)
def _wave(m, side, body, half_width, wave, a, pose):
    """The elbow stays, the forearm swings: variants from the wrist, the elbow, the shoulder, arm out."""
    if m.variant == 2:
        ex, ey, ez = 0.16 + 0.05 * wave * a, -0.05 + m.dy, 0.2
        angle = 0.1 + 0.45 * a * wave
    elif m.variant == 3:
        ex, ey, ez = 0.24, 0.06 + m.dy, 0.12
        angle = 0.2 + 0.5 * a * wave
    elif m.variant == 0:
        ex, ey, ez = 0.08, 0.14 + m.dy, 0.24
        angle = 0.28 * a * wave
    else:
        ex, ey, ez = 0.08, 0.12 + m.dy, 0.25
        angle = 0.55 * a * wave
    angle += 2.0 * m.dx
    scale = body.upper_arm / np.sqrt(ex * ex + ey * ey + ez * ez)
    ex, ey, ez = side * (half_width + scale * ex), scale * ey, scale * ez
    turn = angle / 6.283185307179586
    forward = 0.25 + m.dz
    put_arm(pose, arm_of(side), ex + body.forearm * sin_turns(turn) * side,
            ey - body.forearm * cos_turns(turn) * (1.0 - 0.5 * forward * forward),
            ez + body.forearm * forward * 0.6, ex, ey, ez)  # fmt: skip


@numba.njit(cache=True, nogil=True)
def _circle(m, side, u, half_width, a, pose):
    """Image angle grows with u: clockwise in the image, counter-clockwise for the subject."""
    c, s = cos_turns(u), sin_turns(u)
    if m.variant == 0:  # forearm only
        rx, ry, rz, cx, cy, cz = 0.15, 0.15, 0.0, 0.09, 0.02, 0.27
    elif m.variant == 1:  # whole arm
        rx, ry, rz, cx, cy, cz = 0.24, 0.24, 0.0, 0.14, -0.02, 0.22
    else:  # in a plane turned sideways
        rx, ry, rz, cx, cy, cz = 0.11, 0.23, 0.1, 0.19, 0.0, 0.2
    ct, st = cos_turns(m.tilt), sin_turns(m.tilt)
    px, py = rx * a * c, ry * a * m.aspect * s
    put_arm(pose, arm_of(side), side * (half_width + cx) + m.dx + px * ct - py * st,
            cy + m.dy + px * st + py * ct, cz + m.dz - side * rz * a * c,
            side * (half_width + 0.2), 0.28, 0.02)  # fmt: skip


@numba.njit(cache=True, nogil=True)
def _roll(m, body, half_width, u, a, pose):
    r = body.roll_radius * a
    turn = u if m.variant == 0 else -u
    for side in (-1.0, 1.0):
        phase = turn + (0.5 if side > 0.0 else 0.0)
        put_arm(pose, arm_of(side), -side * 0.035 + 0.4 * m.dx, 0.2 + m.dy + r * sin_turns(phase),
                0.28 + m.dz + r * cos_turns(phase),
                side * (half_width + 0.25), 0.26 + m.dy, 0.05)  # fmt: skip


@numba.njit(cache=True, nogil=True)
def _drums(m, half_width, u, a, t_s, pose):
    lag = 0.0 if m.variant == 0 else 0.5 - 0.3 * m.lag
    tom = 0.09 * sin_turns(0.31 * m.hz * t_s + m.wander_phase) if m.variant == 2 else 0.0
    for side in (-1.0, 1.0):
        s = abs(sin_turns(0.5 * (u + (lag if side > 0.0 else 0.0))))
        gain = a * (1.0 + 0.5 * side * m.asymmetry)
        put_arm(pose, arm_of(side), side * 0.15 + 0.5 * m.dx + tom, 0.2 + m.dy - 0.14 * gain * s * np.sqrt(s),
                0.34 + m.dz, side * (half_width + 0.1), 0.35 + m.dy, 0.0)  # fmt: skip


@numba.njit(cache=True, nogil=True)
def _guitar(m, half_width, wave, u, a, pose):
    side = m.side
    slide = 0.5 + 0.5 * sin_turns(0.17 * u + m.wander_phase)
    put_arm(pose, arm_of(side), side * (0.06 + m.dx), 0.32 + m.dy + 0.10 * a * wave, 0.2,
            side * (half_width + 0.2), 0.25, -0.05)  # fmt: skip
    reach = 0.34 - 0.1 * slide + m.dx
    put_arm(pose, arm_of(-side), -side * reach, 0.0 + m.dy + 0.08 * slide + 0.01 * a * wave, 0.2,
            -side * (half_width + 0.1), 0.32, 0.0)  # fmt: skip


@numba.njit(cache=True, nogil=True)
def _other(m, half_width, wave, u, a, pose):
    """Nine inventions; which of them a person shows is part of the person."""
    v, lead = m.variant, m.side
    swing = 0.5 + 0.5 * wave
    for side in (-1.0, 1.0):
        arm = arm_of(side)
        outer = side * (half_width + 0.2)
        active = side == lead
        if v == 0:  # both arms cross and open
            put_arm(pose, arm, side * (0.36 * a * swing - 0.12), 0.12 + m.dy, 0.32, outer, 0.3, 0.0)
        elif v == 1:  # raise both
            put_arm(pose, arm, side * (half_width + 0.1 + m.dx), 0.25 + m.dy - 0.5 * a * swing, 0.26,
                    outer, 0.25, 0.0)  # fmt: skip
        elif v == 2 and active:  # swipe sideways
            put_arm(pose, arm, side * 0.16 + 0.25 * a * wave, 0.1 + m.dy, 0.34, outer, 0.3, 0.05)
        elif v == 3 and active:  # figure eight
            put_arm(pose, arm, side * (half_width + 0.05) + 0.2 * a * wave,
                    0.02 + m.dy + 0.13 * a * sin_turns(2.0 * u), 0.3, outer, 0.28, 0.0)  # fmt: skip
        elif v == 4:  # push
            put_arm(
                pose, arm, side * (0.13 + 0.1 * swing), 0.08 + m.dy, 0.22 + 0.28 * a * swing, outer, 0.3, 0.0
            )
        elif v == 5 and active:  # point and draw back
            put_arm(pose, arm, side * (half_width + 0.3 * a * swing), 0.2 + m.dy - 0.22 * swing, 0.25,
                    outer, 0.3, 0.0)  # fmt: skip
        elif v == 6 and active:  # salute
            put_arm(pose, arm, side * (0.13 + 0.25 * a * (1.0 - swing)),
                    -0.22 + 0.3 * a * (1.0 - swing), 0.18,
                    side * (half_width + 0.3), -0.02, 0.05)  # fmt: skip
        elif v == 7:  # thumbs up and down, both fists
            put_arm(
                pose, arm, side * (0.14 + m.dx), 0.14 + m.dy + 0.09 * a * side * wave, 0.34, outer, 0.35, 0.0
            )
        elif v == 8:  # wind down: mirror circles at the sides
            put_arm(pose, arm, side * (half_width + 0.12 + 0.14 * a * cos_turns(u)),
                    0.05 + m.dy + 0.2 * a * sin_turns(u), 0.24, outer, 0.28, 0.0)  # fmt: skip
