"""What the columns of a text file are: by its header, the user's word, or numbers that leave no doubt.

Orders differ between tools and nothing in a file says which; so an order that is not named is taken from
the numbers only if exactly one column can be the times and one other the polarities. Of the two that are
left the first is x: all known tools agree on that. Otherwise the user is asked.
"""

import itertools
import re
import statistics
from collections.abc import Iterable
from typing import NamedTuple

from spikeline.drivers.formats.columns import ALIASES, MICROSECONDS, SECONDS
from spikeline.pipeline.events import Sensor, SourceError

ENOUGH = 16  # rows that show what a column is; fewer may look like anything
MOST_ROWS = 1_024
SURE = 0.98  # of the rows; the others may be damaged
WANTED = "say it with ?order=, such as txyp or xypt (- for a column to leave out)"

_NAME = re.compile(r"([a-z]+)(?:@(\d+)|[ _]?[\[(](s|ms|us|ns)[\])]|_(s|ms|us|ns))?")
_SPLIT_NAMES = re.compile(r"\s*[,;\t]\s*|\s+(?![\[(])")
_SPLIT = re.compile(r"[\s,;]+")
_BOM = b"\xef\xbb\xbf"
_WORDS = {"true": "1", "false": "0"}
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


class Layout(NamedTuple):
    order: str  # one letter per column: t, x, y, p, or - for one of no use
    unit: str  # s, ms, us or ns
    sensor: Sensor | None
    body: int  # the byte where lines of events begin
    ends_certain: bool  # a line cut at its end cannot pass as a whole one: the polarity comes last


class _Header(NamedTuple):
    order: str
    unit: str | None
    sensor: Sensor | None


def find_layout(head: bytes, order: str | None, unit: str | None, where: str) -> Layout:
    """`head` is the file's begin; `order` and `unit` are the user's word."""
    rows: list[list[str]] = []
    header = _Header("", None, None)
    at = body = len(_BOM) if head.startswith(_BOM) else 0
    for raw in head[at : head.rfind(b"\n") + 1 or len(head)].splitlines(keepends=True)[:MOST_ROWS]:
        at += len(raw)
        line = raw.decode("ascii", "replace").strip(" \t\r\n,;")
        words = [word for word in _SPLIT.split(line) if word]
        if _is_row(words):
            rows.append(words)
        elif not rows and (found := _header(line, words)):
            header = found
            body = at
        elif not rows and line[:1].isalpha():  # names that say nothing to us
            body = at
    order = order or header.order or (_order_of(rows, where) if rows else "")
    if not order:
        raise SourceError(f"{where}: no line of numbers among the first; {WANTED}")
    fitting = [row for row in rows if len(row) == len(order)]
    if 2 * len(fitting) < len(rows):
        raise SourceError(f"{where}: lines of {len(rows[0])} columns; order {order} has {len(order)}")
    unit = unit or header.unit or _unit_of([row[order.index("t")] for row in fitting], where)
    return Layout(order, unit, header.sensor, body, order[-1] == "p")


def _is_row(words: list[str]) -> bool:
    return len(words) >= 4 and all(_NUMBER.fullmatch(w) or w.lower() in _WORDS for w in words)


def _header(line: str, words: list[str]) -> _Header | None:
    """What a line before the events says; None: nothing that we know."""
    if len(words) == 2 and all(word.isdigit() and len(word) < 6 for word in words):
        return _Header("txyp", None, Sensor(int(words[0]), int(words[1])))  # e2vid: width and height
    ours = {alias: name for name, aliases in ALIASES.items() for alias in aliases}
    order, unit, sides = "", None, {}
    for word in _SPLIT_NAMES.split(line.strip("#% \t,;").lower()):
        match = _NAME.fullmatch(word.strip("\"' "))
        name = ours.get(match[1], "-") if match else "-"
        order += name
        if match and name == "t":
            unit = match[3] or match[4]
        if match and match[2]:
            sides[name] = int(match[2])
    if sorted(order.replace("-", "")) != sorted("txyp"):
        return None
    sensor = Sensor(sides["x"], sides["y"]) if {"x", "y"} <= set(sides) else None
    return _Header(order, unit, sensor)


def _order_of(rows: list[list[str]], where: str) -> str:
    """The only order that the numbers allow."""
    width = statistics.mode(len(row) for row in rows)
    if width != 4:
        raise SourceError(f"{where}: lines of {width} numbers and no header; {WANTED}")
    columns = [
        [float(_WORDS.get(word.lower(), word)) for word in column]
        for column in zip(*(row for row in rows if len(row) == 4), strict=True)
    ]
    polarity = [k for k, column in enumerate(columns) if _can_be_polarity(column)]
    times = [k for k, column in enumerate(columns) if _must_be_times(column)]
    if not times and len(rows) >= ENOUGH:
        times = [k for k, column in enumerate(columns) if k not in polarity and _never_falls(column)]
        times = times if len(times) == 1 and columns[times[0]][0] < columns[times[0]][-1] else []
    if len(times) == 1:
        polarity = [k for k in polarity if k != times[0]]
    if len(times) != 1 or len(polarity) != 1:
        raise SourceError(f"{where}: no header, and its numbers do not tell which column is which; {WANTED}")
    rest = iter("xy")
    return "".join("t" if k == times[0] else "p" if k == polarity[0] else next(rest) for k in range(4))


def _share(tests: Iterable[bool], wanted: float) -> bool:
    """True if so many of the tests hold; a few damaged lines are no evidence."""
    held = list(tests)
    return sum(held) >= wanted * len(held)


def _can_be_polarity(column: list[float]) -> bool:
    return any(_share((value in pair for value in column), SURE) for pair in ((0.0, 1.0), (-1.0, 1.0)))


def _must_be_times(column: list[float]) -> bool:
    """No pixel has a fraction, or lies beyond 65,535."""
    return _share((not value.is_integer() or value > 65_535 for value in column), 0.5)


def _never_falls(column: list[float]) -> bool:
    return _share((a <= b for a, b in itertools.pairwise(column)), SURE)


def _unit_of(times: list[str], where: str) -> str:
    """Whole numbers are microseconds and others seconds, if they can be that."""
    values = sorted(float(word) for word in times if _NUMBER.fullmatch(word))
    if not values:
        return "us"
    middle, span = values[len(values) // 2], values[-1 - len(values) // 50] - values[0]
    if not any("." in word or "e" in word.lower() for word in times):
        if abs(middle) <= MICROSECONDS:
            return "us"
        raise SourceError(f"{where}: times near {middle:.17g} are no microseconds; say the unit with ?unit=")
    if abs(middle) > SECONDS or span > 10_000:
        raise SourceError(f"{where}: times near {middle:.17g} are hardly seconds; say the unit with ?unit=")
    return "s"
