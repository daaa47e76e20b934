"""Tables of an SQLite file read page by page, also of a broken file, which SQLite itself refuses as a whole.

A table is a tree of pages: inner ones (type 5) point to others, leaves (type 13) hold the rows, in the order
of their row number; what is too long for a page goes on in a chain of overflow pages. A page that is cut
off or damaged costs the rows below it. Pages that a killed program has left in `NAME-wal` replace the
file's own, up to the last that was committed. Everything is big-endian; a "varint" has 7 bits a byte.
"""

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from spikeline.drivers.base import Stored
from spikeline.drivers.formats.ros_container import MOST_BYTES, Broken

MAGIC = b"SQLite format 3\0"
INNER, LEAF = 5, 13
DEEPEST = 20  # levels of a tree; five hold more than any disk
_WAL_MAGIC = (0x377F0682, 0x377F0683)


class Row(NamedTuple):
    number: int
    values: dict[str, Any]  # by column: int, str, bytes or None
    start: int  # the page that it begins on
    stop: int


class Pages:
    """A database; ValueError if its first page is none."""

    def __init__(self, stored: Stored) -> None:
        self._stored = stored
        head = stored.at(0, 100)
        if len(head) < 100 or not head.startswith(MAGIC):
            raise ValueError(f"begins with {head[:16]!r}; wanted an SQLite file")
        self.size = 65_536 if head[16:18] == b"\0\1" else int.from_bytes(head[16:18], "big")
        self._usable = self.size - head[20]
        if self.size < 512 or self.size & (self.size - 1) or self._usable < 480:
            raise ValueError(f"pages of {self.size} bytes; wanted 512 to 65536, a power of two")
        self.whole = self.size * int.from_bytes(head[28:32], "big")  # bytes, as it says; 0: it does not say
        self._log = _Log(Path(f"{stored.path}-wal"), self.size)
        self._tables: dict[str, tuple[int, list[str]]] = {}
        names = ["type", "name", "tbl_name", "rootpage", "sql"]
        for row in self._rows(1, names, 0):
            about = row.values if isinstance(row, Row) else {}
            name, root, sql = about.get("name"), about.get("rootpage"), about.get("sql")
            if isinstance(name, str) and isinstance(root, int) and isinstance(sql, str):
                self._tables[name] = root, _columns(sql)

    def close(self) -> None:
        self._log.close()

    def wants(self, *tables: str) -> None:
        """ValueError if one of the tables is not there."""
        for table in tables:
            if table not in self._tables:
                raise ValueError(f"no table {table!r}; its tables are {', '.join(self._tables) or 'none'}")

    def rows(self, table: str) -> Iterator[Row | Broken]:
        yield from self._rows(*self._tables[table], 0)

    def _page(self, number: int) -> bytes:
        return self._log.page(number) or self._stored.at((number - 1) * self.size, self.size)

    def _rows(self, number: int, names: list[str], depth: int) -> Iterator[Row | Broken]:
        lies = (number - 1) * self.size, number * self.size
        page = self._page(number) if number > 0 else b""
        if len(page) < self.size:
            yield Broken(*lies, "a page behind the file's end; its rows are lost", True)
            return
        at = 100 if number == 1 else 0
        kind, cells = page[at], int.from_bytes(page[at + 3 : at + 5], "big")
        begin = at + (12 if kind == INNER else 8)
        if kind not in (INNER, LEAF) or begin + 2 * cells > self.size or depth > DEEPEST:
            yield Broken(*lies, "no page of a table; its rows are lost")
            return
        for (cell,) in struct.iter_unpack(">H", page[begin : begin + 2 * cells]):
            if kind == INNER:
                yield from self._rows(int.from_bytes(page[cell : cell + 4], "big"), names, depth + 1)
            else:
                try:
                    yield self._row(page, cell, names, lies)
                except ValueError as error:
                    yield Broken(*lies, f"a row is lost: {error}")
        if kind == INNER:
            yield from self._rows(int.from_bytes(page[at + 8 : at + 12], "big"), names, depth + 1)

    def _row(self, page: bytes, at: int, names: list[str], lies: tuple[int, int]) -> Row:
        """ValueError if it is damaged."""
        length, at = _varint(page, at)
        number, at = _varint(page, at)
        if length > MOST_BYTES:
            raise ValueError(f"{length} bytes; wanted up to {MOST_BYTES}")
        most, least = self._usable - 35, (self._usable - 12) * 32 // 255 - 23
        here = length
        if length > most:
            here = least + (length - least) % (self._usable - 4)
            here = here if here <= most else least
        parts = [page[at : at + here]]
        following = int.from_bytes(page[at + here : at + here + 4], "big") if here < length else 0
        while here < length:
            page = self._page(following) if following > 0 else b""
            if len(page) < self.size:
                raise ValueError("it goes on behind the file's end, or nowhere")
            following = int.from_bytes(page[:4], "big")
            parts.append(page[4 : min(self._usable, 4 + length - here)])
            here += len(parts[-1])
        record = b"".join(parts)
        if len(record) != length:
            raise ValueError("it goes beyond its page")
        return Row(number, dict(zip(names, _values(record), strict=False)), *lies)


def _values(record: bytes) -> list[Any]:
    """The columns of a row; ValueError if it is damaged."""
    head, at = _varint(record, 0)
    data = head
    values: list[Any] = []
    while at < head:
        kind, at = _varint(record, at)
        size = (0, 1, 2, 3, 4, 6, 8, 8, 0, 0)[kind] if kind < 10 else (kind - 12) // 2
        if kind in (10, 11) or size > len(record) - data:
            raise ValueError(f"a value of {size} bytes in a row of {len(record)}")
        held = record[data : data + size]
        data += size
        if kind == 0 or kind == 7:  # nothing; and a float, which no bag has
            values.append(None)
        elif kind < 10:
            values.append(kind - 8 if kind > 7 else int.from_bytes(held, "big", signed=True))
        else:
            values.append(held if kind % 2 == 0 else held.decode("utf-8", "replace"))
    return values


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for k in range(9):
        if at >= len(data):
            raise ValueError("a number is cut")
        byte = data[at]
        at += 1
        if k == 8:
            return value << 8 | byte, at
        value = value << 7 | byte & 127
        if byte < 128:
            break
    return value, at


def _columns(sql: str) -> list[str]:
    """The names of the columns in CREATE TABLE name (first ..., second ..., ...)."""
    inside = re.sub(r"\([^()]*\)", "", sql.partition("(")[2].rpartition(")")[0])
    return [words[0].strip("\"'`[]").lower() for part in inside.split(",") if (words := part.split())]


class _Log:
    """The committed pages of a `-wal` file: a head of 32 bytes, then pages with a head of 24 bytes each."""

    def __init__(self, path: Path, size: int) -> None:
        self._pages: dict[int, int] = {}
        self._file: Stored | None = None
        self._size = size
        if not path.is_file() or path.stat().st_size < 32:
            return
        self._file = Stored(path)
        magic, _, page_size, _, salt = struct.unpack(">4I8s", self._file.at(0, 24))
        if magic not in _WAL_MAGIC or page_size != size:
            return
        waiting: dict[int, int] = {}
        for at in range(32, self._file.size - 24 - size + 1, 24 + size):
            number, commit, found = struct.unpack(">2I8s", self._file.at(at, 16))
            if found != salt:  # of an older log, which this one has begun to overwrite
                break
            waiting[number] = at + 24
            if commit:
                self._pages.update(waiting)
                waiting.clear()

    def page(self, number: int) -> bytes | None:
        at = self._pages.get(number)
        return None if at is None or self._file is None else self._file.at(at, self._size)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
