"""A data set's clips as frames, made by the stages that serve live input, and kept on disk.

A clip is kept as frames of a short slice (25 ms, say), so that training can start a sample at any
slice and sum neighbours to the network's dt. Needs no torch: `evaluate` uses it too.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spikeline.pipeline.events import SourceError
from spikeline.pipeline.training.clip_cache import (
    in_use,
    limit_bytes,
    make_room,
    read_extents,
    read_part,
)
from spikeline.pipeline.training.clips import ACCOUNT, ClipSet
from spikeline.pipeline.training.data_settings import DataConfig
from spikeline.pipeline.training.dataset import DataSet, PictureSet
from spikeline.pipeline.training.frames import FRAMES_VERSION, CutConfig, sensor_of
from spikeline.pipeline.training.making import Progress, make_part, make_parts
from spikeline.pipeline.training.sets import open_set
from spikeline.pipeline.training.splits import classes_in_turn, folds, hold_out

__all__ = ["CutConfig", "cut_of", "folds", "hold_out", "load_set", "load_training"]

PART_CLIPS = 60  # of 32x32 cells; of larger frames fewer, but at least four
PART_PICTURES = 256
MEMORY_SHARE = 0.5  # of the machine's: frames that need more stay on disk and are mapped


def cut_of(config: DataConfig) -> CutConfig:
    return CutConfig(
        slice_us=config.slice_us, grid=config.grid, clean_up=config.clean_up, most_us=config.most_us
    )


def load_training(
    config: DataConfig, cache: Path, *, progress: Progress | None = None, most_bytes: int | None = None
) -> tuple[ClipSet, ClipSet]:
    """The clips that a run trains on, and those it validates on."""
    if not config.source:
        raise SourceError("no data set: give one with --data, such as --data DVSGesture:FOLDER")
    load = partial(load_set, cut=cut_of(config), cache=cache, progress=progress, most_bytes=most_bytes)
    data = open_set(config.source)
    if config.validation:
        other = open_set(config.validation)
        if other.labels != data.labels:
            raise SourceError(
                f"{config.validation}: its classes are {', '.join(other.labels)}; "
                f"{config.source} has {', '.join(data.labels)}"
            )
        return load(data, chosen=training_clips(data, config)), load(other)
    train, validation = divide(data, config)
    return load(data, chosen=train), load(data, chosen=validation)


def training_clips(data: DataSet, config: DataConfig) -> NDArray[np.int64]:
    """Those that the set keeps for neither validation nor test, at most `config.clips`."""
    rows = np.array([i for i, c in enumerate(data.clips) if c.split not in ("validation", "test")], np.int64)
    if len(rows) == 0 or len(rows) < config.clips:
        wanted = f"{config.clips}" if config.clips else "some"
        raise SourceError(f"{data.name}: {len(rows)} clips to train on; wanted {wanted}")
    if config.clips:
        rows = rows[classes_in_turn([data.clips[i].label for i in rows], config.clips)]
    return rows


def divide(data: DataSet, config: DataConfig) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of the clips to train on and of those to validate on; test clips are in neither."""
    rows = training_clips(data, config)
    own = np.array([i for i, clip in enumerate(data.clips) if clip.split == "validation"], np.int64)
    labels = np.array([data.clips[i].label for i in rows])
    persons = np.array([data.clips[i].person for i in rows])
    try:
        if config.folds:
            held = folds(labels, persons, config.folds, config.split_seed)[config.fold - 1]
            return np.delete(rows, held), rows[held]
        if len(own):
            return rows, own
        train, held = hold_out(labels, persons, config.hold_out, config.split_seed)
        return rows[train], rows[held]
    except ValueError as error:
        raise SourceError(f"{data.name}: {error}") from error


def load_set(
    data: DataSet,
    cut: CutConfig,
    cache: Path,
    *,
    chosen: Sequence[int] | NDArray[np.int64] | None = None,
    workers: int = 0,
    progress: Progress | None = None,
    most_bytes: int | None = None,
) -> ClipSet:
    """The chosen clips (all of them without a choice), made where the cache does not hold them.

    progress(done, total) is called in clips; workers: processes, 0 as many as are worth it, 1 only this one.
    most_bytes: of the whole cache, 20 GB where nobody says; what was not used for longest is deleted, but
    nothing of this set.
    """
    sensor = sensor_of(data, cut)
    rows = np.arange(len(data.clips)) if chosen is None else np.asarray(chosen, np.int64)
    if len(rows) == 0:
        raise SourceError(f"{data.name}: no clips; wanted one or more")
    folder = cache / _digest([FRAMES_VERSION, ACCOUNT, data.key, asdict(cut)])
    size = PART_PICTURES if isinstance(data, PictureSet) else _clips_of_a_part(cut)
    parts = {int(k): data.clips[k * size : (k + 1) * size] for k in np.unique(rows // size)}
    files = {k: folder / f"{_digest([c.key for c in clips])}.zst" for k, clips in parts.items()}
    with in_use(folder):
        make_parts(data, cut, {files[k]: clips for k, clips in parts.items()}, workers, progress)
        make_room(cache, limit_bytes() if most_bytes is None else most_bytes)
        lengths = np.zeros(len(rows), np.int64)
        accounts = np.zeros((len(rows), len(ACCOUNT)), np.int64)
        for k, clips in parts.items():
            extents = read_extents(files[k], len(clips)) or make_part(data, cut, clips, files[k]).extents
            mine = np.flatnonzero(rows // size == k)
            lengths[mine] = extents.lengths[rows[mine] - k * size]
            accounts[mine] = extents.accounts[rows[mine] - k * size]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        frames = np.zeros((0, 2, cut.grid[1], cut.grid[0]), np.uint8)
        for k, clips in parts.items():
            part = read_part(files[k], len(clips)) or make_part(data, cut, clips, files[k])
            if len(frames) == 0:
                frames = _room((int(offsets[-1]), *part.frames.shape[1:]), folder)
            starts = np.concatenate([[0], np.cumsum(part.extents.lengths)])
            for i in np.flatnonzero(rows // size == k):
                j = int(rows[i]) - k * size
                frames[offsets[i] : offsets[i + 1]] = part.frames[starts[j] : starts[j + 1]]
    return ClipSet(
        about=data.name,
        names=data.labels,
        sensor=sensor[:2],
        slice_us=cut.slice_us,
        frames=frames,
        offsets=offsets,
        labels=np.array([data.clips[i].label for i in rows], np.int64),
        persons=np.array([data.clips[i].person for i in rows], np.int64),
        flipped=data.flipped,
        still=isinstance(data, PictureSet),
        accounts=accounts,
    )


def _clips_of_a_part(cut: CutConfig) -> int:
    return max(4, min(PART_CLIPS, PART_CLIPS * 32 * 32 // (cut.grid[0] * cut.grid[1])))


def _room(shape: tuple[int, ...], folder: Path) -> NDArray[np.uint8]:
    """Space for all frames: memory, or a nameless file in the cache where it would take too much of it."""
    size = int(np.prod(shape))
    if size <= MEMORY_SHARE * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"):
        return np.empty(shape, np.uint8)
    with tempfile.TemporaryFile(dir=folder) as file:  # gone when the last process lets go of it
        return np.memmap(file, np.uint8, "w+", shape=shape)


def _digest(facts: object) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
