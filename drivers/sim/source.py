"""`sim:` sources: a simulated camera as packets, with the truth of what it shows.

    sim:gesture  one person performs gesture after gesture, with short rests between
    sim:stream   the same at length: rests of 1 to 8 s, gestures of 1.5 to 6 s, everything people do meanwhile
    sim:chain    one clip of three gestures in an order
    sim:gait     one clip of a walker

Packets are slices of 5 ms; the stream is made as it is read, so it can be played live, and its bytes depend
on the options alone. With truth=FILE the truth is also written into a file of JSON lines.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any, Protocol, Self

from spikeline.drivers.sim.camera import PRESETS
from spikeline.drivers.sim.chain import CHAIN_S, CHAINS, TURN_US, chain_stepper, draw_chain
from spikeline.drivers.sim.gait import draw_gait, gait_stage
from spikeline.drivers.sim.gestures import GESTURES, NONE
from spikeline.drivers.sim.idle import STANDING
from spikeline.drivers.sim.parts import PARTS
from spikeline.drivers.sim.people import LEVELS, SPLITS
from spikeline.drivers.sim.scene import Clip, draw_clip
from spikeline.drivers.sim.scripts import GestureScript, PlannedScript, StreamScript
from spikeline.drivers.sim.source_options import MAX_SEED, Options
from spikeline.drivers.sim.stage import KEYFRAME_US, Stage
from spikeline.drivers.sim.stepper import Stepper
from spikeline.drivers.sim.truth import Truth, TruthFile
from spikeline.drivers.sim.walkers import WALKER_NAMES
from spikeline.pipeline.events import Admission, EventPacket, Sensor, SourceError, SourceReport

SIMULATIONS: dict[str, tuple[str, ...]] = {
    "gesture": (
        "seed",
        "split",
        "person",
        "class",
        "duration_s",
        "gesture_s",
        "camera",
        "level",
        "off",
        "truth",
    ),
    "stream": ("seed", "split", "person", "class", "duration_s", "camera", "level", "off", "truth"),
    "chain": ("seed", "split", "index", "camera", "level", "truth"),
    "gait": ("seed", "split", "index", "duration_s", "camera", "level", "view", "truth"),
}
STREAM_S = 60.0


class Script(Protocol):
    def prepare(self, stepper: Any) -> None: ...


class _Still:
    """Nothing is to be decided while a clip plays."""

    def prepare(self, stepper: Any) -> None:
        return


class SimSource:
    """The stream that `options` name. `truth` grows as the stream is read."""

    def __init__(self, options: Mapping[str, str], kind: str = "gesture") -> None:
        self.format = f"sim:{kind}"
        self.truth: list[Truth] = []
        self.labels: tuple[str, ...] = GESTURES  # in which the truth counts
        self._begun = False
        self._closed = False
        self._shown_us = 0  # how far the stream has been made
        asked = Options(self.format, options, SIMULATIONS[kind])
        if kind in ("gesture", "stream"):
            self._set_up_stream(asked, kind)
        elif kind == "chain":
            self._set_up_chain(asked)
        else:
            self._set_up_gait(asked)
        preset = PRESETS[self.clip.preset]
        self.sensor = Sensor(preset.width, preset.height, preset.model)
        self._admission = Admission(self.sensor, origin_us=0)
        self._file = TruthFile(asked.text("truth"), self.format, self.labels) if "truth" in asked else None

    def _set_up_stream(self, asked: Options, kind: str) -> None:
        seed, split, level, camera = _scene(asked)
        low, high = SPLITS[split]
        person = asked.integer("person", low, low, high - 1) if "person" in asked else None
        only = asked.label("class")
        gesture_us = int(asked.number("gesture_s", 3.0, 0.5, 3_600.0) * 1e6) // KEYFRAME_US * KEYFRAME_US
        duration_s = asked.number("duration_s", 12.0 if kind == "gesture" else STREAM_S, 0.0, 1e9)
        self._end_us: int | None = round(duration_s * 1e6) if duration_s > 0 else None  # None: endless
        self.clip: Any = draw_clip(
            seed, split=split, label=0, person=person, duration_s=duration_s, level=level, preset=camera,
            off=asked.words("off", tuple(PARTS)),
        )  # fmt: skip
        if self.clip.hard is not None:
            self.clip = replace(self.clip, hard=self.clip.hard._replace(begin_us=-1.0, end_us=-1.0))
        clip: Clip = self.clip

        def begin() -> tuple[Stage, Script]:
            script: GestureScript | StreamScript
            if kind == "gesture":
                script = GestureScript(clip, only, gesture_us, self._end_us, self.truth)
            else:
                script = StreamScript(clip, only, self._end_us, self.truth)
            return Stepper(replace(clip, motion=script.motion)), script

        self._begin = begin

    def _set_up_chain(self, asked: Options) -> None:
        seed, split, level, camera = _scene(asked)
        chain = draw_chain(
            seed, split=split, index=asked.integer("index", 0, 0, MAX_SEED), level=level, camera=camera
        )
        self.clip, self._end_us = chain.scene, round(CHAIN_S * 1e6)
        self.order = CHAINS[chain.label]
        plan = []
        for segment in chain.segments:
            rest = segment.motion._replace(kind=NONE, variant=STANDING)
            plan.append((segment.start_us, TURN_US, segment.motion, segment.motion.kind, segment.stop_us))
            plan.append((segment.stop_us, TURN_US, rest, -1, 0))

        def begin() -> tuple[Stage, Script]:
            stepper = chain_stepper(chain)
            return stepper, PlannedScript(chain.scene, stepper.motion, plan, self.truth)

        self._begin = begin

    def _set_up_gait(self, asked: Options) -> None:
        seed, split, level, camera = _scene(asked)
        duration_s = asked.number("duration_s", 2.5, 0.1, 60.0)
        view = asked.choice("view", "", ("side", "oblique")) or None
        clip = draw_gait(
            seed, split=split, index=asked.integer("index", 0, 0, MAX_SEED), level=level, camera=camera,
            duration_s=duration_s, view=view,
        )  # fmt: skip
        self.clip, self._end_us, self.labels = clip, clip.duration_us, WALKER_NAMES
        stride_us = round(120e6 / (clip.gait.cadence * clip.path.tempo))

        def begin() -> tuple[Stage, Script]:
            end_us = clip.duration_us
            self.truth.append(
                {"label": clip.label, "onset_us": 0, "full_us": min(stride_us, end_us), "offset_us": end_us,
                 "person": clip.label}
            )  # fmt: skip
            return gait_stage(clip), _Still()

        self._begin = begin

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        if self._file is not None:
            self._file.finish(self.truth, self._shown_us)
            self._file = None

    def report(self) -> SourceReport:
        return self._admission.report

    def __iter__(self) -> Iterator[EventPacket]:
        if self._closed or self._begun:
            state = "closed" if self._closed else "already being read"
            raise SourceError(f"{self.format}: this source is {state}; open it again to read it again")
        self._begun = True
        return self._packets()

    def _packets(self) -> Iterator[EventPacket]:
        stage, script = self._begin()
        dropped_before = 0
        while self._end_us is None or stage.t_us < self._end_us:
            script.prepare(stage)
            start_us = stage.t_us
            t, x, y, p = stage.advance()
            if start_us < 0:
                dropped_before = stage.lost
                continue
            until_us = stage.t_us
            if self._end_us is not None and until_us > self._end_us:
                until_us = self._end_us
                n = int(t.searchsorted(until_us))
                t, x, y, p = t[:n], x[:n], y[:n], p[:n]
            self._admission.report.dropped = stage.lost - dropped_before
            self._shown_us = until_us
            if self._file is not None:
                self._file.write(self.truth, until_us)
            for packet in self._admission.admit(t, x, y, p, until_us=until_us):
                yield packet
                if self._closed:
                    return


def _scene(asked: Options) -> tuple[int, str, str, str | None]:
    """Seed, split, level and camera, which every simulation takes."""
    return (
        asked.integer("seed", 0, 0, MAX_SEED),
        asked.choice("split", "test", tuple(SPLITS)),
        asked.choice("level", "normal", tuple(LEVELS)),
        asked.choice("camera", "", tuple(PRESETS)) or None,
    )
