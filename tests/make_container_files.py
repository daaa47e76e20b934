"""Small files of formats with packets, messages or chunks: AEDAT4, npz, HDF5, bags and MCAP."""

import io
import re
import sqlite3
import struct
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import ecf_encoder
import h5py
import lz4.frame
import numpy as np
import zstandard
from made import BEGIN_US, SENSOR, SIDE, Made
from make_bags import array_messages, evt3, packet_messages, typestore, write_bag
from mcap.data_stream import ReadDataStream
from mcap.opcode import Opcode
from mcap.reader import make_reader
from mcap.records import Chunk, Message
from mcap.stream_reader import breakup_chunk
from mcap.writer import CompressionType, Writer
from rosbags.rosbag1 import Reader
from test_sources_writers import Events, aedat4_header, description, evts_payload, pieces

from spikeline.drivers.formats.ecf import FILTER as ECF
from spikeline.drivers.mcap_recorder import McapRecorder
from spikeline.pipeline.events import EventPacket, Sensor

MCAP_MAGIC = b"\x89MCAP0\r\n"
CUT_BYTES = 606  # of EVT3 words in a message
ROS_HEADER = 46  # bytes of a message record in front of its data: op, conn, time and two lengths
MESSAGE_EVENTS = 100


def aedat4(events: Events, compression: int) -> Made:
    """Packets of 250 events, packed as DV packs them, and the table of packets behind."""
    pack = {0: bytes, 1: lz4.frame.compress, 3: zstandard.ZstdCompressor().compress}[compression]
    xml = description({0: ("EVTS", Sensor(SIDE, SIDE, "TEST"))})
    at, count = len(aedat4_header(xml, compression, 0)), 0
    body, units = b"", []
    for part in pieces(events, 250):
        packed = pack(evts_payload(part))
        packed = struct.pack("<iI", 0, len(packed)) + packed
        units.append((at, at + len(packed), count, count + len(part.t)))
        body, at, count = body + packed, at + len(packed), count + len(part.t)
    table = struct.pack("<I4s2x3HIII", 16, b"FTAB", 6, 8, 4, 6, 4, 0)
    table = pack(struct.pack("<I", len(table)) + table)
    return Made(aedat4_header(xml, compression, at) + body + table, np.array(units))


def npz(events: Events) -> Made:
    file = io.BytesIO()
    np.savez_compressed(file, **events._asdict(), width=SIDE, height=SIDE)
    return Made(file.getvalue(), None)


# --- bags and MCAP


def mcap(events: Events) -> Made:
    """Ours; a chunk holds some 5,000 events."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.mcap"
        recorder = McapRecorder(path, SENSOR, by_sensor_clock=True)
        for part in pieces(events, MESSAGE_EVENTS):
            recorder.add(EventPacket(*(column.copy() for column in part), int(part.t[-1])))
        recorder.close()
        data = path.read_bytes()
    return Made(data, _messages(_chunks(data, "x-spikeline-packet-v1"), _hundreds(events)))


def ros_mcap(events: Events) -> Made:
    """As ROS 2 records: messages of 100 events in chunks packed with Zstandard."""
    store, image = typestore(2), io.BytesIO()
    header, stamp = store.types["std_msgs/msg/Header"], store.types["builtin_interfaces/msg/Time"]
    writer = Writer(image, chunk_size=8_192, compression=CompressionType.ZSTD)
    writer.start("ros2")
    channel = None
    for k, (kind, fields) in enumerate(array_messages(store, events, MESSAGE_EVENTS, SIDE, SIDE)):
        if channel is None:
            definition = store.generate_msgdef(kind, ros_version=2)[0].encode()
            schema = writer.register_schema(kind, "ros2msg", definition)
            channel = writer.register_channel("/dvs/events", "cdr", schema)
        message = store.types[kind](header=header(stamp=stamp(sec=1, nanosec=k), frame_id="cam"), **fields)
        writer.add_message(channel, k, bytes(store.serialize_cdr(message, kind)), k)
    writer.finish()
    data = image.getvalue()
    return Made(data, _messages(_chunks(data, "cdr"), _hundreds(events)))


def bag(events: Events, kind: str, form: str) -> Made:
    """Messages of 100 events (`array`), or of EVT3 words cut anywhere; in ROS 1's format or in SQLite."""
    if form == "array":
        topics = {"/dvs/events": lambda store: array_messages(store, events, MESSAGE_EVENTS, SIDE, SIDE)}
        message = _hundreds(events)
    else:
        words = evt3(events)
        cuts = [words[at : at + CUT_BYTES] for at in range(0, len(words), CUT_BYTES)]
        topics = {"/cam/events": lambda store: packet_messages(cuts, "evt3", width=SIDE, height=SIDE)}
        message = np.flatnonzero(np.frombuffer(words, "<u2") >> 12 == 2) * 2 // CUT_BYTES
    with tempfile.TemporaryDirectory() as folder:
        path = write_bag(Path(folder) / f"a.{kind}", kind, topics, chunk_bytes=8_192)
        data = path.read_bytes()
        if kind == "db3":
            with closing(sqlite3.connect(path)) as held:
                payloads = [row[0] for row in held.execute("SELECT data FROM messages ORDER BY id")]
        else:
            with Reader(path) as reader:
                payloads = [bytes(payload) for _, _, payload in reader.messages()]
    if kind == "db3":
        return Made(data, _messages(_sqlite_pages(data, payloads), message))
    begins = [data.index(payload) for payload in payloads]
    ends = [at + len(payload) for at, payload in zip(begins, payloads, strict=True)]
    records = [(at - ROS_HEADER, end) for at, end in zip(begins, ends, strict=True)]
    return Made(
        data,
        _messages(list(zip(begins, ends, strict=True)), message),
        packets=_messages(records, message),  # no message without its header
    )


def _hundreds(events: Events) -> np.ndarray:
    return np.arange(len(events.t)) // MESSAGE_EVENTS


def _messages(lies: list[tuple[int, int]], message: np.ndarray) -> np.ndarray:
    """Units, from where each message lies and which message each event is in."""
    edges = np.searchsorted(message, np.arange(len(lies) + 1))
    return np.column_stack([np.array(lies), edges[:-1], edges[1:]])


def _chunks(data: bytes, encoding: str) -> list[tuple[int, int]]:
    """Where the chunk lies that each message of this encoding in an MCAP file is in."""
    lies, at = [], len(MCAP_MAGIC)
    channels = make_reader(io.BytesIO(data)).get_summary().channels.values()
    wanted = {channel.id for channel in channels if channel.message_encoding == encoding}
    while at < len(data) - len(MCAP_MAGIC):
        kind, size = data[at], int.from_bytes(data[at + 1 : at + 9], "little")
        if kind == Opcode.CHUNK:
            chunk = Chunk.read(ReadDataStream(io.BytesIO(data[at + 9 : at + 9 + size])))
            for record in breakup_chunk(chunk):
                if isinstance(record, Message) and record.channel_id in wanted:
                    lies.append((at, at + 9 + size))
        at += 9 + size
    return lies


def _sqlite_pages(data: bytes, payloads: list[bytes]) -> list[tuple[int, int]]:
    """The page that holds each payload: a leaf of a table, of which there may be older copies elsewhere."""
    page = int.from_bytes(data[16:18], "big")
    found: dict[int, int] = {}
    for at in range(page, len(data), page):
        if data[at] == 13:
            for k in range(int.from_bytes(data[at + 3 : at + 5], "big")):
                cell = at + int.from_bytes(data[at + 8 + 2 * k : at + 10 + 2 * k], "big")
                held = data[cell : cell + 128]
                found |= {k: at for k, payload in enumerate(payloads) if payload[:64] in held}
    return [(found[k], found[k] + page) for k in range(len(payloads))]


# --- HDF5


def hdf5_columns(events: Events) -> Made:
    """As DSEC's, appended to by a recorder: 100 events to each of four columns, again and again."""
    kinds = {"t": "u4", "x": "u2", "y": "u2", "p": "u1"}

    def write(file: Any) -> list[Any]:
        held = {
            name: file.create_dataset(
                f"events/{name}", (0,), kind, maxshape=(None,), chunks=(100,), compression="gzip"
            )
            for name, kind in kinds.items()
        }
        file["t_offset"] = np.int64(BEGIN_US)
        for part in pieces(events._replace(t=events.t - BEGIN_US), 100):
            for column, dataset in zip(part, held.values(), strict=True):
                dataset.resize(len(dataset) + len(column), 0)
                dataset[-len(column) :] = column
            file.flush()
        return list(held.values())

    return _hdf5(write, len(events.t))


def hdf5_matrix(events: Events) -> Made:
    """As MVSEC's: x, y, t in seconds, p of -1 and 1."""

    def write(file: Any) -> list[Any]:
        rows = np.stack([events.x, events.y, events.t / 1e6, events.p * 2.0 - 1], axis=1)
        return [file.create_dataset("davis/left/events", data=rows, chunks=(100, 4), compression="gzip")]

    return _hdf5(write, len(events.t))


def hdf5_ecf(events: Events) -> Made:
    """As Metavision's: ECF chunks."""
    dtype = np.dtype([("x", "<u2"), ("y", "<u2"), ("p", "<i2"), ("t", "<i8")])

    def write(file: Any) -> list[Any]:
        file.attrs["geometry"] = f"{SIDE}x{SIDE}"
        held = file.create_dataset(
            "CD/events", (len(events.t),), dtype, chunks=(100,), compression=ECF, allow_unknown_filter=True
        )
        for first in range(0, len(events.t), 100):
            part = events.slice(first, first + 100)
            missing = 100 - len(part.t)
            t, x, y, p = (np.pad(column, (0, missing), mode="edge").tolist() for column in part)
            held.id.write_direct_chunk((first,), ecf_encoder.encode(t, x, y, p, "yxp"), 0)
        return [held]

    return _hdf5(write, len(events.t))


def _hdf5(write: Callable[[Any], list[Any]], n: int) -> Made:
    """A unit is a chunk of one dataset; an event may need one of each. What lies between is index."""
    image, chunks = io.BytesIO(), []
    with h5py.File(image, "w") as file:
        for dataset in write(file):
            for k in range(dataset.id.get_num_chunks()):
                chunk = dataset.id.get_chunk_info(k)
                first = int(chunk.chunk_offset[0])
                rows = first, min(n, first + dataset.chunks[0])
                chunks.append((chunk.byte_offset, chunk.byte_offset + chunk.size, *rows))
        rank = len(dataset.shape)
    data, chunks = image.getvalue(), sorted(chunks)
    listed = _index_ends(data, rank)
    units = [(start, stop, *rows) for start, stop, *rows in chunks]
    units += [(listed[start] - 1, listed[start], *rows) for start, _, *rows in chunks]
    starts, stops = [start for start, *_ in chunks], [stop for _, stop, *_ in chunks]
    between = zip([0, *stops], [*starts, len(data)], strict=True)
    index = [(start, stop, 0, n) for start, stop in between if stop > start]
    return Made(data, np.array(units), packets=np.array(chunks + index))


def _index_ends(data: bytes, rank: int) -> dict[int, int]:
    """Behind which byte all nodes of the tree are whole that lead to the chunk at this one."""
    key = 8 + 8 * (rank + 1)  # size and filters, then where it begins, in rows and so on
    node = 24 + 65 * key + 64 * 8
    above: dict[int, int] = {}
    for match in re.finditer(b"TREE\x01", data):
        at = match.start()
        for k in range(int.from_bytes(data[at + 6 : at + 8], "little")):
            place = at + 24 + key * (k + 1) + 8 * k
            above[int.from_bytes(data[place : place + 8], "little")] = at
    ends: dict[int, int] = {}
    for child in above:
        way = child
        while way in above:
            way = above[way]
            ends[child] = max(ends.get(child, 0), way + node)
    return ends
