"""A file that appears under its name only when it is whole."""

import os
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from spikeline.drivers.recording import check_target
from spikeline.pipeline.events import SourceError


class Partial:
    """Bytes go to `NAME.partial`; `commit` renames it, `discard` removes it."""

    def __init__(self, path: str | Path, *, overwrite: bool = False) -> None:
        self.target = Path(path)
        self.path = self.target.with_name(f"{self.target.name}.partial")
        self._overwrite = overwrite
        check_target(self.target, overwrite=overwrite)
        self.path.unlink(missing_ok=True)  # of a program that was killed

    def commit(self) -> None:
        check_target(self.target, overwrite=self._overwrite)
        try:
            with open(self.path, "rb") as file:
                os.fsync(file.fileno())
            os.replace(self.path, self.target)
        except OSError as error:
            raise self.failed(error) from error

    def discard(self, file: BinaryIO | None = None) -> None:
        """Leave nothing behind; `file` is closed, and what waits in it is lost."""
        if file is not None:
            with suppress(OSError):
                file.close()
        self.path.unlink(missing_ok=True)

    def failed(self, error: OSError) -> SourceError:
        self.discard()
        return SourceError(f"{self.target}: cannot be written: {error.strerror or error}")
