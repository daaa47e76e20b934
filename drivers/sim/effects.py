"""What spoils a clip of level hard: flickering light, lamps, a camera that shakes or pans."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikeline.drivers.sim.draws import Draws
from spikeline.drivers.sim.pixel_state import STEP_US
from spikeline.drivers.sim.pose import cos_turns, sin_turns

MARGIN = 40  # pixels of wall around the image that a moving camera may come to see
_DRIFT_US = 20_000  # slow changes of the light go in steps of this


class Effects(NamedTuple):
    """Light over time, and the camera's motion."""

    flicker_hz: float
    flicker: float  # light * (1 + flicker cos)
    flicker_phase: float
    drift: float  # of the light per second, up and down again
    lamp_us: float  # when a lamp goes on or off; negative: never
    lamp: float  # the light's factor from then on
    shake_px: float
    shake_hz: tuple[float, float]
    shake_phase: tuple[float, float, float, float]
    pan_px: float  # way of a slow pan, there and back
    pan_hz: float
    pan_turn: float  # its direction

    @property
    def shakes(self) -> bool:
        return self.shake_px > 0.0 or self.pan_px > 0.0


def draw_effects(d: Draws, duration_s: float) -> Effects:
    """Level hard: flicker in 40 % of clips, a moving camera in 15 %, a lamp in 2 %."""
    flickers, mains, shakes, pans, lamps = (
        d.chance(0.4),
        d.pick((1, 1, 0.4)),
        d.chance(0.1),
        d.chance(0.05),
        d.chance(0.02),
    )
    led_hz = d.log_uniform(200.0, 450.0)
    return Effects(
        flicker_hz=(100.0, 120.0, led_hz)[mains],
        flicker=d.uniform(0.01, 0.15) if flickers else 0.0,
        flicker_phase=d.uniform(0.0, 1.0),
        drift=d.uniform(-0.05, 0.05),
        lamp_us=d.uniform(0.2, 0.8) * duration_s * 1e6 if lamps else -1.0,
        lamp=d.log_uniform(0.5, 2.0),
        shake_px=d.uniform(0.3, 1.5) if shakes else 0.0,
        shake_hz=(d.log_uniform(0.5, 3.0), d.log_uniform(2.0, 8.0)),
        shake_phase=(d.uniform(0, 1), d.uniform(0, 1), d.uniform(0, 1), d.uniform(0, 1)),
        pan_px=d.uniform(4.0, 24.0) if pans else 0.0,
        pan_hz=d.uniform(0.05, 0.15),
        pan_turn=d.uniform(0.0, 1.0),
    )


def effects_from_dict(line: dict[str, Any] | None) -> Effects | None:
    if line is None:
        return None
    made: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in line.items()
    }
    return Effects(**made)


def displacement(e: Effects, t_us: int) -> tuple[float, float]:
    """Where the camera's motion has moved the image to, px."""
    if not e.shakes:
        return 0.0, 0.0
    t = t_us * 1e-6
    slow, fast = e.shake_hz[0] * t, e.shake_hz[1] * t
    a, b, c, d = e.shake_phase
    x = e.shake_px * (sin_turns(slow + a) + 0.6 * sin_turns(fast + b))
    y = e.shake_px * (sin_turns(1.13 * slow + c) + 0.6 * sin_turns(0.91 * fast + d))
    way = e.pan_px * sin_turns(e.pan_hz * t + a)
    return x + way * cos_turns(e.pan_turn), y + way * sin_turns(e.pan_turn)


def gains(e: Effects, t_us: int, steps: int) -> NDArray[np.float32]:
    """The light's factor at the end of each step of a block."""
    out = np.ones(steps)
    slow = 1.0 + 2.0 * e.drift * sin_turns(0.08 * (t_us // _DRIFT_US) * _DRIFT_US * 1e-6)
    if 0.0 <= e.lamp_us <= t_us:
        slow *= e.lamp
    for step in range(steps):
        turns = e.flicker_hz * (t_us + (step + 1) * STEP_US) * 1e-6 + e.flicker_phase
        out[step] = slow * (1.0 + (e.flicker * cos_turns(turns) if e.flicker > 0.0 else 0.0))
    return out.astype(np.float32)
