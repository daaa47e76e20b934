"""Somebody who walks through behind the person of a clip: a walker of gait's kind, but none of the twenty."""

import numpy as np
from numpy.typing import NDArray

from spikeline.drivers.sim.camera import Preset
from spikeline.drivers.sim.draws import Draws
from spikeline.drivers.sim.hard import Hard
from spikeline.drivers.sim.looks import Wall
from spikeline.drivers.sim.people import LEVELS
from spikeline.drivers.sim.walk import Path, walker_shapes
from spikeline.drivers.sim.walkers import draw_dress, passer_by

_FAR = 50.0  # depth behind everything else


class PasserBy:
    def __init__(self, hard: Hard, preset: Preset) -> None:
        d = Draws("passer-by's clothes", hard.mover_seed)
        wall = Wall(0, d.log_uniform(0.1, 1.0), 0.0, 0)
        self.looks = draw_dress(d, wall, LEVELS["normal"])
        self._gait = passer_by(hard.mover)
        self._path = Path(
            heading=0.0 if hard.mover_side > 0 else 0.5, distance=8.0, scale_px=hard.mover_scale,
            x_px=(hard.mover_from if hard.mover_side > 0 else 1.0 - hard.mover_from) * preset.width,
            floor_px=hard.mover_floor * preset.height, eye=0.7, middle_s=0.0, tempo=1.0,
            phase=d.uniform(0.0, 1.0), wander=0.0, wander_hz=0.1,
        )  # fmt: skip

    def keyframe(self, t_us: int, shapes: NDArray[np.float64]) -> None:
        walker_shapes(self._gait, self._path, 0.0, t_us * 1e-6, shapes)
        shapes[:, 6] -= _FAR
