"""Events in ROS bags as packets: ROS 1 (`.bag`), ROS 2 in SQLite (`.db3`) or MCAP; no ROS is needed.

Option `topic`: the topic with events, where the bag has several. Messages come in the order in which they
were recorded. One that is damaged is reported and left out, and so is one for another sensor size; where
messages are missing (by their `seq`), the decoder waits until it knows time and place again.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from spikeline.drivers import uri as grammar
from spikeline.drivers.base import FileSource, Stored
from spikeline.drivers.formats.records import agreed_sensor
from spikeline.drivers.formats.rooms import Room
from spikeline.drivers.formats.ros_bag1 import MAGIC, topics_of_bag1, walk_bag1
from spikeline.drivers.formats.ros_container import Broken, Piece, Topic, unpack_message
from spikeline.drivers.formats.ros_db3 import topics_of_db3, walk_db3
from spikeline.drivers.formats.ros_mcap import topics_of_ros_mcap, walk_ros_mcap
from spikeline.drivers.formats.ros_messages import ARRAYS, PACKETS, Array, Packet, read_array, read_packet
from spikeline.drivers.formats.ros_payloads import ENCODINGS, Payload
from spikeline.drivers.formats.settled import Settled
from spikeline.pipeline.events import JUMP_US, RESET_BACK_US, EventPacket, Sensor, SourceError

Walk = Callable[[Stored], Iterator[Piece | Broken]]
Message = Array | Packet

JOINED_EVENTS = 32_768  # small messages are handed out together
FIRST_MESSAGES = 16  # agree on the sensor's size
MANY_JUMPS = 3  # a clock that was set is one jump in a message, a damaged time two
KINDS = (*ARRAYS, *PACKETS)


class RosSource(FileSource):
    """The events of one topic."""

    format = "ROS bag"
    OPTIONS = ("topic",)

    def __init__(
        self, path: str | Path, *, sensor: Sensor | None = None, options: Mapping[str, str] | None = None
    ) -> None:
        options = options or {}
        grammar.only(options, self.OPTIONS, str(path))
        super().__init__(path)
        try:
            topics, self._walk = self._container()
            try:
                self._topic = self._choose(topics(self._stored), options.get("topic"))
            except ValueError as error:
                raise error if isinstance(error, SourceError) else SourceError(f"{path}: {error}") from error
            self.sensor = agreed_sensor(
                self.path, self._own_size(), sensor, reason="its messages do not say its size"
            )
        except BaseException:
            self.close()
            raise
        self._admission: Settled = Settled(self.sensor)
        self._payload: Payload | None = None
        self._encoding = ""
        self._seq: int | None = None
        self._waiting: list[Room] = []

    def _container(self) -> tuple[Callable[[Stored], list[Topic]], Walk]:
        head = self._stored.at(0, 16)
        if head.startswith(MAGIC):
            return topics_of_bag1, walk_bag1
        if head.startswith(b"SQLite format 3\0"):
            return topics_of_db3, walk_db3
        if head.startswith(b"\x89MCAP0\r\n"):
            return topics_of_ros_mcap, walk_ros_mcap
        raise SourceError(f"{self.path}: begins with {head!r}; wanted a ROS bag: .bag, .db3 or .mcap")

    def _choose(self, topics: list[Topic], wanted: str | None) -> Topic:
        with_events = {topic.name: topic for topic in topics if topic.kind in KINDS}
        if wanted is not None and wanted in with_events:
            return with_events[wanted]
        if wanted is None and len(with_events) == 1:
            return next(iter(with_events.values()))
        named = ", ".join(list(with_events)[:8])
        if with_events:
            what = f"topic={wanted}: no events there" if wanted else "events on several topics"
            raise SourceError(f"{self.path}: {what}; choose from {named} with ?topic=")
        listed = ", ".join(f"{topic.name} ({topic.kind})" for topic in topics[:8]) or "none"
        raise SourceError(f"{self.path}: no topic with events ({', '.join(KINDS)}); its topics are {listed}")

    def _own_size(self) -> Sensor | None:
        """What most of the first messages say."""
        sizes: list[tuple[int, int]] = []
        pieces = (p for p in self._walk(self._stored) if isinstance(p, Piece) and p.topic == self._topic)
        for piece in itertools.islice(pieces, FIRST_MESSAGES):
            try:
                message = self._read(piece)
            except ValueError:
                continue
            if 0 < message.width < 65_536 and 0 < message.height < 65_536:
                sizes.append((message.width, message.height))
        return Sensor(*max(sizes, key=sizes.count)) if sizes else None

    def _read(self, piece: Piece) -> Message:
        """ValueError if it is damaged."""
        data = unpack_message(piece.data)
        read: Callable[..., Message] = read_array if self._topic.kind in ARRAYS else read_packet
        return read(data, self._topic.form)

    def _packets(self) -> Iterator[EventPacket]:
        report = self._admission.report
        for found in self._walk(self._stored):
            if isinstance(found, Broken):
                report.truncated |= found.cut
                self._damaged(f"bytes {found.start} to {found.stop}: {found.reason}")
                self._missing()
            elif found.topic == self._topic:
                report.bytes = found.stop
                try:
                    self._waiting.append(self._events(found))
                except ValueError as error:
                    where = f"bytes {found.start} to {found.stop}: a message of {len(found.data)} bytes"
                    self._damaged(f"{where}: {error}; left out")
                    self._missing()
            if sum(len(room.t) for room in self._waiting) >= JOINED_EVENTS:
                yield from self._hand_out()
        yield from self._hand_out()
        yield from self._admission.finish()
        report.bytes = self._stored.size
        end_us = self._payload.end_us if self._payload else None
        if end_us is not None and self._admission.epoch >= 0:
            yield from self._admission.mark(end_us)
        if self._payload and self._payload.lost_bytes:
            self._damaged(
                f"{self._payload.lost_bytes} bytes of {self._encoding} words are damaged, or before a time"
            )

    def _events(self, piece: Piece) -> Room:
        """ValueError for a message that cannot be read, or is not of this stream."""
        message = self._read(piece)
        size = message.width, message.height
        if size != self.sensor[:2] and size != (0, 0):
            raise ValueError(f"of a sensor of {size[0]}x{size[1]}; wanted {self.sensor[0]}x{self.sensor[1]}")
        if isinstance(message, Array):
            return self._steady(message.events)
        if message.encoding not in ENCODINGS:
            raise ValueError(f"encoded as {message.encoding!r}; wanted {', '.join(ENCODINGS)}")
        if self._payload is None:
            self._payload, self._encoding = ENCODINGS[message.encoding](), message.encoding
        if message.encoding != self._encoding:
            raise ValueError(f"encoded as {message.encoding}; the stream is {self._encoding}")
        self._follow(message)
        refused = self._payload.refused
        room = self._payload.events(message)
        self._admission.report.refused += self._payload.refused - refused
        return self._steady(room)

    def _steady(self, room: Room) -> Room:
        """Without the events of damaged bytes, whose times are anywhere: each would begin an epoch."""
        step = np.diff(room.t)
        jumps = int(np.count_nonzero((step < -RESET_BACK_US) | (step > JUMP_US)))
        if jumps < MANY_JUMPS:
            return room
        near = np.abs(room.t - int(np.median(room.t))) <= RESET_BACK_US
        if 2 * np.count_nonzero(near) < len(near):
            self._admission.report.refused += len(near)
            raise ValueError(f"times that jump {jumps} times in {len(near)} events")
        self._admission.report.refused += int(np.count_nonzero(~near))
        return Room(room.t[near], room.x[near], room.y[near], room.p[near])

    def _follow(self, message: Packet) -> None:
        """A number that leaps forward tells of messages that were lost before they reached the bag."""
        assert self._payload is not None
        if self._seq is not None and message.seq != self._seq + 1:
            self._payload.gap()
            if message.seq > self._seq + 1:
                self._damaged(
                    f"messages {self._seq + 1} to {message.seq - 1} are missing; their events are lost"
                )
        self._seq = message.seq

    def _missing(self) -> None:
        """A message of ours may be among what could not be read."""
        if self._payload is not None:
            self._payload.gap()

    def _hand_out(self) -> Iterator[EventPacket]:
        if self._waiting:
            joined = [np.concatenate(columns) for columns in zip(*self._waiting, strict=True)]
            self._waiting = []
            yield from self._admission.settle(*joined)
