"""Writers of recordings, one module a format; a file appears under its name only when it is whole.

`open_writer` finds the writer by the name's ending or by the format's name, and imports only that one.
"""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import NamedTuple, Protocol

from spikeline.drivers.recording import check_target
from spikeline.pipeline.events import EventPacket, Sensor, SourceError


class Writer(Protocol):
    """What every writer offers. What the format cannot hold is refused by name, with a SourceError.

    Those that keep a recording's marks also have `about(source)`, to be called before the first packet.
    """

    def add(self, packet: EventPacket) -> None: ...
    def close(self) -> int:
        """Put the file under its name, and return the number of events in it."""

    def discard(self) -> None:
        """Leave nothing behind."""


class Format(NamedTuple):
    module: str  # in this package
    writer: str  # the class
    title: str  # for people
    extensions: tuple[str, ...]
    marks: bool = False  # keeps clock marks, epochs and origins: a replay makes the same windows
    shifts: bool = False  # its clock begins at 0 and is short: times may have to be written as of an origin


FORMATS = {
    "aedat4": Format("aedat4", "Aedat4Writer", "AEDAT4", (".aedat4",)),
    "evt2": Format("evt2", "Evt2Writer", "EVT2", (".evt2",), shifts=True),
    "evt3": Format("evt3", "Evt3Writer", "EVT3", (".evt3",), shifts=True),
    "dat": Format("dat", "DatWriter", "DAT", (".dat",), shifts=True),
    "es": Format("es", "EsWriter", "Event Stream", (".es",), shifts=True),
    "hdf5": Format("hdf5", "Hdf5Writer", "HDF5", (".h5", ".hdf5")),
    "csv": Format("csv", "CsvWriter", "CSV", (".csv", ".txt")),
    "npz": Format("npz", "NpzWriter", ".npz", (".npz",), marks=True),
    "mcap": Format("mcap", "McapWriter", "MCAP", (".mcap",), marks=True),
}
AMBIGUOUS = {".raw": ("evt2", "evt3"), ".bin": ("evt2", "evt3")}


def writer_format(path: str | Path, format: str | None = None) -> str:
    """The format's name; by the path's ending if it is not given."""
    if format:
        if format not in FORMATS:
            raise SourceError(f"{path}: no writer for {format}; choose from {', '.join(sorted(FORMATS))}")
        return format
    ending = Path(path).suffix.lower()
    for name, about in FORMATS.items():
        if ending in about.extensions:
            return name
    choice = ", ".join(AMBIGUOUS.get(ending, sorted(FORMATS)))
    raise SourceError(f"{path}: {ending or 'no ending'} does not say the format; name it: {choice}")


def open_writer(
    path: str | Path,
    sensor: Sensor,
    *,
    format: str | None = None,
    overwrite: bool = False,
    origin_us: int = 0,
) -> Writer:
    """A writer of this file. Nothing that is there is replaced unless `overwrite` says so.

    origin_us: subtracted from every time, for formats whose clock begins at 0; it stands in the file's
    header where the format has one for it.
    """
    path = Path(path)
    about = FORMATS[writer_format(path, format)]
    if origin_us and not about.shifts:
        raise SourceError(
            f"{path}: {about.title} holds times as they are; wanted no origin, got {origin_us} us"
        )
    check_target(path, overwrite=overwrite)
    module = import_module(f"{__name__}.{about.module}")
    writer: Callable[..., Writer] = getattr(module, about.writer)
    shift = {"origin_us": origin_us} if origin_us else {}
    try:
        return writer(path, sensor, overwrite=overwrite, **shift)
    except BaseException:  # an interrupt, say
        path.with_name(f"{path.name}.partial").unlink(missing_ok=True)
        raise
