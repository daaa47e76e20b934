"""What happens in a simulated stream: which motion follows which, drawn one at a time ahead of the stage.

A script has the `motion` to begin with, and `prepare`, called before each block of 5 ms; what it shows it
writes into `truth`.
"""

from spikeline.drivers.sim.draws import Draws
from spikeline.drivers.sim.gestures import GESTURES, NONE, Motion
from spikeline.drivers.sim.idle import STANDING
from spikeline.drivers.sim.people import LEVELS, draw_motion, draw_person
from spikeline.drivers.sim.scene import Clip
from spikeline.drivers.sim.stage import KEYFRAME_US
from spikeline.drivers.sim.stepper import Stepper
from spikeline.drivers.sim.truth import Truth

TURN_US = (250_000, 600_000)  # how long hands take from one pose to the next
ARRIVED = 0.7  # share of a turn after which the pose is the new class's
REST_SHARE = 0.7  # of the changes that go through rest; the others go straight over
SHORT_REST_US = (200_000, 700_000)
REST_US = (1_000_000, 8_000_000)  # of sim:stream
GESTURE_US = (1_500_000, 6_000_000)


def between(d: Draws, range_us: tuple[int, int]) -> int:
    """A duration in whole keyframes."""
    low, high = range_us
    return (low + d.below(high - low)) // KEYFRAME_US * KEYFRAME_US


def note(
    truth: list[Truth],
    motion: Motion,
    label: int,
    person: int,
    onset_us: int,
    offset_us: int,
    end_us: int | None,
) -> None:
    """Write a performance down, cut where the stream ends."""
    if end_us is not None:
        offset_us = min(offset_us, end_us)
    if onset_us < offset_us:
        full_us = min(onset_us + round(1e6 / motion.hz), offset_us)
        truth.append(
            {
                "label": label,
                "onset_us": onset_us,
                "full_us": full_us,
                "offset_us": offset_us,
                "person": person,
            }
        )


class GestureScript:
    """`sim:gesture`: gesture after gesture, each as long as the others, with short rests between."""

    def __init__(
        self, clip: Clip, only: int | None, gesture_us: int, end_us: int | None, truth: list[Truth]
    ) -> None:
        self._clip, self._only, self._gesture_us, self._end_us, self._truth = (
            clip,
            only,
            gesture_us,
            end_us,
            truth,
        )
        self._person = draw_person(clip.person)
        self._count = 0
        self._draws = Draws("stream", clip.seed, clip.split, clip.person)
        self._label = -1
        self.motion = self._draw()
        self._change_us = gesture_us  # when the present motion begins to be left
        self._resting_us = -1  # end of a rest under way
        self._note(0, self._change_us)

    def prepare(self, stepper: Stepper) -> None:
        """Start the transition that begins in the next block."""
        if stepper.t_us < self._change_us:
            return
        if self._only is not None:  # no change: the one performance goes on
            self._change_us += self._gesture_us
            self._truth[-1]["offset_us"] = min(self._change_us, self._end_us or self._change_us)
            return
        start_us = stepper.t_us
        turn_us = between(self._draws, TURN_US)
        if self._resting_us < 0 and self._draws.chance(REST_SHARE):
            self._resting_us = start_us + turn_us + between(self._draws, SHORT_REST_US)
            rest = self.motion._replace(kind=NONE, variant=STANDING)
            stepper.turn_to(rest, start_us, turn_us)
            self._change_us = self._resting_us
            return
        self._resting_us = -1
        motion = self._draw()
        stepper.turn_to(motion, start_us, turn_us)
        self._change_us = start_us + turn_us + self._gesture_us
        self._note(start_us + int(ARRIVED * turn_us), self._change_us)

    def _draw(self) -> Motion:
        clip, d = self._clip, self._draws
        if self._only is not None:
            label = self._only
        else:  # never the same class twice running
            label = d.below(len(GESTURES) - (self._label >= 0))
            label += 0 <= self._label <= label
        self._label = label
        self._count += 1
        path = ("stream", clip.seed, clip.split, clip.person, "motion", self._count)
        motion = draw_motion(Draws(*path), label, self._person, LEVELS[clip.level], empty_room=False)
        self.motion = motion
        return motion

    def _note(self, onset_us: int, offset_us: int) -> None:
        note(self._truth, self.motion, self._label, self._clip.person, onset_us, offset_us, self._end_us)


class StreamScript:
    """`sim:stream`: rests of every kind of `none`, gestures of random length, and the ways between them.

    only  the one class that is shown between rests; NONE: nothing but rests
    """

    def __init__(self, clip: Clip, only: int | None, end_us: int | None, truth: list[Truth]) -> None:
        self._clip, self._only, self._end_us, self._truth = clip, only, end_us, truth
        self._person = draw_person(clip.person)
        self._level = LEVELS[clip.level]._replace(all_none=True)
        self._path = ("long stream", clip.seed, clip.split, clip.person)
        self._draws = Draws(*self._path)
        self._count = 0
        self._resting = True
        self.motion = self._draw(NONE)
        self._change_us = between(self._draws, REST_US)

    def prepare(self, stepper: Stepper) -> None:
        """Start the transition that begins in the next block."""
        if stepper.t_us < self._change_us:
            return
        start_us, turn_us = stepper.t_us, between(self._draws, TURN_US)
        rests = not self._resting and self._draws.chance(REST_SHARE)
        if rests or self._only == NONE:
            label, stay_us = NONE, between(self._draws, REST_US)
        else:
            label = self._draws.below(NONE) if self._only is None else self._only
            stay_us = between(self._draws, GESTURE_US)
        self._resting = label == NONE
        self.motion = motion = self._draw(label)
        stepper.turn_to(motion, start_us, turn_us)
        self._change_us = start_us + turn_us + stay_us
        if label != NONE:
            onset_us = start_us + int(ARRIVED * turn_us)
            note(self._truth, motion, label, self._clip.person, onset_us, self._change_us, self._end_us)

    def _draw(self, label: int) -> Motion:
        self._count += 1
        d = Draws(*self._path, "motion", self._count)
        return draw_motion(d, label, self._person, self._level, empty_room=True)


class PlannedScript:
    """A clip whose turns are known: (start_us, turn_us, motion, label or -1, end_us of it)."""

    def __init__(
        self, clip: Clip, motion: Motion, plan: list[tuple[int, int, Motion, int, int]], truth: list[Truth]
    ) -> None:
        self.motion = motion
        self._coming = plan
        for start_us, turn_us, turned, label, stop_us in plan:
            if label >= 0:
                onset_us = start_us + int(ARRIVED * turn_us)
                note(truth, turned, label, clip.person, onset_us, stop_us, clip.duration_us)

    def prepare(self, stepper: Stepper) -> None:
        if self._coming and stepper.t_us >= self._coming[0][0]:
            start_us, turn_us, motion, _, _ = self._coming.pop(0)
            stepper.turn_to(motion, start_us, turn_us)
