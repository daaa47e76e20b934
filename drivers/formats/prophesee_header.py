"""The text header of Prophesee files: lines `% key value`, before EVT words and DAT records alike.

The header ends behind a line `% end`. Old files have none: there it ends at the first line that does not
start with `% ` or is not text, for records can begin with these two bytes as well.
"""

import re
from typing import NamedTuple

from spikeline.drivers.base import Stored
from spikeline.pipeline.events import Sensor, SourceError

HEADER_BYTES = 1 << 16
LINE_BYTES = 1_024
MAX_SIDE = 32_767
MAX_SHIFT_US = 1 << 60

_END = re.compile(rb"^% end(?:\r?\n|[^\t -~])", re.MULTILINE)  # or a damaged byte in the line end's place
_TEXT = re.compile(rb"% [\t -~]*\r?")
_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})")
_WHOLE = re.compile(r"-?\d{1,19}")


class Header(NamedTuple):
    fields: dict[str, str]  # the last value of each key; keys in small letters
    lines: tuple[str, ...]
    body: int  # the first byte behind the header
    notes: tuple[str, ...]  # damaged lines
    cut: bool  # the file ends within the header

    @property
    def found(self) -> bool:
        return bool(self.lines)


def read_header(stored: Stored) -> Header:
    head = stored.at(0, HEADER_BYTES)
    ended = _END.search(head) if head.startswith(b"%") else None
    at = ended.end() if ended else _end_of_text(head)
    fields: dict[str, str] = {}
    lines: list[str] = []
    notes: list[str] = []
    start = 0
    for line in head[:at].splitlines(keepends=True):
        text = line.rstrip(b"\r\n")
        if _TEXT.fullmatch(text):
            content = text[2:].decode("ascii").strip()
            key, _, value = content.partition(" ")
            if key:
                fields[key.lower()] = value.strip()
                lines.append(content)
        elif text:
            notes.append(
                f"bytes {start} to {start + len(line)}: this line of the header is damaged; left out"
            )
        start += len(line)
    cut = ended is None and 0 < len(head) == stored.size and _ends_in_text(head, at)
    return Header(fields, tuple(lines), stored.size if cut else at, tuple(notes), cut)


def _end_of_text(head: bytes) -> int:
    """Behind the last whole line of the text at the begin; a damaged line may lie between others."""
    at = 0
    while (length := _line(head, at)) or (at and (length := _damaged_line(head, at))):
        at += length
    return at


def _line(head: bytes, at: int) -> int:
    """Bytes of the line of text that begins here; 0 if none does."""
    end = head.find(b"\n", at, at + LINE_BYTES)
    return end + 1 - at if end >= 0 and _TEXT.fullmatch(head[at:end]) else 0


def _damaged_line(head: bytes, at: int) -> int:
    """Bytes up to the next line of text, if there is one soon."""
    found = head.find(b"\n% ", at, at + LINE_BYTES)
    return found + 1 - at if found >= 0 and _line(head, found + 1) else 0


def _ends_in_text(head: bytes, at: int) -> bool:
    """True if the begin of a further line is all that stands behind the last one."""
    rest = head[at:]
    begun = len(rest) < LINE_BYTES and (rest == b"%" or bool(_TEXT.fullmatch(rest)))
    return bool(rest) and begun


def size_of(text: str, where: str) -> Sensor:
    """`1280x720`: width, then height."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise SourceError(f"{where}: geometry {text!r}; wanted WIDTHxHEIGHT")
    return checked_size(int(match[1]), int(match[2]), where)


def checked_size(width: int, height: int, where: str) -> Sensor:
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise SourceError(f"{where}: sensor of {width}x{height} pixels; wanted 1x1 to {MAX_SIDE}x{MAX_SIDE}")
    return Sensor(width, height)


def whole_of(text: str) -> int | None:
    """A whole number, or None for anything else."""
    return int(text) if _WHOLE.fullmatch(text.strip()) else None


def shift_of(header: Header) -> tuple[int, tuple[str, ...]]:
    """What `t0` (microseconds) says is to be added to every time, and a note if it cannot be used."""
    if "t0" not in header.fields:
        return 0, ()
    shift_us = whole_of(header.fields["t0"])
    if shift_us is None or abs(shift_us) > MAX_SHIFT_US:
        return 0, (f"header: t0 {header.fields['t0']!r} is no time; times are given without it",)
    return shift_us, ()
