"""What the sets that lie in folders share: walking a tree, and telling whether a file is still the same."""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from spikeline.pipeline.events import Sensor, SourceError

MOST_WORDS = 200  # letters of a library's complaint
SPLITS = ("train", "validation", "test")
# Names that people give to the folder of a split.
SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
    "testing": "test",
}


def folder_of(place: str, where: str) -> Path:
    folder = Path(place)
    if not folder.is_dir():
        raise SourceError(f"{where}: {place or 'nothing'} is no folder; wanted the data set's folder")
    return folder


def unreadable(where: str | Path, error: Exception) -> SourceError:
    """One line for whatever a library raised over a damaged file; some quote half of the file."""
    text = " ".join(str(error).split())[:MOST_WORDS]
    return SourceError(
        f"{where}: {text if text.isprintable() else ascii(text)}"
        if text
        else f"{where}: {type(error).__name__}"
    )


def stamp(kind: str, root: Path, files: Iterable[Path]) -> str:
    """A digest of the names, sizes and times of change: another one when a file may have changed."""
    found = hashlib.sha256(kind.encode())
    for file in files:
        try:
            facts = file.stat()
        except OSError as error:
            raise SourceError(f"{file}: cannot be read: {error.strerror}") from error
        found.update(f"{file.relative_to(root)} {facts.st_size} {facts.st_mtime_ns}\n".encode())
    return f"{kind} {found.hexdigest()}"


def numbered(n: int) -> tuple[str, ...]:
    """Class names where a set has none: 0, 1, ..."""
    return tuple(str(k) for k in range(n))


class ClassFile(NamedTuple):
    """A file in the folder of its class: its path below the root, its label, its split where known."""

    path: str
    label: int
    split: str


def files_of_classes(
    root: Path, endings: Collection[str], where: str
) -> tuple[tuple[str, ...], list[ClassFile]]:
    """Class names and files of a tree CLASS/FILE, or SPLIT/CLASS/FILE where SPLIT is train, test or so.

    Classes are in the order of their numbers where all are numbers, else of their names. Hidden files and
    files with other endings are left out.
    """
    parts = {entry.name: SPLIT_FOLDERS.get(entry.name.lower(), "") for entry in _folders(root)}
    splits = {name: split for name, split in parts.items() if split}
    if splits and len(splits) != len(parts):
        others = ", ".join(sorted(set(parts) - set(splits)))
        raise SourceError(f"{where}: {others} beside {', '.join(splits)}; wanted classes, or splits of them")
    homes = [(root / name, split) for name, split in splits.items()] or [(root, "")]
    classes = {entry.name for home, _ in homes for entry in _folders(home)}
    names = in_order(classes)
    files = []
    for home, split in homes:
        for label, name in enumerate(names):
            for file in sorted((home / name).glob("*")):
                if file.suffix.lower() in endings and not file.name.startswith(".") and file.is_file():
                    files.append(ClassFile(str(file.relative_to(root)), label, split))
    if not files:
        found = f"classes {', '.join(names)} without" if names else "neither classes nor"
        raise SourceError(f"{where}: {found} files named {' '.join(sorted(endings))}; wanted CLASS/FILE")
    return names, files


def _folders(root: Path) -> list[Path]:
    return sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def in_order(names: Collection[str]) -> tuple[str, ...]:
    """By their numbers where all are numbers, else by their letters."""
    if all(name.isdecimal() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def sensor_option(options: Mapping[str, str], where: str) -> Sensor | None:
    """The option `sensor=WxH`."""
    if "sensor" not in options:
        return None
    width, _, height = options["sensor"].partition("x")
    if not (
        width.isdecimal() and height.isdecimal() and 0 < int(width) < 65_536 and 0 < int(height) < 65_536
    ):
        raise SourceError(f"{where}: sensor={options['sensor']}; wanted WIDTHxHEIGHT, such as 128x128")
    return Sensor(int(width), int(height))
