"""HDF5 files laid out as DSEC's: `/events/{t,x,y,p}`, `t_offset` and, for short clocks, `ms_to_idx`.

Times are int64 microseconds as they are, so `t_offset` is 0; `ms_to_idx[i]` is the first row with
t >= 1000 i. The size is in the attributes `width` and `height` of `/events`. Columns are packed with gzip,
which every HDF5 library knows. The format has one clock: an epoch that begins before the one before it
ended is refused. It keeps neither clock marks nor origins.
"""

import io
from pathlib import Path
from typing import Any

import numpy as np

from spikeline.drivers.writers.partial import Partial
from spikeline.pipeline.events import EventPacket, Sensor, SourceError

CHUNK_ROWS = 65_536
COLUMNS = {"t": "<i8", "x": "<u2", "y": "<u2", "p": "u1"}
SHORT_US = 1 << 32  # a clock with an index has fewer microseconds: 72 minutes, 34 MB of index


class Hdf5Writer:
    def __init__(self, path: str | Path, sensor: Sensor, *, overwrite: bool = False) -> None:
        import h5py

        self._partial = Partial(path, overwrite=overwrite)
        self._waiting = {name: np.empty(CHUNK_ROWS, kind) for name, kind in COLUMNS.items()}
        self._held = self._total = 0
        self._last_us: int | None = None
        self._next_ms = 0  # the first millisecond without an entry in the index
        self._indexed = True
        try:
            self._disk = _Disk(self._partial.path)
        except OSError as error:
            raise self._partial.failed(error) from error
        packing: dict[str, Any] = {"maxshape": (None,), "compression": 1, "shuffle": True}
        self._file = h5py.File(self._disk, "w")
        events = self._file.create_group("events")
        events.attrs["width"], events.attrs["height"] = sensor.width, sensor.height
        self._columns = {
            name: events.create_dataset(name, (0,), kind, chunks=(CHUNK_ROWS,), **packing)
            for name, kind in COLUMNS.items()
        }
        self._file["t_offset"] = np.int64(0)
        self._index = self._file.create_dataset("ms_to_idx", (0,), "<u8", chunks=(8_192,), **packing)

    def add(self, packet: EventPacket) -> None:
        n = len(packet)
        if not n:
            return
        if self._last_us is not None and packet.t[0] < self._last_us:
            raise SourceError(
                f"{self._partial.target}: epoch {packet.epoch} begins at {packet.t[0]} us; "
                f"HDF5: its one clock is at {self._last_us} us"
            )
        self._last_us = int(packet.t[-1])
        start = 0
        while start < n:
            stop = min(n, start + CHUNK_ROWS - self._held)
            for name, waiting in self._waiting.items():
                waiting[self._held : self._held + stop - start] = getattr(packet, name)[start:stop]
            self._held += stop - start
            start = stop
            if self._held == CHUNK_ROWS:
                self._write()

    def _write(self) -> None:
        """What waits, as a chunk of each column."""
        first, stop = self._total, self._total + self._held
        t = self._waiting["t"][: self._held]
        for name, column in self._columns.items():
            column.resize((stop,))
            column[first:stop] = self._waiting[name][: self._held]
        self._indexed = self._indexed and t[0] >= 0 and t[-1] < SHORT_US
        if self._indexed:
            here = np.arange(self._next_ms, int(t[-1]) // 1_000 + 1)
            self._index.resize((self._next_ms + len(here),))
            self._index[self._next_ms :] = first + np.searchsorted(t, 1_000 * here)
            self._next_ms += len(here)
        self._total, self._held = stop, 0
        self._check()

    def _check(self) -> None:
        if self._disk.failure is not None:
            self.discard()
            raise self._partial.failed(self._disk.failure) from self._disk.failure

    def close(self) -> int:
        if self._held:
            self._write()
        if not self._indexed:
            del self._file["ms_to_idx"]
        self._file.close()
        self._disk.close()
        self._check()
        self._partial.commit()
        return self._total

    def discard(self) -> None:
        self._file.close()
        self._disk.close()
        self._partial.discard()


class _Disk(io.RawIOBase):
    """The file as HDF5 sees it, which never fails: HDF5 crashes at the program's end after a failed write.

    failure  the first error; what was to be written from then on is kept in memory until HDF5 is closed
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = open(path, "w+b", buffering=0)  # noqa: SIM115 - closed by close()
        self.failure: OSError | None = None
        self._at = self._size = 0
        self._kept: list[tuple[int, bytes]] = []

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        try:
            if self.failure is None:
                self._file.seek(self._at)
                done = 0
                while done < len(view):
                    done += self._file.write(view[done:])
        except OSError as error:
            self.failure = error
        if self.failure is not None:
            self._kept.append((self._at, bytes(view)))
        self._at += len(view)
        self._size = max(self._size, self._at)
        return len(view)

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")[: max(0, self._size - self._at)]
        self._file.seek(self._at)
        done = 0
        while done < len(view) and (more := self._file.readinto(view[done:])):
            done += more
        view[done:] = bytes(len(view) - done)
        for at, data in self._kept:
            start, stop = max(at, self._at), min(at + len(data), self._at + len(view))
            if start < stop:
                view[start - self._at : stop - self._at] = data[start - at : stop - at]
        self._at += len(view)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        self._size = self._at if size is None else size
        if self.failure is None:
            try:
                self._file.truncate(self._size)
            except OSError as error:
                self.failure = error
        return self._size

    def close(self) -> None:
        if not self._file.closed:
            try:
                self._file.close()
            except OSError as error:
                self.failure = self.failure or error
        super().close()
