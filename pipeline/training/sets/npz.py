"""`npz:FILE`: a labelled set in one .npz file.

Entries `t`, `x`, `y`, `p` of all clips one after another, `offsets` (clip k is `offsets[k]:offsets[k + 1]`),
`labels` (0 to K - 1), `width` and `height`; and where there are any, `names` of the K classes, `persons`
(numbers) and `splits` (train, validation, test) of the clips. Columns go by name and kind as in any .npz
recording. Nothing is unpickled.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeline.drivers import uri as grammar
from spikeline.drivers.formats.columns import (
    ALL_ALIASES,
    check_kinds,
    coordinates,
    find_columns,
    polarities,
    signed_polarity,
    times_us,
)
from spikeline.pipeline.events import Sensor, SourceError
from spikeline.pipeline.training.dataset import Clip, DataSet, Events, EventSet
from spikeline.pipeline.training.sets.files import SPLITS, numbered, stamp, unreadable

COMMON = ("split",)


class NpzSet(EventSet):
    """All of the file in memory, read when the first clip is asked for. A clip's key is its number."""

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, path.name
        self.key = stamp("npz", path.parent, [path])
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                self._columns = find_columns(set(stored.files) & ALL_ALIASES, str(path))
                found = {name: stored[name] for name in stored.files if name not in self._columns.values()}
        except SourceError:
            raise
        except Exception as error:  # of a damaged archive or header
            raise unreadable(path, error) from error
        for name in ("offsets", "labels", "width", "height"):
            if name not in found or found[name].dtype.kind not in "iu":
                state = "no entry" if name not in found else f"{found[name].dtype} in"
                raise SourceError(f"{path}: {state} {name}; wanted integers in a labelled set")
        self.sensor = Sensor(_one(found["width"], path), _one(found["height"], path))
        self.offsets = found["offsets"].astype(np.int64)
        clips = len(self.offsets) - 1 if self.offsets.ndim == 1 else -1
        if clips < 0 or self.offsets[0] < 0 or np.any(np.diff(self.offsets) < 0):
            raise SourceError(f"{path}: offsets of shape {self.offsets.shape}; wanted 0 <= start <= ...")
        labels = _per_clip(found, "labels", clips, "iu", path)
        self.labels = _names(found, labels, path)
        persons = _per_clip(found, "persons", clips, "iu", path) if "persons" in found else [-1] * clips
        splits = _per_clip(found, "splits", clips, "U", path) if "splits" in found else [""] * clips
        if odd := {str(split) for split in splits} - {*SPLITS, ""}:
            raise SourceError(f"{path}: splits {', '.join(sorted(odd))}; wanted {', '.join(SPLITS)}")
        self.clips = tuple(
            Clip(str(k), int(label), int(person), str(split))
            for k, (label, person, split) in enumerate(zip(labels, persons, splits, strict=True))
        )
        self._events: tuple[NDArray[Any], ...] | None = None

    def events(self, clip: Clip) -> Events:
        t, x, y, p = self._events = self._events or self._read()
        part = slice(*(int(end) for end in self.offsets[int(clip.key) : int(clip.key) + 2]))
        return Events(t[part].copy(), x[part].copy(), y[part].copy(), p[part].copy())

    def _read(self) -> tuple[NDArray[Any], ...]:
        try:
            with self.path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                raw = {ours: stored[name] for ours, name in self._columns.items()}
        except Exception as error:  # of a damaged archive or header
            raise unreadable(self.path, error) from error
        check_kinds({ours: column.dtype for ours, column in raw.items()}, str(self.path))
        shapes = {ours: column.shape for ours, column in raw.items()}
        if len(set(shapes.values())) != 1 or raw["t"].ndim != 1:
            raise SourceError(f"{self.path}: columns of the shapes {shapes}; wanted four of one length")
        if self.offsets[-1] > len(raw["t"]):
            raise SourceError(
                f"{self.path}: offsets reach {self.offsets[-1]}; the file has {len(raw['t'])} events"
            )
        signed = signed_polarity([raw["p"]], str(self.path))
        return (
            times_us(raw["t"]),
            coordinates(raw["x"]),
            coordinates(raw["y"]),
            polarities(raw["p"], signed),
        )

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_events": None}  # a worker reads the file itself


def open_it(place: str, options: dict[str, str], where: str) -> DataSet:
    grammar.only(options, COMMON, where)
    return NpzSet(Path(place))


def _one(entry: NDArray[Any], path: Path) -> int:
    if entry.size != 1 or not 0 < int(entry.item()) <= 65_535:
        raise SourceError(f"{path}: width or height is {entry!r}; wanted one number from 1 to 65535")
    return int(entry.item())


def _per_clip(found: dict[str, NDArray[Any]], name: str, clips: int, kinds: str, path: Path) -> NDArray[Any]:
    entry = found[name]
    if entry.shape != (clips,) or entry.dtype.kind not in kinds:
        raise SourceError(f"{path}: {name} is {entry.dtype} of shape {entry.shape}; wanted ({clips},)")
    return entry


def _names(found: dict[str, NDArray[Any]], labels: NDArray[Any], path: Path) -> tuple[str, ...]:
    most = int(labels.max(initial=-1))
    if int(labels.min(initial=0)) < 0:
        raise SourceError(f"{path}: a label is {labels.min()}; wanted 0 or more")
    if "names" not in found:
        return numbered(most + 1)
    names = tuple(str(name) for name in np.atleast_1d(found["names"]))
    if len(names) <= most:
        raise SourceError(f"{path}: {len(names)} names; wanted {most + 1} or more for labels up to {most}")
    return names
