"""What a clip shows: person, clothes, wall, light, camera and motion, all drawn before anything moves.

A `Clip` is its own manifest: `simulate` reads nothing else, and `as_dict` turns it into JSON. The draws for
the scene come from other paths than those of the motion, so that no nuisance can tell the class.
People, pixel maps and backgrounds are numbered apart for each split.
"""

from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from spikeline.drivers.sim.body import LEFT_ARM, RIGHT_ARM, SHAPES, Body, View
from spikeline.drivers.sim.camera import PRESETS, Preset, draw_camera
from spikeline.drivers.sim.draws import Draws
from spikeline.drivers.sim.gestures import GESTURES, Motion
from spikeline.drivers.sim.idle import Idle
from spikeline.drivers.sim.people import LEVELS, SPLITS, Level, Person, draw_idle, draw_motion, draw_person
from spikeline.drivers.sim.pixel_state import PixelValues

SIM_VERSION = 2

_SPLIT_BASE = {"train": 0, "validation": 1 << 40, "test": 2 << 40}  # of pixel maps and backgrounds


class Look(NamedTuple):
    """One shape's surface: albedo near its first end, beyond `cut` of its length, and its texture."""

    near: float
    far: float
    cut: float
    along: float
    across: float
    both: float
    along_cycles: float
    across_cycles: float
    along_phase: float
    across_phase: float


class Wall(NamedTuple):
    seed: int
    albedo: float
    contrast: float
    furniture: int


class Light(NamedTuple):
    level: float
    x: float  # direction, in the image
    y: float


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

    def as_dict(self) -> dict[str, Any]:
        """The manifest line: plain numbers, strings, lists and dictionaries."""
        line = {field.name: _plain(getattr(self, field.name)) for field in fields(self)}
        return line


def _plain(value: Any) -> Any:
    if hasattr(value, "_asdict"):
        return {name: _plain(item) for name, item in value._asdict().items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def clip_from_dict(line: dict[str, Any]) -> Clip:
    """The clip of a manifest line."""
    parts = {"camera": PixelValues, "body": Body, "view": View, "wall": Wall, "light": Light, "idle": Idle,
             "motion": Motion}  # fmt: skip
    made = {name: parts[name](**value) if name in parts else value for name, value in line.items()}
    made["looks"] = tuple(Look(**look) for look in line["looks"])
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


def draw_looks(d: Draws, person: Person, wall: Wall, level: Level) -> tuple[Look, ...]:
    """Clothes: albedo and texture of each shape. Wall, shirt and skin differ from each other."""

    def cloth(skin: float) -> float:
        for _ in range(10_000):  # the narrowest gap between wall and skin is 1 in 50
            albedo = d.uniform(0.08, 0.95)
            if all(
                max(albedo / other, other / albedo) > 1.0 + level.contrast for other in (wall.albedo, skin)
            ):
                return albedo
        return albedo

    skin = person.skin
    shirt, trousers = cloth(skin), cloth(skin)
    texture = d.uniform(0.0, 0.45)
    style = d.pick((1.0, 1.0, 1.0, 1.0))  # rings, stripes, checks, all mixed
    weights = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (0.4, 0.3, 0.3))[style]
    period = d.uniform(0.035, 0.11)  # of the texture, in body units
    sleeve = d.uniform(0.35, 2.1)  # upper arms covered, then forearms
    body = person.body
    sizes = {2: (0.5, body.torso_radius), 3: (body.shoulder_width, 0.062)}

    def look(shape: int, near: float, far: float, cut: float, amount: float) -> Look:
        length, radius = sizes.get(shape, (body.upper_arm, body.arm_radius))
        return Look(near, far, cut, amount * weights[0], amount * weights[1], amount * weights[2],
                    round(length / period, 6), round(radius / period, 6), d.uniform(0.0, 1.0),
                    d.uniform(0.0, 1.0))  # fmt: skip

    skin_texture = min(texture, 0.12)
    looks = []
    for shape in range(SHAPES):
        if shape < 2:
            looks.append(look(shape, trousers, trousers, 2.0, 0.5 * texture))
        elif shape < 4:
            looks.append(look(shape, shirt, shirt, 2.0, texture))
        elif shape == 5:
            looks.append(look(shape, person.hair, person.hair, 2.0, 0.15))
        elif shape in (RIGHT_ARM, LEFT_ARM):
            looks.append(look(shape, shirt, skin, sleeve, texture))
        elif shape in (RIGHT_ARM + 1, LEFT_ARM + 1):
            looks.append(look(shape, shirt if sleeve > 1.0 else skin, skin, sleeve - 1.0, texture))
        else:
            looks.append(look(shape, skin, skin, 2.0, skin_texture))
    return tuple(Look(*(round(value, 6) for value in made)) for made in looks)


def draw_wall(d: Draws, person: Person, split: str, level: Level) -> Wall:
    """A wall against which the person's hands can be told."""
    albedo = d.log_uniform(0.1, 1.0)
    while max(albedo / person.skin, person.skin / albedo) < 1.0 + level.contrast:
        albedo = d.log_uniform(0.1, 1.0)
    seed = _SPLIT_BASE[split] + (d.bits() >> 25)
    return Wall(seed, albedo, d.log_uniform(*level.wall_contrast), d.below(4))


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
) -> Clip:
    """Draw clip `index` of a split. The label defaults to index modulo 12, the person is drawn."""
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
    drawn_person, drawn_preset = low + d.below(high - low), tuple(PRESETS)[d.below(2)]
    number = drawn_person if person is None else person
    if not low <= number < high:
        raise ValueError(f"person: {number} is not in split {split}; expected {low} to {high - 1}")
    who = draw_person(number)
    name = drawn_preset if preset is None else preset
    wall = draw_wall(Draws(*path, "wall"), who, split, ranges)
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
        camera_seed=_SPLIT_BASE[split] + d.below(1 << 32),
        draw_seed=d.bits() >> 1,
        camera=draw_camera(Draws(*path, "camera"), PRESETS[name], ranges.camera),
        body=who.body,
        view=draw_view(Draws(*path, "view"), ranges, PRESETS[name]),
        looks=draw_looks(Draws(*path, "looks"), who, wall, ranges),
        wall=wall,
        light=Light(d.log_uniform(*ranges.light), d.uniform(-1.0, 1.0), d.uniform(-1.0, 1.0)),
        idle=draw_idle(Draws(*path, "idle"), who, ranges),
        motion=draw_motion(Draws(*path, "motion"), label, who, ranges),
    )
