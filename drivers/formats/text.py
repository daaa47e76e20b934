"""Events in text files (CSV, TXT, also gzipped) as packets: a line an event, columns by text_layout.py.

Options: `order` the columns, such as txyp or xypt, `-` for one to leave out; `unit` of the times: s, ms, us
or ns. A line that is no event is counted as refused and reported with its bytes. A last line without an
end may have been cut: it counts only if its polarity comes last, so that a part cannot pass as a whole.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, cast

import numpy as np

from spikeline.drivers import uri as grammar
from spikeline.drivers.base import FileSource, Stored
from spikeline.drivers.formats import text_lines as lines
from spikeline.drivers.formats.columns import UNITS, PolarityOf, check_order
from spikeline.drivers.formats.records import agreed_sensor
from spikeline.drivers.formats.settled import Settled
from spikeline.drivers.formats.text_layout import find_layout
from spikeline.drivers.formats.unzip import Unzip
from spikeline.pipeline.events import EventPacket, Sensor, SourceError

HEAD_BYTES = 1 << 16
BLOCK_BYTES = 2 << 20
POWERS = {"s": 6, "ms": 3, "us": 0, "ns": -3}


class TextSource(FileSource):
    """The events of a text file."""

    format = "CSV"
    OPTIONS = ("order", "unit")
    FORWARD = True

    def __init__(
        self,
        path: str | Path | Stored,
        *,
        sensor: Sensor | None = None,
        options: Mapping[str, str] | None = None,
    ) -> None:
        options = options or {}
        grammar.only(options, self.OPTIONS, str(path))
        unit = grammar.choice(options, "unit", UNITS, str(path))
        order = options.get("order")
        if order is not None:
            check_order(order.replace("-", ""), str(path))
        super().__init__(path)
        self._text: IO[bytes] | None = None
        try:
            self._packed = self._stored.at(0, 2) == b"\x1f\x8b"
            self._text = self._stored.reader()
            self._unzip = Unzip(self._text) if self._packed else None
            self._ahead = self._more(HEAD_BYTES)
            self._layout = find_layout(self._ahead, order, unit, str(path))
            self.sensor = agreed_sensor(self.path, self._layout.sensor, sensor)
        except BaseException:
            self.close()
            raise
        self._admission: Settled = Settled(self.sensor)
        self._polarity = PolarityOf()
        self._bad = (0, 0, 0)  # first byte, last byte and number of the bad lines not yet told

    def close(self) -> None:
        if getattr(self, "_text", None) is not None:
            cast(IO[bytes], self._text).close()
        super().close()

    def _more(self, count: int) -> bytes:
        """So many bytes; fewer at the end, or where a packed file is damaged."""
        parts: list[bytes] = []
        read = self._unzip.read if self._unzip else cast(IO[bytes], self._text).read
        try:
            while count > 0 and (part := read(count)):
                parts.append(part)
                count -= len(part)
        except OSError as error:
            raise SourceError(f"{self.path}: cannot be read: {error.strerror}") from error
        return b"".join(parts)

    def _packets(self) -> Iterator[EventPacket]:
        """Blocks of whole lines; a line longer than a block is bad, however long."""
        report = self._admission.report
        at, data = self._layout.body, self._ahead[self._layout.body :]
        if stop := data.rfind(b"\n") + 1:
            yield from self._events(data[:stop], at, True)
            at, data = at + stop, data[stop:]
        endless = False
        while more := self._more(BLOCK_BYTES):
            data += more
            stop = data.rfind(b"\n") + 1
            if endless or stop == 0:
                end = data.find(b"\n") + 1 or len(data)
                self._note_bad(at, at + end, 0 if endless else 1)
                endless = stop == 0
                at, data, stop = at + end, data[end:], max(0, stop - end)
            if stop:
                yield from self._events(data[:stop], at, False)
                at, data = at + stop, data[stop:]
            report.bytes = min(at, self._stored.size)
        yield from self._last_line(data, at)
        self._tell_bad()
        if self._unzip and self._unzip.fault:
            report.truncated = True
            self._damaged(f"{self._where(at + len(data))}: {self._unzip.fault}")
        report.bytes = self._stored.size
        yield from self._admission.finish()

    def _events(self, block: bytes, at: int, first: bool) -> Iterator[EventPacket]:
        """The events of whole lines, from `at` on in the text; by the `first` ones the file is judged."""
        t, x, y, p, bad, wrong = self._parse(block)
        odd = int(np.count_nonzero(p == lines.IMPOSSIBLE_P))
        if first and wrong > len(t):
            raise SourceError(
                f"{self.path}: {wrong} of the first {wrong + len(t)} lines are no events; "
                f"wanted the columns {self._layout.order}"
            )
        if first and 10 * odd > len(p):
            raise SourceError(
                f"{self.path}: p holds numbers other than 0/1 and -1/+1; wanted these or True/False"
            )
        for start, stop, count in bad.tolist():
            self._note_bad(at + start, at + stop, count)
        self._admission.report.bytes = min(at + len(block), self._stored.size)
        yield from self._admission.settle(t, x, y, self._polarity(p))

    def _parse(self, block: bytes) -> tuple:
        """(t, x, y, p, bad ranges, number of bad lines)"""
        data = np.frombuffer(block, np.uint8)
        most = int(np.count_nonzero(data == 10)) + 1
        t, x, y = np.empty(most, np.int64), np.empty(most, np.uint16), np.empty(most, np.uint16)
        p, bad = np.empty(most, np.int8), np.empty((lines.RANGES, 3), np.int64)
        columns = np.array(["-txyp".index(column) for column in self._layout.order], np.uint8)
        unit = self._layout.unit
        n, wrong, ranges = lines.parse(data, columns, POWERS[unit], unit == "ns", t, x, y, p, bad)
        return t[:n], x[:n], y[:n], p[:n], bad[:ranges], wrong

    def _last_line(self, line: bytes, at: int) -> Iterator[EventPacket]:
        """A line without an end: whole only if a part of it could not be taken for it."""
        t, x, y, p, _, wrong = self._parse(line)
        if len(t) and self._layout.ends_certain:
            yield from self._admission.settle(t, x, y, self._polarity(p))
        elif len(t) or wrong:
            self._tell_bad()
            self._admission.report.truncated = True
            self._damaged(f"{self._where(at, at + len(line))}: the file ends within a line; it is left out")

    def _note_bad(self, start: int, stop: int, count: int) -> None:
        """Bad lines are told when the run of them is over."""
        self._admission.report.refused += count
        held = self._bad
        if held[2] and held[1] == start:
            self._bad = held[0], stop, held[2] + count
        else:
            self._tell_bad()
            self._bad = start, stop, count

    def _tell_bad(self) -> None:
        start, stop, count = self._bad
        if count:
            what = "a line that is no event" if count == 1 else f"{count} lines that are no events"
            self._damaged(f"{self._where(start, stop)}: {what}")
        self._bad = (0, 0, 0)

    def _where(self, start: int, stop: int | None = None) -> str:
        bytes_are = "unpacked bytes" if self._packed else "bytes"
        return f"{bytes_are} {start} to {stop}" if stop is not None else f"{bytes_are} {start}"
