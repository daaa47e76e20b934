"""Opening an HDF5 file that may be damaged: one that was cut, and one that the library cannot survive.

HDF5 trusts what it reads: on some damaged files it loops for ever or crashes, which no `except` catches. So
a process of its own looks at everything first that we are going to look at (`python hdf5_file.py PATH`);
if that one does not come back, we never open the file. This module therefore imports nothing of ours.

A file that was cut opens with zeros behind its end, up to the size it had; nobody must ask for those.
"""

import contextlib
import io
import itertools
import subprocess
import sys
import warnings
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ATTRIBUTES = ("width", "height", "geometry", "sensor_resolution", "timestamp_scale_ms")
SMALL = 1 << 16  # bytes of an attribute or a scalar that we read
MOST_OBJECTS = 100_000
MOST_CHUNKS = 1 << 20  # looked up one by one, where the list of all is damaged
CPU_S = 3  # for the look, and more by size
WALL_S = 120
OTHER_BYTES = 1 << 30  # of memory, besides four times the file

SOUND, TOO_LARGE = 0, 3  # exit codes
ERRORS = (OSError, RuntimeError, ValueError, KeyError)  # that HDF5 makes of damage
SIGNATURE = b"\x89HDF\r\n\x1a\n"


def open_file(path: Path, size: int) -> tuple[Any, int]:
    """The file as h5py has it, and how many bytes it has lost at its end."""
    import h5py

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with open(path, "rb") as file:
            written = size_when_written(file.read(SMALL))
        if written is not None and written > size:
            return h5py.File(Padded(path, written), "r"), written - size
        return h5py.File(path, "r", locking=False), 0


def why_unsafe(path: Path, size: int) -> str | None:
    """What the library does on this file, if it does not come back; None: it does."""
    if not sys.executable:  # Python inside of another program
        return None
    try:
        looked = subprocess.run(
            [sys.executable, "-I", __file__, str(path), str(size)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,  # its end is noticed at once; without a pipe we would look now and then
            stderr=subprocess.DEVNULL,
            timeout=WALL_S,
        )
    except subprocess.TimeoutExpired:
        return "HDF5 does not come back from it"
    if looked.returncode == TOO_LARGE:
        return "HDF5 asks for far more memory than the file explains"
    return None if looked.returncode >= 0 else f"HDF5 crashes or hangs on it (signal {-looked.returncode})"


def main(path: str, size: int) -> int:
    """Touch all that a reader will touch; errors are for the reader to report."""
    with contextlib.suppress(ImportError):
        import resource

        cpu_s, memory = CPU_S + size // (64 << 20), OTHER_BYTES + 4 * size
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        file, _ = open_file(Path(path), size)
        for thing in survey(file)[0].values():
            for name in ATTRIBUTES:
                attribute(thing.attrs, name)
            if hasattr(thing, "shape"):
                with contextlib.suppress(*ERRORS):
                    touch(thing)
    except MemoryError:
        return TOO_LARGE
    except Exception:
        return SOUND
    return SOUND


def touch(dataset: Any) -> None:
    """The list of its chunks, or one after another; of a small one without chunks all."""
    plist = dataset.id.get_create_plist()
    if dataset.chunks:
        try:
            dataset.id.chunk_iter(lambda at: None)
        except ERRORS:
            for corner in corners(dataset):
                with contextlib.suppress(*ERRORS):
                    dataset.id.get_chunk_info_by_coord(corner)
    elif dataset.size and dataset.id.get_storage_size() <= SMALL and plist.get_external_count() == 0:
        dataset[()]


def corners(dataset: Any) -> Iterator[tuple[int, ...]]:
    """Where its chunks begin; for a dataset with damage in the list of them."""
    ranges = [range(0, whole, step) for whole, step in zip(dataset.shape, dataset.chunks, strict=True)]
    return itertools.islice(itertools.product(*ranges), MOST_CHUNKS)


def survey(file: Any) -> tuple[dict[str, Any], list[str]]:
    """All groups and datasets by path, and what could not be opened. Hard links only."""
    import h5py

    found: dict[str, Any] = {"/": file["/"]}
    broken: list[str] = []
    waiting = deque(["/"])
    seen = {h5py.h5o.get_info(file["/"].id).addr}
    while waiting and len(found) < MOST_OBJECTS:
        path = waiting.popleft()
        try:
            names = sorted(found[path])
        except Exception as error:
            broken.append(f"{path}: {error}")
            continue
        for name in names:
            inner = f"{path.rstrip('/')}/{name}"
            try:
                if not isinstance(found[path].get(name, getlink=True), h5py.HardLink):
                    continue
                thing = found[path][name]
                address = h5py.h5o.get_info(thing.id).addr if isinstance(thing, h5py.Group) else None
            except MemoryError:
                raise
            except Exception as error:
                broken.append(f"{inner}: {error}")
                continue
            found[inner] = thing
            if address is not None and address not in seen:  # a link can lead back up
                seen.add(address)
                waiting.append(inner)
    return found, broken


def attribute(attrs: Any, name: str) -> Any:
    """Its value; None if there is none, or it is damaged, or larger than anything we look for."""
    try:
        if name not in attrs or attrs.get_id(name).get_storage_size() > SMALL:
            return None
        return attrs[name]
    except MemoryError:
        raise
    except Exception:  # then nothing is known
        return None


class Padded(io.RawIOBase):
    """A file that was cut, with zeros up to the size it had."""

    def __init__(self, path: Path, size: int) -> None:
        super().__init__()
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115 - closed by close()
        self._size, self._at = size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)[: max(0, self._size - self._at)]
        self._file.seek(self._at)
        held = self._file.readinto(view) or 0
        view[held:] = bytes(len(view) - held)
        self._at += len(view)
        return len(view)

    def close(self) -> None:
        self._file.close()
        super().close()


def size_when_written(head: bytes) -> int | None:
    """Bytes that the file had when it was closed, from its superblock; None: not a superblock we know."""
    for at in (0, *(512 << k for k in range(7))):
        if head.startswith(SIGNATURE, at):
            version, block = head[at + 8 : at + 9], head[at:]
            widths, fields = {
                b"\0": (13, 24), b"\1": (13, 28), b"\2": (9, 12), b"\3": (9, 12),
            }.get(version, (0, 0))  # fmt: skip
            if fields == 0 or block[widths : widths + 1] != b"\x08":
                return None
            return int.from_bytes(block[fields + 16 : fields + 24], "little")
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
