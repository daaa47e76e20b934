"""A pipe (standard input, a FIFO) as the bytes of a file, for readers that only go forward.

What lies further behind than KEEP_BYTES is forgotten, so a recording of any size needs no disk and little
memory. Until the pipe has ended its size is not known, and told as more than any file has.
"""

import io
from pathlib import Path
from typing import IO, BinaryIO

from spikeline.drivers.base import Stored
from spikeline.pipeline.events import SourceError

KEEP_BYTES = 4 << 20
READ_BYTES = 1 << 18
UNKNOWN = 1 << 62


class Piped(Stored):
    """`name` is what people call it; `keep` the file open (standard input, which is not ours)."""

    def __init__(self, file: BinaryIO, name: str, *, keep: bool = False) -> None:
        self._file, self.path, self.size = file, Path(name), UNKNOWN
        self._keep = keep
        self._held = bytearray()
        self._begin = self._furthest = 0

    def at(self, offset: int, count: int) -> bytes:
        if offset < self._begin:
            raise SourceError(f"{self.path}: byte {offset} of a pipe is gone; wanted a file on a disk")
        self._furthest = max(self._furthest, offset)
        if self._furthest - self._begin > 2 * KEEP_BYTES:
            self._forget(self._furthest - KEEP_BYTES)
        stop = offset + count
        while self.size == UNKNOWN and self._begin + len(self._held) < stop:
            self._read(max(READ_BYTES, stop - self._begin - len(self._held)))
        with memoryview(self._held) as held:
            return bytes(held[offset - self._begin : stop - self._begin])

    def _read(self, count: int) -> None:
        try:
            piece = self._file.read(count)
        except OSError as error:
            where = f"byte {self._begin + len(self._held)}"
            raise SourceError(f"{self.path}: cannot be read at {where}: {error.strerror}") from error
        self._held += piece
        if not piece:
            self.size = self._begin + len(self._held)

    def _forget(self, upto: int) -> None:
        known = min(upto - self._begin, len(self._held))
        del self._held[:known]
        self._begin += known

    def close(self) -> None:
        if not self._keep:
            self._file.close()

    def reader(self) -> IO[bytes]:
        return io.BufferedReader(_Forward(self), READ_BYTES)


class _Forward(io.RawIOBase):
    """The bytes from the first one on."""

    def __init__(self, piped: Piped) -> None:
        super().__init__()
        self._piped, self._at = piped, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        piece = self._piped.at(self._at, len(buffer))
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)
