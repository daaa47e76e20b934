"""CSV files: a header that names the columns and the sensor's size, then `t,x,y,on` a line, times in us.

The format has one clock: an epoch that begins before the one before it ended is refused. It keeps neither
clock marks nor origins.
"""

from pathlib import Path
from typing import BinaryIO

import numba
import numpy as np

from spikeline.drivers.writers.partial import Partial
from spikeline.pipeline.events import PACKET_EVENTS, EventPacket, Sensor, SourceError

LINE_BYTES = 20 + 1 + 5 + 1 + 5 + 1 + 1 + 1  # at most


class CsvWriter:
    def __init__(self, path: str | Path, sensor: Sensor, *, overwrite: bool = False) -> None:
        self._partial = Partial(path, overwrite=overwrite)
        self._total = 0
        self._last_us: int | None = None
        self._text = np.empty(LINE_BYTES * PACKET_EVENTS, np.uint8)
        try:
            self._file: BinaryIO = open(self._partial.path, "wb")  # noqa: SIM115 - closed by close()
            self._file.write(f"t,x@{sensor.width},y@{sensor.height},on\n".encode())
        except OSError as error:
            raise self._partial.failed(error) from error

    def add(self, packet: EventPacket) -> None:
        if not len(packet):
            return
        if self._last_us is not None and packet.t[0] < self._last_us:
            raise SourceError(
                f"{self._partial.target}: epoch {packet.epoch} begins at {packet.t[0]} us; "
                f"CSV: its one clock is at {self._last_us} us"
            )
        self._last_us = int(packet.t[-1])
        for first in range(0, len(packet), PACKET_EVENTS):
            part = packet.part(first, min(len(packet), first + PACKET_EVENTS))
            used = write_lines(part.t, part.x, part.y, part.p, self._text)
            try:
                self._file.write(self._text[:used].data)
            except OSError as error:
                self._file.close()
                raise self._partial.failed(error) from error
        self._total += len(packet)

    def close(self) -> int:
        try:
            self._file.close()
        except OSError as error:
            raise self._partial.failed(error) from error
        self._partial.commit()
        return self._total

    def discard(self) -> None:
        self._partial.discard(self._file)


@numba.njit(cache=True, nogil=True)
def write_lines(t, x, y, p, text):
    """The events as lines of text (uint8, LINE_BYTES for each); returns the bytes used."""
    at = 0
    for i in range(t.shape[0]):
        at = _number(t[i], text, at, 44)
        at = _number(np.int64(x[i]), text, at, 44)
        at = _number(np.int64(y[i]), text, at, 44)
        at = _number(np.int64(p[i]), text, at, 10)
    return at


@numba.njit(cache=True, nogil=True)
def _number(value, text, at, end):
    """The digits, and `end` behind them; returns where the next one goes."""
    if value < 0:
        text[at] = 45  # minus
        at += 1
        value = -value
    width, rest = 1, value // 10
    while rest:
        rest //= 10
        width += 1
    for k in range(at + width - 1, at - 1, -1):
        text[k] = 48 + value % 10
        value //= 10
    text[at + width] = end
    return at + width + 1
