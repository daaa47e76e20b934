"""Simulated clips as count frames, made by the slicer and kernels that serve live input, cached on disk.

A clip is kept as frames of a short slice (25 ms, say), so that training can start a sample at any
slice and sum neighbours to the network's dt. Needs no torch: `evaluate` uses it too.
"""

import hashlib
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spikeline.drivers.sim import GESTURES, SIM_VERSION, draw_clip, simulate
from spikeline.pipeline.binning import Binner, pixel_map
from spikeline.pipeline.clean_up import CleanUp
from spikeline.pipeline.clean_up_settings import chosen
from spikeline.pipeline.events import Admission, EventPacket, Sensor
from spikeline.pipeline.slicing import SliceConfig, Slicer
from spikeline.pipeline.training.clips import ClipSet, packed

SENSOR = Sensor(128, 128, "DVS128")
LABELS = GESTURES
# A left-right flip turns a right arm into a left one and clockwise into counter-clockwise.
FLIPPED = (0, 2, 1, 6, 5, 4, 3, 7, 8, 9, 10, 11)
PART = 60  # clips per job and per cache file


@dataclass(frozen=True, kw_only=True)
class ClipConfig:
    """Which clips, and how they are cut. Everything that shapes the frames is here: it keys the cache."""

    seed: int = 1
    split: str = "train"
    clips: int = 2_400
    duration_us: int = 1_800_000
    slice_us: int = 25_000
    grid: tuple[int, int] = (32, 32)  # width, height
    level: str = "normal"
    clean_up: tuple[str, ...] = ()  # stages between source and slicer, as in a package
    version: str = str(SIM_VERSION)


def frames_of(
    packets: Iterator[EventPacket], config: SliceConfig, grid: tuple[int, int], clean_up: Sequence[str] = ()
) -> NDArray[np.uint16]:
    """Every closed window's frame (n, 2, H, W) of a stream of one epoch."""
    stages = CleanUp(chosen(clean_up, ""), SENSOR)
    sensor, slicer = stages.sensor, Slicer(config)
    binner = Binner(pixel_map(sensor, (sensor.width, sensor.height), grid, "refuse"), grid, config.hops)
    frames = []
    for packet in map(stages.clean, packets):
        for piece in slicer.push(packet):
            binner.add(packet, piece.start, piece.stop)
            if piece.closes:
                frame = binner.close()
                if piece.window is not None:
                    frames.append(frame[0].copy())
    return np.stack(frames) if frames else np.zeros((0, 2, grid[1], grid[0]), np.uint16)


def clip_frames(config: ClipConfig, index: int) -> tuple[NDArray[np.uint8], int, int]:
    """Frames, label and person of clip `index`."""
    clip = draw_clip(
        config.seed,
        split=config.split,
        index=index,
        duration_s=config.duration_us / 1e6,
        level=config.level,
    )
    admission = Admission(SENSOR, origin_us=0)
    packets = admission.admit(*simulate(clip), until_us=config.duration_us)
    frames = frames_of(packets, SliceConfig(dt_us=config.slice_us), config.grid, config.clean_up)
    frames = frames[: config.duration_us // config.slice_us]
    return np.minimum(frames, 255).astype(np.uint8), clip.label, clip.person


def load_clips(
    config: ClipConfig, cache: Path, *, workers: int = 0, progress: Callable[[int, int], None] | None = None
) -> ClipSet:
    """The clips of `config`, simulated where the cache does not hold them.

    progress(done, total) is called in clips; workers 0 means one per core.
    """
    folder = cache / _key(config)
    folder.mkdir(parents=True, exist_ok=True)
    parts = [range(i, min(i + PART, config.clips)) for i in range(0, config.clips, PART)]
    files = [folder / f"{part.start:06d}-{part.stop:06d}.npz" for part in parts]
    missing = [k for k, file in enumerate(files) if not file.is_file()]
    done = sum(len(part) for k, part in enumerate(parts) if k not in missing)
    if missing:
        spawn = multiprocessing.get_context("spawn")  # a fork would copy torch's threads
        with ProcessPoolExecutor(workers or os.cpu_count(), mp_context=spawn) as pool:
            for k in pool.map(_make_part, [config] * len(missing), missing, [files[k] for k in missing]):
                done += len(parts[k])
                if progress:
                    progress(done, config.clips)
    loaded = [np.load(file, allow_pickle=False) for file in files]
    frames, offsets = packed([clip for part in loaded for clip in part["frames"]])
    return ClipSet(
        about=f"simulated people, split {config.split}",
        names=tuple(LABELS),
        sensor=CleanUp(chosen(config.clean_up, ""), SENSOR).sensor[:2],
        slice_us=config.slice_us,
        frames=frames,
        offsets=offsets,
        labels=np.concatenate([part["labels"] for part in loaded]),
        persons=np.concatenate([part["persons"] for part in loaded]),
        flipped=FLIPPED,
    )


def _make_part(config: ClipConfig, k: int, file: Path) -> int:
    part = range(k * PART, min((k + 1) * PART, config.clips))
    frames, labels, persons = zip(*(clip_frames(config, i) for i in part), strict=True)
    partial = file.with_suffix(f".{os.getpid()}.partial")
    with partial.open("wb") as out:
        np.savez_compressed(out, frames=np.stack(frames), labels=np.array(labels), persons=np.array(persons))
    partial.replace(file)
    return k


def _key(config: ClipConfig) -> str:
    """Folder name: all that shapes a clip, but not how many there are (a longer set extends a shorter)."""
    shape = asdict(config)
    del shape["clips"]
    if not config.clean_up:  # as before there was any
        del shape["clean_up"]
    digest = hashlib.sha256(json.dumps(shape, sort_keys=True).encode()).hexdigest()[:12]
    return f"sim-gesture-{config.split}-{digest}"
