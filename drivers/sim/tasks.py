"""What the simulator can be asked for: labelled clips by task, each drawn from a seed before anything moves.

    task = TASKS["gesture"]
    clip = task.draw(1, split="train", index=3, duration_s=1.8, level="normal")
    t, x, y, p = task.simulate(clip)        clip.label, clip.person, clip.as_dict()

A clip is its own manifest line: `task.from_dict(line)` is the clip again, and `simulate` reads nothing else.
`draw` takes the task's own `options` by keyword too; all have defaults but the ones in `needs`.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from spikeline.drivers.sim.camera import PRESETS
from spikeline.drivers.sim.chain import (
    CHAIN_S,
    CHAIN_VERSION,
    CHAINS,
    chain_from_dict,
    draw_chain,
    simulate_chain,
)
from spikeline.drivers.sim.digits import (
    DIGIT_LEVELS,
    DIGITS,
    DIGITS_VERSION,
    digit_from_dict,
    draw_digit,
    simulate_digit,
)
from spikeline.drivers.sim.gait import GAIT_VERSION, draw_gait, gait_from_dict, simulate_gait
from spikeline.drivers.sim.gestures import FLIPPED, GESTURES
from spikeline.drivers.sim.parts import PARTS, part_names
from spikeline.drivers.sim.people import LEVELS, SPLITS
from spikeline.drivers.sim.saccades import END_US, SIZE
from spikeline.drivers.sim.scene import SIM_VERSION, clip_from_dict, draw_clip
from spikeline.drivers.sim.stepper import Events, simulate
from spikeline.drivers.sim.walkers import WALKER_NAMES
from spikeline.pipeline.events import Sensor


class SimulatedClip(Protocol):
    """What every task's clip offers."""

    @property
    def label(self) -> int: ...
    @property
    def person(self) -> int: ...
    @property
    def duration_us(self) -> int: ...
    def as_dict(self) -> dict[str, Any]: ...


class Task(NamedTuple):
    """One task of labelled clips.

    flipped  the class that a left-right flip makes of each; None: a flip would make no sense
    version  changes whenever a clip of the same arguments would have other events
    levels, splits  what `draw` takes as level= and split=
    options  further keywords of `draw`, as words of a URI: {name: what it means}
    needs    keywords of `draw` that are arrays and have no default
    """

    name: str
    labels: tuple[str, ...]
    flipped: tuple[int, ...] | None
    sensor: Sensor
    version: str
    draw: Callable[..., Any]
    simulate: Callable[[Any], Events]
    from_dict: Callable[[dict[str, Any]], Any]
    levels: tuple[str, ...]
    splits: tuple[str, ...]
    duration_s: float  # of a clip where nobody says
    options: dict[str, str] = {}  # noqa: RUF012 - never changed
    needs: tuple[str, ...] = ()


def _draw_gesture(
    seed: int,
    *,
    split: str = "train",
    index: int = 0,
    duration_s: float = 1.8,
    level: str = "normal",
    camera: str | None = None,
    off: str | Sequence[str] = (),
) -> Any:
    return draw_clip(
        seed, split=split, index=index, duration_s=duration_s, level=level, preset=camera, off=part_names(off)
    )


_CAMERA = {"camera": f"one of {', '.join(PRESETS)}; without it drawn per clip"}
_OFF = {"off": f"parts of the pixel model to switch off, of {', '.join(PARTS)}, with commas"}
_DVS128 = Sensor(128, 128, "DVS128")

TASKS: dict[str, Task] = {
    "gesture": Task(
        name="gesture",
        labels=GESTURES,
        flipped=FLIPPED,
        sensor=_DVS128,
        version=str(SIM_VERSION),
        draw=_draw_gesture,
        simulate=simulate,
        from_dict=clip_from_dict,
        levels=tuple(LEVELS),
        splits=tuple(SPLITS),
        duration_s=1.8,
        options={**_CAMERA, **_OFF},
    ),
    "gait": Task(
        name="gait",
        labels=WALKER_NAMES,
        flipped=tuple(range(len(WALKER_NAMES))),
        sensor=_DVS128,
        version=f"{SIM_VERSION}.{GAIT_VERSION}",
        draw=draw_gait,
        simulate=simulate_gait,
        from_dict=gait_from_dict,
        levels=tuple(LEVELS),
        splits=tuple(SPLITS),
        duration_s=2.5,
        options={**_CAMERA, **_OFF, "view": "side or oblique; without it drawn per clip"},
    ),
    "chain": Task(
        name="chain",
        labels=CHAINS,
        flipped=tuple(range(len(CHAINS))),
        sensor=_DVS128,
        version=f"{SIM_VERSION}.{CHAIN_VERSION}",
        draw=draw_chain,
        simulate=simulate_chain,
        from_dict=chain_from_dict,
        levels=tuple(LEVELS),
        splits=tuple(SPLITS),
        duration_s=CHAIN_S,
        options={**_CAMERA, **_OFF},
    ),
    "digits": Task(
        name="digits",
        labels=DIGITS,
        flipped=None,
        sensor=Sensor(SIZE, SIZE, "ATIS"),
        version=f"{SIM_VERSION}.{DIGITS_VERSION}",
        draw=draw_digit,
        simulate=simulate_digit,
        from_dict=digit_from_dict,
        levels=tuple(DIGIT_LEVELS),
        splits=tuple(SPLITS),
        duration_s=END_US * 1e-6,
        options=_OFF,
        needs=("images",),
    ),
}
