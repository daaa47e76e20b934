"""`sim:digits`: small pictures of digits as the camera of N-MNIST would have seen them, clip by clip.

The pictures come from the caller, (N, 8, 8) grey levels with their labels; a clip holds its own picture, so
that it is made again from its line alone. No picture is in two splits.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikeline.drivers.sim.array import Events
from spikeline.drivers.sim.camera import Preset, Readout, draw_camera
from spikeline.drivers.sim.draws import Draws
from spikeline.drivers.sim.handwriting import Placement, picture
from spikeline.drivers.sim.parts import part_names, without
from spikeline.drivers.sim.pixel_state import PixelValues
from spikeline.drivers.sim.saccades import END_US, SIZE, Screen, Turn, watch
from spikeline.drivers.sim.scene import SPLIT_BASE, plain

DIGITS_VERSION = 1
CELLS = 8
DIGITS: tuple[str, ...] = tuple(str(digit) for digit in range(10))

# Fitted to half of the 1,000 clips of the SLAYER subset of N-MNIST; docs/simulator.md has the figures.
ATIS = Preset(
    SIZE, SIZE, "ATIS", (0.26, 0.35), (0.26, 0.35), (0.22, 0.34), (500, 1_100), (750, 1_300), (0.02, 0.1),
    (0.1, 0.3), (0.3, 0.8), (0.0, 0.0), (0.0, 0.0), (0.0, 0.002), Readout(bus_us=0), (180, 360),
)  # fmt: skip


class DigitLevel(NamedTuple):
    """Ranges that a clip is drawn from; `camera` as in people.Level."""

    shift_px: float
    size_px: tuple[float, float]
    aspect: tuple[float, float]
    turn_deg: float
    shear: tuple[float, float]  # writing leans to the right
    half_px: tuple[float, float]
    blur_px: tuple[float, float]
    white: tuple[float, float]
    black: tuple[float, float]
    turn_scale: tuple[float, float]
    late_us: float
    camera: float


DIGIT_LEVELS: dict[str, DigitLevel] = {
    "easy": DigitLevel(
        shift_px=0.0, size_px=(20.5, 20.51), aspect=(1.15, 1.151), turn_deg=0.0, shear=(0.15, 0.151),
        half_px=(1.2, 1.201), blur_px=(0.35, 0.351), white=(0.5, 0.501), black=(0.14, 0.141),
        turn_scale=(1.07, 1.071), late_us=0.0, camera=0.0,
    ),
    "normal": DigitLevel(
        shift_px=1.0, size_px=(18.5, 22.0), aspect=(1.0, 1.35), turn_deg=10.0, shear=(-0.1, 0.4),
        half_px=(1.0, 1.6), blur_px=(0.3, 0.45), white=(0.35, 0.75), black=(0.09, 0.2),
        turn_scale=(1.0, 1.14), late_us=3_000.0, camera=1.0,
    ),
    "hard": DigitLevel(
        shift_px=2.5, size_px=(15.0, 24.0), aspect=(0.8, 1.6), turn_deg=25.0, shear=(-0.3, 0.6),
        half_px=(0.8, 2.0), blur_px=(0.3, 1.0), white=(0.08, 1.2), black=(0.04, 0.4),
        turn_scale=(0.7, 1.4), late_us=8_000.0, camera=1.5,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class DigitClip:
    """Every number that a clip is made of."""

    digits_version: int
    seed: int
    split: str
    index: int
    level: str
    label: int
    person: int  # nobody's: -1
    duration_us: int
    source: int  # which of the given pictures
    cells: tuple[float, ...]  # the picture, 8 rows of 8, 0 to 1
    place: Placement
    screen: Screen
    turn: Turn
    camera_seed: int
    draw_seed: int
    camera: PixelValues
    readout: Readout

    def as_dict(self) -> dict[str, Any]:
        """The manifest line: plain numbers, strings, lists and dictionaries."""
        return {field.name: plain(getattr(self, field.name)) for field in fields(self)}


def digit_from_dict(line: dict[str, Any]) -> DigitClip:
    """The clip of a manifest line."""
    parts = {"place": Placement, "screen": Screen, "turn": Turn, "camera": PixelValues, "readout": Readout}
    made = {name: parts[name](**value) if name in parts else value for name, value in line.items()}
    return DigitClip(**{**made, "cells": tuple(line["cells"])})


def draw_digit(
    seed: int,
    *,
    split: str = "train",
    index: int = 0,
    duration_s: float = END_US * 1e-6,
    level: str = "normal",
    images: tuple[ArrayLike, ArrayLike],
    off: str | Sequence[str] = (),
) -> DigitClip:
    """Draw clip `index`; its label is index modulo 10, its picture one of that label in the split.

    images  (N, 8, 8) grey levels, whose largest is white, and (N,) labels    off  names in parts.PARTS
    """
    if split not in SPLIT_BASE:
        raise ValueError(f"split: unknown name {split!r}; choose from {', '.join(SPLIT_BASE)}")
    if level not in DIGIT_LEVELS:
        raise ValueError(f"level: unknown name {level!r}; choose from {', '.join(DIGIT_LEVELS)}")
    pictures, labels = np.asarray(images[0], np.float64), np.asarray(images[1])
    if pictures.ndim != 3 or pictures.shape[1:] != (CELLS, CELLS) or labels.shape != pictures.shape[:1]:
        raise ValueError(
            f"images: shapes {pictures.shape} and {labels.shape}; wanted (N, {CELLS}, {CELLS}) and (N,)"
        )
    label = index % len(DIGITS)
    mine = _of_split(labels, label, split)
    if len(mine) == 0:
        raise ValueError(f"images: none of digit {label} in split {split}; wanted at least 10 of each digit")
    ranges = DIGIT_LEVELS[level]
    path = ("digit", seed, split, index)
    d, p = Draws(*path, "scene"), Draws(*path, "place")
    source = int(mine[d.below(len(mine))])
    cells = np.round(pictures[source] / pictures.max(), 6)
    camera, readout = without(
        draw_camera(Draws(*path, "camera"), ATIS, ranges.camera), ATIS.readout, part_names(off)
    )
    return DigitClip(
        digits_version=DIGITS_VERSION,
        seed=seed,
        split=split,
        index=index,
        level=level,
        label=label,
        person=-1,
        duration_us=round(duration_s * 1e6),
        source=source,
        cells=tuple(cells.ravel().tolist()),
        place=Placement(
            x_px=p.uniform(-ranges.shift_px, ranges.shift_px),
            y_px=p.uniform(-ranges.shift_px, ranges.shift_px),
            size_px=p.uniform(*ranges.size_px),
            aspect=p.uniform(*ranges.aspect),
            turn=round(p.uniform(-ranges.turn_deg, ranges.turn_deg) / 360.0, 6),
            shear=p.uniform(*ranges.shear),
            half_px=p.uniform(*ranges.half_px),
            blur_px=p.uniform(*ranges.blur_px),
        ),
        screen=Screen(d.log_uniform(*ranges.white), d.log_uniform(*ranges.black)),
        turn=Turn(
            d.uniform(*ranges.turn_scale),
            d.uniform(*ranges.turn_scale),
            d.uniform(-ranges.late_us, ranges.late_us),
        ),
        camera_seed=SPLIT_BASE[split] + d.below(1 << 32),
        draw_seed=d.bits() >> 1,
        camera=camera,
        readout=readout,
    )


def _of_split(labels: NDArray[np.int64], label: int, split: str) -> NDArray[np.int64]:
    """Of every ten pictures of a digit seven are for training, one for validation, two for testing."""
    mine = np.flatnonzero(labels == label)
    low, high = {"train": (0, 7), "validation": (7, 8), "test": (8, 10)}[split]
    tenth = np.arange(len(mine)) % 10
    return mine[(tenth >= low) & (tenth < high)]


def simulate_digit(clip: DigitClip) -> Events:
    """The whole clip: t int64 us from 0 to its duration, x, y uint16, p uint8 (1 ON)."""
    cells = np.array(clip.cells, np.float64).reshape(CELLS, CELLS)
    return watch(
        picture(cells, clip.place), clip.screen, clip.turn, clip.camera, clip.readout, clip.camera_seed,
        clip.draw_seed, clip.duration_us,
    )  # fmt: skip
