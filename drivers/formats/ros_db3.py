"""ROS 2 bags in SQLite (`.db3`): their messages in the order in which they were recorded.

The tables are read page by page (sqlite_pages.py): so a bag that was cut gives what it still has, and
nothing is ever written beside it.
"""

import contextlib
from collections.abc import Iterator

from spikeline.drivers.base import Stored
from spikeline.drivers.formats.ros_container import Broken, Piece, Topic, plain_kind
from spikeline.drivers.formats.sqlite_pages import Pages, Row

MOST_TOPICS = 65_536


def topics_of_db3(stored: Stored) -> list[Topic]:
    """ValueError if the file is no bag, or too damaged to say."""
    with contextlib.closing(Pages(stored)) as pages:
        pages.wants("topics", "messages")
        return list(_topics(pages).values())


def walk_db3(stored: Stored) -> Iterator[Piece | Broken]:
    """Every message of every topic."""
    with contextlib.closing(Pages(stored)) as pages:
        if pages.whole > stored.size:
            yield Broken(stored.size, pages.whole, "the file ends before its time", True)
        topics = _topics(pages)
        for row in pages.rows("messages"):
            if isinstance(row, Broken):
                yield row
                continue
            topic, data = topics.get(row.values.get("topic_id")), row.values.get("data")
            if topic is not None and isinstance(data, bytes):
                yield Piece(topic, data, row.start, row.stop)
            elif not isinstance(data, bytes):
                yield Broken(row.start, row.stop, f"message {row.number} holds no bytes")


def _topics(pages: Pages) -> dict[object, Topic]:
    """By their number; only those that are serialised as CDR."""
    found: dict[object, Topic] = {}
    for row in pages.rows("topics"):
        if not isinstance(row, Row) or len(found) >= MOST_TOPICS:
            continue
        name, kind, form = (row.values.get(key) for key in ("name", "type", "serialization_format"))
        if isinstance(name, str) and isinstance(kind, str) and form == "cdr":
            found[row.number] = Topic(name, plain_kind(kind), form)
    return found
