"""AEDAT 4 recordings (DV, dv-processing, faery) as packets. Times stay as recorded.

The `aedat` package unpacks and decodes. It is written in Rust and trusts the file: a damaged header
is read unchecked, and a damaged packet ends the reading, or panics with text on stderr. So it never
sees the file. We walk the packets ourselves (aedat4_layout.py) and hand it small images in memory,
each with a header of our own and only whole packets of the one stream; a packet that it refuses is
reported with its bytes, and the reading goes on behind it.
"""

import contextlib
import os
import struct
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import aedat
import numpy as np

from spikeline.drivers import uri as grammar
from spikeline.drivers.base import FileSource
from spikeline.drivers.formats.aedat4_layout import Damage, Packet, read_header, walk
from spikeline.drivers.formats.settled import Settled
from spikeline.pipeline.events import (
    JUMP_US,
    RESET_BACK_US,
    EventPacket,
    Sensor,
    SourceError,
    foreign_error,
)

BATCH_BYTES = 1 << 20  # packed bytes given to the decoder at once
MANY_JUMPS = 3  # a clock reset is one jump in a packet, a damaged time two
MAX_SIDE = 32_767  # coordinates are int16: a negative one reads as more than this


class Aedat4Source(FileSource):
    """The events of one stream of a file; option `stream`: its number, by default the lowest with events."""

    format = "AEDAT4"
    OPTIONS = ("stream",)

    def __init__(
        self, path: str | Path, *, sensor: Sensor | None = None, options: Mapping[str, str] | None = None
    ) -> None:
        options = options or {}
        grammar.only(options, self.OPTIONS, str(path))
        super().__init__(path)
        try:
            self._header = read_header(self._stored)
            stream = grammar.whole(options, "stream", 0, str(path)) if "stream" in options else None
            self._stream = self._choose(stream)
            about = self._header.streams[self._stream]
            if not (0 < about.width <= MAX_SIDE and 0 < about.height <= MAX_SIDE):
                raise SourceError(
                    f"{path}: stream {self._stream} is {about.width}x{about.height} pixels; "
                    f"wanted 1x1 to {MAX_SIDE}x{MAX_SIDE}"
                )
        except BaseException:
            self.close()
            raise
        self.sensor = Sensor(about.width, about.height, about.source.split("_")[0])
        self._admission: Settled = Settled(self.sensor)
        self._last_us: int | None = None

    def _choose(self, stream: int | None) -> int:
        found = {number: about.kind for number, about in sorted(self._header.streams.items())}
        with_events = [number for number, kind in found.items() if kind == "EVTS"]
        if stream is None and with_events:
            return with_events[0]
        if stream is not None and stream in with_events:
            return stream
        listed = ", ".join(f"{number} {kind}" for number, kind in found.items()) or "none"
        wanted = "an events stream" if stream is None else f"events in stream {stream}"
        raise SourceError(f"{self.path}: wanted {wanted} (EVTS); the file's streams are {listed}")

    def _packets(self) -> Iterator[EventPacket]:
        report = self._admission.report
        batch: list[Packet] = []
        held = 0
        for found in walk(self._stored, self._header):
            if isinstance(found, Damage):
                yield from self._decode(batch)
                batch, held = [], 0
                report.truncated |= found.cut
                self._note(found)
            elif found.stream == self._stream:
                if not found.sure:
                    yield from self._decode(batch)
                    batch, held = [], 0
                batch.append(found)
                held += len(found.payload)
                if held >= BATCH_BYTES or not found.sure:
                    yield from self._decode(batch)
                    batch, held = [], 0
            report.bytes = found.stop
        yield from self._decode(batch)
        report.bytes = self._stored.size

    def _decode(self, batch: list[Packet]) -> Iterator[EventPacket]:
        """Decode the packets; one that the decoder refuses is noted and left out."""
        while batch:
            done = 0
            with _image(self._header.compression, self.sensor, batch) as name:
                decoder = aedat.Decoder(name)
                for packet in batch:
                    events = self._next_events(decoder, packet)
                    done += 1
                    if events is None:  # the decoder is of no use after an error: a new one for the rest
                        break
                    yield from self._admit(events, packet)
            batch = batch[done:]

    def _next_events(self, decoder: Any, packet: Packet) -> Any:
        try:
            with contextlib.nullcontext() if packet.sure else _silent():
                return next(decoder)["events"]
        except BaseException as error:  # the decoder's panics are not Exceptions
            reason = str(foreign_error("the decoder refuses it", error))
            self._note(Damage(packet.start, packet.stop, reason, False))
            return None

    def _admit(self, events: Any, source: Packet) -> Iterator[EventPacket]:
        """The decoder's records (t uint64, x, y uint16, on bool; 13 bytes each) as our arrays."""
        t = events["t"].astype(np.int64)
        step = np.diff(t)
        jumps = int(np.count_nonzero((step < -RESET_BACK_US) | (step > JUMP_US)))
        if jumps >= MANY_JUMPS:  # it unpacked, but to noise; each event would begin an epoch
            self._admission.report.refused += len(t)
            reason = f"times that jump {jumps} times in {len(t)} events"
            self._note(Damage(source.start, source.stop, reason, False))
            return
        x = np.ascontiguousarray(events["x"])
        y = np.ascontiguousarray(events["y"])
        p = events["on"].astype(np.uint8)
        for packet in self._admission.settle(t, x, y, p, final=True):  # damage ends where its packet does
            self._last_us = packet.until_us
            yield packet

    def _note(self, damage: Damage) -> None:
        last = "before the first event" if self._last_us is None else f"last good time {self._last_us} us"
        self._damaged(f"bytes {damage.start} to {damage.stop}: {damage.reason}; {last}")


@contextlib.contextmanager
def _image(compression: int, sensor: Sensor, packets: list[Packet]) -> Iterator[str]:
    """The name of an AEDAT4 file with just these packets, as stream 0; in memory where the system can."""
    parts = [_head(compression, sensor)]
    for packet in packets:
        parts += (struct.pack("<iI", 0, len(packet.payload)), packet.payload)
    if hasattr(os, "memfd_create"):
        with open(os.memfd_create("aedat4"), "wb", buffering=0) as file:
            file.write(b"".join(parts))
            yield f"/proc/self/fd/{file.fileno()}"
    else:
        with tempfile.NamedTemporaryFile(suffix=".aedat4") as named:
            named.write(b"".join(parts))
            named.flush()
            yield named.name


def _head(compression: int, sensor: Sensor) -> bytes:
    """Magic and IOHE flatbuffer: no data table, one stream of events, number 0."""
    xml = (
        '<dv version="2.0"><node name="outInfo"><node name="0"><attr key="typeIdentifier">EVTS</attr>'
        f'<node name="info"><attr key="sizeX">{sensor.width}</attr><attr key="sizeY">{sensor.height}</attr>'
        "</node></node></node></dv>"
    ).encode()
    xml += b"\0" * (4 - len(xml) % 4)  # a terminating zero, and aligned
    length = len(xml.rstrip(b"\0"))
    fields = struct.pack("<5H", 10, 20, 4, 12, 8)  # sizes of field table and table; where 0, 1, 2 lie
    table = struct.pack("<iiIqI", 10, compression, 12, -1, length)
    head = struct.pack("<I4s6x", 24, b"IOHE") + fields + table + xml
    return b"#!AER-DAT4.0\r\n" + struct.pack("<I", len(head)) + head


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """File descriptor 2 goes nowhere: a panic prints there, past Python.

    Used only around the rare packet (Zstandard without a size) that cannot be seen to be safe.
    """
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
