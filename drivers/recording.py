"""What is recorded, and where: an MCAP file (mcap_recorder.py) or, whole in memory first, an `.npz`.

The `.npz` holds the events and one mark per packet:

    t, x, y, p                 the events, packet after packet
    width, height, model       the sensor
    mark_stop       (k,) int64   events handed out up to and with packet k
    mark_until_us   (k,) int64   its `until_us`
    mark_epoch      (k,) int64   its epoch
    mark_origin_us  (k,) int64   its `origin_us`; the smallest int64 for none
    window_seq, window_epoch, window_start_us, window_end_us  (w,) int64   windows of a live run, if any
    window_decision (w,) int64   0 run, 1 gated, 2 skipped: a replay decides the same
    digest                       of the live run's predictions
    dropped, refused, reordered  what the live source lost or moved; a replay reports the same

With the clock marks, epochs and origins, a replay makes the windows that the live run made. Marks
that contradict the events or the packet contract are refused by name, both written and read.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from spikeline.pipeline.events import (
    MAX_ABS_US,
    PACKET_EVENTS,
    Coordinates,
    EventPacket,
    Polarities,
    Sensor,
    SourceError,
    SourceReport,
    Times,
)

if TYPE_CHECKING:
    from spikeline.drivers.mcap_layout import Run

MARKS = ("mark_stop", "mark_until_us", "mark_epoch", "mark_origin_us")
WINDOWS = ("window_seq", "window_epoch", "window_start_us", "window_end_us", "window_decision")
LOSSES = ("dropped", "refused", "reordered")
DECISIONS = (None, "gate", "overload")
NO_ORIGIN = int(np.iinfo(np.int64).min)


def write_npz(path: str | Path, packets: Iterable[EventPacket], sensor: Sensor) -> int:
    """Write the packets and return the number of events; the file appears whole or not at all.

    All events are held in memory (13 bytes each) until the last packet has come.
    """
    recorder = Recorder(path, sensor, overwrite=True)
    for packet in packets:
        recorder.add(packet)
    return recorder.close()


class Recording(Protocol):
    """What every recorder offers. `stopped`: "" while all is well, else one line that says why it gave up;
    it raises nothing then, for what it records goes on."""

    path: Path
    stopped: str

    def add(self, packet: EventPacket, arrival_ns: int | None = None) -> None: ...
    def window(
        self, seq: int, epoch: int, start_us: int, end_us: int, decision: str | None, **prediction: Any
    ) -> None: ...
    def close(
        self,
        digest: str = "",
        report: SourceReport | None = None,
        digest_input: str = "",
        clean_up: Sequence[dict[str, Any]] = (),
    ) -> int: ...


def open_recorder(
    path: str | Path,
    sensor: Sensor,
    *,
    run: "Callable[[], Run] | None" = None,
    report: Callable[[], SourceReport] | None = None,
) -> Recording:
    """A recorder by the name's ending: `.mcap` is written while things happen, `.npz` at the end.

    run, report: what is recorded, and what its source has lost so far; see McapRecorder.
    """
    path = Path(path)
    if path.suffix != ".mcap":
        return Recorder(path, sensor)
    check_target(path)
    from spikeline.drivers.mcap_recorder import McapRecorder

    return McapRecorder(path, sensor, run=run, report=report)


def check_target(path: Path, *, overwrite: bool = False) -> None:
    """Raise SourceError if the file cannot be made, or is there."""
    if not path.parent.is_dir():
        raise SourceError(f"{path}: its folder does not exist; make it first")
    if path.is_dir() or (os.path.lexists(path) and not overwrite):
        raise SourceError(f"{path}: exists already; choose another name")
    if not os.access(path.parent, os.W_OK):
        raise SourceError(f"{path}: its folder cannot be written to")


class Recorder:
    """Packets and windows' decisions in memory, written whole by `close`: 13 bytes an event and some 500 a
    packet, a few gigabytes for an hour of a busy camera."""

    def __init__(self, path: str | Path, sensor: Sensor, *, overwrite: bool = False) -> None:
        self.path = Path(path)
        self.sensor = sensor
        self.stopped = ""
        if self.path.suffix != ".npz":
            raise SourceError(
                f"{self.path}: a recording is an .mcap or .npz file; found {self.path.suffix or 'no suffix'}"
            )
        check_target(self.path, overwrite=overwrite)
        self._columns: list[list[NDArray[Any]]] = [[np.empty(0, kind)] for kind in ("i8", "u2", "u2", "u1")]
        self._marks: list[tuple[int, int, int, int]] = []
        self._windows: list[tuple[int, int, int, int, int]] = []
        self._total = 0

    def add(self, packet: EventPacket, arrival_ns: int | None = None) -> None:
        """A packet as the pipeline got it; one before the first epoch says nothing and is left out."""
        if packet.epoch < 0:
            return
        for column, values in zip(self._columns, (packet.t, packet.x, packet.y, packet.p), strict=True):
            column.append(np.array(values))  # a source may use its arrays again
        self._total += len(packet)
        origin = NO_ORIGIN if packet.origin_us is None else packet.origin_us
        self._marks.append((self._total, packet.until_us, packet.epoch, origin))

    def window(
        self, seq: int, epoch: int, start_us: int, end_us: int, decision: str | None, **prediction: Any
    ) -> None:
        """What was done with a window: None run, or why it was skipped. What was predicted is not kept."""
        self._windows.append((seq, epoch, start_us, end_us, DECISIONS.index(decision)))

    def close(
        self,
        digest: str = "",
        report: SourceReport | None = None,
        digest_input: str = "",
        clean_up: Sequence[dict[str, Any]] = (),
    ) -> int:
        """Write the file and return the number of events.

        digest: of the predictions made live; report: what the live source lost, for the replay to say;
        clean_up: what a model's clean-up did, which this form does not keep.
        """
        path = self.path
        t, x, y, p = (np.concatenate(column) for column in self._columns)
        table = np.array(self._marks, np.int64).reshape(-1, len(MARKS))
        entries = {name: np.ascontiguousarray(table[:, i]) for i, name in enumerate(MARKS)}
        check_marks(t, x, y, p, list(entries.values()), self.sensor, str(path))
        if self._windows:
            table = np.array(self._windows, np.int64)
            entries |= {name: np.ascontiguousarray(table[:, i]) for i, name in enumerate(WINDOWS)}
        extra: dict[str, Any] = {"digest": np.array(digest)} if digest else {}
        if report is not None:
            extra |= {name: np.int64(getattr(report, name)) for name in LOSSES}
        size = {"width": np.int64(self.sensor.width), "height": np.int64(self.sensor.height)}
        model = np.array(self.sensor.model)
        everything: dict[str, Any] = {
            "t": t,
            "x": x,
            "y": y,
            "p": p,
            "model": model,
            **size,
            **entries,
            **extra,
        }
        unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            with open(unfinished, "wb") as file:
                np.savez_compressed(file, **everything)
                file.flush()
                os.fsync(file.fileno())
            os.replace(unfinished, path)
        except OSError as error:
            raise SourceError(f"{path}: cannot be written: {error.strerror or error}") from error
        finally:
            unfinished.unlink(missing_ok=True)
        return self._total


def recorded_packets(
    t: Times,
    x: Coordinates,
    y: Coordinates,
    p: Polarities,
    marks: list[NDArray[np.int64]],
    sensor: Sensor,
    report: SourceReport,
    where: str,
) -> Iterator[EventPacket]:
    """The packets as they were written; `marks` in the order of MARKS, `report` counts as it goes."""
    check_marks(t, x, y, p, marks, sensor, where)
    start = 0
    epochs: set[int] = set()
    for stop, until_us, epoch, origin in zip(*(mark.tolist() for mark in marks), strict=True):
        while True:
            end = min(stop, start + PACKET_EVENTS)  # ours are never longer; another writer's may be
            here = slice(start, end)
            until = until_us if end == stop else int(t[end - 1])
            origin_us = None if origin == NO_ORIGIN else origin
            epochs.add(epoch)
            report.epochs = len(epochs)
            report.events += end - start
            report.packets += 1
            yield EventPacket(t[here], x[here], y[here], p[here], until, epoch, origin_us)
            start = end
            if end == stop:
                break


def recorded_decisions(windows: list[NDArray[np.int64]], where: str) -> dict[tuple[int, int], str]:
    """(epoch, start_us) of each skipped window -> why; `windows` in the order of WINDOWS."""
    _, epochs, starts, _, decisions = (column.tolist() for column in windows)
    if any(not 0 <= d < len(DECISIONS) for d in decisions):
        raise SourceError(f"{where}: window_decision: wanted 0 to {len(DECISIONS) - 1}")
    rows = zip(epochs, starts, decisions, strict=False)
    return {(epoch, start): why for epoch, start, d in rows if (why := DECISIONS[d])}


def check_marks(
    t: Times,
    x: Coordinates,
    y: Coordinates,
    p: Polarities,
    marks: list[NDArray[np.int64]],
    sensor: Sensor,
    where: str,
) -> None:
    """Raise SourceError naming the first rule that the events and marks break."""

    def refuse(name: str, what: str, bad: NDArray[np.bool_]) -> None:
        if bad.any():
            raise SourceError(f"{where}: {name}: {what}, at {int(np.argmax(bad))}")

    stop, until, epoch, origin = marks
    n, k = len(t), len(stop)
    if any(len(mark) != k for mark in marks):
        raise SourceError(
            f"{where}: marks of {', '.join(str(len(mark)) for mark in marks)} entries; wanted one length"
        )
    start = np.concatenate([np.zeros(1, np.int64), stop[:-1]])[:k]
    refuse("mark_stop", "goes back", stop < start)
    if (int(stop[-1]) if k else 0) != n:
        raise SourceError(f"{where}: mark_stop: ends at {int(stop[-1]) if k else 0}; the file has {n} events")
    refuse(
        "x, y",
        f"outside the sensor of {sensor.width}x{sensor.height}",
        (x >= sensor.width) | (y >= sensor.height),
    )
    refuse("p", "neither 0 nor 1", p > 1)
    refuse("t", "beyond any clock", (t > MAX_ABS_US) | (t < -MAX_ABS_US))
    refuse("mark_until_us", "beyond any clock", (until > MAX_ABS_US) | (until < -MAX_ABS_US))
    refuse(
        "mark_origin_us",
        "beyond any clock",
        (origin != NO_ORIGIN) & ((origin > MAX_ABS_US) | (origin < -MAX_ABS_US)),
    )
    if k and epoch[0] < 0:
        raise SourceError(f"{where}: mark_epoch: begins with {int(epoch[0])}; wanted 0 or more")
    refuse("mark_epoch", "goes back", epoch[1:] < epoch[:-1])
    same = epoch[1:] == epoch[:-1]
    refuse("mark_until_us", "goes back within an epoch", same & (until[1:] < until[:-1]))
    refuse("mark_origin_us", "changes within an epoch", same & (origin[1:] != origin[:-1]))
    full = stop > start
    first, last = t[start[full]], t[stop[full] - 1]
    refuse("mark_until_us", "before its packet's last event", until[full] < last)
    before = np.concatenate([np.full(1, NO_ORIGIN), np.where(same, until[:-1], NO_ORIGIN)])[:k]
    refuse("t", "before the clock mark it follows", first < before[full])
    inside = np.ones(max(0, n - 1), bool)
    inside[start[full][1:] - 1] = False  # from one packet to the next, `before` has been looked at
    refuse("t", "goes back within a packet", inside & (t[1:] < t[:-1]))
