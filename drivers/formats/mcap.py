"""Our MCAP recordings as packets: as they were recorded, also of a killed recorder or a damaged file.

Every chunk has a checksum and ends with the account of the recording so far, so what a damaged or missing
chunk held is known by the next one: nothing wrong is handed out, and what is lost is counted. Other
programs' MCAP files are refused; those of ROS have a reader of their own (ros.py).
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from spikeline.drivers.base import FileSource
from spikeline.drivers.formats.mcap_chunks import Broken, Found, Message, channel_of, messages, walk
from spikeline.drivers.mcap_layout import (
    ACCOUNT,
    CHANNELS,
    END,
    MAGIC,
    OP_CHANNEL,
    OP_CHUNK,
    PACKET,
    PREDICTION,
    RUN,
    Account,
    End,
    Run,
)
from spikeline.drivers.packet_form import packet_from
from spikeline.drivers.recording import LOSSES
from spikeline.pipeline.events import Admission, EventPacket, Sensor, SourceError

TOPICS = {channel.topic: channel.id for channel in CHANNELS}
FOREIGN_RECORDS = 1_000  # chunks and channels of others only: the file is none of ours

Stretch = tuple[list[EventPacket | bytes], Account | None]


class Skip(Struct):
    """Of a prediction, what a replay needs."""

    epoch: int
    t_start_us: int
    skipped: str | None


_run = msgspec.json.Decoder(Run).decode
_account = msgspec.json.Decoder(Account).decode
_end = msgspec.json.Decoder(End).decode
_skip = msgspec.json.Decoder(Skip).decode


class McapSource(FileSource):
    """A recording of ours.

    run        what was recorded and what predicted, as its recorder said; None if that is lost
    end        the recorder's last word, with the digest; None before it is read, or if there is none
    decisions  (epoch, start_us) of each window that the recorded live run skipped -> why
    said       predictions, as JSON, recorded between the packet before this one and this one; at the end
               those after the last
    """

    format = "MCAP"

    def __init__(
        self, path: str | Path, *, sensor: Sensor | None = None, options: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(path, sensor=sensor, options=options)
        self.run: Run | None = None
        self.end: End | None = None
        self.decisions: dict[tuple[int, int], str] = {}
        self._ours: dict[int, int] = {}  # the file's channel -> ours
        self._others: set[str] = set()
        self._gap: list[Broken] = []  # since the last whole chunk
        self._read_to = 0
        self._recorded = self._windows = 0  # events and predictions written by then, as the recorder says
        self._refused = 0
        self.said: list[bytes] = []
        self._said: list[bytes] = []
        self._last: EventPacket | None = None
        try:
            own = self._look_ahead()
            if own is None and self._others:
                raise SourceError(
                    f"{path}: an MCAP file with the channels {', '.join(sorted(self._others)[:8])}; "
                    "wanted a recording of spikeline, or a ROS bag (?format=rosmcap)"
                )
            found = own or sensor
            if found is None:
                raise SourceError(
                    f"{path}: no whole chunk says the sensor's size; if that is known, give it with "
                    "--sensor WxH"
                )
            self.sensor = found
            self._admission = Admission(found)
            if self.run is None or self.run.skips:
                self.decisions = self._skipped_windows()
        except BaseException:
            self.close()
            raise

    def _look_ahead(self) -> Sensor | None:
        """The sensor, from the run's description or the first packet. The file is read only so far."""
        for k, found in enumerate(walk(self._stored)):
            if k > FOREIGN_RECORDS and self._others and not self._ours:
                break
            for channel, data in self._messages_in(found):
                if channel == RUN.id and self.run is None:
                    self.run = _decoded(_run, data)
                    if self.run:
                        return Sensor(self.run.width, self.run.height, self.run.sensor)
                if channel == PACKET.id and (packet := _decoded(packet_from, data)):
                    return Sensor(packet[0].width, packet[0].height)
        return None

    def _skipped_windows(self) -> dict[tuple[int, int], str]:
        """All of them, before the first packet: a replay asks when a window closes."""
        skips = (
            _decoded(_skip, data)
            for found in walk(self._stored)
            for channel, data in self._messages_in(found)
            if channel == PREDICTION.id
        )
        return {(s.epoch, s.t_start_us): s.skipped for s in skips if s and s.skipped}

    def _messages_in(self, found: Found | Broken) -> list[tuple[int, memoryview]]:
        """(our channel, data) of every message of a chunk that is ours; channels are noted."""
        out: list[tuple[int, memoryview]] = []
        if isinstance(found, Broken):
            return out
        if found.operation == OP_CHANNEL:
            self._note_channel(found.data)
        elif found.operation == OP_CHUNK:
            try:
                for record in messages(found.data):
                    if isinstance(record, Message):
                        # A file that lost its beginning has our numbers all the same.
                        ours = self._ours.get(record.channel, 0 if self._ours else record.channel)
                        if ours:
                            out.append((ours, record.data))
                    else:
                        self._note_channel(record)
            except ValueError:
                pass  # the checksum was right, so it was written that way: what came before is kept
        return out

    def _note_channel(self, record: bytes) -> None:
        try:
            number, topic = channel_of(record)
        except ValueError:
            return
        if topic in TOPICS:
            self._ours[number] = TOPICS[topic]
        else:
            self._others.add(topic)

    def _packets(self) -> Iterator[EventPacket]:
        report = self._admission.report
        for found in walk(self._stored):
            if isinstance(found, Broken):
                self._gap.append(found)
                report.truncated |= found.cut
            else:
                self._read_to = found.stop
                for stretch in self._stretches(found):
                    yield from self._admit(found, stretch)
            report.bytes = found.stop
        report.bytes = self._stored.size
        if self._stored.at(self._stored.size - len(MAGIC), len(MAGIC)) != MAGIC:
            report.truncated = True
            if not self._gap:
                self._gap.append(Broken(self._read_to, self._stored.size, "its last bytes are missing", True))
        if self.end is None:
            report.truncated = True
            if not self._gap:
                end = self._stored.size
                self._gap.append(Broken(end, end, "the recorder did not end it", True))
        self.said = self._said
        self._say("no events are lost" if self.end else f"what came after {self._clock} is lost")

    def _stretches(self, found: Found) -> Iterator[Stretch]:
        """What stands before each account, and the account; a chunk of ours is one stretch."""
        items: list[EventPacket | bytes] = []
        for channel, data in self._messages_in(found):
            account = None
            if channel == PACKET.id:
                try:
                    header, packet = packet_from(data)
                    if (header.width, header.height) != self.sensor[:2]:
                        raise ValueError(f"of a sensor of {header.width}x{header.height} pixels")
                    items.append(packet)
                except ValueError as error:  # the checksum is right: it was written like that
                    self._note(found, f"a packet with {error}")
            elif channel == PREDICTION.id:
                items.append(bytes(data))
            elif channel == ACCOUNT.id:
                account = _decoded(_account, data)
            elif channel == END.id:
                account = self.end = _decoded(_end, data)
            if account:
                yield items, account
                items = []
        if items:
            yield items, None

    def _admit(self, found: Found, stretch: Stretch) -> Iterator[EventPacket]:
        """The packets of a stretch, after what its account tells of those missing before it."""
        items, account = stretch
        packets = [item for item in items if isinstance(item, EventPacket)]
        report = self._admission.report
        own, windows = sum(len(packet) for packet in packets), len(items) - len(packets)
        self._recorded += own
        self._windows += windows
        lost = account.events - self._recorded if account else 0
        lost_windows = account.windows - self._windows if account else 0
        if lost < 0 or lost_windows < 0:
            self._recorded -= own
            self._windows -= windows
            self._gap.append(Broken(found.start, found.stop, "a chunk in the wrong place", False))
            return
        if (lost or lost_windows) and not self._gap:
            self._gap.append(Broken(found.start, found.start, "chunks are missing", False))
        first = next((int(packet.t[0]) for packet in packets if len(packet)), None)
        before = f" and before {first} us" if first is not None else ""
        outcome = f"{lost} events are lost, after {self._clock}{before}" if lost else "no events are lost"
        self._say(outcome + (f"; {lost_windows} predictions are lost" if lost_windows else ""))
        self._recorded += lost
        self._windows += lost_windows
        if account:
            for name in LOSSES:
                setattr(report, name, getattr(account, name))
            report.refused += self._refused
        for packet in items:
            if isinstance(packet, bytes):
                self._said.append(packet)
                continue
            if not self._follows(packet):
                self._refused += len(packet)
                report.refused += len(packet)
                self._note(found, f"a packet that goes back to {packet.until_us} us")
                continue
            report.events += len(packet)
            report.packets += 1
            report.epochs += self._last is None or packet.epoch != self._last.epoch
            self._last = packet
            self.said, self._said = self._said, []
            yield packet

    def _note(self, found: Found, reason: str) -> None:
        """One line for a chunk, however many of its packets are wrong."""
        if not self._gap or self._gap[-1].start != found.start:
            self._gap.append(Broken(found.start, found.stop, reason, False))

    def _follows(self, packet: EventPacket) -> bool:
        last = self._last
        if last is None or packet.epoch > last.epoch:
            return True
        first_us = int(packet.t[0]) if len(packet) else packet.until_us
        return packet.epoch == last.epoch and first_us >= last.until_us and packet.origin_us == last.origin_us

    @property
    def _clock(self) -> str:
        return "the beginning" if self._last is None else f"{self._last.until_us} us"

    def _say(self, outcome: str) -> None:
        """A line for each broken range; what it cost stands in the last."""
        for k, broken in enumerate(self._gap):
            cost = f"; {outcome}" if k == len(self._gap) - 1 else ""
            self._damaged(f"bytes {broken.start} to {broken.stop}: {broken.reason}{cost}")
        self._gap.clear()


def _decoded(decode: Any, data: memoryview) -> Any:
    """None for what cannot be decoded."""
    try:
        return decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError):
        return None
