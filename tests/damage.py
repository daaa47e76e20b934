"""Cut and holed copies of a file, and what is wrong about what a reader makes of them: '' for nothing."""

import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from format_files import FILES, open_file
from made import Made
from mutations import is_part, read_or_refuse, same
from test_sources_writers import Events

HELD = 0.99  # of the events outside of what a hole touches
HOLE_BYTES = (16, 64, 256, 1_024)
SEEN_BYTES = 256  # fewer may look like events by chance


class Hole(NamedTuple):
    start: int
    noise: bytes


def cut_sizes(made: Made, count: int | None) -> list[int]:
    """All sizes that a cut file can have, or so many of them, always the same."""
    sizes = range(1, len(made.data))
    return (
        list(sizes) if count is None or count >= len(sizes) else sorted(random.Random(1).sample(sizes, count))
    )


def holes(made: Made, count: int) -> Iterator[Hole]:
    """In the middle of the file: from a third to two thirds of it."""
    rng = random.Random(2)
    for k in range(count):
        size = HOLE_BYTES[-1 - k % len(HOLE_BYTES)]
        yield Hole(rng.randrange(len(made.data) // 3, len(made.data) * 2 // 3 - size), rng.randbytes(size))


def wrong_at_cut(name: str, made: Made, events: Events, path: Path, size: int) -> str:
    path.write_bytes(made.data[:size])
    whole = made.ends(len(events.t)) <= size
    found, report = read_or_refuse(lambda: open_file(name, path))
    if found is None:
        return f"refused, with {whole.sum()} whole events: {report}" if whole.any() else ""
    if not is_part(found, events):
        return f"{len(found.t)} events that are not some of the file's"
    if missing := int(np.count_nonzero(~np.isin(_keys(events)[whole], _keys(found)))):
        return f"{missing} of {whole.sum()} whole events are missing"
    if not report.truncated:
        return "" if size in made.silent else "the report does not say that it is cut"
    if not any(re.search(r"\d", line) for line in report.damage):
        return f"the report does not say where: {report.damage}"
    return ""


def wrong_at_hole(name: str, made: Made, events: Events, path: Path, hole: Hole) -> tuple[str, float]:
    """What is wrong, and the share of the events outside that came out."""
    stop = hole.start + len(hole.noise)
    path.write_bytes(made.data[: hole.start] + hole.noise + made.data[stop:])
    about = FILES[name]
    hit = made.hit(hole.start, stop, len(events.t))
    outside = ~hit
    if hit.any() and about.period_us > 1:
        periods = events.t // about.period_us
        outside &= (periods < periods[hit].min()) | (periods > periods[hit].max())
    if not outside.any():  # nothing is stored by itself: that it is refused or told is all there is to ask
        found, report = read_or_refuse(lambda: open_file(name, path))
        fine = found is None or _told(report) or same(found, events)
        return ("" if fine else "neither refused nor told"), 1.0
    found, report = read_or_refuse(lambda: open_file(name, path))
    if found is None:
        return f"bytes {hole.start} to {stop}: refused: {report}", 0.0
    keys = _steps if about.relative else _keys
    held = float(np.isin(keys(events)[outside], keys(found)).mean())
    if held < HELD:
        return f"bytes {hole.start} to {stop}: {held:.2%} of {outside.sum()} events outside of it", held
    silent = len(hole.noise) >= SEEN_BYTES and not _told(report) and not same(found, events)
    return (f"bytes {hole.start} to {stop}: not told" if silent else ""), held


def _told(report) -> bool:
    return bool(report.damage or report.truncated or report.refused)


def _keys(events: Events) -> np.ndarray:
    """A number for each event, the same for the same one."""
    t, x, y, p = (np.asarray(column).astype(np.uint64) for column in events)
    key = t * np.uint64(0x9E37_79B9_7F4A_7C15)
    key ^= x << np.uint64(17) | y << np.uint64(1) | p
    return key * np.uint64(0xD6E8_FEB8_6659_FD93)


def _steps(events: Events) -> np.ndarray:
    """As `_keys`, of the time since the event before."""
    return _keys(events._replace(t=np.diff(events.t, prepend=0)))
