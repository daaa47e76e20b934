"""Make the parts of a set that the cache does not hold: in this process, or on all cores."""

import multiprocessing
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np

from spikeline.pipeline.training.clip_cache import Extents, Part, write_part
from spikeline.pipeline.training.clips import packed
from spikeline.pipeline.training.dataset import Clip, DataSet
from spikeline.pipeline.training.frames import CutConfig, clip_frames

WORTH_PROCESSES_S = 5.0  # they take a second or two to start

Progress = Callable[[int, int], None]


def make_parts(
    data: DataSet,
    cut: CutConfig,
    parts: Mapping[Path, tuple[Clip, ...]],
    workers: int,
    progress: Progress | None,
) -> None:
    """Make those that are not there: in this process while little is left to do, else in one for each core.

    parts  file -> the clips that belong in it
    """
    missing = [file for file in parts if not file.is_file()]
    total = sum(map(len, parts.values()))
    done = total - sum(len(parts[file]) for file in missing)
    alone = data.at_hand or workers == 1
    began = time.monotonic()
    while missing and (alone or workers == 0):
        file, *missing = missing
        make_part(data, cut, parts[file], file)
        done += len(parts[file])
        if progress:
            progress(done, total)
        if (time.monotonic() - began) * len(missing) > WORTH_PROCESSES_S and not alone:
            break
        began = time.monotonic()
    if not missing:
        return
    spawn = multiprocessing.get_context("spawn")  # a fork would copy torch's threads
    count = min(workers or os.cpu_count() or 1, len(missing))
    with ProcessPoolExecutor(count, mp_context=spawn, initializer=_take_job, initargs=(data, cut)) as pool:
        jobs = {pool.submit(_do_job, parts[file], file): file for file in missing}
        try:
            for job in as_completed(jobs):
                job.result()
                done += len(parts[jobs[job]])
                if progress:
                    progress(done, total)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


_job: tuple[DataSet, CutConfig]  # of a worker process


def _take_job(data: DataSet, cut: CutConfig) -> None:
    global _job
    _job = data, cut


def _do_job(clips: tuple[Clip, ...], file: Path) -> None:
    make_part(*_job, clips, file)


def make_part(data: DataSet, cut: CutConfig, clips: tuple[Clip, ...], file: Path) -> Part:
    """Make a part and keep it."""
    made = [clip_frames(data, clip, cut) for clip in clips]
    frames, offsets = packed([frames for frames, _ in made])
    part = Part(frames, Extents(np.diff(offsets), np.stack([account for _, account in made])))
    write_part(file, part)
    return part
