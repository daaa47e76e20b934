"""The text at the begin of AEDAT 1, 2 and 3 files, and the sizes of the cameras it names.

A line begins with `#` and ends with CRLF (in a few edited files: LF). The header ends behind its end mark,
or, in most old files, before the first line that is none. There a first record that begins with the byte of
`#` could pass for a line, so a line is only one while it is text and ends as the first one does.
"""

import re
from typing import NamedTuple

from spikeline.drivers.base import Stored
from spikeline.pipeline.events import Sensor, SourceError

MOST_BYTES = 4 << 20  # the longest header seen, with all of a camera's settings, has 175 kB
_FIRST_BYTES = 1 << 16
_LINE = re.compile(rb"#(?:[!<A-Za-z-][\t -~]*| [^\x00-\x08\n-\x1f\x7f]*)?(\r?\n)")
_CUT_LINE = re.compile(rb"#[\t -~]*\r?")
_END_MARK = re.compile(rb"#!? ?end(?: of ascii |-)header\s*", re.IGNORECASE)
_VERSION = re.compile(r"#!AER-DAT(\d)\.(\d+)")
_DVS128 = re.compile(r"e?dvs_?128\w*|tmpdiff128\w*", re.IGNORECASE)
_DAVIS = re.compile(r"davis_?(128|208|240|346|640)(?!\d)\w*|dvs(240)", re.IGNORECASE)
_DAVIS_HEIGHT = {128: 128, 208: 192, 240: 180, 346: 260, 640: 480}


class Header(NamedTuple):
    version: tuple[int, int] | None  # None: no version line
    lines: tuple[str, ...]
    body: int  # the byte behind it
    cut: bool  # the file ends within it

    def value(self, key: str) -> str | None:
        """Of the first line `# key: value`."""
        for line in self.lines:
            name, colon, value = line.lstrip("#! ").partition(":")
            if colon and name.strip().lower() == key.lower():
                return value.strip()
        return None


def read_header(data: Stored) -> Header:
    for most in (_FIRST_BYTES, MOST_BYTES):
        head = data.at(0, most)
        lines, body, ended = _lines(head)
        if body < most - 4_096 or most >= data.size:
            break
    else:
        raise SourceError(f"{data.path}: {MOST_BYTES >> 20} MiB of header; wanted a recording behind it")
    version = _VERSION.match(lines[0]) if lines else None
    unended = not ended and len(head) == data.size
    marked = version is not None and version[0].endswith("3.1")  # alone always has an end mark
    cut = unended and (_CUT_LINE.fullmatch(head, body) is not None if data.size > body else marked)
    return Header((int(version[1]), int(version[2])) if version else None, tuple(lines), body, cut)


def _lines(head: bytes) -> tuple[list[str], int, bool]:
    """The header's lines, the byte behind them, and whether the last is its end mark."""
    lines: list[str] = []
    at, ending = 0, b""
    while (match := _LINE.match(head, at)) and match[1] == (ending or match[1]):
        lines.append(match[0].decode("latin-1").rstrip())
        at, ending = match.end(), match[1]
        if _END_MARK.fullmatch(match[0]):
            return lines, at, True
    return lines, at, False


def known_sensor(name: str) -> Sensor | None:
    """The camera of this name, as in `DVS128`, `DAVIS240C`, `eu...davis.Davis346red`; None: not known."""
    model = name.rpartition(".")[2].strip()
    if _DVS128.fullmatch(model):
        return Sensor(128, 128, model)
    if davis := _DAVIS.fullmatch(model):
        width = int(davis[1] or davis[2])
        return Sensor(width, _DAVIS_HEIGHT[width], model)
    return None
