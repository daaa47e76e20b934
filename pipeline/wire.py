"""Wire form v1 of an `EventPacket`, for bus, recording and pipe.

A msgpack map {v, stream, epoch, seq, until_us, n, width, height, origin_us}, followed by t `<i8`,
x `<u2`, y `<u2`, p `u1`, each n long.
"""

from typing import Literal, NamedTuple

import msgspec
import numpy as np
from msgspec import Struct

from spikeline.pipeline.events import MAX_ABS_US, EventPacket, Sensor
from spikeline.pipeline.messages import VERSION, Count, Side, TimeUs, one_line

HEADER_BYTES_MAX = 4096  # a packet's header takes about 100; more is damage, and would be walked byte by byte
BYTES_PER_EVENT = 8 + 2 + 2 + 1

Buffer = bytes | bytearray | memoryview


class PacketHeader(Struct, frozen=True, kw_only=True):
    """The msgpack map before a packet's arrays."""

    v: Literal[1]
    stream: str
    epoch: Count
    seq: Count
    until_us: TimeUs
    n: Count
    width: Side
    height: Side
    origin_us: TimeUs | None = None  # without it a reader that joins late would cut other windows


class WirePacket(NamedTuple):
    header: PacketHeader
    packet: EventPacket


_encode_header = msgspec.msgpack.Encoder().encode
_decode_header = msgspec.msgpack.Decoder(PacketHeader).decode


def encode_packet(packet: EventPacket, sensor: Sensor, *, stream: str = "main", seq: int = 0) -> bytes:
    """Wire form v1: a msgpack header, then t `<i8`, x `<u2`, y `<u2`, p `u1`, each n long."""
    header = PacketHeader(
        v=VERSION,
        stream=stream,
        epoch=packet.epoch,
        seq=seq,
        until_us=int(packet.until_us),
        n=len(packet),
        width=sensor.width,
        height=sensor.height,
        origin_us=packet.origin_us,
    )
    arrays = [
        np.ascontiguousarray(packet.t, "<i8"),
        np.ascontiguousarray(packet.x, "<u2"),
        np.ascontiguousarray(packet.y, "<u2"),
        np.ascontiguousarray(packet.p, "u1"),
    ]
    return b"".join([_encode_header(header), *(array.data for array in arrays)])


def decode_packet(data: Buffer) -> WirePacket:
    """The one packet in `data`, in arrays of its own; ValueError, one line, for anything else."""
    header, start = _read_header(data)
    want = start + BYTES_PER_EVENT * header.n
    if len(data) != want:
        raise ValueError(f"packet: {len(data)} bytes, want {want} for {header.n} events")
    n = header.n
    # Copies: the bytes are read-only and start anywhere, and kernels want neither.
    t = np.frombuffer(data, "<i8", n, start).astype(np.int64)
    x = np.frombuffer(data, "<u2", n, start + 8 * n).astype(np.uint16)
    y = np.frombuffer(data, "<u2", n, start + 10 * n).astype(np.uint16)
    p = np.frombuffer(data, "u1", n, start + 12 * n).astype(np.uint8)
    if n:
        if (t[1:] < t[:-1]).any():
            raise ValueError("packet: times go backwards")
        if t[0] < -MAX_ABS_US or t[-1] > header.until_us:
            raise ValueError(f"packet: times {t[0]} to {t[-1]} us, want them up to {header.until_us}")
        if int(x.max()) >= header.width or int(y.max()) >= header.height or p.max() > 1:
            raise ValueError(f"packet: event beyond the {header.width}x{header.height} sensor or polarity")
    return WirePacket(header, EventPacket(t, x, y, p, header.until_us, header.epoch, header.origin_us))


def packet_length(data: Buffer) -> int:
    """Bytes the packet at the start of `data` takes, header included: packets in a pipe or file."""
    header, start = _read_header(data)
    return start + BYTES_PER_EVENT * header.n


def _read_header(data: Buffer) -> tuple[PacketHeader, int]:
    head = bytes(memoryview(data)[:HEADER_BYTES_MAX])
    end = _value_end(head)
    try:
        return _decode_header(head[:end]), end
    except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError) as error:
        raise ValueError(f"packet header: {one_line(error)}") from None


# First bytes from 0xc4 on: the bytes of its length field, the bytes that follow in any case, and how many
# values each unit of the length counts (0: the length is in bytes).
_LAYOUT = {
    **{0xC4 + i: (1 << i, 0, 0) for i in range(3)},  # bin 8, 16, 32
    **{0xC7 + i: (1 << i, 1, 0) for i in range(3)},  # ext 8, 16, 32
    **{0xCA + i: (0, 4 << i, 0) for i in range(2)},  # float 32, 64
    **{0xCC + i: (0, 1 << (i % 4), 0) for i in range(8)},  # uint and int 8 to 64
    **{0xD4 + i: (0, 1 + (1 << i), 0) for i in range(5)},  # fixext 1 to 16
    **{0xD9 + i: (1 << i, 0, 0) for i in range(3)},  # str 8, 16, 32
    **{0xDC + i: (2 << i, 0, 1) for i in range(2)},  # array 16, 32
    **{0xDE + i: (2 << i, 0, 2) for i in range(2)},  # map 16, 32
}


def _value_end(data: bytes) -> int:
    """Where the msgpack value at the start of `data` ends. msgspec cannot stop before trailing bytes."""
    at, values = 0, 1
    while values and at < len(data):
        first = data[at]
        at += 1
        values -= 1
        if 0x80 <= first < 0x90:  # fixmap
            values += 2 * (first & 0x0F)
        elif 0x90 <= first < 0xA0:  # fixarray
            values += first & 0x0F
        elif 0xA0 <= first < 0xC0:  # fixstr
            at += first & 0x1F
        elif first in _LAYOUT:
            field, follows, counts = _LAYOUT[first]
            length = int.from_bytes(data[at : at + field], "big")
            at += field + follows + (0 if counts else length)
            values += counts * length
    if values or at > len(data):
        raise ValueError(f"packet header: no end within {len(data)} bytes")
    return at
