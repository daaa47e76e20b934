"""`tonic:NAME:DIR`: any data set of the library tonic with events and a label, as in `tonic:POKERDVS:data`.

DIR is what tonic calls `save_to`: what is there already is read, anything else tonic downloads. A set with
training and test halves has both. This file alone imports tonic, and only when such a set is opened: tonic is
under the GPL, and no part of spikeline needs it.
"""

import inspect
import os
from pathlib import Path
from typing import Any

import numpy as np

from spikeline.drivers import uri as grammar
from spikeline.drivers.formats.columns import coordinates, times_us
from spikeline.pipeline.events import Sensor, SourceError
from spikeline.pipeline.training.dataset import Clip, DataSet, Events, EventSet
from spikeline.pipeline.training.sets.files import in_order, numbered, sensor_option, unreadable

COMMON = ("split", "sensor")
HALVES = {"train": True, "test": False}


class TonicSet(EventSet):
    """A clip's key is its half and its number there."""

    def __init__(self, name: str, folder: str, options: dict[str, str], where: str) -> None:
        import tonic

        self.name, self._folder, self._class = name, folder, name
        self._halves: dict[str, Any] = {}
        kind = getattr(tonic.datasets, name, None)
        if not inspect.isclass(kind):
            known = [n for n, c in vars(tonic.datasets).items() if inspect.isclass(c)]
            raise SourceError(
                f"{where}: tonic has no data set {name!r}; choose from {', '.join(sorted(known))}"
            )
        halves = HALVES if "train" in inspect.signature(kind).parameters else [""]
        targets = {half: list(getattr(self._half(half, where), "targets", [])) for half in halves}
        listed = [value for found in targets.values() for value in found]
        if not listed or not all(isinstance(value, int | str | np.integer) for value in listed):
            raise SourceError(f"{where}: tonic's {name} has no class for each clip; wanted one with labels")
        size: Any = getattr(self._half(next(iter(halves)), where), "sensor_size", None)
        given = sensor_option(options, where)
        if given is None and size is None:
            raise SourceError(f"{where}: tonic's {name} has clips of several sizes; say sensor=WIDTHxHEIGHT")
        self.sensor = given or Sensor(int(size[0]), int(size[1]))
        self.labels, number = _labels(set(listed), getattr(kind, "classes", None))
        self.clips = tuple(
            Clip(f"{half or 'all'}/{k}", number[value], -1, half)
            for half, found in targets.items()
            for k, value in enumerate(found)
        )
        self.key = f"tonic {tonic.__version__} {name} {Path(folder).resolve()} {self.sensor[:2]}"

    def events(self, clip: Clip) -> Events:
        half, _, k = clip.key.partition("/")
        where = f"tonic:{self._class}:{self._folder}: {clip.key}"
        try:
            events = self._half("" if half == "all" else half, where)[int(k)][0]
        except Exception as error:
            raise unreadable(where, error) from error
        names = getattr(getattr(events, "dtype", None), "names", None) or ()
        if not {"t", "x", "p"} <= set(names):
            raise SourceError(
                f"{where}: {type(events).__name__} with {', '.join(names) or 'no columns'}; wanted t, x, y, p"
            )
        x = coordinates(events["x"])
        y = coordinates(events["y"]) if "y" in names else np.zeros(len(x), np.uint16)
        return Events(times_us(events["t"]), x, y, (events["p"] > 0).astype(np.uint8))

    def _half(self, half: str, where: str) -> Any:
        import tonic

        if half not in self._halves:
            asked = {"train": HALVES[half]} if half else {}
            try:
                self._halves[half] = getattr(tonic.datasets, self._class)(save_to=self._folder, **asked)
            except Exception as error:  # whatever its download or its archives raise
                raise unreadable(where, error) from error
        return self._halves[half]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_halves": {}}


def open_it(place: str, options: dict[str, str], where: str) -> DataSet:
    grammar.only(options, COMMON, where)
    name, colon, folder = place.partition(":")
    if not (name and colon and folder):
        raise SourceError(f"{where}: wanted tonic:NAME:FOLDER, such as tonic:POKERDVS:data")
    try:
        import tonic  # noqa: F401
    except ImportError as error:
        raise SourceError(f"{where}: tonic is not installed; pip install 'spikeline[datasets]'") from error
    return TonicSet(name, os.path.expanduser(folder), options, where)


def _labels(values: set[Any], classes: Any) -> tuple[tuple[str, ...], dict[Any, int]]:
    """Class names, and the label number of each of the set's own values."""
    if any(isinstance(value, str) for value in values):
        names = in_order({str(value) for value in values})
        return names, {value: names.index(str(value)) for value in values}
    count = int(max(values)) + 1
    listed = isinstance(classes, list | tuple) and len(classes) >= count
    names = tuple(str(name) for name in classes) if listed else numbered(count)
    return names, {value: int(value) for value in values}
