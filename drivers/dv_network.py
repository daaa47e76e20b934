"""DV network streams, `dv://host:port`: packets as they arrive, and clock marks while nothing does.

The bytes are those of an AEDAT4 file without its first line (uint32 n, IOHE header, packets), so header,
checks and decoding are those of aedat4.py; here are the connection and the clock. The peer library's
own reader is not used. dv-processing 2.0.4, as measured: it drops what it still holds when the sender
closes (22 and 34 of 200 packets) and what arrives while 1,000 packets wait, ends the process on a
malformed packet, and stops the whole interpreter while a peer says nothing. Here a slow reader holds
the sender back (TCP), and nothing is lost between the socket and the pipeline.

The protocol has no sign of life. While nothing arrives the source yields clock marks, so that windows
close over a still scene (see `ArrivalClock`); events that a stalled host or network delivers behind a
mark by more than 1 ms are refused and counted. When the sender closes or is lost, the source ends; it
does not connect again. A connection that breaks inside a packet, or with an error, leaves a line in
`report().damage`. TLS and Unix sockets are not supported.
"""

import re
import selectors
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from spikeline.drivers.arrival_clock import ArrivalClock
from spikeline.drivers.base import Stored
from spikeline.drivers.formats.aedat4 import MAX_SIDE, Aedat4Source
from spikeline.drivers.formats.aedat4_layout import (
    MAGIC,
    MAX_HEADER,
    MAX_PACKET,
    Damage,
    Packet,
    read_header,
    walk,
)
from spikeline.drivers.formats.settled import Settled
from spikeline.pipeline.events import RESET_BACK_US, EventPacket, Sensor, SourceError

CONNECT_S = 2.0  # for the connection and the header together
IDLE_S = 0.005  # after so long without a byte the clock is marked, and again after as long
CHUNK_BYTES = 1 << 18
KEEPALIVE = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 2, "TCP_KEEPCNT": 3}  # a host that vanished: about 11 s

_ADDRESS = re.compile(r"dv://(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:/?#@\s]+)):([0-9]{1,5})/?")


class _Received(NamedTuple):
    data: bytes | None  # None: nothing; b"": the end
    host_ns: int
    waited: bool


class _Bytes(Stored):
    """Bytes in memory where a file is expected."""

    def __init__(self, data: bytes, where: str) -> None:
        self._data, self.size = data, len(data)
        self.path: Any = where

    def at(self, offset: int, count: int) -> bytes:
        return self._data[offset : offset + count]


class DvNetworkSource(Aedat4Source):
    """The events that the sender at `uri` has from now on; `sensor`: for a sender that gives no size.

    An AEDAT4 source but for the file: where its bytes come from, and how it ends, is replaced here.
    """

    format = "dv"

    def __init__(self, uri: str, sensor: Sensor | None = None) -> None:
        self.path: Any = uri  # for messages
        self._begun = self._closed = False
        self._lock = threading.RLock()  # held while the socket is used, so that close() can close it
        self._socket, head = _connect(uri)
        self._selector = selectors.DefaultSelector()
        try:
            self._header = read_header(_Bytes(MAGIC + head, uri))._replace(table_at=-1, data_at=0)
            self._stream = self._events_stream()
            about = self._header.streams[self._stream]
            width, height = (about.width, about.height) if about.width else (sensor or (0, 0))[:2]
            if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
                found = f"{width}x{height} pixels" if width else "of unknown size"
                wanted = f"1x1 to {MAX_SIDE}x{MAX_SIDE}"
                raise SourceError(f"{uri}: its sensor is {found}; wanted {wanted}, or --sensor WxH")
            self._socket.setblocking(False)
            self._selector.register(self._socket, selectors.EVENT_READ)
        except BaseException:
            self.close()
            raise
        self.sensor = Sensor(width, height, about.source.split("_")[0])
        self._admission = Settled(self.sensor)
        self._last_us: int | None = None
        self._at = len(head)  # bytes of the stream before `_buffer`
        self._admission.report.bytes = len(head)
        self._buffer = bytearray()
        self._clock = ArrivalClock()
        self._now = _Received(None, 0, False)

    def close(self) -> None:
        """End the iteration, also one that waits in another thread."""
        self._closed = True
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # ends a wait
        with self._lock:
            self._selector.close()
            self._socket.close()

    def _packets(self) -> Iterator[EventPacket]:
        while not self._closed:
            received = self._receive()
            if received.data is None:
                until_us = None if self._buffer else self._clock.mark(received.host_ns)
                for packet in self._admission.mark(until_us) if until_us is not None else ():
                    self._last_us = packet.until_us
                    yield packet
                continue
            if not received.data:
                if self._buffer and not self._closed:
                    self._lost("the connection ended inside a packet")
                return
            # with a part of the packet here already, nothing has kept us from reading the rest
            waited = received.waited or (self._now.waited and bool(self._buffer))
            self._now = received._replace(waited=waited)
            self._buffer += received.data
            self._admission.report.bytes += len(received.data)
            for whole in self._whole_packets():
                yield from self._decode([whole])
                self._now = self._now._replace(waited=False)  # the next one waited for our user

    def _receive(self) -> _Received:
        """What has arrived, or None after IDLE_S without anything."""
        waited = False
        with self._lock:
            while not self._closed:
                asked_ns = time.monotonic_ns()
                try:
                    data = self._socket.recv(CHUNK_BYTES)
                    return _Received(data, time.monotonic_ns(), waited)
                except BlockingIOError:
                    if waited:
                        return _Received(None, asked_ns, True)
                    self._selector.select(IDLE_S)
                    waited = True
                except (OSError, ValueError) as error:  # ValueError: closed in a signal handler meanwhile
                    if not self._closed:
                        self._lost(f"the connection was lost: {getattr(error, 'strerror', None) or error}")
                        self._buffer.clear()
                    break
        return _Received(b"", 0, False)

    def _whole_packets(self) -> Iterator[Packet]:
        """The packets that lie whole in the buffer, checked; what is none is noted as damage."""
        while len(self._buffer) >= 8:
            stream, size = struct.unpack_from("<iI", self._buffer)
            if stream not in self._header.streams or size > MAX_PACKET:
                self._lost(f"no packet: stream {stream}, {size} bytes")
                self._buffer.clear()
                self.close()  # without sizes there is no way to the next packet
                return
            start, stop = self._at, self._at + 8 + size
            if len(self._buffer) < 8 + size:
                return
            image = _Bytes(bytes(memoryview(self._buffer)[: 8 + size]), self.path)
            del self._buffer[: 8 + size]
            self._at = stop
            if stream != self._stream:
                continue
            found = next(walk(image, self._header), None)
            if isinstance(found, Packet):
                yield found._replace(start=start, stop=stop)
            else:
                self._note(Damage(start, stop, found.reason if found else "no packet of events", False))

    def _admit(self, events: Any, source: Packet) -> Iterator[EventPacket]:
        """As of a file; and the packet's arrival sets the clock, which starts anew in a new epoch."""
        if not len(events):
            return
        before, epoch = self._last_us, self._admission.epoch
        oldest_us = int(events["t"][0].astype(np.int64))
        for packet in super()._admit(events, source):
            if packet.epoch != epoch:
                self._clock = ArrivalClock()
                before, epoch, oldest_us = None, packet.epoch, int(packet.t[0])
            yield packet
        if self._last_us is not None:
            # one damaged time must not set the clock
            lowest_us = oldest_us if before is None else before - RESET_BACK_US
            oldest_us = min(max(oldest_us, lowest_us), self._last_us)
            self._clock.arrived(oldest_us, self._now.host_ns, self._now.waited)

    def _lost(self, reason: str) -> None:
        self._admission.report.truncated = True
        self._note(Damage(self._at, self._at + len(self._buffer), reason, True))

    def _events_stream(self) -> int:
        found = sorted(self._header.streams.items())
        for number, about in found:
            if about.kind == "EVTS":
                return number
        listed = ", ".join(about.kind for _, about in found) or "nothing"
        raise SourceError(f"{self.path}: wanted a stream of events (EVTS); this one holds {listed}")


def _connect(uri: str) -> tuple[socket.socket, bytes]:
    """The connection, and the stream's header with its size prefix."""
    match = _ADDRESS.fullmatch(uri)
    if match is None or not 0 < int(match[3]) < 65_536:
        raise SourceError(
            f"{uri}: wanted dv://host:port, a port from 1 to 65535 and no options, as in dv://127.0.0.1:7777"
        )
    until = time.monotonic() + CONNECT_S
    try:
        connection = socket.create_connection((match[1] or match[2], int(match[3])), timeout=CONNECT_S)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise SourceError(f"{uri}: cannot connect: {reason}; is the sender running?") from error
    head = b""
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in KEEPALIVE.items():
            if hasattr(socket, name):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        wanted = 4
        while len(head) < wanted:
            connection.settimeout(max(0.001, until - time.monotonic()))
            piece = connection.recv(wanted - len(head))
            if not piece:
                raise SourceError(f"{uri}: the sender closed the connection before the stream's header")
            head += piece
            if len(head) == wanted == 4:
                wanted += int.from_bytes(head, "little")
                if not 4 < wanted <= MAX_HEADER:
                    raise SourceError(f"{uri}: begins with {head!r}; this is no DV network stream")
    except BaseException as error:
        connection.close()
        if isinstance(error, TimeoutError):
            found = f"{len(head)} bytes" if head else "nothing"
            what = f"connected, but {found} of a stream's header within {CONNECT_S:g} s"
            raise SourceError(f"{uri}: {what}; is this a DV network stream (without TLS)?") from error
        if isinstance(error, OSError):
            raise SourceError(f"{uri}: the connection was lost: {error.strerror or error}") from error
        raise
    return connection, head
