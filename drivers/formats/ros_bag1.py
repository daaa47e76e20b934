"""ROS 1 bags (version 2.0): their messages in file order, without the index, also of a broken file.

A file is records: uint32 length of the header, header fields (uint32 length, name=value), uint32 length of
the data, data; the field `op` says what it is. Messages and connections lie in chunks, which are records
of records, perhaps packed. The index at the end repeats the connections; a recorder that was killed has
written none. Behind damage, reading goes on at the next thing that is a record in all its parts.
"""

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

from spikeline.drivers.base import Stored
from spikeline.drivers.formats.ros_container import MOST_BYTES, Broken, Piece, Topic, unpack

MAGIC = b"#ROSBAG V2.0\n"
MESSAGE, BAG, INDEX, CHUNK, CHUNK_INFO, CONNECTION = range(2, 8)
MOST_HEADER = 4_096
SEARCH_BYTES = 1 << 20
MOST_CONNECTIONS = 65_536

_OPERATION = re.compile(rb"\x04\x00\x00\x00op=[\x02\x05\x07]")  # what reading may go on with


class Record(NamedTuple):
    operation: int
    fields: dict[bytes, bytes]
    data: int  # where its data begins
    stop: int


def walk_bag1(stored: Stored) -> Iterator[Piece | Broken]:
    """Every message of every topic."""
    topics = _indexed(stored)
    at, chunks, cut = len(MAGIC), 0, False
    while at < stored.size:
        record = _stored_record(stored, at)
        if isinstance(record, str):
            following = _next_stored(stored, at + 1)
            cut = following == stored.size
            yield Broken(at, following, record, cut)
            at = following
            continue
        chunks += record.operation == CHUNK_INFO
        stop = min(record.stop, stored.size)
        if record.operation == CHUNK:
            yield from _chunk(stored, at, record, topics)
        elif record.operation in (MESSAGE, CONNECTION) and record.stop <= stored.size:
            data = memoryview(stored.at(record.data, stop - record.data))
            yield from _take(record, data, topics, at, stop)
        if record.stop > stored.size:
            cut = True
            yield Broken(at, stored.size, "the file ends within a record", True)
        at = stop
    if not cut and chunks < (wanted := _chunks(stored)):
        reason = f"the file ends before its index does: {chunks} of {wanted} chunks in it"
        yield Broken(stored.size, stored.size, reason, True)


def _chunks(stored: Stored) -> int:
    """How many chunks the file says it has; its last records tell of them, one each."""
    first = _stored_record(stored, len(MAGIC))
    if isinstance(first, str) or first.operation != BAG:
        return 0
    return int.from_bytes(first.fields.get(b"chunk_count", b""), "little")


def _chunk(stored: Stored, at: int, record: Record, topics: dict[int, Topic]) -> Iterator[Piece | Broken]:
    """The messages of a chunk, as far as it can be unpacked."""
    stop = min(record.stop, stored.size)
    size = int.from_bytes(record.fields.get(b"size", b""), "little")
    packing = record.fields.get(b"compression", b"").decode("ascii", "replace")
    if size > MOST_BYTES:
        yield Broken(at, stop, f"a chunk of {size} bytes; wanted up to {MOST_BYTES}")
        return
    data, reason = unpack(packing, memoryview(stored.at(record.data, stop - record.data)), size)
    if packing == "none":
        yield from _records(data, topics, record.data, None)
    else:
        yield from _records(data, topics, 0, (at, stop))
    if reason and record.stop <= stored.size:
        yield Broken(at, stop, f"a chunk that {reason}" if " " in reason else "a chunk that is cut")


def _records(
    data: bytes, topics: dict[int, Topic], base: int, lies: tuple[int, int] | None
) -> Iterator[Piece | Broken]:
    """The messages of an unpacked chunk. `base`: where it begins in the file; `lies`: it was packed there."""
    view, at = memoryview(data), 0
    while at < len(data):
        record = _record(data, at, len(data))
        if isinstance(record, str) or record.stop > len(data):
            following = _next(data, at + 1, len(data), 0)
            start, stop = lies or (base + at, base + following)
            reason = record if isinstance(record, str) else "a record that goes beyond its chunk"
            yield Broken(start, stop, reason)
            at = following
            continue
        start, stop = lies or (base + at, base + record.stop)
        yield from _take(record, view[record.data : record.stop], topics, start, stop)
        at = record.stop


def _take(
    record: Record, data: memoryview, topics: dict[int, Topic], start: int, stop: int
) -> Iterator[Piece | Broken]:
    number = int.from_bytes(record.fields.get(b"conn", b"")[:4], "little")
    if record.operation == CONNECTION and len(topics) < MOST_CONNECTIONS:
        topics.setdefault(number, _topic(record, data))
    elif record.operation == MESSAGE:
        if number in topics:
            yield Piece(topics[number], data, start, stop)
        else:
            yield Broken(start, stop, f"a message of connection {number}, which is not known")


def _topic(record: Record, data: memoryview) -> Topic:
    about = _fields(bytes(data)) or {}
    name = about.get(b"topic") or record.fields.get(b"topic", b"")
    return Topic(name.decode("utf-8", "replace"), about.get(b"type", b"").decode("utf-8", "replace"), "ros1")


def _indexed(stored: Stored) -> dict[int, Topic]:
    """The connections that the index names; none if there is no index, or it is damaged."""
    topics: dict[int, Topic] = {}
    first = _stored_record(stored, len(MAGIC))
    if isinstance(first, str) or first.operation != BAG:
        return topics
    at = int.from_bytes(first.fields.get(b"index_pos", b""), "little")
    while len(MAGIC) < at < stored.size and len(topics) < MOST_CONNECTIONS:
        record = _stored_record(stored, at)
        if isinstance(record, str) or record.operation != CONNECTION or record.stop > stored.size:
            break
        for _ in _take(record, memoryview(stored.at(record.data, record.stop - record.data)), topics, 0, 0):
            pass
        at = record.stop
    return topics


def topics_of_bag1(stored: Stored) -> list[Topic]:
    """By the index; without one by reading through the file."""
    topics = list(_indexed(stored).values())
    if not topics:
        topics = list({found.topic: None for found in walk_bag1(stored) if isinstance(found, Piece)})
    return topics


def _stored_record(stored: Stored, at: int) -> Record | str:
    head = stored.at(at, MOST_HEADER + 8)
    found = _record(head, 0, stored.size - at)
    if isinstance(found, str):
        return found
    return found._replace(data=at + found.data, stop=at + found.stop)


def _record(data: bytes, at: int, size: int) -> Record | str:
    """The record at `at`, or why there is none; it may go beyond `size`, where its surroundings end."""
    if len(data) - at < 8:
        return "the file ends within a record"
    length = int.from_bytes(data[at : at + 4], "little")
    if length > MOST_HEADER:
        return f"no record: a header of {length} bytes"
    fields = _fields(data[at + 4 : at + 4 + length])
    if fields is None or len(fields.get(b"op", b"")) != 1:
        return "no record: its header is no list of fields"
    operation = fields[b"op"][0]
    if not MESSAGE <= operation <= CONNECTION:
        return f"no record: operation {operation}"
    begin = at + 8 + length
    held = int.from_bytes(data[begin - 4 : begin], "little")
    if len(data) < begin or held > max(MOST_BYTES, size):
        return f"no record: {held} bytes of data"
    return Record(operation, fields, begin, begin + held)


def _fields(header: bytes) -> dict[bytes, bytes] | None:
    """name=value pairs; None: it is something else."""
    fields: dict[bytes, bytes] = {}
    at = 0
    while at < len(header):
        if len(header) - at < 4:
            return None
        (length,) = struct.unpack_from("<I", header, at)
        name, equals, value = header[at + 4 : at + 4 + length].partition(b"=")
        if length > len(header) - at - 4 or not equals:
            return None
        fields[name] = value
        at += 4 + length
    return fields


def _next(data: bytes, at: int, whole: int, base: int) -> int:
    """Where the next thing begins that is a record in all its parts; else the end of the data."""
    for match in _OPERATION.finditer(data, at):
        for start in range(match.start() - 4, max(at, match.start() - MOST_HEADER) - 1, -1):
            length = int.from_bytes(data[start : start + 4], "little")
            if match.end() - start - 4 <= length <= MOST_HEADER:
                record = _record(data, start, whole)
                if not isinstance(record, str) and base + record.stop <= whole:
                    return start
    return len(data)


def _next_stored(stored: Stored, at: int) -> int:
    while at < stored.size:
        piece = stored.at(at, SEARCH_BYTES + 2 * MOST_HEADER)
        found = _next(piece, 0, stored.size, at)
        if found < len(piece):
            return at + found
        at += SEARCH_BYTES
    return stored.size
