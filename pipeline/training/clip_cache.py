"""Frames on disk: parts of some clips each, compressed, made once, and the oldest deleted when they are many.

A part is one Zstandard frame with a checksum: the length of a head, the head (JSON: shape, slices and account
of each clip), then all frames. It appears under its name only when it is whole; one that cannot be read is as
good as absent.
"""

import fcntl
import json
import os
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import zstandard
from numpy.typing import NDArray

from spikeline.pipeline.events import SourceError

CACHE_GB = 20.0  # unless the environment says another number
LIMIT = "SPIKELINE_CACHE_GB"
LEVEL = 1  # frames are mostly zeros: higher levels save a tenth of the space and take ten times as long
MOST_HEAD = 1 << 24
_LENGTH = struct.Struct("<I")
_FOLDER = re.compile(r"[0-9a-f]{16}")
_PART = re.compile(r"[0-9a-f]{16}\.zst(\.\d+\.partial)?")
# What reading a file that is absent, cut or altered may raise.
DAMAGED = (OSError, ValueError, KeyError, TypeError, MemoryError, struct.error, zstandard.ZstdError)


class Extents(NamedTuple):
    """Slices and account of each clip of a part."""

    lengths: NDArray[np.int64]
    accounts: NDArray[np.int64]


class Part(NamedTuple):
    """Some clips one after another: frames (slices, channels, H, W), and where each ends."""

    frames: NDArray[np.uint8]
    extents: Extents


def write_part(file: Path, part: Part) -> None:
    facts = {"shape": part.frames.shape} | {name: e.tolist() for name, e in part.extents._asdict().items()}
    head = json.dumps(facts).encode()
    data = b"".join([_LENGTH.pack(len(head)), head, part.frames.tobytes()])
    partial = file.with_name(f"{file.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compress(data))
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


def read_part(file: Path, clips: int) -> Part | None:
    """The part, or None where it is absent or damaged; its checksum is verified."""
    with suppress(*DAMAGED):
        data = zstandard.ZstdDecompressor().decompress(file.read_bytes())
        (length,) = _LENGTH.unpack_from(data)
        shape, extents = _facts(data[_LENGTH.size : _LENGTH.size + length])
        frames = np.frombuffer(data, np.uint8, offset=_LENGTH.size + length).reshape(shape)
        if extents.lengths.shape == (clips,) and extents.lengths.sum() == len(frames):
            os.utime(file)  # in use: the oldest goes first
            return Part(frames, extents)
    return None


def read_extents(file: Path, clips: int) -> Extents | None:
    """What `read_part` says of the clips, without reading their frames."""
    with (
        suppress(*DAMAGED),
        file.open("rb") as packed,
        zstandard.ZstdDecompressor().stream_reader(packed) as data,
    ):
        (length,) = _LENGTH.unpack(data.read(_LENGTH.size))
        _, extents = _facts(data.read(min(length, MOST_HEAD)))
        if extents.lengths.shape == (clips,):
            return extents
    return None


def _facts(head: bytes) -> tuple[list[int], Extents]:
    facts = json.loads(head)
    return facts["shape"], Extents(
        np.array(facts["lengths"], np.int64), np.array(facts["accounts"], np.int64)
    )


@contextmanager
def in_use(folder: Path) -> Iterator[None]:
    """While this lasts, nobody who makes room deletes what the folder holds."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "in-use").open("w") as mark:
        fcntl.flock(mark, fcntl.LOCK_SH)
        yield


def limit_bytes() -> int:
    """How much the cache may hold."""
    said = os.environ.get(LIMIT, "")
    try:
        gigabytes = float(said or CACHE_GB)
        return round(gigabytes * 1e9)
    except (ValueError, OverflowError):
        raise SourceError(f"{LIMIT}={said}: wanted a number of gigabytes, such as {CACHE_GB:g}") from None


def make_room(cache: Path, most_bytes: int) -> int:
    """Delete the longest unused parts until the cache holds at most `most_bytes`, or all others are in use.

    Returns the bytes that it holds then. Only files with the names of parts count, and go: the folder may
    hold other things too.
    """
    stored = []
    for file in cache.glob("*/*"):
        if not (_FOLDER.fullmatch(file.parent.name) and _PART.fullmatch(file.name)):
            continue
        try:
            facts = file.stat()
        except FileNotFoundError:  # another process makes room too
            continue
        stored.append((facts.st_mtime_ns, facts.st_size, file))
    total = sum(size for _, size, _ in stored)
    free: dict[Path, bool] = {}
    for _, size, file in sorted(stored):
        if total <= most_bytes:
            break
        folder = file.parent
        if folder not in free:
            free[folder] = not _used(folder)
        if free[folder]:
            file.unlink(missing_ok=True)
            total -= size
    return total


def _used(folder: Path) -> bool:
    try:
        with (folder / "in-use").open("w") as mark:
            fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
