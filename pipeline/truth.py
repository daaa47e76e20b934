"""What really happened in a stream: who performed which class from when to when.

A truth file is JSON lines, one performance each, in any order:

    {"label": "hand_clap", "onset_us": 1200000, "full_us": 1850000, "offset_us": 4100000, "person": 3}

label      a class name, or its number in the model's order
onset_us   the movement begins, on the stream's own clock    offset_us  it ends
full_us    one period is complete; a decision before it is not expected. Left out: the onset
person     left out: -1, unknown. Other fields are ignored
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

NONE = "none"  # the class of everything that is no gesture


class TruthError(ValueError):
    """A truth that cannot be used: one line naming the file, what was found and wanted."""


class Performance(NamedTuple):
    """One class performed over [onset_us, offset_us); `position` is its number in the model's labels."""

    position: int
    onset_us: int
    full_us: int
    offset_us: int
    person: int = -1


class _Line(msgspec.Struct, frozen=True):
    label: int | str
    onset_us: int
    offset_us: int
    full_us: int | None = None
    person: int = -1


def read_truth(path: Path, labels: Sequence[str]) -> list[Performance]:
    """The performances in a file of JSON lines, in order of onset."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TruthError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    rows = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                rows.append(_performance(msgspec.json.decode(line, type=_Line), labels, labels))
            except (msgspec.MsgspecError, ValueError) as error:
                raise TruthError(f"{path} line {number}: {error}") from error
    return _in_order(rows, str(path))


def performances(
    rows: Iterable[Mapping[str, Any]], names: Sequence[str], labels: Sequence[str], where: str
) -> list[Performance]:
    """What a source says about itself, its numbers counting in `names`, as positions in `labels`."""
    try:
        found = [_performance(msgspec.convert(row, _Line), names, labels) for row in rows]
    except (msgspec.MsgspecError, ValueError) as error:
        raise TruthError(f"{where}: {error}") from error
    return _in_order(found, where)


def _performance(line: _Line, names: Sequence[str], labels: Sequence[str]) -> Performance:
    if isinstance(line.label, int) and not 0 <= line.label < len(names):
        raise ValueError(f"label {line.label}; wanted 0 to {len(names) - 1}")
    name = names[line.label] if isinstance(line.label, int) else line.label
    if name not in labels:
        raise ValueError(f"label {name!r}; the model knows {', '.join(labels)}")
    full_us = line.onset_us if line.full_us is None else min(line.full_us, line.offset_us)
    if not line.onset_us <= full_us <= line.offset_us:
        raise ValueError(
            f"onset_us {line.onset_us}, full_us {full_us}, offset_us {line.offset_us}; wanted this order"
        )
    return Performance(list(labels).index(name), line.onset_us, full_us, line.offset_us, line.person)


def _in_order(rows: list[Performance], where: str) -> list[Performance]:
    """Sorted by onset. One stream shows one thing at a time."""
    rows.sort(key=lambda row: row.onset_us)
    for before, after in pairwise(rows):
        if after.onset_us < before.offset_us:
            raise TruthError(
                f"{where}: a performance begins at {after.onset_us} us, before the one that ends at"
                f" {before.offset_us} us; wanted one at a time"
            )
    return rows
