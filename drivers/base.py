"""What all file sources share: opened once, read once, closed by `with`; and bytes read at an offset.

`Stored` is a file read with explicit offsets. It is not mapped into memory: a mapped file that
somebody shortens while we read it would end the process.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from spikeline.pipeline.events import Admission, EventPacket, Sensor, SourceError, SourceReport

DAMAGE_LINES = 100  # a file damaged in more places than this says so in one last line


class Stored:
    """A file's bytes by offset; reading past the end gives fewer bytes."""

    def __init__(self, path: Path) -> None:
        try:
            self._file: IO[bytes] = open(path, "rb")  # noqa: SIM115 - closed by close()
            self.size = os.fstat(self._file.fileno()).st_size
        except OSError as error:
            raise SourceError(f"{path}: cannot be read: {error.strerror or error}") from error
        self.path = path

    def at(self, offset: int, count: int) -> bytes:
        try:
            self._file.seek(offset)
            return self._file.read(count)
        except OSError as error:
            raise SourceError(f"{self.path}: cannot be read at byte {offset}: {error.strerror}") from error

    def reader(self) -> IO[bytes]:
        """All of it from the first byte on, as a file of its own."""
        return open(self.path, "rb")

    def close(self) -> None:
        self._file.close()

    def __str__(self) -> str:
        return str(self.path)


class FileSource(ABC):
    """Base of the file sources: they fill in `sensor`, `format`, `_admission` and `_packets`.

    The readers of `drivers.formats` are made by `Reader(path, sensor=..., options=...)`: the sensor that
    the user named, and the options of the URI; `OPTIONS` names those it takes. FORWARD: they only ever go
    forward, and take a pipe in place of a path.
    """

    OPTIONS: tuple[str, ...] = ()
    FORWARD = False

    sensor: Sensor
    format: str

    def __init__(
        self,
        path: str | Path | Stored,
        *,
        sensor: Sensor | None = None,
        options: Mapping[str, str] | None = None,
    ) -> None:
        self._stored = path if isinstance(path, Stored) else Stored(Path(path))
        self.path = self._stored.path
        self._begun = False
        self._closed = False
        self._admission: Admission

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._closed = True
        self._stored.close()

    def __iter__(self) -> Iterator[EventPacket]:
        if self._closed or self._begun:
            state = "closed" if self._closed else "already being read"
            raise SourceError(f"{self.path}: this source is {state}; open it again to read it again")
        self._begun = True
        for packet in self._packets():
            yield packet
            if self._closed:
                return

    @abstractmethod
    def _packets(self) -> Iterator[EventPacket]: ...

    def report(self) -> SourceReport:
        report = self._admission.report
        return replace(report, damage=list(report.damage))

    def note(self, line: str) -> None:
        """A finding about the file as a whole, among its damage."""
        self._damaged(line)

    def _damaged(self, line: str) -> None:
        damage = self._admission.report.damage
        if len(damage) < DAMAGE_LINES:
            damage.append(line)
        elif len(damage) == DAMAGE_LINES:
            damage.append("more damage follows, not listed")
