"""`sim:chain`: three gestures of one person in one of six orders; the order is the label.

Each gesture rises out of rest and falls back into it, so a gesture's frames do not depend on its neighbours;
durations, gaps and places are drawn by position, before the order. Whatever is summed over time is therefore
the same for all orders: the mean frame can do no better than 1/6. Who knows only the last gesture has two
orders left.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import permutations
from typing import Any, NamedTuple

from spikeline.drivers.sim.array import Events
from spikeline.drivers.sim.draws import Draws
from spikeline.drivers.sim.gestures import NONE, Motion
from spikeline.drivers.sim.idle import STANDING
from spikeline.drivers.sim.parts import part_names
from spikeline.drivers.sim.people import LEVELS, draw_motion, draw_person
from spikeline.drivers.sim.scene import Clip, clip_from_dict, draw_clip, plain
from spikeline.drivers.sim.stage import KEYFRAME_US
from spikeline.drivers.sim.stepper import Stepper, play

CHAIN_VERSION = 1
PARTS_OF_CHAIN: tuple[str, ...] = ("wave", "clap", "roll")
ORDERS: tuple[tuple[int, ...], ...] = tuple(permutations(range(3)))
CHAINS: tuple[str, ...] = tuple("_".join(PARTS_OF_CHAIN[k] for k in order) for order in ORDERS)
CHAIN_S = 4.4  # room for the longest
HOLD_US = (500_000, 800_000)
GAP_US = (0, 300_000)
TURN_US = 220_000  # out of rest, and back


class Segment(NamedTuple):
    """One gesture of a chain: it begins to rise at `start_us` and to fall at `stop_us`."""

    part: int  # index into PARTS_OF_CHAIN
    start_us: int
    stop_us: int
    motion: Motion


@dataclass(frozen=True)
class ChainClip:
    """Every number a clip is made of: the scene of a gesture clip, and what happens in it."""

    chain_version: int
    scene: Clip
    label: int
    segments: tuple[Segment, ...]

    @property
    def person(self) -> int:
        return self.scene.person

    @property
    def duration_us(self) -> int:
        return self.scene.duration_us

    def as_dict(self) -> dict[str, Any]:
        """The manifest line: plain numbers, strings, lists and dictionaries."""
        line = {field.name: plain(getattr(self, field.name)) for field in fields(self)}
        return {**line, "scene": self.scene.as_dict()}


def chain_from_dict(line: dict[str, Any]) -> ChainClip:
    """The clip of a manifest line."""
    segments = tuple(Segment(**{**part, "motion": Motion(**part["motion"])}) for part in line["segments"])
    return ChainClip(**{**line, "scene": clip_from_dict(line["scene"]), "segments": segments})


def draw_chain(
    seed: int,
    *,
    split: str = "train",
    index: int = 0,
    duration_s: float = CHAIN_S,
    level: str = "normal",
    camera: str | None = None,
    off: str | Sequence[str] = (),
    label: int | None = None,
) -> ChainClip:
    """Draw clip `index` of a split; its order is index modulo 6. Nothing else is drawn from the order."""
    if duration_s < CHAIN_S:
        raise ValueError(f"duration_s: {duration_s:g}; a chain needs at least {CHAIN_S:g}")
    label = index % len(ORDERS) if label is None else label
    path = ("chain", seed, split, index)
    d = Draws(*path)
    number = d.bits() >> 33
    scene = draw_clip(
        number,
        split=split,
        index=index,
        label=0,
        duration_s=duration_s,
        level=level,
        preset=camera,
        off=part_names(off),
    )
    if scene.hard is not None:
        scene = replace(scene, hard=scene.hard._replace(begin_us=-1.0, end_us=-1.0))
    person = draw_person(scene.person)
    wave = 1 + d.below(2)
    motions = [
        draw_motion(Draws(*path, "motion", part), gesture, person, LEVELS[level])
        for part, gesture in enumerate((wave, 0, 7))
    ]
    holds, gaps = [_between(d, HOLD_US) for _ in range(3)], [_between(d, GAP_US) for _ in range(2)]
    spare_us = scene.duration_us - sum(holds) - sum(gaps) - 6 * TURN_US
    at_us = _between(d, (0, spare_us))
    segments = []
    for place, part in enumerate(ORDERS[label]):
        stop_us = at_us + TURN_US + holds[place]
        segments.append(Segment(part, at_us, stop_us, motions[part]))
        at_us = stop_us + TURN_US + (gaps[place] if place < 2 else 0)
    return ChainClip(CHAIN_VERSION, scene, label, tuple(segments))


def _between(d: Draws, range_us: tuple[int, int]) -> int:
    """A time in whole keyframes."""
    low, high = range_us
    return (low + d.below(max(high - low, 1))) // KEYFRAME_US * KEYFRAME_US


def plan_of(clip: ChainClip) -> list[tuple[int, int, Motion]]:
    """When to turn, for how long, and to which motion."""
    turns = []
    for segment in clip.segments:
        rest = segment.motion._replace(kind=NONE, variant=STANDING)
        turns += [(segment.start_us, TURN_US, segment.motion), (segment.stop_us, TURN_US, rest)]
    return turns


def chain_stepper(clip: ChainClip) -> Stepper:
    """The person at rest, before the first gesture."""
    rest = clip.segments[0].motion._replace(kind=NONE, variant=STANDING)
    return Stepper(replace(clip.scene, motion=rest))


def simulate_chain(clip: ChainClip) -> Events:
    """The whole clip: t int64 us from 0 to its duration, x, y uint16, p uint8 (1 ON)."""
    return play(chain_stepper(clip), plan_of(clip), clip.duration_us)
