"""An MCAP file that is whole after every chunk, whatever happens next.

    messages -> chunk of at most CHUNK_BYTES -> one write: chunk, its index, and an end of file

The next chunk overwrites that end of file with itself and another end, so a killed program leaves a file
that any MCAP tool opens, without its last chunk. The bytes in place of the old end are written last: until
then it is the end, and after a write that fails (a full disk) the file is cut there. `finish` puts the
summary, which tools use for seeking, in place of the last short end.

Memory does not grow with the file: the chunks' index waits in a temporary file for the summary.
"""

import os
import struct
import tempfile
import threading
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import lz4.frame
import zstandard
from mcap.data_stream import RecordBuilder
from mcap.records import ChunkIndex, Header, MessageIndex, Statistics

from spikeline.drivers.mcap_layout import (
    CHANNELS,
    CHUNK,
    CHUNK_BYTES,
    MAGIC,
    MESSAGE,
    OP_CHUNK,
    OP_MESSAGE,
    PROFILE,
    RECORD,
)
from spikeline.drivers.mcap_summary import SHORT_END, write_at, write_channels, write_summary

SPOOL_BYTES = 1 << 20
PIECE_BYTES = 1 << 20
SYNC_S = 1.0  # how often all that was written goes to the disk itself: what a power cut costs
SYNC_CLOSE_S = 2.0
MESSAGE_OVERHEAD = RECORD.size + MESSAGE.size
ZSTD_LEVEL = 1  # of 64 KiB of events 0.1 ms, and a third of the size


class McapFile:
    """`add` messages, `flush` chunks, `finish`. A method that raises OSError has left the file valid up to
    its last whole chunk; after that only `close` may be called."""

    def __init__(self, path: Path, program: str, *, compression: str = "zstd", sync: bool = True) -> None:
        self._pack = _packer(compression)
        self._compression = compression
        self._messages = bytearray()
        self._index: dict[int, list[tuple[int, int]]] = {}
        self._first_ns = self._last_ns = 0  # of the open chunk
        self._at = 0  # where the next chunk goes, and the end of file stands
        self._chunks = 0
        self._counts = {channel.id: 0 for channel in CHANNELS}
        self._span_ns: tuple[int, int] | None = None
        self._chunk_index = tempfile.SpooledTemporaryFile(SPOOL_BYTES, dir=str(path.parent))  # noqa: SIM115
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except OSError:
            self._chunk_index.close()
            raise
        self._sync = _Sync(self._file) if sync else None
        head = RecordBuilder()
        Header(PROFILE, program).write(head)
        write_channels(head)
        try:
            self._commit(MAGIC + head.end())
        except OSError:
            self.close()
            path.unlink(missing_ok=True)
            raise

    @property
    def size(self) -> int:
        """Bytes of the file that are sure, its short end included."""
        return self._at + len(SHORT_END)

    @property
    def room(self) -> int:
        """Bytes of message data that still fit into the open chunk."""
        return CHUNK_BYTES - len(self._messages) - MESSAGE_OVERHEAD

    @property
    def empty(self) -> bool:
        """Whether the open chunk has no message."""
        return not self._messages

    def add(self, channel: int, data: bytes, log_ns: int, publish_ns: int) -> None:
        """Into the open chunk; the caller flushes when there is no room. Log times never go back."""
        if not self._messages:
            self._first_ns = log_ns
        self._last_ns = log_ns
        self._index.setdefault(channel, []).append((log_ns, len(self._messages)))
        self._messages += RECORD.pack(OP_MESSAGE, MESSAGE.size + len(data))
        self._messages += MESSAGE.pack(channel, self._counts[channel] & 0xFFFFFFFF, log_ns, publish_ns)
        self._messages += data
        self._counts[channel] += 1

    def flush(self) -> None:
        """Hand the open chunk to the operating system."""
        if not self._messages:
            return
        packed, name = self._pack(self._messages), self._compression.encode()
        fields = CHUNK.pack(
            self._first_ns, self._last_ns, len(self._messages), zlib.crc32(self._messages), len(name)
        )
        chunk = fields + name + struct.pack("<Q", len(packed)) + packed
        record = RECORD.pack(OP_CHUNK, len(chunk)) + chunk
        index, offsets = RecordBuilder(), {}
        for channel, entries in self._index.items():
            offsets[channel] = self._at + len(record) + index.count
            MessageIndex(channel_id=channel, records=entries).write(index)
        own = RecordBuilder()
        ChunkIndex(
            chunk_start_offset=self._at,
            chunk_length=len(record),
            message_start_time=self._first_ns,
            message_end_time=self._last_ns,
            message_index_offsets=offsets,
            message_index_length=index.count,
            compression=self._compression,
            compressed_size=len(packed),
            uncompressed_size=len(self._messages),
        ).write(own)
        self._chunk_index.write(own.end())
        self._commit(record + index.end())
        self._span_ns = (self._span_ns or (self._first_ns,))[0], self._last_ns
        self._chunks += 1
        self._messages.clear()
        self._index.clear()

    def finish(self) -> None:
        """Flush, write the summary, and have it all on the disk itself; then `close`."""
        self.flush()
        try:
            self._write_summary()
            os.fsync(self._file)
        except OSError:
            self._take_back()
            raise

    def close(self) -> None:
        if self._sync:
            self._sync.stop()
            self._sync = None
        self._chunk_index.close()
        if self._file >= 0:
            with suppress(OSError):  # `finish` has had it all written
                os.close(self._file)
            self._file = -1

    def _commit(self, data: bytes) -> None:
        """The bytes and an end of file after them, or neither."""
        if self._sync and self._sync.error:
            raise self._sync.error
        old_end = len(SHORT_END) if self._at else 0
        data += SHORT_END
        try:
            write_at(self._file, self._at + old_end, data[old_end:])
            write_at(self._file, self._at, data[:old_end])
        except OSError:
            self._take_back()
            raise
        self._at += len(data) - len(SHORT_END)

    def _take_back(self) -> None:
        """The file ends again where it did."""
        with suppress(OSError):
            os.ftruncate(self._file, self._at + len(SHORT_END) if self._at else 0)

    def _write_summary(self) -> None:
        first_ns, last_ns = self._span_ns or (0, 0)
        numbers = Statistics(
            attachment_count=0,
            channel_count=len(CHANNELS),
            channel_message_counts={number: n for number, n in self._counts.items() if n},
            chunk_count=self._chunks,
            message_count=sum(self._counts.values()),
            message_start_time=first_ns,
            message_end_time=last_ns,
            metadata_count=0,
            schema_count=len(CHANNELS),
        )
        self._chunk_index.seek(0)
        pieces = iter(lambda: self._chunk_index.read(PIECE_BYTES), b"")
        write_summary(self._file, self._at, numbers, pieces)


class _Sync:
    """A thread that has what was written go to the disk itself once a second; `error` if that failed."""

    def __init__(self, file: int) -> None:
        self.error: OSError | None = None
        self._file = file
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="spikeline-sync", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(SYNC_CLOSE_S)

    def _run(self) -> None:
        while not self._stopped.wait(SYNC_S):
            try:
                os.fdatasync(self._file) if hasattr(os, "fdatasync") else os.fsync(self._file)
            except OSError as error:
                self.error = error
                return


def _packer(compression: str) -> Callable[[bytearray], bytes]:
    if compression == "zstd":
        return zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress
    if compression == "lz4":
        return lambda data: lz4.frame.compress(bytes(data))
    return bytes
