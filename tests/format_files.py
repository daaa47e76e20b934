"""One small file of every format, from one stream. `FILES` names them; `make(name, events)` gives the bytes.

Written by the byte makers of the tests, so that a file is the same everywhere and owes nothing to our writers
(but for our own MCAP).
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import make_container_files as containers
import make_prophesee
import make_record_files as one_by_one
from made import SENSOR, SIDE, Made
from make_aedat import DAVIS346, DVS128
from test_sources_writers import Events

from spikeline.drivers import open_source
from spikeline.pipeline.events import Sensor, Source


class FormatFile(NamedTuple):
    make: Callable[[Events], Made]
    file: str  # a name that users give such files
    sensor: Sensor | None = None  # what the user must say; None: the file says its size
    query: str = ""  # what else the user must say
    period_us: int = 1  # a damaged time costs all events that share it: those of so many microseconds
    relative: bool = False  # times are steps: what damage costs is lost for all times behind it


EVT2, EVT3 = (make_prophesee.header(name, SIDE, SIDE) for name in ("EVT2", "EVT3"))
DAT_CD = make_prophesee.dat_header(SIDE, SIDE)
DAT_2D = make_prophesee.dat_header(None, kind=b"\x00\x08")
FILES = {
    "aedat1": FormatFile(one_by_one.aedat1, "a.dat"),
    "aedat2-dvs128": FormatFile(partial(one_by_one.aedat2, chip=DVS128), "a.aedat"),
    "aedat2-davis": FormatFile(partial(one_by_one.aedat2, chip=DAVIS346), "a.aedat"),
    "aedat3": FormatFile(one_by_one.aedat3, "a.aedat"),
    "aedat4-none": FormatFile(partial(containers.aedat4, compression=0), "a.aedat4"),
    "aedat4-lz4": FormatFile(partial(containers.aedat4, compression=1), "a.aedat4"),
    "aedat4-zstd": FormatFile(partial(containers.aedat4, compression=3), "a.aedat4"),
    "evt2": FormatFile(partial(one_by_one.evt2, head=EVT2), "a.raw", period_us=64),
    "evt2-headerless": FormatFile(
        partial(one_by_one.evt2, head=b""), "a.bin", SENSOR, "?format=evt2", period_us=64
    ),
    "evt21": FormatFile(partial(one_by_one.evt21, order="little"), "a.raw", period_us=64),
    "evt21-legacy": FormatFile(partial(one_by_one.evt21, order="legacy"), "a.raw", period_us=64),
    "evt3": FormatFile(one_by_one.evt3, "a.raw", period_us=4_096),
    "dat-cd": FormatFile(partial(one_by_one.dat, head=DAT_CD), "a.dat"),
    "dat-2d": FormatFile(partial(one_by_one.dat, head=DAT_2D), "a.dat", SENSOR),
    "es-dvs": FormatFile(partial(one_by_one.es, atis=False), "a.es", relative=True),
    "es-atis": FormatFile(partial(one_by_one.es, atis=True), "a.es", relative=True),
    "nmnist": FormatFile(one_by_one.nmnist, "a.bin", SENSOR, "?format=nmnist"),
    "csv": FormatFile(one_by_one.csv, "a.csv", SENSOR),
    "txt": FormatFile(one_by_one.txt, "a.txt", SENSOR),
    "csv-gz": FormatFile(one_by_one.csv_gz, "a.csv.gz", SENSOR),
    "npy": FormatFile(one_by_one.npy, "a.npy", SENSOR),
    "npz": FormatFile(containers.npz, "a.npz"),
    "hdf5-columns": FormatFile(containers.hdf5_columns, "a.h5", SENSOR),
    "hdf5-matrix": FormatFile(containers.hdf5_matrix, "a.h5", SENSOR),
    "hdf5-ecf": FormatFile(containers.hdf5_ecf, "a.h5"),
    "rosbag-array": FormatFile(partial(containers.bag, kind="bag", form="array"), "a.bag"),
    "rosbag-evt3": FormatFile(partial(containers.bag, kind="bag", form="evt3"), "a.bag", period_us=4_096),
    "db3": FormatFile(partial(containers.bag, kind="db3", form="array"), "a.db3"),
    "rosmcap": FormatFile(containers.ros_mcap, "a.mcap"),
    "mcap": FormatFile(containers.mcap, "a.mcap"),
}


def make(name: str, events: Events) -> Made:
    return FILES[name].make(events)


def open_file(name: str, path: Path) -> Source:
    """As a user would: what the file cannot say is said by the user, and nothing else."""
    return open_source(f"{path}{FILES[name].query}", sensor=FILES[name].sensor)
