"""The formats of recordings, by name, and which class reads each. `open_format` opens a file as one.

A class is imported when a file of its format is opened, and never before: some need heavy libraries.
Each is called as `Class(path, sensor=..., options=...)`; its `OPTIONS` name the options it takes.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import NamedTuple

from spikeline.drivers import uri as grammar
from spikeline.drivers.base import FileSource, Stored
from spikeline.pipeline.events import Sensor, SourceError


class Format(NamedTuple):
    module: str  # in this package
    reader: str  # the class
    title: str  # for people
    extensions: tuple[str, ...]  # names that a file of this format is known to have


FORMATS = {
    "aedat1": Format("aedat2", "Aedat2Source", "AEDAT 1.0", (".aedat", ".dat")),
    "aedat2": Format("aedat2", "Aedat2Source", "AEDAT 2.0", (".aedat", ".dat")),
    "aedat3": Format("aedat3", "Aedat3Source", "AEDAT 3", (".aedat",)),
    "aedat4": Format("aedat4", "Aedat4Source", "AEDAT4", (".aedat4", ".aedat")),
    "evt2": Format("prophesee", "RawSource", "EVT2", (".raw", ".bin", ".evt2")),
    "evt21": Format("prophesee", "RawSource", "EVT2.1", (".raw", ".bin", ".evt21")),
    "evt3": Format("prophesee", "RawSource", "EVT3", (".raw", ".bin", ".evt3")),
    "dat": Format("dat", "DatSource", "DAT", (".dat",)),
    "es": Format("event_stream", "EventStreamSource", "Event Stream", (".es", ".bin")),
    "hdf5": Format("hdf5", "Hdf5Source", "HDF5", (".h5", ".hdf5", ".hdf", ".mat")),
    "csv": Format("text", "TextSource", "CSV", (".csv", ".txt", ".dat", ".dvs", ".tsv", ".gz")),
    "npy": Format("npy", "NpySource", ".npy", (".npy",)),
    "npz": Format("arrays", "NpzSource", ".npz", (".npz",)),
    "nmnist": Format("nmnist", "NmnistSource", "N-MNIST", (".bin", ".bs2")),
    "rosbag": Format("ros", "RosSource", "ROS 1 bag", (".bag",)),
    "db3": Format("ros", "RosSource", "ROS 2 bag (SQLite)", (".db3",)),
    "rosmcap": Format("ros", "RosSource", "ROS bag (MCAP)", (".mcap",)),
    "mcap": Format("mcap", "McapSource", "MCAP", (".mcap",)),
}
EXTENSIONS = {extension for about in FORMATS.values() for extension in about.extensions}
KNOWN = (
    "AEDAT 1 to 4, EVT2, EVT2.1, EVT3, DAT, Event Stream, HDF5, CSV, .npy, .npz, N-MNIST, ROS bags and MCAP"
)


def reader_of(format_name: str) -> type[FileSource]:
    about = FORMATS[format_name]
    return getattr(import_module(f"spikeline.drivers.formats.{about.module}"), about.reader)


def open_format(
    path: str | Stored, format_name: str, sensor: Sensor | None, options: Mapping[str, str], *, forced: bool
) -> FileSource:
    """Open the file as `format_name`. `forced`: the format is not written in the file's head.

    Then a reader of several formats is told which, as its option `format`.
    """
    reader = reader_of(format_name)
    grammar.only(options, {*reader.OPTIONS, "format"}, str(path))
    given = {key: value for key, value in options.items() if key != "format"}
    if forced and "format" in reader.OPTIONS:
        given["format"] = format_name
    source = reader(path, sensor=sensor, options=given)
    extension = extension_of(str(path))
    if not forced and extension in EXTENSIONS and extension not in FORMATS[format_name].extensions:
        source.note(
            f"named {extension}, but its content is {FORMATS[format_name].title}, and is read as such"
        )
    return source


def extension_of(path: str) -> str:
    """The name's last ending in small letters, with its dot; '' for none."""
    base = path.rpartition("/")[2]
    return f".{base.rpartition('.')[2].lower()}" if "." in base[1:] else ""


def no_format(path: str, what: str) -> SourceError:
    return SourceError(f"{path}: {what}; this version reads {KNOWN}; ?format=NAME says which")
