"""Messages in, with everything that was lost said aloud.

    with BusReader("tcp://127.0.0.1:5556", kinds=("prediction",)) as bus:
        for item in bus:
            match item:
                case Prediction(): ...
                case Gap(missed=missed): ...

Between the messages come `Gap` (some were lost), `Restart` (the publisher is a new run), `Silence`
(nothing heard for a while; publishers speak at least every second) and `Malformed` (not a message of
this version). Nothing that arrives raises. received + sum of gaps = sent, from the first message heard
to the last status heard; what a run published after its last status heard is the only loss unseen.
"""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import zmq

from spikeline.pipeline.messages import (
    DEFAULT_ENDPOINT,
    KIND_OF,
    KINDS,
    VERSION,
    BadMessage,
    BusError,
    Message,
    Status,
    check_stream,
    decode_message,
    split_topic,
    topic_of,
)

SILENCE_S = 1.8  # a status comes every second: nothing for this long is said within two
MESSAGE_BYTES_MAX = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Gap:
    """`missed` messages of this topic, from seq `first` on, were sent and not received."""

    topic: str
    missed: int
    first: int


@dataclass(frozen=True, slots=True)
class Restart:
    """The stream's publisher is a new run: sequences and epochs start anew."""

    old: str
    new: str
    stream: str


@dataclass(frozen=True, slots=True)
class Silence:
    """Nothing at all has arrived for this long; said again each time it has lasted as long again."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Malformed:
    """Something arrived that is no message of this version, or out of its order."""

    topic: str
    reason: str


Item = Message | Gap | Restart | Silence | Malformed


def interpret(parts: Sequence[bytes]) -> Message | Malformed:
    """What these parts say; never raises."""
    try:
        return decode_message(parts)
    except BadMessage as error:
        topic = parts[0][:200].decode("utf-8", "replace") if parts else ""
        return Malformed(topic, str(error))


class BusReader:
    """Iterate over what one publisher says. `stream` "" takes the first stream heard.

    kinds      which messages to hand out; a status is always listened to, as the sign of life
    timeout_s  end the iteration after waiting so long without being handed a message; None never ends it
    """

    def __init__(
        self,
        endpoint: str = DEFAULT_ENDPOINT,
        stream: str = "",
        kinds: Sequence[str] = ("prediction",),
        *,
        silence_s: float = SILENCE_S,
        timeout_s: float | None = None,
    ) -> None:
        for kind in kinds:
            if kind not in KINDS:
                raise BusError(f"kind {kind!r}: choose from {', '.join(KINDS)}")
        self.endpoint = endpoint
        self.received = 0  # messages handed out, and messages lost
        self.missed = 0
        self._kinds = tuple(kinds)
        self._stream = stream and check_stream(stream)
        self._silence_s = silence_s
        self._timeout_s = timeout_s
        self._waiting_from_s: float | None = None
        self._items: deque[Item] = deque()
        self._runs: dict[str, str] = {}  # stream -> run id
        self._next: dict[tuple[str, str], int] = {}  # (stream, kind) -> seq expected
        self._heard_s = self._silence_from_s = time.monotonic()
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        try:
            _set_options(self._socket, endpoint)
            self._listening: list[bytes] = []
            self._listen_to(self._stream)
            self._socket.connect(endpoint)
        except zmq.ZMQError as error:
            self.close()
            raise BusError(f"{endpoint}: {error}; want something like {DEFAULT_ENDPOINT}") from None

    def receive(self, timeout_s: float | None = None) -> Item | None:
        """The next item, or None if there is none within `timeout_s` (None waits for ever)."""
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        while not self._items:
            if self._socket.closed:
                raise BusError(f"{self.endpoint}: the reader is closed")
            try:
                parts = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                now_s = time.monotonic()
                if now_s - self._silence_from_s >= self._silence_s:
                    self._be_silent(now_s)
                elif deadline_s is not None and now_s >= deadline_s:
                    return None
                else:
                    wait_s = self._silence_from_s + self._silence_s - now_s
                    if deadline_s is not None:
                        wait_s = min(wait_s, deadline_s - now_s)
                    self._socket.poll(max(1, int(wait_s * 1e3) + 1))
            else:
                self._heard_s = self._silence_from_s = time.monotonic()
                self._take(parts)
        return self._items.popleft()

    def close(self) -> None:
        self._context.destroy(linger=0)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Item:
        if self._timeout_s is None:
            wait_s = None
        else:
            now_s = time.monotonic()
            if self._waiting_from_s is None:
                self._waiting_from_s = now_s
            wait_s = max(0.0, self._waiting_from_s + self._timeout_s - now_s)
        item = self.receive(wait_s)
        if item is None:
            raise StopIteration
        if isinstance(item, Message):
            self._waiting_from_s = None
        return item

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _take(self, parts: list[bytes]) -> None:
        """Put what these parts mean into `_items`: nothing, one item, or several."""
        message = interpret(parts)
        if isinstance(message, Malformed):
            if not _is_unknown_kind(parts):  # a newer publisher's kinds are not ours to complain about
                self._items.append(message)
            return
        kind = KIND_OF[type(message)]
        if self._listening == [_EVERYTHING]:
            self._listen_to(message.stream)
        self._follow_run(message)
        expected = self._next.get((message.stream, kind))
        if expected is not None and message.seq < expected:
            reason = f"seq {message.seq} after {expected - 1} in run {message.run_id}"
            self._items.append(Malformed(topic_of(message.stream, kind), reason))
            return
        self._advance(message.stream, kind, message.seq)
        self._next[message.stream, kind] = message.seq + 1
        if isinstance(message, Status):
            for other in KINDS.keys() & message.sequences.keys():
                self._advance(message.stream, other, message.sequences[other])
        if kind in self._kinds:
            self.received += 1
            self._items.append(message)

    def _follow_run(self, message: Message) -> None:
        old = self._runs.get(message.stream)
        if old == message.run_id:
            return
        self._runs[message.stream] = message.run_id
        if old is not None:
            self._items.append(Restart(old, message.run_id, message.stream))
            for kind in KINDS:  # we were listening when it began, so what we did not get is lost
                self._next[message.stream, kind] = 0

    def _advance(self, stream: str, kind: str, upcoming: int) -> None:
        """The next of this topic is `upcoming`; what lies between it and the one expected is lost."""
        first = self._next.get((stream, kind), upcoming)
        if upcoming > first and kind in self._kinds:
            self.missed += upcoming - first
            self._items.append(Gap(topic_of(stream, kind), upcoming - first, first))
        self._next[stream, kind] = max(first, upcoming)

    def _be_silent(self, now_s: float) -> None:
        self._silence_from_s = now_s
        self._items.append(Silence(round(now_s - self._heard_s, 3)))
        self._listen_to(self._stream)  # the next publisher's stream may have another name

    def _listen_to(self, stream: str) -> None:
        """Subscribe to the wanted kinds of `stream`, or to everything to find out what there is.

        The status comes last: publishers take subscriptions in order, so whoever hears a status is
        already being sent the kinds whose numbers it tells. New ones are added before old ones go.
        """
        topics = [_EVERYTHING]
        if stream:
            kinds = sorted(self._kinds, key=lambda kind: kind == "status")
            topics = [topic_of(stream, kind).encode() for kind in dict.fromkeys([*kinds, "status"])]
        if topics != self._listening:
            old, self._listening = self._listening, topics
            for topic in topics:
                self._socket.setsockopt(zmq.SUBSCRIBE, topic)
            for topic in old:
                self._socket.setsockopt(zmq.UNSUBSCRIBE, topic)


_EVERYTHING = f"v{VERSION}/".encode()


def _is_unknown_kind(parts: list[bytes]) -> bool:
    try:
        return split_topic(parts[0])[1] not in KINDS
    except BadMessage:
        return False


def _set_options(socket: Any, endpoint: str) -> None:
    """Small queue and small buffer, before the connect: what cannot be read in time is not kept."""
    socket.setsockopt(zmq.RCVHWM, 10)
    socket.setsockopt(zmq.RCVBUF, 64 * 1024)
    socket.setsockopt(zmq.MAXMSGSIZE, MESSAGE_BYTES_MAX)
    socket.setsockopt(zmq.IPV6, int("[" in endpoint))
    socket.setsockopt(zmq.HEARTBEAT_IVL, 500)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 1_500)
    socket.setsockopt(zmq.HEARTBEAT_TTL, 2_000)
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.RECONNECT_IVL, 100)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1_000)
