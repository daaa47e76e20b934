"""Small writers of recordings for the source tests, and proof that they write what the formats say.

The AEDAT4 writer follows the layout byte by byte and needs no peer: its LZ4 and Zstandard frames
hold stored blocks, which every decoder of the format must accept.
"""

import os
import struct
from pathlib import Path
from typing import NamedTuple

import aedat
import numpy as np
import pytest

from spikeline.pipeline.events import Sensor

DATA = Path(os.environ.get("SPIKELINE_DATA", Path(__file__).parents[2] / "shared" / "data"))

RECORD = np.dtype(
    {
        "names": ["t", "x", "y", "on"],
        "formats": ["<i8", "<i2", "<i2", "u1"],
        "offsets": [0, 8, 10, 12],
        "itemsize": 16,
    }
)
NONE, LZ4, ZSTD = 0, 1, 3
COMPRESSIONS = pytest.mark.parametrize("compression", [NONE, LZ4, ZSTD], ids=["none", "lz4", "zstd"])


class Events(NamedTuple):
    t: np.ndarray
    x: np.ndarray
    y: np.ndarray
    p: np.ndarray

    def slice(self, start: int, stop: int) -> "Events":
        return Events(*(column[start:stop] for column in self))


class Written(NamedTuple):
    data: bytes
    ends: list[int]  # where each packet ends in `data`
    data_at: int  # where the first one begins


def random_events(
    n: int, *, sensor: Sensor = Sensor(16, 12), seed: int = 1, start_us: int = 5_000_000
) -> Events:
    rng = np.random.default_rng(seed)
    return Events(
        start_us + np.cumsum(rng.integers(0, 200, n)),
        rng.integers(0, sensor.width, n).astype(np.uint16),
        rng.integers(0, sensor.height, n).astype(np.uint16),
        rng.integers(0, 2, n).astype(np.uint8),
    )


def pieces(events: Events, size: int) -> list[Events]:
    return [events.slice(start, start + size) for start in range(0, len(events.t), size)]


def evts_payload(events: Events) -> bytes:
    """A size-prefixed EVTS flatbuffer: one table with one field, the vector of 16-byte structs."""
    records = np.zeros(len(events.t), RECORD)
    for name, column in zip(RECORD.names, events, strict=True):
        records[name] = column
    front = struct.pack("<I4s2x3HIII", 16, b"EVTS", 6, 8, 4, 6, 4, len(records))
    body = front + records.tobytes()
    return struct.pack("<I", len(body)) + body


def packed(payload: bytes, compression: int) -> bytes:
    if compression == LZ4:  # version 01, dependent blocks of at most 64 KiB; c0 is this descriptor's checksum
        blocks = [payload[i : i + 65_536] for i in range(0, len(payload), 65_536)]
        stored = b"".join(struct.pack("<I", len(b) | 1 << 31) + b for b in blocks)
        return bytes.fromhex("04224d184040c0") + stored + bytes(4)
    if compression == ZSTD:  # single segment, 4 bytes of content size, stored blocks
        blocks = [payload[i : i + 65_536] for i in range(0, len(payload), 65_536)]
        last = len(blocks) - 1
        stored = b"".join((len(b) << 3 | (i == last)).to_bytes(3, "little") + b for i, b in enumerate(blocks))
        return bytes.fromhex("28b52ffda0") + struct.pack("<I", len(payload)) + stored
    return payload


def description(streams: dict[int, tuple[str, Sensor]]) -> str:
    nodes = "".join(
        f'<node name="{number}"><attr key="typeIdentifier" type="string">{kind}</attr><node name="info">'
        f'<attr key="sizeX" type="int">{sensor.width}</attr>'
        f'<attr key="sizeY" type="int">{sensor.height}</attr>'
        f'<attr key="source" type="string">{sensor.model}_0042</attr></node></node>'
        for number, (kind, sensor) in streams.items()
    )
    return f'<dv version="2.0"><node name="outInfo">{nodes}</node></dv>'


def aedat4_header(xml: str, compression: int, table_at: int) -> bytes:
    text = xml.encode() + b"\0"
    text += b"\0" * (-len(text) % 4)
    body = struct.pack("<I4s6x5H", 24, b"IOHE", 10, 20, 4, 12, 8)
    body += struct.pack("<iiIqI", 10, compression, 12, table_at, len(xml.encode())) + text
    return b"#!AER-DAT4.0\r\n" + struct.pack("<I", len(body)) + body


def aedat4(
    packets: list[Events | tuple[int, bytes]],
    *,
    sensor: Sensor = Sensor(16, 12, "TEST"),
    compression: int = NONE,
    table: bool = True,
    streams: dict[int, tuple[str, Sensor]] | None = None,
) -> Written:
    """A file of these packets: events go to stream 0; (stream, payload) are written as they are."""
    xml = description({0: ("EVTS", sensor)} if streams is None else streams)
    data_at = len(aedat4_header(xml, compression, 0))
    body, ends = b"", []
    for packet in packets:
        stream, payload = (0, evts_payload(packet)) if isinstance(packet, Events) else packet
        payload = packed(payload, compression)
        body += struct.pack("<iI", stream, len(payload)) + payload
        ends.append(data_at + len(body))
    end = b""
    if table:
        ftab = struct.pack("<I4s2x3HIII", 16, b"FTAB", 6, 8, 4, 6, 4, 0)
        end = packed(struct.pack("<I", len(ftab)) + ftab, compression)
    head = aedat4_header(xml, compression, data_at + len(body) if table else -1)
    return Written(head + body + end, ends, data_at)


def labelled_set(path: Path, events: Events, offsets: list[int], labels: list[int], sensor: Sensor) -> None:
    np.savez_compressed(
        path, **events._asdict(), offsets=offsets, labels=labels, width=sensor.width, height=sensor.height
    )


def records(events: Events, dtype: list | None = None) -> np.ndarray:
    """A structured array; `dtype` lists its fields in any order, under our names or others'."""
    array = np.zeros(len(events.t), dtype or [("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("p", "u1")])
    for name in array.dtype.names:
        array[name] = getattr(events, {"timestamp": "t", "polarity": "p", "on": "p"}.get(name, name))
    return array


def test_the_writer_gives_the_bytes_of_a_peers_packet():
    events = Events(1_000_000 + 10 * np.arange(5), np.arange(5), np.arange(1, 6), np.array([0, 1, 0, 1, 0]))
    expected = bytes.fromhex(
        "6c000000100000004556545300000600080004000600000004000000"
        "05000000"
        "40420f00000000000000010000000000"
        "4a420f00000000000100020001000000"
        "54420f00000000000200030000000000"
        "5e420f00000000000300040001000000"
        "68420f00000000000400050000000000"
    )
    assert evts_payload(events) == expected


@COMPRESSIONS
def test_a_written_file_is_read_by_the_peer_alone(tmp_path, compression):
    events = random_events(9_000)
    path = tmp_path / "a.aedat4"
    path.write_bytes(aedat4(pieces(events, 5_000), compression=compression).data)
    decoder = aedat.Decoder(str(path))
    assert decoder.id_to_stream() == {0: {"type": "events", "width": 16, "height": 12}}
    got = np.concatenate([packet["events"] for packet in decoder])
    np.testing.assert_array_equal(got["t"], events.t)
    np.testing.assert_array_equal(got["x"], events.x)
    np.testing.assert_array_equal(got["y"], events.y)
    np.testing.assert_array_equal(got["on"], events.p == 1)
