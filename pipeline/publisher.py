"""Messages out: one stream on a ZeroMQ socket that never makes the loop wait.

    with Publisher(stream="cam1", model_digest=digest) as bus:
        bus.publish(Prediction, t_start_us=0, t_end_us=10_000, window=0, label="wave", ...)
        bus.tick()  # often, also when there is nothing to say

`publish` fills in run id, sequence and times. The last `Status` is kept: `tick` sends it again every
second and to whoever has just joined. What a slow reader cannot take is dropped for that reader only;
the sequence numbers tell it how much. A message nobody listens to is numbered but not encoded.

Queues and socket buffers are small on purpose: only both together bound how late a slow reader hears
(median lag 0.12 s against 5 s with the defaults).
"""

import ipaddress
import re
import secrets
import time
from types import TracebackType
from typing import Any, Self

import msgspec
import numpy as np
import zmq

from spikeline.pipeline.messages import (
    DEFAULT_ENDPOINT,
    KIND_OF,
    KINDS,
    VERSION,
    BusError,
    Dropped,
    Message,
    Status,
    check_stream,
    topic_of,
)

STATUS_EVERY_NS = 1_000_000_000
GREET_EVERY_NS = 50_000_000  # at most this often a newcomer makes us repeat the status
JOINS_AT_ONCE = 1_000  # subscriptions read in one go, so that a flood of them cannot hold the loop
PEER_MESSAGE_BYTES = 1_024  # peers only send subscriptions and heartbeats


class Publisher:
    """One stream on the bus. Not for use from several threads."""

    def __init__(
        self,
        endpoint: str = DEFAULT_ENDPOINT,
        stream: str = "main",
        model_digest: str = "",
        *,
        run_id: str | None = None,
        send_queue: int = 32,
        insecure: bool = False,
    ) -> None:
        self.stream = check_stream(stream)
        self.model_digest = model_digest
        self.run_id = run_id or secrets.token_hex(8)
        self.dropped = Dropped()
        self._topics = {kind: topic_of(stream, name).encode() for kind, name in KIND_OF.items()}
        self._sequences = dict.fromkeys(KINDS, 0)
        self._encoder = msgspec.msgpack.Encoder(enc_hook=_plain)
        self._buffer = bytearray(4_096)
        self._subscribed: set[bytes] = set()  # only prefixes of our topics: peers cannot make it grow
        self._wanted: frozenset[type[Message]] = frozenset()
        self._status: dict[str, Any] | None = None
        self._status_sent_ns = 0
        self._newcomer = False
        self._opened_ns = time.monotonic_ns()
        self._context = zmq.Context()
        self._socket: Any = self._context.socket(zmq.XPUB)
        try:
            _set_options(self._socket, send_queue)
            self.endpoint = _bind(self._socket, endpoint, insecure)
        except BaseException:
            self.close()
            raise

    def publish(
        self,
        kind: type[Message],
        /,  # by position only: Event has a field of this name
        *,
        t_start_us: int,
        t_end_us: int,
        epoch: int = 0,
        dropped: Dropped | None = None,
        **body: Any,
    ) -> int:
        """Send a message of this kind; `body` holds its own fields. Returns its sequence number.

        dropped: the run's losses so far; without it the last ones given stay true.
        """
        if dropped is not None:
            self.dropped = dropped
        body.update(t_start_us=t_start_us, t_end_us=t_end_us, epoch=epoch)
        if kind is Status:
            self._status = body
        return self._send(kind, body, time.monotonic_ns())

    def tick(self, now_ns: int | None = None) -> None:
        """Greet newcomers and repeat the status when it is due. `now_ns`: time.monotonic_ns()."""
        if now_ns is None:
            now_ns = time.monotonic_ns()
        self._read_joins()
        if self._status is not None:
            wait_ns = GREET_EVERY_NS if self._newcomer else STATUS_EVERY_NS
            if now_ns - self._status_sent_ns >= wait_ns:
                self._send(Status, self._status, now_ns)

    def wanted(self, kind: type[Message]) -> bool:
        """Whether anybody listens: what is costly to make need not be made otherwise."""
        self._read_joins()
        return kind in self._wanted

    def close(self) -> None:
        """Send what is queued for a short while, then let go of the port."""
        self._context.destroy(linger=200)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _send(self, kind: type[Message], body: dict[str, Any], now_ns: int) -> int:
        if self._socket.closed:
            raise BusError(f"{self.endpoint}: the publisher is closed")
        name = KIND_OF[kind]
        seq = self._sequences[name]
        if kind is Status:
            self._status_sent_ns = now_ns
            uptime_s = (now_ns - self._opened_ns) / 1e9
            body = {**body, "uptime_s": uptime_s, "sequences": {**self._sequences, name: seq + 1}}
        message = kind(
            schema=VERSION,
            run_id=self.run_id,
            stream=self.stream,
            seq=seq,
            publish_unix_ns=time.time_ns(),
            publish_mono_ns=now_ns,
            model=self.model_digest,
            dropped=self.dropped,
            **body,
        )
        if self.wanted(kind):
            self._encoder.encode_into(message, self._buffer)
            # XPUB drops for a reader whose queue is full; it never waits.
            self._socket.send(self._topics[kind], zmq.SNDMORE | zmq.NOBLOCK)
            self._socket.send(self._buffer, zmq.NOBLOCK)
        if kind is Status:
            self._newcomer = False
        self._sequences[name] = seq + 1
        return seq

    def _read_joins(self) -> None:
        """Take in who has joined or left: messages of one byte, 1 or 0, and the topic prefix.

        Asking for EVENTS also makes ZeroMQ note at once what has left the send queue. A send by itself
        does so about once per millisecond, and drops for fast readers what comes quicker.
        """
        changed = False
        for _ in range(JOINS_AT_ONCE):
            if not self._socket.getsockopt(zmq.EVENTS) & zmq.POLLIN:
                break
            message: bytes = self._socket.recv(zmq.NOBLOCK)
            join, prefix = message[:1], message[1:]
            if not any(topic.startswith(prefix) for topic in self._topics.values()):
                continue
            if join == b"\x01":
                self._subscribed.add(prefix)
                self._newcomer |= self._topics[Status].startswith(prefix)
            elif join == b"\x00":
                self._subscribed.discard(prefix)
            changed = True
        if changed:
            prefixes = tuple(self._subscribed)
            self._wanted = frozenset(k for k, topic in self._topics.items() if topic.startswith(prefixes))


def _set_options(socket: Any, send_queue: int) -> None:
    """All of it before the bind: later it would hold for nobody who is already there."""
    socket.setsockopt(zmq.SNDHWM, send_queue)
    socket.setsockopt(zmq.SNDBUF, 64 * 1024)
    socket.setsockopt(zmq.RCVHWM, JOINS_AT_ONCE)
    socket.setsockopt(zmq.MAXMSGSIZE, PEER_MESSAGE_BYTES)
    socket.setsockopt(zmq.XPUB_VERBOSE, 1)  # tell of every newcomer, not only the first of each topic
    socket.setsockopt(zmq.HEARTBEAT_IVL, 500)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 1_500)
    socket.setsockopt(zmq.HEARTBEAT_TTL, 2_000)
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)


def _bind(socket: Any, endpoint: str, insecure: bool) -> str:
    """Bind and return the endpoint with its real port; BusError says what to do instead."""
    scheme, _, rest = endpoint.partition("://")
    if scheme == "tcp":
        host, _, port = rest.rpartition(":")
        if not host:
            raise BusError(f"{endpoint}: want host and port, like {DEFAULT_ENDPOINT}")
        if host == "localhost":  # ZeroMQ does not resolve names when binding
            host, endpoint = "127.0.0.1", f"tcp://127.0.0.1:{port}"
        if not insecure and not _is_loopback(host):
            raise BusError(
                f"{endpoint}: anyone who reaches this machine could listen; "
                f"use tcp://127.0.0.1:{port}, or insecure=True if that is wanted"
            )
        socket.setsockopt(zmq.IPV6, int(host.startswith("[")))
    try:
        socket.bind(endpoint)
    except zmq.ZMQError as error:
        if error.errno == zmq.EADDRINUSE:
            raise BusError(
                f"{endpoint}: in use by another program; stop it, or take another port "
                "(tcp://127.0.0.1:* takes any free one)"
            ) from None
        raise BusError(f"{endpoint}: {error}; want something like {DEFAULT_ENDPOINT}") from None
    bound: bytes = socket.getsockopt(zmq.LAST_ENDPOINT)
    return bound.rstrip(b"\0").decode()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(re.sub(r"^\[|\]$", "", host)).is_loopback
    except ValueError:
        return host == "lo"


def _plain(value: Any) -> Any:
    """NumPy scalars and arrays as plain numbers and lists."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be sent")
