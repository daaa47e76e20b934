"""The chunks of an MCAP file, one after another, without its summary: also of a broken file.

What is no record, or a chunk whose checksum is wrong, is damage: it is named, and the search for the next
chunk goes on behind it.
"""

import re
import struct
import zlib
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

import lz4.frame
import zstandard

from spikeline.drivers.base import Stored
from spikeline.drivers.mcap_layout import (
    CHUNK,
    COMPRESSIONS,
    MAGIC,
    MESSAGE,
    OP_CHANNEL,
    OP_CHUNK,
    OP_DATA_END,
    OP_FOOTER,
    OP_MESSAGE,
    RECORD,
)

MOST_BYTES = 32 << 20  # a chunk, packed or not, of any writer; ours have 64 KiB
SMALL_BYTES = 4 << 20  # any other record that is looked at
SEARCH_BYTES = 1 << 20
OPERATIONS = range(1, 16)
_LEAST = CHUNK.size + 8
_BEGIN = re.compile(rb"\x06(?=[\s\S]{4}\0\0\0\0)")  # a chunk: its operation, and a length below 4 GiB


class Message(NamedTuple):
    channel: int
    data: memoryview


class Found(NamedTuple):
    """A whole chunk; or a record outside of chunks, with its operation."""

    start: int
    stop: int
    operation: int
    data: bytes  # a chunk's unpacked records, or the record's content


class Broken(NamedTuple):
    start: int
    stop: int
    reason: str
    cut: bool  # the file ends within


def walk(stored: Stored, also: Collection[int] = ()) -> Iterator[Found | Broken]:
    """Chunks, channels and the end of the data (OP_DATA_END), in file order, and what lies broken between.

    also  operations of other records that are wanted where they stand outside of chunks
    """
    unzstd = zstandard.ZstdDecompressor().decompress
    at = len(MAGIC)
    if stored.at(0, at) != MAGIC:
        start, at = 0, _next_chunk(stored, 0)
        yield Broken(start, at, "no MCAP magic", False)
    while at < stored.size:
        stop, operation, why = _record(stored, at)
        if not why and operation == OP_CHUNK:
            try:
                data = _unpacked(stored.at(at + RECORD.size, stop - at - RECORD.size), unzstd)
            except ValueError as error:
                why = str(error)
                if not _record(stored, stop)[2]:  # its frame is sound: only what is in it is lost
                    yield Broken(at, stop, why, False)
                    at = stop
                    continue
            else:
                yield Found(at, stop, operation, data)
                at = stop
                continue
        if why:
            following = _next_chunk(stored, at + 1)
            yield Broken(at, following, why, following == stored.size)
            at = following
            continue
        if operation in (OP_CHANNEL, OP_DATA_END, *also):
            yield Found(at, stop, operation, stored.at(at + RECORD.size, stop - at - RECORD.size))
        if operation in (OP_DATA_END, OP_FOOTER):
            return
        at = stop


def messages(data: bytes) -> Iterator[Message | bytes]:
    """A chunk's messages, and its Channel records as bytes."""
    view, at = memoryview(data), 0
    while at < len(view):
        if len(view) - at < RECORD.size:
            raise ValueError(f"{len(view) - at} bytes after the chunk's last record")
        operation, length = RECORD.unpack_from(view, at)
        at += RECORD.size
        if length > len(view) - at or (operation == OP_MESSAGE and length < MESSAGE.size):
            raise ValueError(f"a record of {length} bytes in a chunk with {len(view) - at} left")
        if operation == OP_MESSAGE:
            yield Message(MESSAGE.unpack_from(view, at)[0], view[at + MESSAGE.size : at + length])
        elif operation == OP_CHANNEL:
            yield bytes(view[at : at + length])
        at += length


def channel_of(record: bytes) -> tuple[int, str]:
    """Number and topic of a Channel record; ValueError if it is none."""
    try:
        number, _, length = struct.unpack_from("<HHI", record)
        return number, record[8 : 8 + length].decode()
    except (struct.error, UnicodeDecodeError) as error:
        raise ValueError(f"no channel: {error}") from None


def _record(stored: Stored, at: int) -> tuple[int, int, str]:
    """(where it ends, operation, what is wrong with it or "") of the record at `at`."""
    head = stored.at(at, RECORD.size)
    if len(head) < RECORD.size:
        return stored.size, 0, "cut within a record" if head else "no end of file"
    operation, length = RECORD.unpack(head)
    if operation not in OPERATIONS:
        return at, operation, f"no record: operation {operation}"
    most = MOST_BYTES if operation == OP_CHUNK else SMALL_BYTES
    if length > most:
        return at, operation, f"a record of {length} bytes; wanted at most {most}"
    if at + RECORD.size + length > stored.size:
        return stored.size, operation, f"a record of {length} bytes, cut by the end of the file"
    return at + RECORD.size + length, operation, ""


def _unpacked(chunk: bytes, unzstd: Callable[..., bytes]) -> bytes:
    """A chunk's records; ValueError if it is not whole."""
    if len(chunk) < _LEAST:
        raise ValueError(f"a chunk of {len(chunk)} bytes; wanted {_LEAST} or more")
    _, _, size, crc, name_length = CHUNK.unpack_from(chunk)
    at = CHUNK.size + name_length
    name = chunk[CHUNK.size : at].decode("latin-1")
    if name not in COMPRESSIONS:
        raise ValueError(f"a chunk packed with {name[:20]!r}; wanted zstd, lz4 or nothing")
    packed = memoryview(chunk)[at + 8 :]
    if len(packed) != int.from_bytes(chunk[at : at + 8], "little") or size > MOST_BYTES:
        raise ValueError(f"a chunk of {size} bytes in {len(packed)}; its sizes do not agree")
    try:
        data = _unpack(name, packed, size, unzstd)
    except (zstandard.ZstdError, RuntimeError, EOFError, MemoryError) as error:
        raise ValueError(f"a chunk that does not unpack: {' '.join(str(error).split())}") from None
    if len(data) != size:
        raise ValueError(f"a chunk of {len(data)} bytes; wanted {size}")
    if crc and zlib.crc32(data) != crc:
        raise ValueError("a chunk with the wrong checksum")
    return data


def _unpack(name: str, packed: memoryview, size: int, unzstd: Callable[..., bytes]) -> bytes:
    """At most `size` bytes, whatever the packed bytes claim: a few can unpack to gigabytes."""
    if name == "zstd":
        declared = zstandard.get_frame_parameters(packed).content_size
        if declared not in (size, zstandard.CONTENTSIZE_UNKNOWN):
            raise ValueError(f"a chunk of {size} bytes whose content declares {declared}")
        return unzstd(packed, max_output_size=size)
    if name == "lz4":
        return lz4.frame.LZ4FrameDecompressor().decompress(bytes(packed), max_length=size)
    return bytes(packed)


def _next_chunk(stored: Stored, at: int) -> int:
    """Where the next thing that looks like a whole chunk begins, from `at` on; else the file's size."""
    while at < stored.size:
        piece = stored.at(at, SEARCH_BYTES + RECORD.size)
        for match in _BEGIN.finditer(piece):
            start = at + match.start()
            stop, _, why = _record(stored, start)
            if why or not _plausible(stored.at(start + RECORD.size, CHUNK.size + 12), stop - start):
                continue
            return start
        at += SEARCH_BYTES
    return stored.size


def _plausible(head: bytes, length: int) -> bool:
    """Whether a chunk's first fields agree with the length of its record."""
    if len(head) < CHUNK.size:
        return False
    _, _, size, _, name_length = CHUNK.unpack_from(head)
    name = head[CHUNK.size : CHUNK.size + name_length].decode("latin-1")
    packed = int.from_bytes(head[CHUNK.size + name_length : CHUNK.size + name_length + 8], "little")
    return (
        name in COMPRESSIONS
        and size <= MOST_BYTES
        and RECORD.size + CHUNK.size + name_length + 8 + packed == length
    )
