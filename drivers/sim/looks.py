"""Wall, light and clothes: how what is seen reflects."""

from typing import NamedTuple

from spikeline.drivers.sim.body import LEFT_ARM, RIGHT_ARM, SHAPES
from spikeline.drivers.sim.draws import Draws
from spikeline.drivers.sim.people import Level, Person

SPLIT_BASE = {"train": 0, "validation": 1 << 40, "test": 2 << 40}  # of pixel maps and backgrounds


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
    seed = SPLIT_BASE[split] + (d.bits() >> 25)
    return Wall(seed, albedo, d.log_uniform(*level.wall_contrast), d.below(4))
