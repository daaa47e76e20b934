"""`sim:gesture?seed=1&...`: an endless or timed stream of gestures as a source of packets, with its truth.

One person before one camera performs gesture after gesture, with rests between. Packets are slices of 5 ms;
the stream is made as it is read, so it can be played live, and its bytes depend on the options alone.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Self, TypedDict

from spikeline.drivers.sim.camera import PRESETS
from spikeline.drivers.sim.draws import Draws
from spikeline.drivers.sim.gestures import GESTURES, NONE, Motion
from spikeline.drivers.sim.idle import STANDING
from spikeline.drivers.sim.people import LEVELS, SPLITS, draw_motion, draw_person
from spikeline.drivers.sim.scene import draw_clip
from spikeline.drivers.sim.stepper import KEYFRAME_US, Stepper
from spikeline.pipeline.events import Admission, EventPacket, Sensor, SourceError, SourceReport

OPTIONS = ("seed", "split", "person", "class", "duration_s", "gesture_s", "camera", "level")
MAX_SEED = (1 << 63) - 1
TURN_US = (250_000, 600_000)  # how long hands take from one pose to the next
ARRIVED = 0.7  # share of a turn after which the pose is the new class's
REST_US = (200_000, 700_000)
REST_SHARE = 0.7  # of the changes that go through rest; the others go straight over


class Truth(TypedDict):
    """One performed class; the time between two of them, transitions and rests, is `none`."""

    label: int
    onset_us: int  # the hands have reached the class's pose
    offset_us: int  # they begin to leave it


class SimSource:
    """The stream that `options` name. `truth` grows as the stream is read."""

    format = "sim:gesture"

    def __init__(self, options: Mapping[str, str]) -> None:
        for name in options:
            if name not in OPTIONS:
                raise SourceError(
                    f"sim:gesture: unknown option {name!r}; expected one of {', '.join(OPTIONS)}"
                )
        self._seed = _integer(options, "seed", 0, 0, MAX_SEED)
        self._split = _choice(options, "split", "test", tuple(SPLITS))
        self._level = _choice(options, "level", "normal", tuple(LEVELS))
        camera = _choice(options, "camera", "", tuple(PRESETS)) or None
        low, high = SPLITS[self._split]
        person = _integer(options, "person", low, low, high - 1) if "person" in options else None
        self._only = _label(options)
        gesture_s = _number(options, "gesture_s", 3.0, 0.5, 3_600.0)
        self._gesture_us = int(gesture_s * 1e6) // KEYFRAME_US * KEYFRAME_US
        duration_s = _number(options, "duration_s", 12.0, 0.0, 1e9)
        self._end_us = round(duration_s * 1e6) if duration_s > 0 else None  # None: endless
        self.clip = draw_clip(
            self._seed, split=self._split, label=0, person=person, duration_s=duration_s, level=self._level,
            preset=camera,
        )  # fmt: skip
        preset = PRESETS[self.clip.preset]
        self.sensor = Sensor(preset.width, preset.height, preset.model)
        self.truth: list[Truth] = []
        self._admission = Admission(self.sensor, origin_us=0)
        self._begun = False
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True

    def report(self) -> SourceReport:
        return self._admission.report

    def __iter__(self) -> Iterator[EventPacket]:
        if self._closed or self._begun:
            state = "closed" if self._closed else "already being read"
            raise SourceError(f"sim:gesture: this source is {state}; open it again to read it again")
        self._begun = True
        return self._packets()

    def _packets(self) -> Iterator[EventPacket]:
        script = _Script(self)
        stepper = Stepper(replace(self.clip, motion=script.motion))
        dropped_before = 0
        while self._end_us is None or stepper.t_us < self._end_us:
            script.prepare(stepper)
            start_us = stepper.t_us
            t, x, y, p = stepper.advance()
            if start_us < 0:
                dropped_before = stepper.lost
                continue
            until_us = stepper.t_us
            if self._end_us is not None and until_us > self._end_us:
                until_us = self._end_us
                n = int(t.searchsorted(until_us))
                t, x, y, p = t[:n], x[:n], y[:n], p[:n]
            self._admission.report.dropped = stepper.lost - dropped_before
            for packet in self._admission.admit(t, x, y, p, until_us=until_us):
                yield packet
                if self._closed:
                    return


class _Script:
    """Which motion follows which, drawn one at a time ahead of the stepper."""

    def __init__(self, source: SimSource) -> None:
        self._source = source
        self._person = draw_person(source.clip.person)
        self._count = 0
        self._draws = Draws("stream", source._seed, source._split, source.clip.person)
        self._label = -1
        self.motion = self._draw()
        self._change_us = source._gesture_us  # when the present motion begins to be left
        self._resting_us = -1  # end of a rest under way
        self._note(0, self._change_us)

    def prepare(self, stepper: Stepper) -> None:
        """Called before each block: start the transition that begins in it."""
        if stepper.t_us < self._change_us:
            return
        if self._source._only is not None:  # no change: the one performance goes on
            self._change_us += self._source._gesture_us
            end_us = self._source._end_us
            self._source.truth[-1]["offset_us"] = min(self._change_us, end_us or self._change_us)
            return
        start_us = stepper.t_us
        turn_us = self._between(TURN_US)
        if self._resting_us < 0 and self._draws.chance(REST_SHARE):
            self._resting_us = start_us + turn_us + self._between(REST_US)
            rest = self.motion._replace(kind=NONE, variant=STANDING)
            stepper.turn_to(rest, start_us, turn_us)
            self._change_us = self._resting_us
            return
        self._resting_us = -1
        motion = self._draw()
        stepper.turn_to(motion, start_us, turn_us)
        self._change_us = start_us + turn_us + self._source._gesture_us
        self._note(start_us + int(ARRIVED * turn_us), self._change_us)

    def _between(self, range_us: tuple[int, int]) -> int:
        """A duration in whole keyframes."""
        low, high = range_us
        return (low + self._draws.below(high - low)) // KEYFRAME_US * KEYFRAME_US

    def _draw(self) -> Motion:
        source, d = self._source, self._draws
        if source._only is not None:
            label = source._only
        else:  # never the same class twice running
            label = d.below(len(GESTURES) - (self._label >= 0))
            label += 0 <= self._label <= label
        self._label = label
        self._count += 1
        path = ("stream", source._seed, source._split, source.clip.person, "motion", self._count)
        motion = draw_motion(Draws(*path), label, self._person, LEVELS[source._level], empty_room=False)
        self.motion = motion
        return motion

    def _note(self, onset_us: int, offset_us: int) -> None:
        end_us = self._source._end_us
        if end_us is not None:
            offset_us = min(offset_us, end_us)
        if onset_us < offset_us:
            self._source.truth.append({"label": self._label, "onset_us": onset_us, "offset_us": offset_us})


def _integer(options: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = options.get(name, str(default))
    try:
        value = int(text)
    except ValueError:
        value = low - 1
    if not low <= value <= high:
        raise SourceError(f"sim:gesture: {name} is {text!r}; expected an integer from {low} to {high}")
    return value


def _number(options: Mapping[str, str], name: str, default: float, low: float, high: float) -> float:
    text = options.get(name, str(default))
    try:
        value = float(text)
    except ValueError:
        value = low - 1.0
    if not low <= value <= high:  # refuses nan too
        raise SourceError(f"sim:gesture: {name} is {text!r}; expected a number from {low:g} to {high:g}")
    return value


def _choice(options: Mapping[str, str], name: str, default: str, known: tuple[str, ...]) -> str:
    text = options.get(name, default)
    if text != default and text not in known:
        raise SourceError(f"sim:gesture: {name} is {text!r}; expected one of {', '.join(known)}")
    return text


def _label(options: Mapping[str, str]) -> int | None:
    text = options.get("class")
    if text is None:
        return None
    if text in GESTURES:
        return GESTURES.index(text)
    if text.isdecimal() and text.isascii() and int(text) < len(GESTURES):
        return int(text)
    raise SourceError(
        f"sim:gesture: class is {text!r}; expected 0 to {len(GESTURES) - 1} or one of {', '.join(GESTURES)}"
    )
