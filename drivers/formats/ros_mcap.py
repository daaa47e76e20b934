"""ROS bags in MCAP: their messages in file order, also of a broken file; chunks by mcap_chunks.py."""

import struct
from collections.abc import Iterator

from spikeline.drivers.base import Stored
from spikeline.drivers.formats import mcap_chunks
from spikeline.drivers.formats.ros_container import MOST_BYTES, Broken, Piece, Topic, plain_kind, unpack
from spikeline.drivers.mcap_layout import (
    CHUNK,
    FOOTER,
    MAGIC,
    MESSAGE,
    OP_CHANNEL,
    OP_CHUNK,
    OP_FOOTER,
    OP_MESSAGE,
    OP_SCHEMA,
    RECORD,
)

MOST_SUMMARY = 32 << 20
FORMS = ("cdr", "ros1")


class _Channels:
    """Schemas and channels as they come; a channel's schema may be told after it."""

    def __init__(self) -> None:
        self._schemas: dict[int, str] = {}
        self._channels: dict[int, tuple[int, str, str]] = {}

    def note(self, operation: int, record: bytes) -> None:
        try:
            if operation == OP_SCHEMA:
                (number,) = struct.unpack_from("<H", record)
                self._schemas[number] = plain_kind(_text(record, 2)[0])
            elif operation == OP_CHANNEL:
                number, schema = struct.unpack_from("<HH", record)
                name, at = _text(record, 4)
                self._channels[number] = schema, name, _text(record, at)[0]
        except (struct.error, ValueError):
            pass  # damaged: its messages will be missed

    def topic(self, number: int) -> Topic | None:
        schema, name, form = self._channels.get(number, (0, "", ""))
        return Topic(name, self._schemas.get(schema, ""), form) if form in FORMS else None

    def known(self, number: int) -> bool:
        return number in self._channels

    def topics(self) -> list[Topic]:
        return [topic for number in sorted(self._channels) if (topic := self.topic(number))]


def _text(record: bytes, at: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<I", record, at)
    if length > len(record) - at - 4:
        raise ValueError("a text that goes beyond its record")
    return record[at + 4 : at + 4 + length].decode("utf-8", "replace"), at + 4 + length


def walk_ros_mcap(stored: Stored) -> Iterator[Piece | Broken]:
    """Every message of every topic."""
    channels = _summary(stored)
    missed: dict[int, int] = {}
    cut = stored.at(max(0, stored.size - len(MAGIC)), len(MAGIC)) != MAGIC
    for found in mcap_chunks.walk(stored, also=(OP_SCHEMA, OP_MESSAGE)):
        lies = found.start, found.stop
        if isinstance(found, mcap_chunks.Broken):
            if found.cut:
                for operation, record in _records(_begin_of_chunk(stored, found.start)):
                    yield from _take(channels, operation, record, lies, missed)
            yield Broken(*found)
            cut &= not found.cut  # is told
        elif found.operation != OP_CHUNK:
            yield from _take(channels, found.operation, memoryview(found.data), lies, missed)
        else:
            for operation, record in _records(found.data):
                yield from _take(channels, operation, record, lies, missed)
    if cut:
        yield Broken(stored.size, stored.size, "the file does not end with the mark of its end", True)
    for number, count in missed.items():
        yield Broken(0, stored.size, f"{count} messages of channel {number}, which is not known")


def _records(data: bytes) -> Iterator[tuple[int, memoryview]]:
    """The whole records of a chunk; what follows the last is cut off."""
    view, at = memoryview(data), 0
    while at + RECORD.size <= len(view):
        operation, length = RECORD.unpack_from(view, at)
        at += RECORD.size
        if length > len(view) - at:
            return
        yield operation, view[at : at + length]
        at += length


def _begin_of_chunk(stored: Stored, start: int) -> bytes:
    """As much of a chunk that the file's end cuts as can be unpacked; its checksum is lost with the rest."""
    head = stored.at(start, RECORD.size + CHUNK.size)
    if len(head) < RECORD.size + CHUNK.size or head[0] != OP_CHUNK:
        return b""
    _, _, size, _, length = CHUNK.unpack_from(head, RECORD.size)
    at = start + len(head)
    packing = stored.at(at, min(length, 16)).decode("latin-1")
    packed = stored.at(at + length + 8, MOST_BYTES)
    return unpack(packing or "none", memoryview(packed), min(size, MOST_BYTES))[0]


def _take(
    channels: _Channels, operation: int, record: memoryview, lies: tuple[int, int], missed: dict[int, int]
) -> Iterator[Piece]:
    if operation in (OP_SCHEMA, OP_CHANNEL):
        channels.note(operation, bytes(record))
    elif operation == OP_MESSAGE and len(record) >= MESSAGE.size:
        number = MESSAGE.unpack_from(record)[0]
        topic = channels.topic(number)
        if topic is not None:
            yield Piece(topic, record[MESSAGE.size :], *lies)
        elif not channels.known(number) and len(missed) < 1_000:
            missed[number] = missed.get(number, 0) + 1


def _summary(stored: Stored) -> _Channels:
    """What the end of the file says again about its channels; nothing if it was never written."""
    channels = _Channels()
    tail = stored.at(max(0, stored.size - RECORD.size - FOOTER.size - len(MAGIC)), RECORD.size + FOOTER.size)
    if len(tail) < RECORD.size + FOOTER.size or RECORD.unpack_from(tail) != (OP_FOOTER, FOOTER.size):
        return channels
    at = FOOTER.unpack_from(tail, RECORD.size)[0]
    stop = min(stored.size, at + MOST_SUMMARY)
    while len(MAGIC) < at < stop:
        head = stored.at(at, RECORD.size)
        if len(head) < RECORD.size:
            break
        operation, length = RECORD.unpack(head)
        if length > stop - at:
            break
        if operation in (OP_SCHEMA, OP_CHANNEL):
            channels.note(operation, stored.at(at + RECORD.size, length))
        at += RECORD.size + length
    return channels


def topics_of_ros_mcap(stored: Stored) -> list[Topic]:
    """By the summary; without one by reading through the file."""
    topics = _summary(stored).topics()
    if not topics:
        topics = list({found.topic: None for found in walk_ros_mcap(stored) if isinstance(found, Piece)})
    return topics
