"""LZ4 and Zstandard frames, followed block by block without unpacking them.

It says where a frame ends, and between which bounds its unpacked size lies: enough to refuse a cut
frame, one that would fill the memory, and one too short for the decoder behind.
"""

from typing import NamedTuple

LZ4_MAGIC = b"\x04\x22\x4d\x18"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
LEAST = 12  # unpacked bytes that the decoder must get; with fewer it panics


class Frame(NamedTuple):
    size: int  # packed bytes, all of the frame
    least: int  # unpacked bytes: no fewer than this (or the frame is broken)
    most: int


def lz4_frame(data: bytes) -> Frame | None:
    """Follow the block sizes of an LZ4 frame; None: not one, or cut."""
    if len(data) < 7 or data[:4] != LZ4_MAGIC or data[4] >> 6 != 1:
        return None
    flags, largest = data[4], 1 << (8 + 2 * (data[5] >> 4 & 7))
    at = 6 + (8 if flags & 8 else 0) + (4 if flags & 1 else 0) + 1
    least = most = 0
    while at + 4 <= len(data):
        word = int.from_bytes(data[at : at + 4], "little")
        at += 4
        if word == 0:
            at += 4 if flags & 4 else 0
            return Frame(at, least, most) if at <= len(data) else None
        size = word & 0x7FFFFFFF
        if at + size > len(data):
            return None
        if word >> 31:
            least, most = least + size, most + size
        else:
            if least < LEAST:
                least += _lz4_least(data, at, at + size)
            most += min(largest, 255 * size)
        at += size + (4 if flags & 16 else 0)
    return None


def _lz4_least(data: bytes, at: int, stop: int) -> int:
    """How many bytes the first sequences of an LZ4 block unpack to; enough of them to reach LEAST."""
    total = 0
    while at < stop and total < LEAST:
        token = data[at]
        at += 1
        literals = token >> 4
        while literals >= 15 and at < stop:
            literals += data[at]
            at += 1
            if data[at - 1] < 255:
                break
        at += literals
        total += literals
        if at < stop:  # a match follows the literals: two bytes of distance, at least four bytes long
            total += 4
            at += 2
            if token & 15 == 15:
                return total + 15
    return total


def zstd_frame(data: bytes) -> Frame | None:
    """Follow the block sizes of a Zstandard frame; None: not one, or cut."""
    if len(data) < 6 or data[:4] != ZSTD_MAGIC:
        return None
    flags = data[4]
    single = flags >> 5 & 1
    at = 5 + (1 - single) + (0, 1, 2, 4)[flags & 3]
    width = (single, 2, 4, 8)[flags >> 6]
    least = most = 0
    if width:  # the unpacked size; the decoder fails when it comes out different
        least = int.from_bytes(data[at : at + width], "little") + (256 if width == 2 else 0)
    at += width
    while at + 3 <= len(data):
        word = int.from_bytes(data[at : at + 3], "little")
        kind, size = word >> 1 & 3, word >> 3
        if kind == 3:
            return None
        most += 1 << 17 if kind == 2 else size
        at += 3 + (1 if kind == 1 else size)
        if word & 1:
            at += 4 if flags & 4 else 0
            return Frame(at, least, most) if at <= len(data) else None
    return None
