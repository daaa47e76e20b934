"""What our MCAP recordings hold: their channels, the messages on them, and what a chunk looks like.

docs/recordings.md says the same for readers in other languages. Every message but the packets is JSON with
a JSON Schema in the file; the packets are wire form v1 (packet_form.py). Everything stands in chunks of
at most CHUNK_BYTES with a checksum, each ending with the account so far: so a damaged chunk is seen, and
the next one tells how much was in it.
"""

import struct
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from spikeline.drivers.packet_form import Count, Side, TimeUs

PROFILE = "spikeline"
VERSION = 1
MAGIC = b"\x89MCAP0\r\n"
CHUNK_BYTES = 65_536  # unpacked; what a killed recorder loses at most
CHUNK_NS = 100_000_000  # and no older than this
PACKET_ENCODING = "x-spikeline-packet-v1"

OP_HEADER, OP_FOOTER, OP_SCHEMA, OP_CHANNEL, OP_MESSAGE, OP_CHUNK = 1, 2, 3, 4, 5, 6
OP_MESSAGE_INDEX, OP_CHUNK_INDEX, OP_STATISTICS, OP_SUMMARY_OFFSET, OP_DATA_END = 7, 8, 11, 14, 15

RECORD = struct.Struct("<BQ")  # operation, bytes that follow
MESSAGE = struct.Struct("<HIQQ")  # channel, sequence, log time, publish time
CHUNK = struct.Struct("<QQQII")  # first and last log time, bytes unpacked, their CRC-32, bytes of the next
COMPRESSIONS = ("zstd", "lz4", "")
FOOTER = struct.Struct("<QQI")  # where the summary and its offsets begin, CRC-32
TAIL_BYTES = RECORD.size + 4 + RECORD.size + FOOTER.size + len(MAGIC)


class Run(Struct, kw_only=True, omit_defaults=True):
    """The first message: what was recorded, and what predicted. Times in microseconds."""

    v: int
    width: Side
    height: Side
    sensor: str = ""  # the sensor's name
    source: str = ""  # the source's URI, and what it is
    format: str = ""
    stream: str = "main"
    clock: str = "host"  # log times: "host" is Unix time, "sensor" the sensor's clock from 0 on
    program: str = ""  # name and version of what wrote this
    model: str = ""  # name and digest of the model; "" if none ran
    model_digest: str = ""
    engine: str = ""
    labels: list[str] = []
    layers: list[str] = []  # spiking layers in the order of the predictions' `spikes`
    dt_us: int = 0
    hop_us: int = 0
    settings: dict[str, Any] = {}  # how the model was served
    clean_up: list[str] = []  # stages between the packets here and the model's windows, in order
    skips: bool = False  # whether windows may have been skipped: a replay looks them up before it begins


class Prediction(Struct, kw_only=True):
    """One window: what was decided about it, and what the network said."""

    seq: Count
    epoch: Count
    t_start_us: TimeUs
    t_end_us: TimeUs
    skipped: str | None  # null: the network ran; "gate" or "overload": why it did not
    label: str | None = None
    label_index: int | None = None
    score: float | None = None
    scores: list[float] = []
    warming: bool = False
    segment: str | None = None
    spikes: dict[str, int] = {}
    synops: int = 0
    mac: int = 0
    events: int = 0
    processed: int = 0
    timing: dict[str, float] = {}


class Account(Struct, kw_only=True):
    """The last message of every chunk: everything recorded up to here, and what the source lost so far."""

    events: Count
    packets: Count
    windows: Count
    dropped: Count = 0
    refused: Count = 0
    reordered: Count = 0
    filtered: Count = 0


class End(Account, kw_only=True):
    """The very last message, with the whole account; without it the recorder was killed or lost its disk."""

    digest: str = ""  # of the predictions
    digest_input: str = ""
    clean_up: list[dict[str, Any]] = []  # by stage: what it left out, and the hot pixels that it found
    damage: list[str] = []  # what the source said about itself
    truncated: bool = False


class Channel(NamedTuple):
    id: int
    topic: str
    encoding: str
    schema_name: str
    schema_encoding: str
    schema: bytes


def _json_schema(kind: type[Struct]) -> bytes:
    """Its JSON Schema with the type itself on top: not every tool follows a reference from there."""
    _, parts = msgspec.json.schema_components([kind])
    return msgspec.json.encode(
        {"$schema": "https://json-schema.org/draft/2020-12/schema", **parts[kind.__name__]}
    )


PACKET_LAYOUT = b"""A msgpack map, then four arrays of n values each, little-endian, nothing between:
map    v=1, stream, epoch, seq, until_us, n, width, height, origin_us
t      int64    microseconds, never decreasing within an epoch, at most until_us
x      uint16   less than width; origin top left
y      uint16   less than height
p      uint8    0 OFF, 1 ON
Every later packet of the epoch has t >= until_us; n = 0 only moves the clock.
"""


def _channel(number: int, name: str, kind: type[Struct]) -> Channel:
    topic = f"/spikeline/{name}"
    return Channel(number, topic, "json", f"spikeline.{kind.__name__}", "jsonschema", _json_schema(kind))


RUN = _channel(1, "run", Run)
PACKET = Channel(2, "/spikeline/packet", PACKET_ENCODING, "spikeline.Packet", PACKET_ENCODING, PACKET_LAYOUT)
PREDICTION = _channel(3, "prediction", Prediction)
ACCOUNT = _channel(4, "account", Account)
END = _channel(5, "end", End)
CHANNELS = (RUN, PACKET, PREDICTION, ACCOUNT, END)
