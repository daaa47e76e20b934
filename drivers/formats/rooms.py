"""Memory of the record files: blocks of a file read into one buffer, and arrays that packets are cut from.

Fresh memory costs more than decoding: the system clears each page when it is first touched. So the arrays
of a packet that nobody holds any more are used again; Python's own count of references tells.
"""

import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikeline.drivers.base import Stored
from spikeline.drivers.piped import Piped
from spikeline.pipeline.events import SourceError

PAGE = 4_096
ROOM_EVENTS = 32_768  # half of what a packet may have: two rooms and a block lie in a core's own cache
POOL = 4  # rooms kept; a consumer that holds more gets fresh ones

Bytes = NDArray[np.uint8]


class Room(NamedTuple):
    """Space for events."""

    t: NDArray[np.int64]
    x: NDArray[np.uint16]
    y: NDArray[np.uint16]
    p: NDArray[np.uint8]

    def part(self, start: int, stop: int) -> "Room":
        return Room(self.t[start:stop], self.x[start:stop], self.y[start:stop], self.p[start:stop])


class Rooms:
    """Rooms of ROOM_EVENTS events; `reuse`: always the same one."""

    def __init__(self, *, reuse: bool) -> None:
        self._reuse = reuse
        self._memory: list[Bytes] = []
        self._rooms: list[Room] = []
        self._turn = 0

    def take(self) -> Room:
        """A room that no packet holds."""
        for k, room in enumerate(self._rooms):
            if self._reuse or _references(self._memory, k) == _NOT_HELD:
                return room
        memory, room = _make()
        if len(self._memory) < POOL:
            self._memory.append(memory)
            self._rooms.append(room)
        else:
            self._turn = (self._turn + 1) % POOL
            self._memory[self._turn], self._rooms[self._turn] = memory, room
        return room


def _make() -> tuple[Bytes, Room]:
    n = ROOM_EVENTS
    memory = np.empty(13 * n, np.uint8)
    t, x, y, p = np.split(memory, (8 * n, 10 * n, 12 * n))
    return memory, Room(t.view(np.int64), x.view(np.uint16), y.view(np.uint16), p)


def _references(memory: list[Bytes], k: int) -> int:
    return sys.getrefcount(memory[k])


def _not_held() -> int:
    """The references to a room's memory while no packet is cut from it."""
    memory, room = _make()
    count = _references([memory], 0) - 1  # `memory` is one that `Rooms` does not hold
    del room
    return count


_NOT_HELD = _not_held()


class Blocks:
    """A file read block by block, each over the last, to a page's begin: twice as fast on some machines."""

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        try:
            self._file = open(path, "rb", buffering=0)  # noqa: SIM115 - closed by close()
        except OSError as error:
            raise SourceError(f"{path}: cannot be read: {error.strerror or error}") from error
        memory = np.zeros(size + PAGE, np.uint8)
        start = -memory.ctypes.data % PAGE
        self._block = memory[start : start + size]
        self.size = size
        self._at = 0

    def read(self, offset: int) -> Bytes:
        """The bytes from `offset` on; fewer than `size` only at the end of the file."""
        try:
            if offset != self._at:
                self._file.seek(offset)
            held = self._file.readinto(self._block.data)
            while held < self.size and (more := self._file.readinto(self._block[held:].data)):
                held += more
            self._at = offset + held
        except OSError as error:
            raise SourceError(f"{self.path}: cannot be read at byte {offset}: {error.strerror}") from error
        return self._block[:held]

    def close(self) -> None:
        self._file.close()


class PipedBlocks:
    """The same of a pipe, which is looked at in other places too."""

    def __init__(self, piped: Piped, size: int) -> None:
        self._piped, self.size = piped, size
        self._block = np.zeros(size, np.uint8)

    def read(self, offset: int) -> Bytes:
        held = np.frombuffer(self._piped.at(offset, self.size), np.uint8)
        self._block[: len(held)] = held
        return self._block[: len(held)]

    def close(self) -> None:
        pass  # the pipe is its owner's


def blocks_of(stored: Stored, size: int) -> Blocks | PipedBlocks:
    return PipedBlocks(stored, size) if isinstance(stored, Piped) else Blocks(stored.path, size)
