"""A stream of events that every format can hold, and what is known of a file made of it."""

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
from test_sources_writers import Events

from spikeline.pipeline.events import Sensor

SIDE = 128  # every format has room for so many pixels a side
BEGIN_US = 12_345
SENSOR = Sensor(SIDE, SIDE)


class Made(NamedTuple):
    """The bytes of a file, and where in it events are stored.

    units   (k, 4) int64: first byte, last byte + 1, first event, last event + 1 of each thing that is stored
            by itself: a record, a packet, a chunk of one column. None: nothing is
    packets as units: what damage may cost as a whole, where that is more than a unit
    silent  sizes to which the file can be cut and nothing in it shows that
    """

    data: bytes
    units: np.ndarray | None
    silent: Collection[int] = ()
    packets: np.ndarray | None = None

    def ends(self, events: int) -> np.ndarray:
        """(events,) The size from which on the file holds all of each event."""
        ends = np.full(events, 0 if self.units is not None else len(self.data) + 1)
        for _, stop, first, last in self.units if self.units is not None else ():
            ends[first:last] = np.maximum(ends[first:last], stop)
        return ends

    def hit(self, start: int, stop: int, events: int) -> np.ndarray:
        """(events,) Whether these bytes hold some of each event, or of what it is stored with."""
        units = self.units if self.packets is None else self.packets
        hit = np.full(events, units is None)
        for begin, end, first, last in units if units is not None else ():
            hit[first:last] |= begin < stop and start < end
        return hit


def records(head: bytes, body: bytes, unit: int, positions: np.ndarray) -> Made:
    """A file of records of one size; `positions`: which record each event is in."""
    begins = len(head) + unit * np.asarray(positions, np.int64)
    return Made(head + body, one_each(begins, begins + unit), range(len(head), len(head + body), unit))


def one_each(begins: np.ndarray, ends: np.ndarray) -> np.ndarray:
    events = np.arange(len(ends))
    return np.stack([begins, ends, events, events + 1], axis=1)


def seeded_stream(n: int, seed: int = 1) -> Events:
    """n events, singly and in rows of neighbours at one time, as cameras send them; about 100 us apart."""
    rng = np.random.default_rng(seed)
    groups = np.where(rng.random(n) < 0.1, rng.integers(2, 24, n), 1)
    group = np.repeat(np.arange(n), groups)[:n]
    place = np.arange(n) - np.searchsorted(group, group)
    x = rng.integers(0, SIDE - 24, n)[group] + place
    y, p = rng.integers(0, SIDE, n)[group], rng.integers(0, 2, n)[group]
    t = BEGIN_US + np.cumsum(np.where(place == 0, rng.integers(0, 300, n), 0))
    return Events(t.astype(np.int64), x.astype(np.uint16), y.astype(np.uint16), p.astype(np.uint8))


def rows(events: Events) -> list[tuple[int, int, int, int]]:
    return list(zip(*(column.tolist() for column in events), strict=True))
