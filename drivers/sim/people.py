"""Who is shown and how they move: levels of difficulty, persons, and the draws of a motion and of idling.

A person is a number and always the same. The draws of a motion are the same for every class, so that no
nuisance can tell the class.
"""

from typing import NamedTuple

from spikeline.drivers.sim.body import Body
from spikeline.drivers.sim.draws import Draws
from spikeline.drivers.sim.gestures import NONE, OTHER, OTHER_VARIANTS, Motion
from spikeline.drivers.sim.idle import NONE_VARIANTS, PLAIN_NONE_VARIANTS, Idle

SPLITS: dict[str, tuple[int, int]] = {"train": (0, 40), "validation": (40, 50), "test": (1000, 1020)}


class Level(NamedTuple):
    """How far a clip may stray. `spread` scales what a clip adds to its person."""

    shift: float  # of the position, in image sizes
    scale: tuple[float, float]
    yaw_deg: float
    roll_deg: float
    spread: float
    fidget: float  # share of clips
    idle_styles: tuple[float, float, float, float]
    light: tuple[float, float]
    wall_contrast: tuple[float, float]
    contrast: float  # least difference between skin, clothes and wall: 0.8 is a ratio of 1.8
    blur_px: tuple[float, float]
    camera: float  # 0 the middle of the preset, 1 its whole range
    all_none: bool = False  # people who do nothing also walk through and sit down


LEVELS: dict[str, Level] = {
    "easy": Level(
        0.03, (0.95, 1.0), 0.0, 0.0, 0.05, 0.0, (1, 0, 0, 0), (0.7, 1.0), (0.02, 0.021), 0.5, (0.7, 0.71), 0.0
    ),
    "normal": Level(
        0.10, (0.75, 1.0), 15.0, 3.0, 0.15, 0.2, (0.55, 0.15, 0.18, 0.12), (0.35, 1.2), (0.02, 0.2), 0.8,
        (0.6, 1.1), 1.0,
    ),
    "hard": Level(
        0.22, (0.45, 1.15), 35.0, 10.0, 0.35, 0.5, (0.4, 0.15, 0.25, 0.2), (0.03, 3.0), (0.02, 0.5), 0.8,
        (0.6, 2.0), 1.5, True,
    ),
}  # fmt: skip

_TEMPO_HZ = (
    (1.2, 2.6), (1.2, 2.9), (1.2, 2.9), (0.8, 1.6), (0.8, 1.6), (0.8, 1.6), (0.8, 1.6),
    (1.2, 2.2), (1.8, 3.4), (1.8, 3.4), (0.6, 2.5), (0.6, 2.5),
)  # fmt: skip
_VARIANTS: tuple[tuple[float, ...], ...] = (
    (1.0,), (0.2, 0.4, 0.2, 0.2), (0.2, 0.4, 0.2, 0.2), (0.4, 0.4, 0.2), (0.4, 0.4, 0.2), (0.4, 0.4, 0.2),
    (0.4, 0.4, 0.2), (0.85, 0.15), (0.1, 0.6, 0.3), (1.0,), (1.0,) * OTHER_VARIANTS,
    (1.0,) * PLAIN_NONE_VARIANTS,
)  # fmt: skip


class Person(NamedTuple):
    """What a person keeps from clip to clip; amplitudes and tempi multiply those of a clip."""

    body: Body
    skin: float
    hair: float
    tempo: float
    amp: float
    tilt: float
    asymmetry: float
    ease: float
    lag: float
    sway: float
    sway_hz: float
    others: tuple[int, int, int]  # the inventions this person shows as `other`
    left_handed: bool  # when playing the guitar


def draw_person(number: int) -> Person:
    """Person `number`: always the same, whoever asks."""
    d = Draws("person", number)
    upper, fore = d.uniform(0.27, 0.34), d.uniform(0.27, 0.33)
    arm, hand, head = d.uniform(0.045, 0.07), d.uniform(0.045, 0.062), d.uniform(0.10, 0.125)
    width = d.uniform(0.36, 0.46)
    body = Body(
        shoulder_width=width,
        upper_arm=upper,
        forearm=fore,
        arm_radius=arm,
        hand_radius=hand,
        head_radius=head,
        torso=d.uniform(0.55, 0.65),
        torso_radius=round(0.5 * width * d.uniform(0.74, 0.92), 6),
        hair=d.uniform(0.0, 0.25),
        roll_radius=d.uniform(0.07, 0.13),
        swivel=d.uniform(-0.4, 0.4),
        wrist=d.uniform(0.0, 1.0),
        wrist_keep=d.uniform(0.88, 0.945),  # lags of 40 to 90 ms
    )
    return Person(
        body=body,
        skin=d.uniform(0.25, 0.75),
        hair=d.log_uniform(0.05, 0.5),
        tempo=d.uniform(0.85, 1.18),
        amp=d.uniform(0.8, 1.2),
        tilt=d.uniform(-0.04, 0.04),
        asymmetry=d.uniform(-0.2, 0.2),
        ease=d.uniform(-0.25, 0.25),
        lag=d.uniform(0.0, 0.25),
        sway=d.uniform(0.002, 0.012),
        sway_hz=d.uniform(0.2, 0.5),
        others=(d.below(OTHER_VARIANTS), d.below(OTHER_VARIANTS), d.below(OTHER_VARIANTS)),
        left_handed=d.chance(0.05),
    )


def draw_motion(d: Draws, label: int, person: Person, level: Level, *, empty_room: bool = True) -> Motion:
    """One performance of class `label` by a person. The same draws are made whatever the class."""
    s = level.spread
    u_tempo, u_variant, u_half = d.uniform(0.0, 1.0), d.uniform(0.0, 1.0), d.below(NONE)
    jitter_tempo, jitter_amp = 1.0 + d.uniform(-s, s), 1.0 + d.uniform(-s, s)
    low, high = _TEMPO_HZ[label]
    weights = list(_VARIANTS[label])
    if label == OTHER:
        weights = [float(person.others.count(v)) for v in range(OTHER_VARIANTS)]
    if label == NONE and level.all_none:
        weights += [1.0] * (NONE_VARIANTS - PLAIN_NONE_VARIANTS)
    if label == NONE and not empty_room:
        weights[0] = 0.0
    left = u_variant * sum(weights)
    variant = 0
    while variant < len(weights) - 1 and left >= weights[variant]:
        left -= weights[variant]
        variant += 1
    leads_left = d.chance(0.5)
    if label == 9:
        leads_left = person.left_handed
    j = s / 0.15
    return Motion(
        kind=label,
        variant=variant,
        side=1.0 if leads_left else -1.0,
        hz=round((low + (high - low) * u_tempo) * person.tempo * jitter_tempo, 6),
        phase=d.uniform(0.0, 64.0),
        wander=d.uniform(0.0, 0.06),
        wander_hz=d.uniform(0.1, 0.4),
        wander_phase=d.uniform(0.0, 1.0),
        amp=round(person.amp * jitter_amp, 6),
        amp_wander=d.uniform(0.0, 0.1),
        ease=person.ease,
        lag=person.lag,
        dx=d.uniform(-0.06, 0.06) * j,
        dy=d.uniform(-0.1, 0.1) * j,
        dz=d.uniform(-0.06, 0.06) * j,
        tilt=round(person.tilt + d.uniform(-0.04, 0.04) * j, 6),
        aspect=round(1.0 + d.uniform(-0.25, 0.15) * j, 6),
        asymmetry=person.asymmetry,
        half_of=u_half,
        coupling=d.uniform(0.0, 0.008),
    )


def draw_idle(d: Draws, person: Person, level: Level) -> Idle:
    j = level.spread / 0.15
    right, left = d.pick(level.idle_styles), d.pick(level.idle_styles)
    fidget = d.chance(level.fidget)
    side = -1.0 if d.chance(0.5) else 1.0
    return Idle(
        right_rest=right,
        left_rest=left,
        right_dx=d.uniform(-0.04, 0.05) * j,
        right_dy=d.uniform(-0.08, 0.05) * j,
        left_dx=d.uniform(-0.04, 0.05) * j,
        left_dy=d.uniform(-0.08, 0.05) * j,
        fidget=side if fidget else 0.0,
        fidget_hz=d.uniform(0.6, 2.2),
        fidget_phase=d.uniform(0.0, 32.0),
        fidget_amp=d.uniform(0.02, 0.09),
        sway=person.sway,
        sway_hz=person.sway_hz,
        sway_phase=d.uniform(0.0, 1.0),
        nod=d.uniform(0.001, 0.012),
        nod_hz=d.uniform(0.2, 1.2),
    )
