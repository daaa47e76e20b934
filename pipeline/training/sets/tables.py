"""`csv:FILE` and label files: rows of a small CSV table, checked column by column, errors with their line."""

import csv
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

from spikeline.pipeline.events import SourceError


class Row(NamedTuple):
    """One line of a table: its cells by column name."""

    where: str  # file and line, for an error
    cells: Mapping[str, str]

    def whole(self, name: str) -> int:
        try:
            return int(self.cells[name])
        except ValueError:
            raise SourceError(
                f"{self.where}: {name} is {self.cells[name]!r}; wanted a whole number"
            ) from None


def read_table(path: Path, needed: Collection[str], allowed: Collection[str] = ()) -> list[Row]:
    """The rows of a CSV file with a header. Column names are taken without regard to case."""
    try:
        cells = [(k, [cell.strip() for cell in row]) for k, row in enumerate(csv.reader(read_lines(path)), 1)]
    except csv.Error as error:
        raise SourceError(f"{path}: {error}") from error
    cells = [(k, row) for k, row in cells if any(row)]
    head = [name.lower() for name in cells[0][1]] if cells else []
    known = {*needed, *allowed}
    if not set(needed) <= set(head) or len(set(head)) != len(head) or (allowed and not set(head) <= known):
        raise SourceError(
            f"{path}: its columns are {', '.join(head) or 'none'}; wanted {_listed(needed, allowed)}"
        )
    rows = []
    for k, row in cells[1:]:
        if len(row) != len(head):
            raise SourceError(f"{path} line {k}: {len(row)} cells; wanted {len(head)}")
        rows.append(Row(f"{path} line {k}", dict(zip(head, row, strict=True))))
    return rows


def read_lines(path: Path) -> list[str]:
    """The lines of a text file; one with bytes that no text has is refused."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise SourceError(f"{path}: no text file: {error.reason} at byte {error.start}") from error
    for k, line in enumerate(lines, 1):
        if not line.replace("\t", "").isprintable():
            raise SourceError(f"{path} line {k}: no text: {line[:60]!a}")
    return lines


def _listed(needed: Collection[str], allowed: Collection[str]) -> str:
    return ",".join(needed) + "".join(f"[,{name}]" for name in allowed)
