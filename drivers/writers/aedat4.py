"""AEDAT4 files, as DV and others read them: LZ4 packets of events, and the table of packets at the end.

The format has one clock: an epoch that begins before the one before it ended is refused. It keeps
neither clock marks nor origins. Layout: formats/aedat4_layout.py.
"""

import struct
from pathlib import Path
from typing import BinaryIO
from xml.sax.saxutils import escape

import lz4.frame
import numpy as np
from numpy.typing import NDArray

from spikeline.drivers.writers.partial import Partial
from spikeline.pipeline.events import EventPacket, Sensor, SourceError

MAGIC = b"#!AER-DAT4.0\r\n"
LZ4 = 1
PACKET_EVENTS = 32_768
MAX_SIDE = 32_768  # coordinates are signed 16-bit numbers
RECORD = np.dtype(
    {
        "names": ["t", "x", "y", "on"],
        "formats": ["<i8", "<i2", "<i2", "u1"],
        "offsets": [0, 8, 10, 12],
        "itemsize": 16,
    }
)
ENTRY = np.dtype(
    [
        ("vtable", "<i4"),  # how far before this table its field list lies
        ("stream", "<i4"),
        ("size", "<i4"),
        ("pad", "<i4"),
        ("offset", "<i8"),  # of the packet's bytes, behind its header
        ("count", "<i8"),
        ("first", "<i8"),
        ("last", "<i8"),
    ]
)


class Aedat4Writer:
    def __init__(self, path: str | Path, sensor: Sensor, *, overwrite: bool = False) -> None:
        if max(sensor[:2]) > MAX_SIDE:
            raise SourceError(
                f"{path}: sensor of {sensor.width}x{sensor.height} pixels; AEDAT4 holds at most "
                f"{MAX_SIDE}x{MAX_SIDE}"
            )
        self._partial = Partial(path, overwrite=overwrite)
        self._waiting = np.zeros(PACKET_EVENTS, RECORD)
        self._held = self._total = 0
        self._last_us = 0
        self._table: list[tuple[int, int, int, int, int]] = []
        xml = _description(sensor)
        try:
            self._file: BinaryIO = open(self._partial.path, "wb")  # noqa: SIM115 - closed by close()
            self._file.write(_head(xml, -1))
        except OSError as error:
            raise self._partial.failed(error) from error
        self._xml = xml

    def add(self, packet: EventPacket) -> None:
        n = len(packet)
        if not n:
            return
        if packet.t[0] < self._last_us:
            wanted = (
                f"its one clock is at {self._last_us} us"
                if self._total + self._held
                else "its times are from 0 on"
            )
            raise SourceError(
                f"{self._partial.target}: epoch {packet.epoch} begins at {packet.t[0]} us; AEDAT4: {wanted}"
            )
        self._last_us = int(packet.t[-1])
        start = 0
        while start < n:
            stop = min(n, start + PACKET_EVENTS - self._held)
            here = self._waiting[self._held : self._held + stop - start]
            here["t"], here["x"] = packet.t[start:stop], packet.x[start:stop]
            here["y"], here["on"] = packet.y[start:stop], packet.p[start:stop]
            self._held += stop - start
            start = stop
            if self._held == PACKET_EVENTS:
                self._write()

    def close(self) -> int:
        try:
            if self._held:
                self._write()
            at = self._file.tell()
            self._file.write(lz4.frame.compress(self._packet_table()))
            self._file.seek(0)
            self._file.write(_head(self._xml, at))
            self._file.close()
        except OSError as error:
            raise self._partial.failed(error) from error
        self._partial.commit()
        return self._total

    def discard(self) -> None:
        self._partial.discard(self._file)

    def _write(self) -> None:
        """What waits, as a packet."""
        events = self._waiting[: self._held]
        self._held = 0
        packed = lz4.frame.compress(_event_packet(events))
        try:
            self._file.write(struct.pack("<iI", 0, len(packed)))
            first_us, last_us = int(events["t"][0]), int(events["t"][-1])
            self._table.append((self._file.tell(), len(packed), len(events), first_us, last_us))
            self._file.write(packed)
        except OSError as error:
            raise self._partial.failed(error) from error
        self._total += len(events)

    def _packet_table(self) -> bytes:
        """FTAB: one entry a packet, all with one list of fields (PacketHeader at 4, then from 16 on)."""
        k = len(self._table)
        entries = np.zeros(k, ENTRY)
        columns = np.array(self._table, np.int64).reshape(k, 5).T
        for name, column in zip(("offset", "size", "count", "first", "last"), columns, strict=True):
            entries[name] = column
        front = 28 + 4 * k  # root, identifier, field list of the root, the root, length and offsets
        fields = struct.pack("<7H", 14, 48, 16, 4, 24, 32, 40)
        fields_at = front + -front % 2
        entries_at = fields_at + len(fields)
        entries_at += (4 - entries_at) % 8  # behind the length prefix, its 8-byte numbers are aligned
        starts = entries_at + ENTRY.itemsize * np.arange(k)
        entries["vtable"] = starts - fields_at
        places = (starts - (28 + 4 * np.arange(k))).astype("<u4")
        body = struct.pack("<I4s2x3HIII", 16, b"FTAB", 6, 8, 4, 6, 4, k) + places.tobytes()
        body = body.ljust(fields_at, b"\0") + fields
        body = body.ljust(entries_at, b"\0") + entries.tobytes()
        return struct.pack("<I", len(body)) + body


def _event_packet(events: NDArray[np.void]) -> bytes:
    """EVTS: a table with one field, the vector of 16-byte records."""
    front = struct.pack("<I4s2x3HIII", 16, b"EVTS", 6, 8, 4, 6, 4, len(events))
    return struct.pack("<I", len(front) + events.nbytes) + front + events.tobytes()


def _head(xml: bytes, table_at: int) -> bytes:
    """Magic and IOHE flatbuffer; the table's place is known only at the end, and takes no other space."""
    fields = struct.pack("<5H", 10, 20, 4, 12, 8)  # sizes of field list and table; where its three lie
    body = struct.pack("<I4s6x", 24, b"IOHE") + fields
    body += struct.pack("<iiIqI", 10, LZ4, 12, table_at, len(xml)) + xml + b"\0" * (4 - len(xml) % 4)
    return MAGIC + struct.pack("<I", len(body)) + body


def _description(sensor: Sensor) -> bytes:
    name = escape(sensor.model or "spikeline")
    return f"""<dv version="2.0">
    <node name="outInfo" path="/outInfo/">
        <node name="0" path="/outInfo/0/">
            <attr key="compression" type="string">LZ4</attr>
            <attr key="originalModuleName" type="string">spikeline</attr>
            <attr key="originalOutputName" type="string">events</attr>
            <attr key="typeDescription" type="string">Array of events (polarity ON/OFF).</attr>
            <attr key="typeIdentifier" type="string">EVTS</attr>
            <node name="info" path="/outInfo/0/info/">
                <attr key="sizeX" type="int">{sensor.width}</attr>
                <attr key="sizeY" type="int">{sensor.height}</attr>
                <attr key="source" type="string">{name}</attr>
            </node>
        </node>
    </node>
</dv>
""".encode()
