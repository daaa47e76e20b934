"""Events to count frames: a table from pixels to cells, and a binner that fills frames in one pass.

The frame stays raw counts (2, H, W), OFF first. What makes another sensor comparable is `gain`: the
network's input multiplies counts by (training cell area / live cell area), both in pixels.
"""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikeline.pipeline.events import EventPacket, Sensor
from spikeline.pipeline.kernels import add_events, add_frames

Fit = Literal["refuse", "crop", "pad", "scale"]
FITS = ("refuse", "crop", "pad", "scale")


class FitError(ValueError):
    """A sensor that does not fit the model under the chosen policy; names both sizes."""


class PixelMap(NamedTuple):
    """cells (H_sensor, W_sensor) int32: index of each pixel's cell in the (H, W) grid, -1 outside."""

    cells: NDArray[np.int32]
    gain: float


def pixel_map(sensor: Sensor, trained: tuple[int, int], grid: tuple[int, int], fit: str) -> PixelMap:
    """The table for a `sensor` in front of a model trained on `trained` pixels and `grid` cells.

    trained, grid  (width, height). Policies when the sizes differ:
    refuse   an error naming both
    crop     the middle of a larger sensor, pixel for pixel
    pad      a smaller sensor in the middle of the training field, pixel for pixel
    scale    any size: the whole sensor, aspect kept, centred, counts scaled by cell area
    """
    if fit not in FITS:
        raise FitError(f"fit {fit!r}: wanted one of {', '.join(FITS)}")
    found, wanted = (sensor.width, sensor.height), trained
    sizes = f"sensor is {found[0]}x{found[1]}, the model was trained on {wanted[0]}x{wanted[1]}"
    if found != wanted:
        larger = [f >= w for f, w in zip(found, wanted, strict=True)]
        smaller = [f <= w for f, w in zip(found, wanted, strict=True)]
        if fit == "refuse":
            options = ["crop"] * all(larger) + ["pad"] * all(smaller) + ["scale"]
            raise FitError(f"{sizes}: choose --fit {' or '.join(options)}")
        if fit == "crop" and not all(larger):
            raise FitError(f"{sizes}: --fit crop wants a larger sensor; choose --fit scale")
        if fit == "pad" and not all(smaller):
            raise FitError(f"{sizes}: --fit pad wants a smaller sensor; choose --fit scale")
    # Pixels of the training field per pixel of this sensor: 1 except when scaling.
    ratio = min(w / f for f, w in zip(found, wanted, strict=True)) if fit == "scale" else 1.0
    columns, rows = (_cells_along(found[axis], wanted[axis], grid[axis], ratio) for axis in (0, 1))
    inside = (rows[:, None] >= 0) & (columns[None, :] >= 0)
    cells = np.where(inside, rows[:, None] * grid[0] + columns[None, :], -1).astype(np.int32)
    return PixelMap(np.ascontiguousarray(cells), ratio * ratio)


def _cells_along(found: int, wanted: int, cells: int, ratio: float) -> NDArray[np.int64]:
    """Cell index along one axis for each of `found` pixels, centred on the field of `wanted`; -1 outside."""
    if ratio == 1.0:
        whole = np.arange(found) + (wanted - found) // 2
        return np.where((whole >= 0) & (whole < wanted), whole * cells // wanted, -1)
    at = (np.arange(found) + 0.5 - found / 2) * ratio + wanted / 2
    return np.where((at >= 0) & (at < wanted), np.floor(at * cells / wanted).astype(np.int64), -1)


class Binner:
    """Adds the events of a slice to a frame, and slices to windows where these overlap.

    frame  (1, 2, H, W) uint16, valid after `close` until the next `add`; reused.
    lost   (2,) int64: events outside the crop, events at a cell that was full
    """

    def __init__(self, pixels: PixelMap, grid: tuple[int, int], hops: int = 1) -> None:
        W, H = grid
        self.cells = pixels.cells
        self._slices = np.zeros((hops, 2, H * W), np.uint16)
        self._at = 0
        self._stale = False
        self._total = self._slices[0] if hops == 1 else np.zeros((2, H * W), np.uint16)
        self.frame = self._total.reshape(1, 2, H, W)
        self.lost = np.zeros(2, np.int64)
        self.over = 0  # counts that did not fit when overlapping slices were summed

    def add(self, packet: EventPacket, start: int, stop: int) -> None:
        """Add events start..stop of `packet` to the open slice."""
        self._freshen()
        if stop > start:
            add_events(
                packet.x, packet.y, packet.p, start, stop, self.cells, self._slices[self._at], self.lost
            )

    def close(self) -> NDArray[np.uint16]:
        """End the open slice; the frame of the last `hops` slices, (1, 2, H, W)."""
        self._freshen()
        if len(self._slices) > 1:
            self._total.fill(0)
            for part in self._slices:
                self.over += add_frames(self._total, part)
            self._at = (self._at + 1) % len(self._slices)
        self._stale = True
        return self.frame

    def _freshen(self) -> None:
        """Empty the slice that begins: the last frame was in use until now."""
        if self._stale:
            self._slices[self._at].fill(0)
            self._stale = False

    def clear(self) -> None:
        """Forget all open slices (a new epoch)."""
        self._slices.fill(0)
        self._stale = False
