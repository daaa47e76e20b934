"""Wire form v1 of a packet, as recordings hold it: bytes in, packet out, and the other way round.

A msgpack map {v, stream, epoch, seq, until_us, n, width, height, origin_us}, followed by t `<i8`,
x `<u2`, y `<u2`, p `u1`, each n long. The bus sends the same bytes (docs/bus.md).
"""

from typing import Annotated, Literal

import msgspec
import numba
import numpy as np
from msgspec import Meta, Struct

from spikeline.pipeline.events import MAX_ABS_US, EventPacket, Sensor

BYTES_PER_EVENT = 8 + 2 + 2 + 1
HEADER_BYTES_MAX = 4_096

Count = Annotated[int, Meta(ge=0)]
TimeUs = Annotated[int, Meta(ge=-MAX_ABS_US, le=MAX_ABS_US)]
Side = Annotated[int, Meta(ge=1, le=65_536)]


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
    origin_us: TimeUs | None = None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(PacketHeader).decode


def packet_bytes(packet: EventPacket, sensor: Sensor, stream: str, seq: int) -> bytes:
    header = PacketHeader(
        v=1,
        stream=stream,
        epoch=packet.epoch,
        seq=seq,
        until_us=int(packet.until_us),
        n=len(packet),
        width=sensor.width,
        height=sensor.height,
        origin_us=packet.origin_us,
    )
    return b"".join(
        (
            _encode(header),
            np.ascontiguousarray(packet.t, "<i8").data,
            np.ascontiguousarray(packet.x, "<u2").data,
            np.ascontiguousarray(packet.y, "<u2").data,
            np.ascontiguousarray(packet.p, "u1").data,
        )
    )


def packet_from(data: bytes | memoryview) -> tuple[PacketHeader, EventPacket]:
    """The packet in `data`, in arrays of its own; ValueError, one line, for anything else."""
    header, start = _header(data)
    n = header.n
    # Copies: the bytes are read-only and start anywhere, and kernels want neither.
    t = np.frombuffer(data, "<i8", n, start).astype(np.int64)
    x = np.frombuffer(data, "<u2", n, start + 8 * n).astype(np.uint16)
    y = np.frombuffer(data, "<u2", n, start + 10 * n).astype(np.uint16)
    p = np.frombuffer(data, "u1", n, start + 12 * n).astype(np.uint8)
    packet = EventPacket(t, x, y, p, header.until_us, header.epoch, header.origin_us)
    check_packet(packet, header.width, header.height)
    return header, packet


def check_packet(packet: EventPacket, width: int, height: int) -> None:
    """Raise ValueError, one line, for what no source may hand out."""
    t, n = packet.t, len(packet)
    if not n:
        return
    if (bad := _first_bad(t, packet.x, packet.y, packet.p, width, height)) >= 0:
        event = f"t={t[bad]} x={packet.x[bad]} y={packet.y[bad]} p={packet.p[bad]}"
        raise ValueError(f"event {bad} of {n} ({event}) goes back or lies outside {width}x{height}")
    if t[0] < -MAX_ABS_US or t[-1] > packet.until_us:
        raise ValueError(f"times {t[0]} to {t[-1]} us; wanted them up to {packet.until_us}")


def _header(data: bytes | memoryview) -> tuple[PacketHeader, int]:
    """The header and where it ends. msgspec does not stop before trailing bytes, but these are a whole
    number of events: only every thirteenth byte can be the end, and no map is the begin of another."""
    for end in range(len(data) % BYTES_PER_EVENT, min(len(data), HEADER_BYTES_MAX) + 1, BYTES_PER_EVENT):
        try:
            header = _decode(data[:end])
        except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError):
            continue
        if header.n == (len(data) - end) // BYTES_PER_EVENT:
            return header, end
    raise ValueError(f"no packet header in these {len(data)} bytes")


@numba.njit(cache=True, nogil=True)
def _first_bad(t, x, y, p, width, height):
    """The first event that goes back in time or lies outside; -1: none.

    t  (n,) int64    x, y  (n,) uint16    p  (n,) uint8
    """
    last = t[0]
    for i in range(t.shape[0]):
        if t[i] < last or x[i] >= width or y[i] >= height or p[i] > 1:
            return i
        last = t[i]
    return -1
