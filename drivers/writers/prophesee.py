"""What the writers of Prophesee files share: one clock of few bits, coordinates of few bits, a text header.

`origin_us` is subtracted from every time and written as `t0`, which our readers and faery's add again: for
recordings whose times (of the day, say) do not fit the format's clock.
"""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from spikeline.drivers.writers.partial import Partial
from spikeline.pipeline.events import EventPacket, Sensor, SourceError

PIECE_EVENTS = 1 << 16


class ClockedWriter(ABC):
    """Base: checks what the format can hold; a subclass encodes."""

    format: str
    max_side: int  # the largest width or height
    begin_bits: int  # the first time must be below 2**begin_bits
    clock_bits: int  # and every time below 2**clock_bits; 0: the clock may wrap

    def __init__(
        self, path: str | Path, sensor: Sensor, *, overwrite: bool = False, origin_us: int = 0
    ) -> None:
        if max(sensor[:2]) > self.max_side:
            raise SourceError(
                f"{path}: sensor of {sensor.width}x{sensor.height} pixels; {self.format} holds at most "
                f"{self.max_side}x{self.max_side}"
            )
        self.sensor = sensor
        self._origin_us = origin_us
        self._partial = Partial(path, overwrite=overwrite)
        self._last_us: int | None = None  # of the file's clock: behind the origin
        self._until_us = 0
        self._total = 0
        try:
            self._file: BinaryIO = open(self._partial.path, "wb")  # noqa: SIM115 - closed by close()
            self._file.write(self._header())
        except OSError as error:
            raise self._partial.failed(error) from error

    @abstractmethod
    def _header(self) -> bytes: ...

    @abstractmethod
    def _encode(self, t: NDArray, x: NDArray, y: NDArray, p: NDArray) -> bytes:
        """The records of these events; t on the file's clock."""

    def _end(self, until_us: int) -> bytes:
        """What says that the clock has reached this time, where the format can."""
        return b""

    def add(self, packet: EventPacket) -> None:
        if len(packet):
            t = packet.t - self._origin_us
            self._check(int(t[0]), int(t[-1]), packet.epoch)
            for start in range(0, len(t), PIECE_EVENTS):
                s = slice(start, start + PIECE_EVENTS)
                self._put(self._encode(t[s], packet.x[s], packet.y[s], packet.p[s]))
            self._last_us = int(t[-1])
            self._total += len(t)
        self._until_us = packet.until_us - self._origin_us

    def _check(self, first_us: int, last_us: int, epoch: int) -> None:
        where = self._partial.target
        if self._last_us is not None and first_us < self._last_us:
            raise SourceError(
                f"{where}: epoch {epoch} begins at {first_us + self._origin_us} us; {self.format}: its one "
                f"clock is at {self._last_us + self._origin_us} us"
            )
        if self._last_us is None and not 0 <= first_us < 1 << self.begin_bits:
            raise SourceError(
                f"{where}: the first event is at {first_us} us; {self.format} begins within "
                f"0 to {(1 << self.begin_bits) - 1} us"
            )
        if self.clock_bits and last_us >= 1 << self.clock_bits:
            raise SourceError(
                f"{where}: an event is at {last_us} us; {self.format} holds times to "
                f"{(1 << self.clock_bits) - 1} us"
            )

    def _put(self, data: bytes) -> None:
        try:
            self._file.write(data)
        except OSError as error:
            self._file.close()
            raise self._partial.failed(error) from error

    def close(self) -> int:
        if self._last_us is not None and self._until_us > self._last_us:
            self._put(self._end(self._until_us))
        try:
            self._file.close()
        except OSError as error:
            raise self._partial.failed(error) from error
        self._partial.commit()
        return self._total

    def discard(self) -> None:
        self._file.close()
        self._partial.discard()

    def _shift(self, key: str) -> str:
        return f"% {key} {self._origin_us}\n" if self._origin_us else ""


def raw_header(version: str, name: str, sensor: Sensor, shift: str) -> bytes:
    """The header of a RAW file, for readers of the old key (`evt`) and of the new one (`format`)."""
    size = f"height={sensor.height};width={sensor.width}"
    return (
        f"% evt {version}\n% format {name};{size}\n% geometry {sensor.width}x{sensor.height}\n{shift}% end\n"
    ).encode()


def checked_columns(t: NDArray, x: NDArray, y: NDArray, p: NDArray) -> tuple[NDArray, ...]:
    """As the encoding kernels want them."""
    return (
        np.ascontiguousarray(t, np.int64),
        np.ascontiguousarray(x, np.uint16),
        np.ascontiguousarray(y, np.uint16),
        np.ascontiguousarray(p, np.uint8),
    )
