"""Where the events are in an HDF5 file. Every tool has a layout of its own; these are known:

    columns    a group with datasets t, x, y, p (or ts, xs, timestamp, polarity, ...): DSEC, M3ED, rpg,
               eventcv and most others. `t_offset` beside it or above it is added to the times
    compound   a dataset with fields of those names: Prophesee `/CD/events`, aertb
    matrix     a dataset `events` of (N, 4) numbers: floats are x, y, t, p in seconds (MVSEC), integers
               t, x, y, p in microseconds (v2e); `?order=` says otherwise

Links that lead elsewhere are not followed.
"""

from typing import Any, NamedTuple

import h5py
import numpy as np

from spikeline.drivers.formats.columns import ALL_ALIASES, check_kinds, find_columns
from spikeline.drivers.formats.hdf5_file import survey
from spikeline.pipeline.events import SourceError

MATRIX_ORDERS = {"f": "xytp", "i": "txyp", "u": "txyp"}  # by the kind of number


class Place(NamedTuple):
    """Events in the file: the datasets that hold them, and which column of which is what."""

    path: str
    datasets: dict[str, str]  # what is read together -> path of its dataset; "" for one that holds all
    columns: dict[str, Any]  # t, x, y, p -> key of `datasets`, field name, or number of the matrix column


def find_events(file: h5py.File, wanted: str | None, order: str | None, where: str) -> Place:
    """The only events of the file, or those that the user wants."""
    found, broken = survey(file)
    chosen = None if wanted is None else "/" + wanted.strip("/")
    places: dict[str, Place] = {}
    reasons: list[str] = []
    for path, thing in found.items():
        try:
            place = _columns_of(path, thing, found) or _single(path, thing, order, path == chosen)
        except SourceError as error:
            reasons.append(str(error))
            continue
        if place is not None:
            places[path] = place
    if chosen is not None:
        if chosen in places:
            return places[chosen]
        held = f"the file has them at {', '.join(places)}" if places else "the file has none that we know"
        raise SourceError(f"{where}: dataset={wanted}: no events there; {held}")
    if len(places) == 1:
        return next(iter(places.values()))
    if places:
        listed = ", ".join(list(places)[:8]) + (", ..." if len(places) > 8 else "")
        raise SourceError(f"{where}: holds events at {listed}; say which with ?dataset=")
    why = (
        " ".join("; ".join([*reasons[:1], *broken[:1]]).split())
        or f"it holds {', '.join(list(found)[:6]) or 'nothing'}"
    )
    raise SourceError(f"{where}: no events found: wanted t, x, y, p as columns or fields; {why}")


def _columns_of(path: str, thing: Any, found: dict[str, Any]) -> Place | None:
    """A group whose members are the columns; None: it is not one. Two names for one column are an error."""
    if not isinstance(thing, h5py.Group):
        return None
    inner = {f"{path.rstrip('/')}/{name}": name for name in ALL_ALIASES}
    names = {
        name: full
        for full, name in inner.items()
        if isinstance(found.get(full), h5py.Dataset) and len(found[full].shape or ()) == 1
    }
    if len(names) < 4:
        return None
    columns = find_columns(set(names), path)
    check_kinds({ours: found[names[name]].dtype for ours, name in columns.items()}, path)
    return Place(path, {ours: names[name] for ours, name in columns.items()}, {ours: ours for ours in "txyp"})


def _single(path: str, thing: Any, order: str | None, chosen: bool) -> Place | None:
    """A dataset that holds all four columns; None: it is not one."""
    if not isinstance(thing, h5py.Dataset) or not thing.shape:
        return None
    fields = thing.dtype.fields
    if fields is not None and len(thing.shape) == 1 and len(ALL_ALIASES & set(fields)) >= 4:
        columns: dict[str, Any] = dict(find_columns(ALL_ALIASES & set(fields), path))
        kinds = {ours: fields[name][0] for ours, name in columns.items()}
    elif len(thing.shape) == 2 and thing.shape[1] == 4 and (chosen or path.endswith("/events")):
        columns = {name: at for at, name in enumerate(order or MATRIX_ORDERS.get(thing.dtype.kind, ""))}
        kinds = dict.fromkeys(columns, thing.dtype)
        kinds.update({name: np.dtype("i8") for name in "xy" if thing.dtype.kind == "f"})
    else:
        return None
    check_kinds(kinds, path)
    return Place(path, {"": path}, columns)
