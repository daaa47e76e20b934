"""What the three kinds of ROS bag have in common: they hold messages on topics, and may be damaged."""

import bz2
from typing import Any, NamedTuple

import lz4.frame
import zstandard

MOST_BYTES = 64 << 20  # a chunk or a message, packed or not
STEP_BYTES = 1 << 16
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


class Topic(NamedTuple):
    name: str
    kind: str  # its messages' type, as "dvs_msgs/EventArray"
    form: str  # how they are serialised: "ros1" or "cdr"


class Piece(NamedTuple):
    """One message, and the bytes of the file that hold it (it, or the chunk that it is in)."""

    topic: Topic
    data: bytes | memoryview
    start: int
    stop: int


class Broken(NamedTuple):
    start: int
    stop: int
    reason: str
    cut: bool = False  # the file ends within


def plain_kind(name: str) -> str:
    """Of "dvs_msgs/msg/EventArray" (ROS 2) or "dvs_msgs/EventArray" (ROS 1) the latter."""
    return name.replace("/msg/", "/")


def unpack(packing: str, packed: memoryview, size: int) -> tuple[bytes, str]:
    """At most `size` bytes, as far as they can be had, and what is wrong with the rest, or ""."""
    if packing == "none":
        return bytes(packed[:size]), "" if len(packed) >= size else "cut"
    if packing == "zstd":
        return _unpack_zstd(packed, size)
    try:
        decoder: Any = {"bz2": bz2.BZ2Decompressor, "lz4": lz4.frame.LZ4FrameDecompressor}[packing]()
    except KeyError:
        return b"", f"packed with {packing[:20]!r}; wanted none, bz2, lz4 or zstd"
    parts, held = [], 0
    try:
        for at in range(0, len(packed), STEP_BYTES):
            given = bytes(packed[at : at + STEP_BYTES])
            while held < size and not decoder.eof and (given or not decoder.needs_input):
                parts.append(decoder.decompress(given, size - held))
                held += len(parts[-1])
                given = b""
    except (OSError, RuntimeError, EOFError, ValueError, MemoryError) as error:
        return b"".join(parts), f"does not unpack: {' '.join(str(error).split())}"
    return b"".join(parts), "" if held == size else f"unpacks to {held} bytes; wanted {size}"


def _unpack_zstd(packed: memoryview, size: int) -> tuple[bytes, str]:
    parts, held = [], 0
    try:
        with zstandard.ZstdDecompressor().stream_reader(bytes(packed)) as reader:
            while held < size and (part := reader.read(min(STEP_BYTES, size - held))):
                parts.append(part)
                held += len(part)
    except zstandard.ZstdError as error:
        return b"".join(parts), f"does not unpack: {error}"
    return b"".join(parts), "" if held == size else f"unpacks to {held} bytes; wanted {size}"


def unpack_message(data: bytes | memoryview) -> bytes | memoryview:
    """A message that its recorder packed by itself; any other as it is. ValueError if it is damaged."""
    if bytes(data[:4]) != ZSTD_MAGIC:
        return data
    try:
        size = zstandard.get_frame_parameters(data).content_size
        if size > MOST_BYTES:
            raise ValueError(f"a packed message of {size} bytes; wanted up to {MOST_BYTES}")
        return zstandard.ZstdDecompressor().decompress(data, max_output_size=MOST_BYTES)
    except zstandard.ZstdError as error:
        raise ValueError(f"a packed message that does not unpack: {error}") from None
