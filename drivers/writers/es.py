"""Event Stream files (`.es`, version 2, DVS), with y up as its convention says.

The format counts from zero, a byte more for each 127 us without an event, and has one clock that only goes
forward. So times must not be negative, and a gap (or the time before the first event) at most an hour.
`origin_us` is subtracted from every time; the format cannot say so.
"""

import struct
from pathlib import Path
from typing import BinaryIO

import numba
import numpy as np

from spikeline.drivers.writers.partial import Partial
from spikeline.pipeline.events import EventPacket, Sensor, SourceError, Times

STEP_US = 127
MOST_GAP_US = 3_600_000_000  # 28 MB of nothing but time; as pipeline.events.JUMP_US
VERSION = (2, 0, 0)
DVS = 1


class EsWriter:
    def __init__(
        self, path: str | Path, sensor: Sensor, *, overwrite: bool = False, origin_us: int = 0
    ) -> None:
        self._partial = Partial(path, overwrite=overwrite)
        self.sensor = sensor
        self._events = 0
        self._last_us = self._origin_us = origin_us
        try:
            self._file: BinaryIO = open(self._partial.path, "wb")  # noqa: SIM115 - closed by close()
            self._file.write(b"Event Stream" + bytes((*VERSION, DVS)))
            self._file.write(struct.pack("<HH", sensor.width, sensor.height))
        except OSError as error:
            raise self._partial.failed(error) from error

    def add(self, packet: EventPacket) -> None:
        if not len(packet):
            return
        gaps = np.diff(packet.t, prepend=self._last_us)
        self._check(packet, gaps)
        body = np.empty(5 * len(packet) + int((gaps // STEP_US).sum()), np.uint8)
        used = _encode(gaps, packet.x, packet.y, packet.p, self.sensor.height, body)
        try:
            self._file.write(body[:used].data)
        except OSError as error:
            raise self._failed(error) from error
        self._last_us = int(packet.t[-1])
        self._events += len(packet)

    def _check(self, packet: EventPacket, gaps: Times) -> None:
        where, first_us = self._partial.target, int(packet.t[0])
        if not self._events and first_us < self._origin_us:
            raise SourceError(
                f"{where}: the first event is at {first_us} us; this Event Stream begins at "
                f"{self._origin_us} us"
            )
        if first_us < self._last_us:
            raise SourceError(
                f"{where}: epoch {packet.epoch} begins at {first_us} us; Event Stream: its one clock is at "
                f"{self._last_us} us"
            )
        widest = int(np.argmax(gaps))
        if gaps[widest] > MOST_GAP_US:
            raise SourceError(
                f"{where}: {gaps[widest]} us without an event before {packet.t[widest]} us; an Event Stream "
                f"takes a byte for each {STEP_US} us, wanted at most {MOST_GAP_US} us"
            )

    def close(self) -> int:
        """Put the file under its name; the number of events in it."""
        try:
            self._file.close()
        except OSError as error:
            raise self._failed(error) from error
        self._partial.commit()
        return self._events

    def discard(self) -> None:
        self._file.close()
        self._partial.discard()

    def _failed(self, error: OSError) -> SourceError:
        self._file.close()
        return self._partial.failed(error)


@numba.njit(cache=True, nogil=True)
def _encode(gaps, x, y, p, height, body):
    """Steps of time and events as bytes; returns how many."""
    at = 0
    for i in range(len(gaps)):
        for _ in range(gaps[i] // STEP_US):
            body[at] = 0xFF
            at += 1
        up = np.uint16(height - 1) - y[i]
        body[at] = (gaps[i] % STEP_US) << 1 | p[i]
        body[at + 1], body[at + 2] = x[i] & np.uint16(0xFF), x[i] >> np.uint16(8)
        body[at + 3], body[at + 4] = up & np.uint16(0xFF), up >> np.uint16(8)
        at += 5
    return at
