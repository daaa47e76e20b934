"""Who walks, in what clothes and where: the twenty walkers, and what is drawn anew for each clip of them."""

from functools import cache

from spikeline.drivers.sim.draws import Draws
from spikeline.drivers.sim.looks import SPLIT_BASE, Look, Wall
from spikeline.drivers.sim.people import Level
from spikeline.drivers.sim.walk import (
    BAG,
    CHEST,
    FOREARM,
    HAIR,
    HAND,
    HEAD,
    NECK,
    UPPER_ARM,
    WALKER_SHAPES,
    Gait,
    Path,
)

WALKERS = 20
WALKER_NAMES: tuple[str, ...] = tuple(f"walker{number:02d}" for number in range(WALKERS))
_APART = 1.0  # least distance of two walkers, each number scaled to 0..1
_RANGES: tuple[tuple[float, float], ...] = (
    (95, 125), (0.72, 0.90), (10, 40), (-0.4, 0.4), (-0.06, 0.06), (-2, 8), (1, 5), (0.85, 1.15),
    (0.05, 0.13), (0.7, 1.4), (-10, 15), (-0.07, 0.07), (0.7, 1.3), (0.95, 1.05), (0.8, 1.3),
)  # fmt: skip


@cache
def walkers() -> tuple[Gait, ...]:
    """The twenty: drawn once, those too like another one drawn again."""
    kept: list[tuple[float, ...]] = []
    d = Draws("walkers")
    while len(kept) < WALKERS:
        unit = tuple(d.uniform(0.0, 1.0) for _ in _RANGES)
        if all(sum((a - b) ** 2 for a, b in zip(unit, other, strict=True)) >= _APART**2 for other in kept):
            kept.append(unit)
    return tuple(
        Gait(*(round(low + u * (high - low), 6) for u, (low, high) in zip(unit, _RANGES, strict=True)))
        for unit in kept
    )


def passer_by(number: int) -> Gait:
    """Somebody who is none of the twenty."""
    d = Draws("passer-by", number)
    return Gait(*(d.uniform(low, high) for low, high in _RANGES))


def draw_path(d: Draws, view: str, level: Level, duration_s: float, gait: Gait) -> Path:
    """A way through the image whose middle comes about half way through the clip."""
    back = d.chance(0.5)
    tempo = 1.0 + d.uniform(-0.08, 0.08)
    size = d.uniform(0.0, 1.0)
    jitter = 0.5 * level.spread / 0.15
    if view == "side":
        heading = d.uniform(-0.02, 0.02)
        distance, scale = d.uniform(4.0, 7.0), 62.0 + 34.0 * size
    else:
        heading = 0.125 + d.uniform(-0.02, 0.02)
        distance, scale = d.uniform(2.4, 3.2), 48.0 + 18.0 * size
    return Path(
        heading=round(heading + (0.5 if back else 0.0), 6),
        distance=distance,
        scale_px=round(scale * (1.0 + d.uniform(-0.1, 0.1) * jitter), 6),
        x_px=round(64.0 + d.uniform(-14.0, 14.0) * jitter, 6),
        floor_px=round(64.0 + 0.46 * scale + d.uniform(-8.0, 8.0) * jitter, 6),
        eye=d.uniform(0.45, 0.95),
        middle_s=round(duration_s * (0.5 + d.uniform(-0.1, 0.1) * jitter), 6),
        tempo=tempo,
        phase=d.uniform(0.0, 1.0),
        wander=d.uniform(0.0, 0.05),
        wander_hz=d.uniform(0.1, 0.4),
    )


def draw_dress(d: Draws, wall: Wall, level: Level) -> tuple[Look, ...]:
    """Clothes that differ from the wall; skin and hair of anybody."""

    def albedo(low: float, high: float) -> float:
        for _ in range(200):
            value = d.uniform(low, high)
            if max(value / wall.albedo, wall.albedo / value) > 1.0 + level.contrast:
                return value
        return value

    skin, hair, shirt, trousers, shoes = (
        albedo(0.2, 0.8), albedo(0.05, 0.6), albedo(0.05, 0.95), albedo(0.05, 0.95), albedo(0.05, 0.95)
    )  # fmt: skip
    texture, cycles, sleeve = d.uniform(0.0, 0.4), d.uniform(1.0, 5.0), d.uniform(0.4, 2.2)
    stripes = d.chance(0.5)

    def look(near: float, far: float, cut: float, amount: float) -> Look:
        along, across = (amount, 0.0) if stripes else (0.0, amount)
        phases = d.uniform(0.0, 1.0), d.uniform(0.0, 1.0)
        return Look(near, far, cut, round(along, 6), round(across, 6), 0.0, cycles, cycles, *phases)

    looks = []
    for shape in range(WALKER_SHAPES):
        if shape < 4:
            looks.append(look(trousers, trousers, 2.0, 0.5 * texture))
        elif shape < 6:
            looks.append(look(shoes, shoes, 2.0, 0.0))
        elif shape <= CHEST:
            looks.append(look(shirt, shirt, 2.0, texture))
        elif UPPER_ARM <= shape < FOREARM:
            looks.append(look(shirt, skin, sleeve, texture))
        elif FOREARM <= shape < HAND:
            looks.append(look(shirt if sleeve > 1.0 else skin, skin, round(sleeve - 1.0, 6), 0.5 * texture))
        elif shape == HAIR:
            looks.append(look(hair, hair, 2.0, 0.1))
        elif shape == BAG:
            looks.append(look(shoes, trousers, 0.5, 0.2))
        else:
            assert shape in (NECK, HEAD, HAND, HAND + 1)
            looks.append(look(skin, skin, 2.0, 0.05))
    return tuple(looks)


def draw_wall_of_anybody(d: Draws, split: str, level: Level) -> Wall:
    albedo = d.log_uniform(0.1, 1.0)
    return Wall(SPLIT_BASE[split] + (d.bits() >> 25), albedo, d.log_uniform(*level.wall_contrast), d.below(4))
