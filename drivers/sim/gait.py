"""`sim:gait`: twenty walkers, told apart by how they walk and by nothing else.

A walker is fifteen numbers, always the same. Everything else (size, clothes, light, speed, direction, path,
camera) is drawn anew for each clip, so that none of it can tell who walks. The second visit, which is for
testing, has other clothes, walls and pixel maps. All twenty are in every split: this is identification.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeline.drivers.sim.array import Events
from spikeline.drivers.sim.camera import PRESETS, Readout, draw_camera, harder_camera
from spikeline.drivers.sim.draws import Draws
from spikeline.drivers.sim.effects import Effects, draw_effects, effects_from_dict
from spikeline.drivers.sim.looks import SPLIT_BASE, Light, Look, Wall
from spikeline.drivers.sim.parts import part_names, without
from spikeline.drivers.sim.people import LEVELS
from spikeline.drivers.sim.pixel_state import PixelValues
from spikeline.drivers.sim.scene import plain
from spikeline.drivers.sim.stage import Stage, all_events
from spikeline.drivers.sim.walk import WALKER_SHAPES, Gait, Path, walker_shapes
from spikeline.drivers.sim.walkers import WALKERS, draw_dress, draw_path, draw_wall_of_anybody, walkers

GAIT_VERSION = 1


@dataclass(frozen=True)
class GaitClip:
    """Every number a clip is made of."""

    gait_version: int
    seed: int
    split: str
    index: int
    level: str
    label: int
    person: int  # -1: the walker is the label, and is in every split
    duration_us: int
    view: str  # side or oblique
    preset: str
    camera_seed: int
    draw_seed: int
    camera: PixelValues
    readout: Readout
    gait: Gait
    path: Path
    bag: float
    looks: tuple[Look, ...]
    blur_px: float
    wall: Wall
    light: Light
    effects: Effects | None

    def as_dict(self) -> dict[str, Any]:
        """The manifest line: plain numbers, strings, lists and dictionaries."""
        return {field.name: plain(getattr(self, field.name)) for field in fields(self)}


def gait_from_dict(line: dict[str, Any]) -> GaitClip:
    """The clip of a manifest line."""
    parts = {
        "camera": PixelValues,
        "readout": Readout,
        "gait": Gait,
        "path": Path,
        "wall": Wall,
        "light": Light,
    }
    made = {name: parts[name](**value) if name in parts else value for name, value in line.items()}
    made["looks"] = tuple(Look(**look) for look in line["looks"])
    made["effects"] = effects_from_dict(line["effects"])
    return GaitClip(**made)


def draw_gait(
    seed: int,
    *,
    split: str = "train",
    index: int = 0,
    duration_s: float = 2.5,
    level: str = "normal",
    camera: str | None = None,
    view: str | None = None,
    off: str | Sequence[str] = (),
) -> GaitClip:
    """Draw clip `index` of a split; the walker is index modulo 20."""
    if split not in SPLIT_BASE:
        raise ValueError(f"split: unknown name {split!r}; choose from {', '.join(SPLIT_BASE)}")
    if level not in LEVELS:
        raise ValueError(f"level: unknown name {level!r}; choose from {', '.join(LEVELS)}")
    if camera is not None and camera not in PRESETS:
        raise ValueError(f"camera: unknown name {camera!r}; choose from {', '.join(PRESETS)}")
    if view not in (None, "side", "oblique"):
        raise ValueError(f"view: unknown name {view!r}; choose from side, oblique")
    ranges, label = LEVELS[level], index % WALKERS
    path = ("gait", seed, split, index)
    d = Draws(*path, "scene")
    drawn_view, drawn_camera = ("side", "oblique")[d.below(2)], tuple(PRESETS)[d.below(len(PRESETS))]
    name, shown = camera or drawn_camera, view or drawn_view
    wall = draw_wall_of_anybody(Draws(*path, "wall"), split, ranges)
    bag = d.pick((0.7, 0.15, 0.15))
    values = draw_camera(Draws(*path, "camera"), PRESETS[name], ranges.camera)
    if level == "hard":
        values = harder_camera(Draws(*path, "harder camera"), values)
    values, readout = without(values, PRESETS[name].readout, part_names(off))
    return GaitClip(
        gait_version=GAIT_VERSION,
        seed=seed,
        split=split,
        index=index,
        level=level,
        label=label,
        person=-1,
        duration_us=round(duration_s * 1e6),
        view=shown,
        preset=name,
        camera_seed=SPLIT_BASE[split] + d.below(1 << 32),
        draw_seed=d.bits() >> 1,
        camera=values,
        readout=readout,
        gait=walkers()[label],
        path=draw_path(Draws(*path, "path"), shown, ranges, duration_s, walkers()[label]),
        bag=(0.0, -1.0, 1.0)[bag] if level == "hard" else 0.0,
        looks=draw_dress(Draws(*path, "dress"), wall, ranges),
        blur_px=d.uniform(*ranges.blur_px),
        wall=wall,
        light=Light(d.log_uniform(*ranges.light), d.uniform(-1.0, 1.0), d.uniform(-1.0, 1.0)),
        effects=draw_effects(Draws(*path, "effects"), duration_s) if level == "hard" else None,
    )


class Walker:
    """One walker as a figure for the stage."""

    def __init__(self, gait: Gait, path: Path, bag: float, looks: tuple[Look, ...], blur_px: float) -> None:
        self.looks, self.blurs, self.shades = looks, [blur_px] * WALKER_SHAPES, [0.0] * WALKER_SHAPES
        self._gait, self._path, self._bag = gait, path, bag

    def keyframe(self, t_us: int, first: bool, shapes: NDArray[np.float64]) -> None:
        walker_shapes(self._gait, self._path, self._bag, t_us * 1e-6, shapes)


def gait_stage(clip: GaitClip) -> Stage:
    """The clip's walker before the clip's camera."""
    figure = Walker(clip.gait, clip.path, clip.bag, clip.looks, clip.blur_px)
    return Stage(
        figure, PRESETS[clip.preset], clip.camera, clip.readout, clip.wall, clip.light, clip.effects,
        camera_seed=clip.camera_seed, draw_seed=clip.draw_seed,
    )  # fmt: skip


def simulate_gait(clip: GaitClip) -> Events:
    """The whole clip: t int64 us from 0 to its duration, x, y uint16, p uint8 (1 ON)."""
    return all_events(gait_stage(clip), clip.duration_us)
