"""The end of an MCAP file: the short one that follows every chunk, and the summary that tools seek by."""

import os
import struct
import zlib
from collections.abc import Iterable

from mcap.data_stream import RecordBuilder
from mcap.opcode import Opcode
from mcap.records import Channel, DataEnd, Footer, Schema, Statistics, SummaryOffset

from spikeline.drivers.mcap_layout import CHANNELS, FOOTER, MAGIC, OP_FOOTER, RECORD


def write_summary(file: int, at: int, numbers: Statistics, chunk_index: Iterable[bytes]) -> None:
    """Everything that tools want to know beforehand, in place of the short end at `at`.

    chunk_index: the chunks' index records, in pieces.
    """
    out = _Summary(file, at)
    head = RecordBuilder()
    write_channels(head)
    schemas, channels = _records_by_kind(head.end())
    out.group(Opcode.SCHEMA, schemas)
    out.group(Opcode.CHANNEL, channels)
    statistics = RecordBuilder()
    numbers.write(statistics)
    out.group(Opcode.STATISTICS, statistics.end())
    out.group(Opcode.CHUNK_INDEX, b"")
    for piece in chunk_index:
        out.put(piece)
    out.end()


class _Summary:
    """The summary section, group after group, with its checksum."""

    def __init__(self, file: int, at: int) -> None:
        self._file, self._at = file, at
        self._begin, self._held = at, b""  # what goes in place of the old end, last
        self._crc = 0
        self._groups: list[tuple[Opcode, int]] = []  # operation, begin
        builder = RecordBuilder()
        DataEnd(0).write(builder)
        self.put(builder.end())
        self._start = self._at
        self._crc = 0

    def group(self, operation: Opcode, records: bytes) -> None:
        self._groups.append((operation, self._at))
        self.put(records)

    def end(self) -> None:
        offsets_at, builder = self._at, RecordBuilder()
        ends = [begin for _, begin in self._groups[1:]] + [offsets_at]
        for (operation, begin), end in zip(self._groups, ends, strict=True):
            if end > begin:
                SummaryOffset(operation, begin, end - begin).write(builder)
        self.put(builder.end())
        self.put(RECORD.pack(OP_FOOTER, FOOTER.size) + struct.pack("<QQ", self._start, offsets_at))
        self.put(struct.pack("<I", self._crc) + MAGIC)
        write_at(self._file, self._begin, self._held)

    def put(self, data: bytes) -> None:
        """More of the last group."""
        held = max(0, len(SHORT_END) - len(self._held))
        self._held += data[:held]
        write_at(self._file, self._at + len(data[:held]), data[held:])
        self._crc = zlib.crc32(data, self._crc)
        self._at += len(data)


def write_channels(builder: RecordBuilder) -> None:
    """Schemas, then channels; a channel's schema has its number."""
    for about in CHANNELS:
        Schema(id=about.id, name=about.schema_name, encoding=about.schema_encoding, data=about.schema).write(
            builder
        )
    for about in CHANNELS:
        Channel(
            id=about.id, schema_id=about.id, topic=about.topic, message_encoding=about.encoding, metadata={}
        ).write(builder)


def _records_by_kind(records: bytes) -> tuple[bytes, bytes]:
    """The schemas and the channels that `write_channels` wrote."""
    at = 0
    for _ in CHANNELS:
        at += RECORD.size + RECORD.unpack_from(records, at)[1]
    return records[:at], records[at:]


def write_at(file: int, at: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(file, view, at)
        view, at = view[done:], at + done


def _short_end() -> bytes:
    builder = RecordBuilder()
    DataEnd(0).write(builder)
    Footer(summary_start=0, summary_offset_start=0, summary_crc=0).write(builder)
    return builder.end() + MAGIC


SHORT_END = _short_end()
