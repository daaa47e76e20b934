"""Events in HDF5 files as packets: DSEC, MVSEC, rpg, Prophesee (ECF) and others; see hdf5_facts.py.

A dataset has any number of rows and is read piece by piece. A chunk that is damaged or gone costs its own
rows, in all columns, and says so; a file that was cut gives what its remaining chunks hold.

Options: `dataset` the path of the events, where the file has several; `unit` s, ms, us or ns of the times
(integers are microseconds and floats seconds, where nothing says otherwise); `order` of a matrix' columns.
"""

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeline.drivers import uri as grammar
from spikeline.drivers.base import FileSource
from spikeline.drivers.formats.columns import (
    UNITS,
    PolarityOf,
    check_order,
    coordinates,
    sure_unit,
    times_us,
)
from spikeline.drivers.formats.hdf5_file import open_file, why_unsafe
from spikeline.drivers.formats.records import agreed_sensor
from spikeline.drivers.formats.settled import Settled
from spikeline.pipeline.events import (
    MAX_ABS_US,
    PACKET_EVENTS,
    EventPacket,
    Sensor,
    SourceError,
    foreign_error,
)

PIECE_ROWS = 1 << 20


class Hdf5Source(FileSource):
    """The events at one place of the file."""

    format = "HDF5"
    OPTIONS = ("dataset", "unit", "order")

    def __init__(
        self, path: str | Path, *, sensor: Sensor | None = None, options: Mapping[str, str] | None = None
    ) -> None:
        options = options or {}
        grammar.only(options, self.OPTIONS, str(path))
        order = check_order(options.get("order"), str(path))
        self._unit = grammar.choice(options, "unit", UNITS, str(path))
        super().__init__(path)
        self._file: Any = None
        try:
            from spikeline.drivers.formats import hdf5_facts as facts
            from spikeline.drivers.formats.hdf5_layout import find_events
            from spikeline.drivers.formats.hdf5_table import Table

            if reason := why_unsafe(self.path, self._stored.size):
                raise SourceError(f"{path}: {reason}; the file is damaged")
            self._file, self._cut_bytes = open_file(self.path, self._stored.size)
            self._place = find_events(self._file, options.get("dataset"), order, str(path))
            self._tables: dict[str, Any] = {
                key: Table(self._file[name], self._stored.size, self.path)
                for key, name in self._place.datasets.items()
            }
            self._unit = self._unit or facts.time_unit(self._file, self._place)
            self._index = facts.millisecond_index(self._file, self._place)
            self._offset_us = facts.time_offset_us(self._file, self._place, str(path))
            self.sensor = agreed_sensor(self.path, facts.known_sensor(self._file, self._place), sensor)
        except SourceError:
            self.close()
            raise
        except BaseException as error:
            self.close()
            raise foreign_error(path, error) from error
        self._admission: Settled = Settled(self.sensor)
        self._polarity = PolarityOf()

    def close(self) -> None:
        if getattr(self, "_file", None) is not None:
            self._file.close()
        super().close()

    def _packets(self) -> Iterator[EventPacket]:
        report, size = self._admission.report, self._stored.size
        n = min(table.rows for table in self._tables.values())
        first = next(iter(self._tables.values()))
        self._tell_lengths(n)
        done = 0
        losses: list[Any] = []
        for start, stop in self._pieces(n):
            if start > done:
                losses.append(first.absent(done, start))
            done = stop
            columns, good, lost = self._read(start, stop)
            losses = self._tell(losses + lost, stop)
            report.bytes = size * stop // n
            yield from self._admission.settle(*(column[good] for column in columns))
        if done < n:
            losses.append(first.absent(done, n))
        self._tell(losses, None)
        if self._index is not None and (line := self._index.finding()):
            self._damaged(line)
        report.bytes = size
        yield from self._admission.finish()

    def _tell_lengths(self, n: int) -> None:
        report, size = self._admission.report, self._stored.size
        if self._cut_bytes:
            report.truncated = True
            self._damaged(f"bytes {size} to {size + self._cut_bytes}: the file ends before its time")
        if any(table.rows > n for table in self._tables.values()):
            listed = ", ".join(f"{key} {table.rows}" for key, table in self._tables.items())
            self._damaged(f"columns of different lengths: {listed}; the first {n} rows are read")

    def _pieces(self, n: int) -> Iterator[tuple[int, int]]:
        """Row ranges that are read at once: whole chunks, unless these are very large."""
        step = max(PACKET_EVENTS, *(table.chunk_rows for table in self._tables.values()))
        step = min(step, PIECE_ROWS)
        for start, stop in next(iter(self._tables.values())).present(n):
            yield from itertools.pairwise([start, *range(start - start % step + step, stop, step), stop])

    def _read(self, start: int, stop: int) -> tuple[list[NDArray[Any]], Any, list[Any]]:
        """The four columns of these rows, which of the rows are whole, and what is lost."""
        held: dict[str, NDArray[Any]] = {}
        losses: list[Any] = []
        for key, table in self._tables.items():
            held[key], lost = table.read(start, stop)
            losses += lost
        good = np.ones(stop - start, np.bool_)
        for loss in losses:
            good[loss.start - start : loss.stop - start] = False
        named = {}
        for ours, name in self._place.columns.items():
            if "" not in held:
                named[ours] = held[ours]
            else:
                named[ours] = held[""][:, name] if isinstance(name, int) else held[""][name]
        if self._unit is None:
            self._unit = sure_unit(named["t"][good], str(self.path))
        t = times_us(named["t"], self._unit)
        if self._index is not None and not losses:
            self._index.check(t, start)
        if self._offset_us:
            t = np.where(np.abs(t) <= MAX_ABS_US, t + self._offset_us, t)
        x, y = (coordinates(named[ours]) for ours in "xy")
        p = self._polarity(named["p"])
        return [t, x, y, p], slice(None) if not losses else good, losses

    def _tell(self, losses: list[Any], stop: int | None) -> list[Any]:
        """Damage lines, one for neighbours; what reaches `stop` may go on there and is given back."""
        report = self._admission.report
        joined: list[Any] = []
        for loss in sorted(losses, key=lambda loss: (loss.name, loss.start)):
            report.truncated |= loss.cut
            last = joined[-1] if joined else None
            if last and (last.name, last.stop, last.reason) == (loss.name, loss.start, loss.reason):
                both = [at for at in (last.stored, loss.stored) if at]
                stored = (min(at[0] for at in both), max(at[1] for at in both)) if both else None
                joined[-1] = loss._replace(start=last.start, stored=stored)
            else:
                joined.append(loss)
        for loss in joined:
            if loss.stop != stop:
                where = f"bytes {loss.stored[0]} to {loss.stored[1]}: " if loss.stored else ""
                self._damaged(f"{where}{loss.name}, rows {loss.start} to {loss.stop}: {loss.reason}")
        return [loss for loss in joined if loss.stop == stop]
