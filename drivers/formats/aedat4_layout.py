"""AEDAT4 on disk: the header, the packets one after another, and the way back after damage.

`read_header` and `walk` look at sizes and frame structure only, in pure Python and with every size
checked against the file, so that the decoder behind them (aedat4.py) is given nothing but whole
packets. Layout:

    "#!AER-DAT4.0\\r\\n"  uint32 n  IOHE flatbuffer (n bytes)  packets  FTAB data table
    packet: int32 stream, uint32 size, then `size` bytes: one LZ4 frame, one Zstandard frame, or bare
    payload, unpacked: uint32 length, flatbuffer with its identifier at byte 8 (EVTS, FRME, IMUS, TRIG)
"""

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np

from spikeline.drivers.base import Stored
from spikeline.drivers.formats.frames import LEAST, LZ4_MAGIC, ZSTD_MAGIC, lz4_frame, zstd_frame
from spikeline.pipeline.events import SourceError

MAGIC = b"#!AER-DAT4.0\r\n"
COMPRESSIONS = ("none", "LZ4", "LZ4 high", "Zstandard", "Zstandard high")
IDENTIFIERS = re.compile(b"EVTS|FRME|IMUS|TRIG")
MAX_HEADER = 16 << 20
MAX_PACKET = 256 << 20  # unpacked: 16 million events; no writer comes near it
SEARCH = 1 << 20


class Stream(NamedTuple):
    kind: str  # EVTS, FRME, IMUS, TRIG
    width: int  # 0: not given
    height: int
    source: str  # "DVS128_0279", or ""


class Header(NamedTuple):
    compression: int
    table_at: int  # -1: the writer never closed the file
    streams: dict[int, Stream]
    data_at: int  # where the first packet begins


class Packet(NamedTuple):
    """A whole packet. `sure`: its payload is known to unpack to LEAST bytes or more, or to fail cleanly."""

    start: int
    stop: int
    stream: int
    payload: bytes
    sure: bool


class Damage(NamedTuple):
    start: int
    stop: int
    reason: str
    cut: bool  # the file ends here before its time


def read_header(data: Stored) -> Header:
    def bad(what: str) -> SourceError:
        return SourceError(f"{data.path}: AEDAT4 header: {what}")

    front = data.at(0, len(MAGIC) + 4)
    if front[: len(MAGIC)] != MAGIC:
        raise bad(f"begins with {front[: len(MAGIC)]!r}; wanted {MAGIC!r}")
    if len(front) < len(MAGIC) + 4:
        raise bad("the file ends inside it")
    (size,) = struct.unpack_from("<I", front, len(MAGIC))
    data_at = len(front) + size
    if size > MAX_HEADER or data_at > data.size:
        raise bad(f"declares {size} bytes; the file holds {data.size - len(front)} more")
    head = data.at(len(front), size)
    try:
        compression, table_at, xml = _io_header(head)
        streams = _streams(xml)
    except (struct.error, IndexError, UnicodeDecodeError, ValueError, ElementTree.ParseError) as error:
        raise bad(" ".join(str(error).split())) from error
    return Header(compression, table_at, streams, data_at)


def _io_header(head: bytes) -> tuple[int, int, str]:
    """Compression, data table position and stream description out of the IOHE flatbuffer."""
    if head[4:8] != b"IOHE":
        raise ValueError(f"identifier {head[4:8]!r}; wanted b'IOHE'")
    (table,) = struct.unpack_from("<I", head, 0)
    (back,) = struct.unpack_from("<i", head, table)
    vtable = table - back
    if vtable < 0:
        raise ValueError(f"field table at byte {vtable}")
    (vsize,) = struct.unpack_from("<H", head, vtable)

    def field(index: int) -> int:  # its place in `head`, 0 if it has its default value
        if 4 + 2 * index + 2 > vsize:
            return 0
        (offset,) = struct.unpack_from("<H", head, vtable + 4 + 2 * index)
        return table + offset if offset else 0

    at = field(0)
    compression = struct.unpack_from("<i", head, at)[0] if at else 0
    if not 0 <= compression < len(COMPRESSIONS):
        raise ValueError(f"compression {compression}; known are 0 to {len(COMPRESSIONS) - 1}")
    at = field(1)
    table_at = struct.unpack_from("<q", head, at)[0] if at else -1
    at = field(2)
    if not at:
        raise ValueError("no stream description")
    at += struct.unpack_from("<I", head, at)[0]
    (length,) = struct.unpack_from("<I", head, at)
    if at + 4 + length > len(head):
        raise ValueError(f"stream description of {length} bytes in a header of {len(head)}")
    return compression, table_at, head[at + 4 : at + 4 + length].decode()


def _streams(xml: str) -> dict[int, Stream]:
    if "<!" in xml:  # no writer declares entities; a hostile one could make them explode
        raise ValueError("stream description with declarations")
    info = next((n for n in ElementTree.fromstring(xml).iter("node") if n.get("name") == "outInfo"), None)
    if info is None:
        raise ValueError("stream description without an outInfo node")
    streams = {}
    for node in info.findall("node"):
        number = int(node.get("name", ""))
        if not 0 <= number <= 0x7FFFFFFF or number in streams:
            raise ValueError(f"stream number {number}")
        inner = next((n for n in node.findall("node") if n.get("name") == "info"), None)
        about = {} if inner is None else _attributes(inner)
        width, height = int(about.get("sizeX", 0)), int(about.get("sizeY", 0))
        kind = _attributes(node).get("typeIdentifier", "")
        streams[number] = Stream(kind, width, height, about.get("source", ""))
    return streams


def _attributes(node: ElementTree.Element) -> dict[str, str]:
    return {attr.get("key", ""): (attr.text or "").strip() for attr in node.findall("attr")}


def walk(data: Stored, header: Header) -> Iterator[Packet | Damage]:
    """Every whole packet in order, and the byte ranges that are not one."""
    at, table_at = header.data_at, header.table_at
    while at < data.size:
        found = "the data table is cut" if at == table_at else _packet(data, header, at)
        if isinstance(found, Packet):
            yield found
            at = found.stop
            continue
        table_stop = _table_end(data, header, at)
        if table_stop is not None:
            if at != table_at:
                yield Damage(at, at, f"the data table is here; declared at byte {table_at}", False)
            if table_stop < data.size:
                yield Damage(table_stop, data.size, "bytes after the data table", False)
            return
        after = data.size if at == table_at else _resync(data, header, at)
        yield Damage(at, after, found, after == data.size and table_at <= at)
        at = after
    if table_at > data.size or table_at == at:
        yield Damage(at, at, f"the file ends before its data table, declared at byte {table_at}", True)


def _packet(data: Stored, header: Header, at: int) -> Packet | str:
    """The packet that begins at `at`, or why there is none."""
    front = data.at(at, 8)
    if len(front) < 8:
        return "the file ends inside a packet"
    stream, size = struct.unpack("<iI", front)
    if stream not in header.streams:
        return f"unknown stream {stream}"
    if at + 8 + size > data.size:
        return f"the file ends inside a packet of {size} bytes"
    if size > MAX_PACKET:
        return f"a packet of {size} bytes"
    payload = data.at(at + 8, size)
    if len(payload) < size:
        return "the file became shorter while it was read"
    if header.compression == 0:
        if size < LEAST or payload[8:12] != header.streams[stream].kind.encode():
            return f"no {header.streams[stream].kind} payload"
        if int.from_bytes(payload[:4], "little") + 4 != size:
            return "packet size and payload size differ"
        if not _begins(data, header, at + 8 + size) and not _lines_up(payload):
            return "records that do not line up"
        return Packet(at, at + 8 + size, stream, payload, True)
    frame = lz4_frame(payload) if header.compression < 3 else zstd_frame(payload)
    if frame is None or frame.size != size:
        return f"no whole {COMPRESSIONS[header.compression]} frame"
    if frame.most > MAX_PACKET:
        return f"a packet that may unpack to {frame.most} bytes"
    return Packet(at, at + 8 + size, stream, payload, frame.least >= LEAST)


def _resync(data: Stored, header: Header, bad_at: int) -> int:
    """Where the next whole packet (or the data table, or the end) begins after a bad one."""
    if header.compression == 0:
        pattern, lead = IDENTIFIERS, 16
    else:
        pattern = re.compile(re.escape(LZ4_MAGIC if header.compression < 3 else ZSTD_MAGIC))
        lead = 8
    limit = data.size
    if bad_at < header.table_at < data.size and _is_table(data, header, header.table_at):
        limit = header.table_at
    block_at = bad_at + 1 + lead
    while block_at < limit:
        block = data.at(block_at, SEARCH + 3)  # 3: a match may lie across two blocks
        if len(block) < 4:
            break
        for match in pattern.finditer(block):
            at = block_at + match.start() - lead
            if at >= limit:
                break
            if isinstance(_packet(data, header, at), Packet):
                return at
        block_at += SEARCH
    return limit


def _begins(data: Stored, header: Header, at: int) -> bool:
    """Whether a packet or the data table seems to begin here, or the file ends."""
    front = data.at(at, 20)
    stream = header.streams.get(int.from_bytes(front[:4], "little"))
    return at in (data.size, header.table_at) or (stream is not None and front[16:] == stream.kind.encode())


def _lines_up(payload: bytes) -> bool:
    """Whether (nearly) all 16-byte records, counted from the end, have a polarity and zero padding.

    Two halves of packets, joined by damage between them, can have the right size; their records are
    then shifted against each other. Without compression nothing else gives them away.
    """
    n = max(0, len(payload) // 16 - 2)  # the records lie at the end, behind 36 bytes or a few more
    records = np.frombuffer(payload, np.uint8)[len(payload) - 16 * n :].reshape(n, 16)
    shifted = (records[:, 12] > 1) | records[:, 13:].any(axis=1)
    return int(np.count_nonzero(shifted)) * 8 <= n


def _is_table(data: Stored, header: Header, at: int) -> bool:
    front = data.at(at, 12)
    if header.compression == 0:
        return front[8:12] == b"FTAB"
    return front[:4] == (LZ4_MAGIC if header.compression < 3 else ZSTD_MAGIC)


def _table_end(data: Stored, header: Header, at: int) -> int | None:
    """Where the data table that begins here ends; None: it is cut or no table."""
    if not _is_table(data, header, at) or data.size - at > MAX_PACKET:
        return None
    table = data.at(at, data.size - at)
    if header.compression == 0:
        stop = 4 + int.from_bytes(table[:4], "little")
        return at + stop if stop <= len(table) else None
    frame = lz4_frame(table) if header.compression < 3 else zstd_frame(table)
    return None if frame is None else at + frame.size
