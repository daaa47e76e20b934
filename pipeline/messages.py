"""What travels on the bus: one type per kind of message.

A message is two ZeroMQ parts, `[topic][msgpack map]`, topic `v1/<stream>/<kind>/`. `decode_message`
turns received parts into one of the types below or raises `BadMessage`; fields it does not know are
ignored, so a newer publisher of the same version is still read. docs/bus.md says the same for readers
in other languages; docs/schema/ is generated from these types by tools/make_schema.py.

Packets inside a message are in wire form v1: pipeline/wire.py.
"""

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from spikeline.pipeline.events import MAX_ABS_US

VERSION: Literal[1] = 1
DEFAULT_ENDPOINT = "tcp://127.0.0.1:5556"

Count = Annotated[int, Meta(ge=0)]
TimeUs = Annotated[int, Meta(ge=-MAX_ABS_US, le=MAX_ABS_US)]
Side = Annotated[int, Meta(ge=1, le=65_536)]


class BusError(RuntimeError):
    """The bus cannot be opened or used: one line naming the endpoint and what to do."""


class BadMessage(ValueError):  # noqa: N818 - it names what arrived
    """Parts that are not a message of this version: one line saying why."""


class Dropped(Struct, frozen=True, kw_only=True):
    """What this run has lost so far; never decreases."""

    events: Count = 0
    windows: Count = 0


class Message(Struct, frozen=True, kw_only=True):
    """What every message carries. Sensor time in microseconds, this machine's clocks in nanoseconds."""

    schema: Literal[1]  # first, so that another version is named as such and not by a missing field
    run_id: str  # a new one for every start of the publisher; `seq` starts again with it
    stream: str
    epoch: Count
    seq: Count  # per topic, from 0; a jump is the number of messages lost
    t_start_us: TimeUs
    t_end_us: TimeUs
    publish_unix_ns: int
    publish_mono_ns: int  # comparable on the publisher's machine only, but never set back
    model: str  # the package's digest in hex, "" if none
    dropped: Dropped


class Latency(Struct, frozen=True, kw_only=True):
    """Where the time went from the window's median event on, microseconds; null where not known."""

    wait: float | None = None  # for the window to close
    transport: float | None = None
    queue: float | None = None
    bin: float | None = None
    gate: float | None = None
    infer: float | None = None
    decide: float | None = None
    publish: float | None = None
    total: float | None = None


class Prediction(Message, frozen=True, kw_only=True):
    window: Count  # the window's seq, as in Activity, Frame and Map
    label: str | None
    label_index: int | None
    score: float
    scores: list[float]
    warming: bool = False  # fewer than T steps behind this score
    segment: Literal["new", "update", "end"] | None = None
    skipped: Literal["gate", "overload"] | None = None  # the network did not step on this window
    processed: Count = 0  # steps in the readout, and windows skipped among them
    skipped_count: Count = 0
    latency_us: Latency | None = None


class Activity(Message, frozen=True, kw_only=True):
    window: Count
    spikes: dict[str, int]  # by layer
    synops: Count
    mac: Count


class Frame(Message, frozen=True, kw_only=True):
    """Counts (channels, height, width), uint16 little-endian, C order, OFF first."""

    window: Count
    channels: Side
    width: Side
    height: Side
    data: bytes

    def __post_init__(self) -> None:
        _check_size("data", self.data, (self.channels, self.height, self.width), 2)


class Map(Message, frozen=True, kw_only=True):
    """A named array of one step, such as an attention map: float32 little-endian, C order."""

    window: Count
    name: str
    shape: list[Count]
    data: bytes

    def __post_init__(self) -> None:
        _check_size("data", self.data, self.shape, 4)


class Event(Message, frozen=True, kw_only=True):
    """Something happened: a new epoch, a lost camera, an overload."""

    kind: str
    text: str


class Packet(Message, frozen=True, kw_only=True):
    data: bytes  # wire form v1; `decode_packet` of pipeline/wire.py reads it


class EventAccount(Struct, frozen=True, kw_only=True):
    """received = the sum of the others."""

    received: Count = 0
    processed: Count = 0
    gated: Count = 0
    skipped: Count = 0
    filtered: Count = 0
    refused: Count = 0
    unfinished: Count = 0
    queued: Count = 0

    @property
    def balanced(self) -> bool:
        """Whether every event received is accounted for."""
        out = self.processed + self.gated + self.skipped + self.filtered + self.refused
        return self.received == out + self.unfinished + self.queued


class StageAccount(Struct, frozen=True, kw_only=True):
    """A clean-up stage with its settings, and how many of the events `filtered` it left out."""

    stage: str
    filtered: Count = 0


class WindowAccount(Struct, frozen=True, kw_only=True):
    """closed = processed + gated + skipped + queued."""

    closed: Count = 0
    processed: Count = 0
    gated: Count = 0
    skipped: Count = 0
    queued: Count = 0


class Status(Message, frozen=True, kw_only=True):
    """Sent at least every second, so it is also the sign of life."""

    state: str  # starting, running, stopping, ...
    uptime_s: float
    sequences: dict[str, int]  # by kind, the seq its next message will have: shows a loss at the end
    events: EventAccount = EventAccount()
    windows: WindowAccount = WindowAccount()
    clean_up: list[StageAccount] = []  # in the order of the stages
    rates: dict[str, float] = {}
    percentiles: dict[str, dict[str, float]] | None = None  # by stage, then p50, p90, p99, p99.9, max
    labels: list[str] = []
    digest: str | None = None  # over the predictions so far
    recorder: str | None = None  # "recording", or why it has stopped; null without one
    version: str = ""


KINDS: dict[str, type[Message]] = {
    "prediction": Prediction,
    "activity": Activity,
    "frame": Frame,
    "map": Map,
    "event": Event,
    "packet": Packet,
    "status": Status,
}
KIND_OF: dict[type[Message], str] = {kind: name for name, kind in KINDS.items()}
_DECODERS = {name: msgspec.msgpack.Decoder(kind) for name, kind in KINDS.items()}


def check_stream(stream: str) -> str:
    """The name of a stream, if it can stand in a topic."""
    if not re.fullmatch(r"[A-Za-z0-9_.:-]{1,64}", stream):
        raise BusError(f"stream {stream!r}: want 1 to 64 letters, digits or any of _ . : -")
    return stream


def topic_of(stream: str, kind: str) -> str:
    """The trailing slash keeps a subscription to `cam1` from matching `cam10`."""
    return f"v{VERSION}/{stream}/{kind}/"


def split_topic(topic: bytes) -> tuple[str, str]:
    """Stream and kind of a topic; BadMessage if it is not one of this version."""
    fields = topic[:200].decode("utf-8", "replace").split("/")
    if len(fields) != 4 or fields[3] or not fields[1]:
        raise BadMessage(f"topic {topic[:80]!r}: want v{VERSION}/<stream>/<kind>/")
    if fields[0] != f"v{VERSION}":
        raise BadMessage(f"topic {topic[:80]!r}: version {fields[0]}, this reader knows v{VERSION}")
    return fields[1], fields[2]


def decode_message(parts: Sequence[bytes]) -> Message:
    """The message in these parts; BadMessage for anything else."""
    if len(parts) != 2:
        raise BadMessage(f"{len(parts)} parts: want 2, topic and msgpack")
    stream, kind = split_topic(parts[0])
    decoder = _DECODERS.get(kind)
    if decoder is None:
        raise BadMessage(f"kind {kind!r}: choose from {', '.join(KINDS)}")
    try:
        message = decoder.decode(parts[1])
    except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError) as error:
        raise BadMessage(f"{kind}: {one_line(error)}") from None
    if message.stream != stream:
        raise BadMessage(f"{kind}: stream {message.stream[:80]!r} under topic of {stream!r}")
    return message


def _check_size(name: str, data: Any, shape: Sequence[int], item: int) -> None:
    want = item
    for side in shape:
        want *= side
    if len(data) != want:
        raise ValueError(f"{name} has {len(data)} bytes, want {want} for shape {tuple(shape)}")


def one_line(error: BaseException) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:200]
