"""One clip of a set as count frames, by the clean-up, slicer and kernels that serve live input."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spikeline.pipeline.binning import Binner, pixel_map
from spikeline.pipeline.clean_up import CleanUp
from spikeline.pipeline.clean_up_settings import chosen
from spikeline.pipeline.events import Sensor, SourceError
from spikeline.pipeline.slicing import SliceConfig, Slicer
from spikeline.pipeline.training.clips import ACCOUNT, MOST_COUNT
from spikeline.pipeline.training.dataset import Clip, DataSet, PictureSet

# Raise it when a reader, the clean-up, the slicer or a kernel would make other frames of the same files.
FRAMES_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class CutConfig:
    """How a clip is cut. With the set's and the clip's key, all that shapes its frames."""

    slice_us: int = 25_000
    grid: tuple[int, int] = (32, 32)  # width, height
    clean_up: tuple[str, ...] = ()  # stages between source and slicer, as in a package
    most_us: int = 0  # only the clip's first part, this long; 0: all of it

    def __post_init__(self) -> None:
        if self.slice_us <= 0 or self.most_us < 0 or (self.most_us and self.most_us < self.slice_us):
            raise ValueError(
                f"wanted slice_us > 0, and most_us 0 or no less; got {self.slice_us} and {self.most_us}"
            )


def clip_frames(data: DataSet, clip: Clip, cut: CutConfig) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Every closed slice's frame, (n, channels, H, W), and where the events went, in the order of ACCOUNT."""
    if isinstance(data, PictureSet):
        return data.picture(clip, cut.grid)[None], np.zeros(len(ACCOUNT), np.int64)
    stages = CleanUp(chosen(cut.clean_up, ""), data.sensor)
    sensor, slicer = stages.sensor, Slicer(SliceConfig(dt_us=cut.slice_us))
    binner = Binner(pixel_map(sensor, (sensor.width, sensor.height), cut.grid, "refuse"), cut.grid)
    most = cut.most_us // cut.slice_us
    frames: list[NDArray[np.uint8]] = []
    beyond = unfinished = saturated = 0
    for raw in data.packets(clip):
        if raw.epoch > 0:  # the clock was reset: what follows is another stream
            beyond += len(raw)
            continue
        packet = stages.clean(raw)
        for piece in slicer.push(packet):
            if most and len(frames) == most:
                beyond += len(packet) - piece.start
                break
            binner.add(packet, piece.start, piece.stop)
            unfinished += piece.stop - piece.start
            if piece.closes:
                counts = binner.close()[0]
                frame = np.minimum(counts, MOST_COUNT).astype(np.uint8)
                saturated += int(counts.sum()) - int(frame.sum())
                unfinished = 0
                frames.append(frame)
    saturated += int(binner.lost.sum())
    framed = sum(int(frame.sum()) for frame in frames)
    refused = data.report.refused
    account = [data.report.events + refused, framed, refused, stages.filtered, saturated, unfinished, beyond]
    empty = np.zeros((0, 2, cut.grid[1], cut.grid[0]), np.uint8)
    return np.stack(frames) if frames else empty, np.array(account, np.int64)


def sensor_of(data: DataSet, cut: CutConfig) -> Sensor:
    """The sensor after clean-up; of pictures, the grid."""
    if isinstance(data, PictureSet):
        if cut.clean_up:
            raise SourceError(
                f"{data.name}: clean-up {','.join(cut.clean_up)}; pictures have no events to clean"
            )
        return Sensor(*cut.grid)
    try:
        return CleanUp(chosen(cut.clean_up, ""), data.sensor).sensor
    except ValueError as error:
        raise SourceError(f"{data.name}: clean-up {','.join(cut.clean_up)}: {error}") from error
