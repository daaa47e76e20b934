"""What a simulated stream shows and when, and the same as JSON lines in a file."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TypedDict

from spikeline.pipeline.events import SourceError


class Truth(TypedDict):
    """One performed class; the time between two of them, transitions and rests, is `none`."""

    label: int
    onset_us: int  # the hands have reached the class's pose
    full_us: int  # one period is complete
    offset_us: int  # they begin to leave it
    person: int


class TruthFile:
    """Writes what is known of a stream into a file: one line for each performance that is over."""

    def __init__(self, path: str, where: str, names: Sequence[str]) -> None:
        self._names = names
        self._written = 0
        try:
            self._file: IO[str] = Path(path).open("w", encoding="utf-8")  # noqa: SIM115 - see finish
        except OSError as error:
            raise SourceError(f"{where}: truth={path}: cannot be written: {error.strerror}") from error

    def write(self, truth: Sequence[Truth], until_us: int) -> None:
        """Those of `truth` that are over at `until_us`."""
        while self._written < len(truth) and truth[self._written]["offset_us"] <= until_us:
            row = truth[self._written]
            print(json.dumps({**row, "label": self._names[row["label"]]}), file=self._file, flush=True)
            self._written += 1

    def finish(self, truth: Sequence[Truth], until_us: int) -> None:
        """The stream ends here, perhaps within a performance."""
        for row in truth[self._written :]:
            if row["onset_us"] < until_us:
                end_us = min(row["offset_us"], until_us)
                cut = {**row, "full_us": min(row["full_us"], end_us), "offset_us": end_us}
                print(json.dumps({**cut, "label": self._names[row["label"]]}), file=self._file)
        self._written = len(truth)
        self._file.close()
