"""One digest for one stream: whoever wrote the file, and in whatever format, and whoever reads ours.

The stream lasts 2 s and begins at 12 ms, so that every format can hold its times as they are. Peers that
are not installed are skipped by name. Those that are known to be wrong are in `KNOWN_BAD`, and a test holds
them to it: where it fails, the peer was mended and belongs among the sound ones.
"""

import hashlib

import numpy as np
import peers
import pytest
from format_files import FILES, make, open_file
from made import SENSOR, seeded_stream

from spikeline.drivers import open_source
from spikeline.drivers.writers import FORMATS, open_writer
from spikeline.pipeline.commands.info import describe
from spikeline.pipeline.events import EventPacket

EVENTS = seeded_stream(20_000)
WRITERS = {  # name: (package, writer, file, what the user must say, whether the file says its size)
    "dv-processing, AEDAT4": ("dv_processing", peers.dv_processing_writer("NONE"), "a.aedat4", "", True),
    "dv-processing, AEDAT4 LZ4": ("dv_processing", peers.dv_processing_writer("LZ4"), "a.aedat4", "", True),
    "dv-processing, AEDAT4 LZ4_HIGH": (
        "dv_processing",
        peers.dv_processing_writer("LZ4_HIGH"),
        "a.aedat4",
        "",
        True,
    ),
    "dv-processing, AEDAT4 ZSTD": ("dv_processing", peers.dv_processing_writer("ZSTD"), "a.aedat4", "", True),
    "dv-processing, AEDAT4 ZSTD_HIGH": (
        "dv_processing",
        peers.dv_processing_writer("ZSTD_HIGH"),
        "a.aedat4",
        "",
        True,
    ),
    "faery, AEDAT4": ("faery", peers.faery_writer(), "a.aedat4", "", True),
    "faery, EVT2": ("faery", peers.faery_writer(version="evt2"), "a.raw", "", True),
    "faery, EVT3": ("faery", peers.faery_writer(version="evt3"), "a.raw", "", True),
    "faery, DAT 1": ("faery", peers.faery_writer(version="dat1"), "a.dat", "", True),
    "faery, DAT 2": ("faery", peers.faery_writer(version="dat2"), "a.dat", "", True),
    "faery, ES": ("faery", peers.faery_writer(), "a.es", "", True),
    "faery, CSV": ("faery", peers.faery_writer(), "a.csv", "", True),
    "event_stream, ES": ("event_stream", peers.event_stream_writer, "a.es", "?flip_y=no", True),
    "expelliarmus, EVT2": ("expelliarmus", peers.expelliarmus_writer("evt2"), "a.raw", "?format=evt2", False),
    "expelliarmus, EVT3": ("expelliarmus", peers.expelliarmus_writer("evt3"), "a.raw", "?format=evt3", False),
    "expelliarmus, DAT": ("expelliarmus", peers.expelliarmus_writer("dat"), "a.dat", "", False),
    "eventcv, npz": ("eventcv", peers.eventcv_writer, "a.npz", "", True),
    "eventcv, text": ("eventcv", peers.eventcv_writer, "a.txt", "", False),
    "eventcv, HDF5": ("eventcv", peers.eventcv_writer, "a.h5", "", True),
    "eventcv, ROS 1 bag": ("eventcv", peers.eventcv_writer, "a.bag", "", True),
    "evlib, HDF5": ("evlib", peers.evlib_writer, "a.h5", "", False),
    "evlib, text": ("evlib", peers.evlib_writer, "a.txt", "", False),
    "numpy, npy": ("numpy", peers.numpy_npy, "a.npy", "", False),
    "numpy, npz": ("numpy", peers.numpy_npz, "a.npz", "", True),
    "numpy, text": ("numpy", peers.numpy_text, "a.txt", "", False),
    "h5py, columns": ("h5py", peers.h5py_columns, "a.h5", "", False),
    "h5py, matrix": ("h5py", peers.h5py_matrix, "a.h5", "", False),
    "rosbags, ROS 1 EventArray": ("rosbags", peers.rosbags_writer("bag", "array"), "a.bag", "", True),
    "rosbags, ROS 1 mono": ("rosbags", peers.rosbags_writer("bag", "mono"), "a.bag", "", True),
    "rosbags, ROS 2 SQLite EventArray": ("rosbags", peers.rosbags_writer("db3", "array"), "a.db3", "", True),
    "rosbags, ROS 2 MCAP libcaer": ("rosbags", peers.rosbags_writer("mcap", "libcaer"), "a.mcap", "", True),
    "mcap, ROS 2 EventArray": ("mcap", peers.mcap_writer, "a.mcap", "", True),
}
READERS = {  # name: (package, our format, reader)
    "aedat, AEDAT4": ("aedat", "aedat4", peers.aedat_reader),
    "dv-processing, AEDAT4": ("dv_processing", "aedat4", peers.dv_processing_reader),
    "faery, AEDAT4": ("faery", "aedat4", peers.faery_reader),
    "evlib, AEDAT4": ("evlib", "aedat4", peers.evlib_reader),
    "eventcv, AEDAT4": ("eventcv", "aedat4", peers.eventcv_reader),
    "aestream, AEDAT4": ("aestream", "aedat4", peers.aestream_reader),
    "faery, EVT2": ("faery", "evt2", peers.faery_reader),
    "expelliarmus, EVT2": ("expelliarmus", "evt2", peers.expelliarmus_reader("evt2")),
    "evlib, EVT2": ("evlib", "evt2", peers.evlib_reader),
    "eventcv, EVT2": ("eventcv", "evt2", peers.eventcv_reader),
    "faery, EVT3": ("faery", "evt3", peers.faery_reader),
    "evlib, EVT3": ("evlib", "evt3", peers.evlib_reader),
    "eventcv, EVT3": ("eventcv", "evt3", peers.eventcv_reader),
    "faery, DAT": ("faery", "dat", peers.faery_reader),
    "expelliarmus, DAT": ("expelliarmus", "dat", peers.expelliarmus_reader("dat")),
    "eventcv, DAT": ("eventcv", "dat", peers.eventcv_reader),
    "aestream, DAT": ("aestream", "dat", peers.aestream_reader),
    "faery, ES": ("faery", "es", peers.faery_reader),
    "event_stream, ES": ("event_stream", "es", peers.event_stream_reader),
    "h5py, HDF5": ("h5py", "hdf5", peers.h5py_reader),
    "eventcv, HDF5": ("eventcv", "hdf5", peers.eventcv_reader),
    "evlib, HDF5": ("evlib", "hdf5", peers.evlib_reader),
    "faery, CSV": ("faery", "csv", peers.faery_reader),
    "numpy, CSV": ("numpy", "csv", peers.loadtxt_reader),
    "numpy, npz": ("numpy", "npz", peers.numpy_reader),
    "eventcv, npz": ("eventcv", "npz", peers.eventcv_reader),
    "mcap, MCAP": ("mcap", "mcap", peers.mcap_reader),
}
KNOWN_BAD = {  # as READERS; and what they make of our files, as of other sound ones
    "expelliarmus, EVT3": (
        "expelliarmus", "evt3", peers.expelliarmus_reader("evt3"),
        "times run too fast: 4,096 us are added wherever their low part falls",
    ),
    "aestream, EVT2": ("aestream", "evt2", peers.aestream_reader, "takes every .raw file for EVT3"),
    "aestream, EVT3": ("aestream", "evt3", peers.aestream_reader, "times are wrong by up to the span"),
    "aestream, CSV": ("aestream", "csv", peers.aestream_reader, "gives no events of a file with a header"),
    "evlib, DAT": ("evlib", "dat", peers.evlib_reader, "takes .dat for text"),
    "evlib, CSV": ("evlib", "csv", peers.evlib_reader, "wants spaces between the columns"),
    "eventcv, CSV": ("eventcv", "csv", peers.eventcv_reader, "does not know names with a size, as x@128"),
}  # fmt: skip


def digest_of(events):
    """As `spikeline info` has it."""
    columns = (
        np.ascontiguousarray(c, kind) for c, kind in zip(events, ("<i8", "<u2", "<u2", "u1"), strict=True)
    )
    return hashlib.sha256(b"".join(hashlib.sha256(column.data).digest() for column in columns)).hexdigest()


DIGEST = digest_of(EVENTS)


def written(form, path):
    """The stream in one of our formats."""
    writer = open_writer(path, SENSOR, format=form)
    for start in range(0, len(EVENTS.t), 777):
        part = EVENTS.slice(start, start + 777)
        writer.add(EventPacket(*part, int(part.t[-1])))
    assert writer.close() == len(EVENTS.t)
    return path


def digest_read(source):
    with source:
        found = describe(source)
    assert (found["refused"], found["reordered"], found["damage"], found["truncated"]) == (0, 0, [], False)
    assert (found["epochs"], found["events"]) == (1, len(EVENTS.t))
    return found["digest"]


@pytest.mark.parametrize("name", WRITERS)
def test_a_peers_file_is_read_to_the_digest(name, tmp_path):
    package, write, file, query, sized = WRITERS[name]
    pytest.importorskip(package, reason=f"{package} is not installed")
    write(EVENTS, tmp_path / file)
    source = open_source(f"{tmp_path / file}{query}", sensor=None if sized else SENSOR)
    assert digest_read(source) == DIGEST


@pytest.mark.parametrize("form", FORMATS)
def test_our_file_is_read_to_the_digest(form, tmp_path):
    path = written(form, tmp_path / f"a{FORMATS[form].extensions[0]}")
    assert digest_read(open_source(path, sensor=SENSOR)) == DIGEST


@pytest.mark.parametrize("name", FILES)
def test_a_file_made_byte_by_byte_is_read_to_the_digest(name, tmp_path):
    path = tmp_path / FILES[name].file
    path.write_bytes(make(name, EVENTS).data)
    assert digest_read(open_file(name, path)) == DIGEST


def our_file(form, tmp_path):
    """Named so that peers know it."""
    ending = ".raw" if form.startswith("evt") else FORMATS[form].extensions[0]
    return written(form, tmp_path / f"a{ending}")


@pytest.mark.parametrize("name", READERS)
def test_a_peer_reads_ours_to_the_digest(name, tmp_path):
    package, form, read = READERS[name]
    pytest.importorskip(package, reason=f"{package} is not installed")
    assert digest_of(read(our_file(form, tmp_path))) == DIGEST


@pytest.mark.parametrize("name", KNOWN_BAD)
def test_a_peer_known_to_be_wrong_still_is(name, tmp_path):
    package, form, read, _ = KNOWN_BAD[name]
    pytest.importorskip(package, reason=f"{package} is not installed")
    try:
        found = digest_of(read(our_file(form, tmp_path)))
    except Exception as error:  # whatever the peer raises
        found = f"{type(error).__name__}: {error}"
    assert found != DIGEST
