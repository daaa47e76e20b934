"""The base of record files: a header, then records one after another until the file ends.

A format is a `RecordSource`, which reads its header in `_open`, and a `Decoder`, which turns the bytes
behind it into events. The source does the rest: it reads blocks, hands the events out as packets, finds
the next good record behind damage, and reports what was lost and where.

The decoder's contract:

decode(data, room, final)   Decode whole records from the begin of `data` (uint8; aligned to `unit`) into the
    begin of `room`. Go on until `data` holds no further whole record, or fewer than SPARE places of `room`
    are free, or a record cannot be right. Return `Step(used, events, odd)`: bytes used up, events written,
    and True if what stands at byte `used` cannot be right. Bytes that were not used come again, with more
    behind them; `final`: no more will come. What is remembered from record to record is in the decoder's
    own fields, so that any cut of the bytes gives the same events. Times are int64 and unwrapped, p is 0
    or 1. Whether x and y lie in the sensor and times are in order is checked for all formats in packing.py.
judge(ahead, final)   Called at an odd record with the bytes from there on (LOOK_BYTES; fewer: the file ends).
    Return how many bytes to pass over without calling it damage; 0 takes the record as it is, and then the
    decoder must not stop at it again. None, the default: damage.
good(data)   Called behind damage with a guess of where records begin: `data` is whole records. Return
    (ok, t): whether each can be a record, and its raw time, NO_TIME where it has none. None, the default:
    this format cannot be entered in the middle, and all that follows damage is lost.
resume(ahead)   Called when reading goes on behind damage, with the bytes from there on.
unit       Bytes of a record; `good` is tried at this many shifts.
run        So many records in a row that are `good`, their times at most `step_us` apart, are no chance.
wrap_us    Where the time that `good` gives wraps; 0: never.
end_us     The time the clock has reached, where the records tell it; None: only the events do.
others     Records that are no events, counted by kind for people: {"external trigger": 3}.
refused    Events that `judge` refused; taken over into the report, and set to 0.

Events whose times leap away and come back within a few (a flipped bit) are refused, rather than those that
follow them, and open no epoch: see `times.settle`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikeline.drivers import uri as grammar
from spikeline.drivers.base import FileSource, Stored
from spikeline.drivers.formats.packing import Packing
from spikeline.drivers.formats.resync import NO_TIME, first_run
from spikeline.drivers.formats.rooms import Blocks, Bytes, PipedBlocks, Room, blocks_of
from spikeline.pipeline.events import EventPacket, Sensor, SourceError

__all__ = [
    "Bytes", "Decoder", "NO_TIME", "Opened", "RecordSource", "Room", "SPARE", "Step", "agreed_sensor",
]  # fmt: skip

BLOCK_BYTES = 1 << 18
LOOK_BYTES = 1 << 16
SPARE = 64  # the most events of one record, and room for those written beyond them
JOIN_BYTES = 256  # damage this close behind the last is told in the same line


class Step(NamedTuple):
    used: int
    events: int
    odd: bool = False
    refused: int = 0  # events that cannot be handed out: before the first time, say
    ordered: bool = False  # none of these events is earlier than the one before it; saves looking
    clock_reset: bool = False  # the records say so, behind these events: what follows is a new epoch


class Decoder(ABC):
    """Bytes to events; see the head of this file."""

    unit = 1
    refused = 0
    run = 32
    step_us = 60_000_000
    wrap_us = 0

    def __init__(self) -> None:
        self.others: dict[str, int] = {}

    @abstractmethod
    def decode(self, data: Bytes, room: Room, final: bool) -> Step: ...

    def judge(self, ahead: Bytes, final: bool) -> int | None:
        return None

    def good(self, data: Bytes) -> tuple[NDArray[np.bool_], NDArray[np.int64]] | None:
        return None

    def resume(self, ahead: Bytes) -> None:  # noqa: B027 - most remember nothing that damage could spoil
        pass

    @property
    def end_us(self) -> int | None:
        return None

    def count(self, kind: str, more: int) -> None:
        if more:
            self.others[kind] = self.others.get(kind, 0) + more


class Opened(NamedTuple):
    """What `_open` found."""

    sensor: Sensor
    decoder: Decoder
    body: int  # the byte where records begin
    notes: tuple[str, ...] = ()  # findings for the report's damage lines
    cut: bool = False  # the file ends within its header


class RecordSource(FileSource):
    """Base of the record files.

    reuse  every packet's arrays are the same memory: for a loop that is done with a packet when it asks for
           the next. Without it memory is used again only once nobody holds it.
    """

    FORWARD = True

    def __init__(
        self,
        path: str | Path | Stored,
        *,
        sensor: Sensor | None = None,
        options: Mapping[str, str] | None = None,
        reuse: bool = False,
    ) -> None:
        super().__init__(path, sensor=sensor, options=options)
        self._blocks: Blocks | PipedBlocks | None = None
        given = dict(options or {})
        try:
            grammar.only(given, self.OPTIONS, str(path))
            opened = self._open(sensor, given)
            self._blocks = blocks_of(self._stored, BLOCK_BYTES)
        except BaseException:
            self.close()
            raise
        self.sensor, self._decoder, self._body = opened[:3]
        self._admission = self._packing = Packing(self.sensor, reuse=reuse)
        for line in opened.notes:
            self.note(line)
        if opened.cut:
            self._admission.report.truncated = True
            self.note(f"the file ends within its header, at byte {self._stored.size}; it holds no events")
        self._lost, self._line = range(0), ""  # the last damage told

    @abstractmethod
    def _open(self, sensor: Sensor | None, options: dict[str, str]) -> Opened:
        """Read the header through `self._stored`; `sensor` is the user's word (see `agreed_sensor`)."""

    @property
    def others(self) -> dict[str, int]:
        """Records that are no events, by kind."""
        return dict(self._decoder.others)

    def close(self) -> None:
        super().close()
        if self._blocks is not None:
            self._blocks.close()

    def _packets(self) -> Iterator[EventPacket]:
        assert self._blocks is not None
        decoder, packing, report = self._decoder, self._packing, self._admission.report
        at, final = self._body, False
        while not final:
            block = self._blocks.read(at)
            final = len(block) < self._blocks.size
            used, moved = 0, False
            while used < len(block) and not moved:
                if packing.places < SPARE:
                    yield from packing.hand_out(False)
                step = decoder.decode(block[used:] if used else block, packing.space(), final)
                used += step.used
                report.refused += step.refused
                packing.add(step.events, ordered=step.ordered)
                if step.clock_reset:
                    yield from packing.hand_out(True)
                    packing.clock_reset()
                elif step.odd or (used == 0 and step.events == 0 and not final):
                    used = self._pass_over(at + used) - at
                    moved = used % decoder.unit != 0  # then records begin elsewhere: they are read anew
                elif packing.places >= SPARE:
                    break  # what is left of the block is no whole record
            at += used
            report.bytes = at
            final = final and not moved
            if final and at < (size := at - used + len(block)):
                self._cut_short(at, size)
        yield from packing.hand_out(True)
        if decoder.end_us is not None and packing.epoch >= 0:
            yield from packing.mark(decoder.end_us)

    def _pass_over(self, odd: int) -> int:
        """The byte where reading goes on; `odd` is the first byte of a record that cannot be right."""
        decoder = self._decoder
        ahead, final = self._look(odd)
        skip = decoder.judge(ahead, final)
        self._admission.report.refused += decoder.refused
        decoder.refused = 0
        if skip is not None:
            return odd + skip
        at = odd
        while (found := self._first_run(ahead, final)) is None:
            if final or decoder.good(ahead[:0]) is None:
                at, found, ahead = self._stored.size, 0, ahead[:0]
                break
            at += (len(ahead) - decoder.run * decoder.unit) // decoder.unit * decoder.unit
            ahead, final = self._look(at)
        decoder.resume(ahead[found:])
        self._note_lost(odd, at + found)
        return at + found

    def _first_run(self, ahead: Bytes, final: bool) -> int | None:
        about = self._decoder
        return first_run(
            ahead,
            about.good,
            unit=about.unit,
            run=about.run,
            step_us=about.step_us,
            wrap_us=about.wrap_us,
            final=final,
        )

    def _look(self, at: int) -> tuple[Bytes, bool]:
        held = np.frombuffer(self._stored.at(at, LOOK_BYTES), np.uint8)
        return held, len(held) < LOOK_BYTES

    def _note_lost(self, start: int, stop: int) -> None:
        """A damage line; one that only grows where the damage does."""
        damage = self._admission.report.damage
        if self._lost and start - self._lost.stop <= JOIN_BYTES and damage and damage[-1] == self._line:
            start = self._lost.start
            damage.pop()
        self._lost = range(start, stop)
        lost = f"{(stop - start) // self._decoder.unit} {self.format} records"
        self._line = f"bytes {start} to {stop}: damaged; {lost} left out; {self._last_good()}"
        self._damaged(self._line)

    def _cut_short(self, at: int, size: int) -> None:
        self._admission.report.truncated = True
        held = f"{size - at} of {self._decoder.unit} bytes" if self._decoder.unit > 1 else "cut short"
        self._damaged(f"bytes {at} to {size}: the file ends within a record ({held}); {self._last_good()}")
        self._admission.report.bytes = size

    def _last_good(self) -> str:
        return self._packing.last_good()


def agreed_sensor(
    where: Path, found: Sensor | None, given: Sensor | None, *, reason: str = "the file does not say its size"
) -> Sensor:
    """The sensor that the file tells (`found`) or the user (`given`); two that differ are an error."""
    if found is None and given is None:
        raise SourceError(f"{where}: {reason}; say it with --sensor WIDTHxHEIGHT")
    if found is None:
        assert given is not None
        return given
    if given is not None and given[:2] != found[:2]:
        raise SourceError(
            f"{where}: its sensor is {found.width}x{found.height}; --sensor says {given.width}x{given.height}"
        )
    return found
