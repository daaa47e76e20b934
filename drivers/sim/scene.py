"""What a clip shows: person, clothes, wall, light, camera and motion, all drawn before anything moves.

A `Clip` is its own manifest: `simulate` reads nothing else, and `as_dict` turns it into JSON. The draws for
the scene come from other paths than those of the motion, so that no nuisance can tell the class.
People, pixel maps and backgrounds are numbered apart for each split.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from spikeline.drivers.sim.body import Body, View
from spikeline.drivers.sim.camera import DVS128_BUS, PRESETS, Preset, Readout, draw_camera, harder_camera
from spikeline.drivers.sim.draws import Draws
from spikeline.drivers.sim.effects import effects_from_dict
from spikeline.drivers.sim.gestures import GESTURES, Motion
from spikeline.drivers.sim.hard import Hard, draw_hard
from spikeline.drivers.sim.idle import Idle
from spikeline.drivers.sim.looks import SPLIT_BASE, Light, Look, Wall, draw_looks, draw_wall
from spikeline.drivers.sim.parts import without
from spikeline.drivers.sim.people import LEVELS, SPLITS, Level, draw_idle, draw_motion, draw_person
from spikeline.drivers.sim.pixel_state import PixelValues

SIM_VERSION = 2
LOW_CONTRAST = 0.3  # share of clips of level hard whose clothes, wall and skin hardly differ


@dataclass(frozen=True)
class Clip:
    """Every number a clip is made of."""

    sim_version: int
    seed: int
    split: str
    index: int
    level: str
    label: int
    person: int
    duration_us: int
    preset: str
    camera_seed: int
    draw_seed: int
    camera: PixelValues
    body: Body
    view: View
    looks: tuple[Look, ...]
    wall: Wall
    light: Light
    idle: Idle
    motion: Motion
    readout: Readout = DVS128_BUS
    hard: Hard | None = None  # what level hard adds

    def as_dict(self) -> dict[str, Any]:
        """The manifest line: plain numbers, strings, lists and dictionaries."""
        line = {field.name: plain(getattr(self, field.name)) for field in fields(self)}
        return line


def plain(value: Any) -> Any:
    if hasattr(value, "_asdict"):
        return {name: plain(item) for name, item in value._asdict().items()}
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return value


def clip_from_dict(line: dict[str, Any]) -> Clip:
    """The clip of a manifest line."""
    parts = {"camera": PixelValues, "body": Body, "view": View, "wall": Wall, "light": Light, "idle": Idle,
             "motion": Motion, "readout": Readout}  # fmt: skip
    made = {name: parts[name](**value) if name in parts else value for name, value in line.items()}
    made["looks"] = tuple(Look(**look) for look in line["looks"])
    if line.get("hard") is not None:
        hard = line["hard"]
        made["hard"] = Hard(
            **{**hard, "effects": effects_from_dict(hard["effects"]), "held_look": Look(**hard["held_look"])}
        )
    return Clip(**made)


def draw_view(d: Draws, level: Level, preset: Preset) -> View:
    size = preset.height
    return View(
        x_px=round(0.5 * preset.width + d.uniform(-level.shift, level.shift) * preset.width, 6),
        y_px=round((0.41 + 0.7 * d.uniform(-level.shift, level.shift)) * size, 6),
        scale_px=round(d.uniform(*level.scale) * size, 6),
        yaw_turns=round(d.uniform(-level.yaw_deg, level.yaw_deg) / 360.0, 6),
        roll_turns=round(d.uniform(-level.roll_deg, level.roll_deg) / 360.0, 6),
        perspective=d.uniform(0.1, 0.4),
        blur_px=d.uniform(*level.blur_px),
    )


def draw_clip(
    seed: int,
    *,
    split: str = "train",
    index: int = 0,
    label: int | None = None,
    person: int | None = None,
    duration_s: float = 2.0,
    level: str = "normal",
    preset: str | None = None,
    off: Sequence[str] = (),
) -> Clip:
    """Draw clip `index` of a split. The label defaults to index modulo 12, the person is drawn.

    off  parts of the pixel model to switch off, names in parts.PARTS
    """
    if split not in SPLITS:
        raise ValueError(f"split: unknown name {split!r}; choose from {', '.join(SPLITS)}")
    if level not in LEVELS:
        raise ValueError(f"level: unknown name {level!r}; choose from {', '.join(LEVELS)}")
    if preset is not None and preset not in PRESETS:
        raise ValueError(f"camera: unknown name {preset!r}; choose from {', '.join(PRESETS)}")
    label = index % len(GESTURES) if label is None else label
    if not 0 <= label < len(GESTURES):
        raise ValueError(f"label: {label} is not a class; expected 0 to {len(GESTURES) - 1}")
    ranges = LEVELS[level]
    path = ("clip", seed, split, index)
    d = Draws(*path, "scene")
    low, high = SPLITS[split]
    drawn_person, drawn_preset = (
        low + d.below(high - low),
        tuple(PRESETS)[d.below(len(PRESETS) if level == "hard" else 2)],
    )
    number = drawn_person if person is None else person
    if not low <= number < high:
        raise ValueError(f"person: {number} is not in split {split}; expected {low} to {high - 1}")
    who = draw_person(number)
    hard = None
    if level == "hard":
        hard = draw_hard(Draws(*path, "hard"), SPLIT_BASE[split], duration_s)
        if Draws(*path, "contrast").chance(LOW_CONTRAST):
            ranges = ranges._replace(contrast=0.1)
    name = drawn_preset if preset is None else preset
    wall = draw_wall(Draws(*path, "wall"), who, split, ranges)
    camera = draw_camera(Draws(*path, "camera"), PRESETS[name], ranges.camera)
    readout = PRESETS[name].readout
    if level == "hard":
        camera = harder_camera(Draws(*path, "harder camera"), camera)
    camera, readout = without(camera, readout, off)
    return Clip(
        sim_version=SIM_VERSION,
        seed=seed,
        split=split,
        index=index,
        level=level,
        label=label,
        person=number,
        duration_us=round(duration_s * 1e6),
        preset=name,
        camera_seed=SPLIT_BASE[split] + d.below(1 << 32),
        draw_seed=d.bits() >> 1,
        camera=camera,
        body=who.body,
        view=draw_view(Draws(*path, "view"), ranges, PRESETS[name]),
        looks=draw_looks(Draws(*path, "looks"), who, wall, ranges),
        wall=wall,
        light=Light(d.log_uniform(*ranges.light), d.uniform(-1.0, 1.0), d.uniform(-1.0, 1.0)),
        idle=draw_idle(Draws(*path, "idle"), who, ranges),
        motion=draw_motion(Draws(*path, "motion"), label, who, ranges),
        readout=readout,
        hard=hard,
    )
