"""A person's gestures on the stage: poses to shapes, keyframe by keyframe, and whole clips of them."""

from collections import deque
from collections.abc import Sequence

import numba
import numpy as np
from numpy.typing import NDArray

from spikeline.drivers.sim.array import Events
from spikeline.drivers.sim.body import ARM_STATE, SHAPES, body_shapes
from spikeline.drivers.sim.camera import PRESETS
from spikeline.drivers.sim.gestures import NONE, Motion
from spikeline.drivers.sim.hard import FINGERS, SHADOWED, finger_shapes, shadow_shapes
from spikeline.drivers.sim.idle import STANDING
from spikeline.drivers.sim.motion import blended_pose
from spikeline.drivers.sim.passer_by import PasserBy
from spikeline.drivers.sim.pose import POSE
from spikeline.drivers.sim.scene import Clip
from spikeline.drivers.sim.stage import KEYFRAME_US, SETTLE_US, STEPS, Stage, all_events

__all__ = ["KEYFRAME_US", "SETTLE_US", "STEPS", "Events", "Performer", "Stepper", "play", "simulate"]

_TURN_US = 400_000  # from rest into a performance that begins within a clip, and out of it
_HANDS = 2 * FINGERS + 1  # shapes of fingers and what is held


class Performer:
    """A person who does one motion, or is on the way from one to the next.

    `motion` may be changed between keyframes; `turn_to` blends into another one.
    """

    def __init__(self, clip: Clip) -> None:
        self._body, self._view, self._hard = clip.body, clip.view, clip.hard
        self.motion, self.idle = clip.motion, clip.idle
        self._next: Motion = clip.motion
        self._turn_us: tuple[int, int] | None = None  # the way to it: from, until
        self._memory = np.zeros((2, ARM_STATE))
        self.joints = np.zeros((2, 4, 3))
        self._pose = np.zeros((2, POSE))
        self._shadowed = np.array(SHADOWED)
        self.looks = list(clip.looks)
        blur, hard = clip.view.blur_px, clip.hard
        self.blurs, self.shades = [blur] * SHAPES, [0.0] * SHAPES
        self._passer: PasserBy | None = None
        if hard is not None:
            skin = clip.looks[-1]
            self.looks += [skin] * (2 * FINGERS) + [hard.held_look] + [skin] * len(SHADOWED)
            self.blurs += [min(blur, 0.8)] * (2 * FINGERS) + [blur] + [hard.shadow_blur] * len(SHADOWED)
            self.shades += [0.0] * _HANDS + [hard.shadow] * len(SHADOWED)
            if hard.mover >= 0:
                self._passer = PasserBy(hard, PRESETS[clip.preset])
                self.looks += self._passer.looks
                self.blurs += [1.3 * blur] * len(self._passer.looks)
                self.shades += [0.0] * len(self._passer.looks)
            self._begin_or_end(clip)

    def _begin_or_end(self, clip: Clip) -> None:
        """A performance that begins or ends within the clip: from rest, or to it."""
        hard = clip.hard
        assert hard is not None
        rest = clip.motion._replace(kind=NONE, variant=STANDING)
        if hard.begin_us >= 0.0:
            self.motion = rest
            self.turn_to(clip.motion, int(hard.begin_us), _TURN_US)
        elif hard.end_us >= 0.0:
            self.turn_to(rest, int(hard.end_us), _TURN_US)

    def turn_to(self, motion: Motion, start_us: int, duration_us: int) -> None:
        """Blend from the present motion into another by minimum jerk, from `start_us` on."""
        self._next, self._turn_us = motion, (start_us, start_us + duration_us)

    def keyframe(self, t_us: int, first: bool, shapes: NDArray[np.float64]) -> None:
        weight = 0.0
        if self._turn_us is not None:
            start_us, stop_us = self._turn_us
            weight = (t_us - start_us) / (stop_us - start_us)
            if weight >= 1.0:
                self.motion, self._turn_us, weight = self._next, None, 0.0
        shown = _make_keyframe(
            self.motion, self._next, weight, self.idle, self._body, self._view, t_us * 1e-6, first,
            self._pose, self._memory, shapes, self.joints,
        )  # fmt: skip
        hard = self._hard
        if hard is not None:
            hands, shadows = shapes[SHAPES:], shapes[SHAPES + _HANDS :]
            finger_shapes(self._body, self._view, shown, self.joints, hard, hands[:_HANDS])
            shadow_shapes(shapes, self._shadowed, hard, shadows[: len(SHADOWED)])
            if self._passer is not None:
                self._passer.keyframe(t_us, shadows[len(SHADOWED) :])


class Stepper(Stage):
    """A clip's person before the clip's camera, 5 ms per call of `advance`."""

    figure: Performer

    def __init__(self, clip: Clip) -> None:
        super().__init__(
            Performer(clip), PRESETS[clip.preset], clip.camera, clip.readout, clip.wall, clip.light,
            clip.hard.effects if clip.hard is not None else None,
            camera_seed=clip.camera_seed, draw_seed=clip.draw_seed,
        )  # fmt: skip

    @property
    def joints(self) -> NDArray[np.float64]:
        return self.figure.joints

    @property
    def motion(self) -> Motion:
        return self.figure.motion

    def turn_to(self, motion: Motion, start_us: int, duration_us: int) -> None:
        self.figure.turn_to(motion, start_us, duration_us)


@numba.njit(cache=True, nogil=True)
def _make_keyframe(motion, following, weight, idle, body, view, t_s, first, pose, memory, shapes, joints):
    """One pose (a blend of two motions where weight > 0) and its shapes."""
    shown = blended_pose(motion, following, weight, idle, body, t_s, pose)
    body_shapes(body, view, shown, memory, first, shapes, joints)
    return shown


def play(stepper: Stepper, plan: Sequence[tuple[int, int, Motion]], duration_us: int) -> Events:
    """Everything from t = 0 on, turning to another motion at each (start_us, turn_us, motion) of the plan."""
    coming = deque(plan)

    def before_block(t_us: int) -> None:
        if coming and t_us >= coming[0][0]:
            start_us, turn_us, motion = coming.popleft()
            stepper.turn_to(motion, start_us, turn_us)

    return all_events(stepper, duration_us, before_block)


def simulate(clip: Clip) -> Events:
    """The whole clip: t int64 us from 0 to its duration, x, y uint16, p uint8 (1 ON)."""
    return all_events(Stepper(clip), clip.duration_us)
