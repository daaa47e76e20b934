"""Bytes missing from a file: a copy of it without them is read in its place.

The copy has the file's name, in a folder of its own that goes when the source is closed: so every reader
works, also those that map, seek or hand the path on.
"""

import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import ClassVar

from spikeline.drivers.wrappers import Wrapper
from spikeline.pipeline.events import EventPacket, Source, SourceError, SourceReport

_PIECE = 1 << 20


@dataclass(frozen=True, kw_only=True)
class CutBytes:
    """The file ends at `at_byte`; or, from there on, of every `every` bytes the last `bytes` are missing."""

    KIND: ClassVar[str] = "cut"
    at_byte: int = 0
    every: int = 0
    bytes: int = 0

    def __post_init__(self) -> None:
        if self.at_byte < 0:
            raise ValueError(f"at_byte={self.at_byte}; wanted 0 or more")
        if (self.every or self.bytes) and not 0 < self.bytes < self.every:
            raise ValueError(f"every={self.every}, bytes={self.bytes}; wanted 0 < bytes < every")

    def missing(self, size: int) -> list[tuple[int, int]]:
        """Ranges of bytes, in order, that a file of `size` bytes loses."""
        if not self.every:
            return [(self.at_byte, size)] if self.at_byte < size else []
        ends = range(self.at_byte + self.every, size + self.bytes, self.every)
        return [(end - self.bytes, min(end, size)) for end in ends]


class CutFile(Wrapper):
    """The source of a cut file: what it says about itself names the file, not the copy."""

    def __init__(self, base: str, cuts: Sequence[CutBytes], opener: Callable[[str], Source]) -> None:
        """base: a file's path, with a query if need be; opener: opens such a base."""
        path, query = (base, "") if os.path.isfile(base) else base.partition("?")[::2]
        if not os.path.isfile(path):
            raise SourceError(f"{base}: bytes can only be cut out of a file")
        self._path, copy = path, copy_without(Path(path), cuts)
        self._copy = str(copy)
        self._remove = weakref.finalize(self, shutil.rmtree, copy.parent, True)
        try:
            source = opener(self._copy + ("?" + query if query else ""))
        except SourceError as error:
            self._remove()
            raise SourceError(str(error).replace(self._copy, path)) from error
        super().__init__(source)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._remove()

    def _packets(self) -> Iterator[EventPacket]:
        try:
            yield from self._source
        except SourceError as error:
            raise SourceError(str(error).replace(self._copy, self._path)) from error

    def report(self) -> SourceReport:
        report = super().report()
        return replace(report, damage=[line.replace(self._copy, self._path) for line in report.damage])


def copy_without(path: Path, cuts: Sequence[CutBytes]) -> Path:
    """A copy without the bytes that the cuts leave out; its folder is the caller's to remove."""
    folder = Path(tempfile.mkdtemp(prefix="spikeline-fault-"))
    copy = folder / path.name
    try:
        with open(path, "rb") as whole, open(copy, "wb") as out:
            size = os.fstat(whole.fileno()).st_size
            at = 0
            for start, stop in [*_together(cuts, size), (size, size)]:
                whole.seek(at)
                while at < start and (piece := whole.read(min(_PIECE, start - at))):
                    out.write(piece)
                    at += len(piece)
                at = stop
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise SourceError(f"{path}: cannot be copied to be cut: {error.strerror or error}") from error
    return copy


def _together(cuts: Sequence[CutBytes], size: int) -> list[tuple[int, int]]:
    """All missing ranges, overlapping ones as one, in order."""
    ranges: list[tuple[int, int]] = []
    for start, stop in sorted(part for cut in cuts for part in cut.missing(size)):
        if ranges and start <= ranges[-1][1]:
            ranges[-1] = (ranges[-1][0], max(stop, ranges[-1][1]))
        else:
            ranges.append((start, stop))
    return ranges
