"""Messages and packets survive the wire; anything else is refused in one line and never crashes."""

import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from spikeline.pipeline import messages
from spikeline.pipeline.events import EventPacket, Sensor, clock_mark
from spikeline.pipeline.messages import (
    KIND_OF,
    KINDS,
    BadMessage,
    BusError,
    Dropped,
    EventAccount,
    Latency,
    Message,
    decode_message,
    topic_of,
)
from spikeline.pipeline.reader import Malformed, interpret
from spikeline.pipeline.wire import decode_packet, encode_packet, packet_length

pytestmark = pytest.mark.timeout(30)
HEADER = {
    "schema": 1,
    "run_id": "0123456789abcdef",
    "stream": "main",
    "epoch": 0,
    "seq": 7,
    "t_start_us": -5,
    "t_end_us": 10_000,
    "publish_unix_ns": 1_700_000_000_000_000_000,
    "publish_mono_ns": 123,
    "model": "",
    "dropped": Dropped(events=3),
}
BODIES = {
    "prediction": {
        "window": 1,
        "label": "wave",
        "label_index": 0,
        "score": 0.75,
        "scores": [0.75, 0.25],
        "latency_us": Latency(wait=5.0),
    },
    "activity": {"window": 1, "spikes": {"conv1": 5}, "synops": 45, "mac": 0},
    "frame": {"window": 1, "channels": 2, "width": 3, "height": 2, "data": bytes(24)},
    "map": {"window": 1, "name": "spatial", "shape": [2, 3], "data": bytes(24)},
    "event": {"kind": "epoch", "text": "the clock started anew"},
    "packet": {"data": b"\x80"},
    "status": {
        "state": "running",
        "uptime_s": 1.5,
        "sequences": {"prediction": 8},
        "labels": ["wave", "none"],
    },
}
MESSAGES = [kind(**HEADER, **BODIES[name]) for name, kind in KINDS.items()]
each_message = pytest.mark.parametrize("message", MESSAGES, ids=list(KINDS))


def parts_of(message: Message, **changes: object) -> list[bytes]:
    fields = {**msgspec.to_builtins(message, builtin_types=(bytes,)), **changes}
    return [topic_of("main", KIND_OF[type(message)]).encode(), msgspec.msgpack.encode(fields)]


scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary()
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(), inner), max_leaves=10
)


@st.composite
def packets(draw):
    sensor = Sensor(draw(st.integers(1, 65_536)), draw(st.integers(1, 2_000)))
    n = draw(st.integers(0, 20))
    t = sorted(draw(st.lists(st.integers(-(1 << 61), 1 << 61), min_size=n, max_size=n)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return sensor, EventPacket(
        np.array(t, np.int64),
        rng.integers(0, sensor.width, n).astype(np.uint16),
        rng.integers(0, sensor.height, n).astype(np.uint16),
        rng.integers(0, 2, n).astype(np.uint8),
        draw(st.integers(t[-1] if t else -(1 << 61), 1 << 61)),
        draw(st.integers(0, 2**40)),
        draw(st.none() | st.integers(-(1 << 61), 1 << 61)),
    )


def small_packet() -> bytes:
    t = np.array([10, 20, 20], np.int64)
    x, y = np.array([0, 1, 2], np.uint16), np.array([3, 4, 5], np.uint16)
    return encode_packet(EventPacket(t, x, y, np.array([0, 1, 1], np.uint8), 30), Sensor(8, 6))


def with_header(data: bytes, **changes: object) -> bytes:
    start = len(data) - 3 * 13
    return msgspec.msgpack.encode({**msgspec.msgpack.decode(data[:start]), **changes}) + data[start:]


@given(packets(), st.integers(0, 2**60))
def test_a_packet_survives_the_wire_unchanged(drawn, seq):
    sensor, packet = drawn
    header, got = decode_packet(encode_packet(packet, sensor, stream="cam1", seq=seq))
    for name in ("t", "x", "y", "p"):
        np.testing.assert_array_equal(getattr(got, name), getattr(packet, name), strict=True)
        assert getattr(got, name).flags.writeable and getattr(got, name).flags.aligned
    assert (got.until_us, got.epoch, got.origin_us) == (packet.until_us, packet.epoch, packet.origin_us)
    assert (header.stream, header.seq, header.width, header.height) == ("cam1", seq, *sensor[:2])


def test_the_wire_form_is_the_one_written_down():
    data = small_packet()
    header = {
        "v": 1,
        "stream": "main",
        "epoch": 0,
        "seq": 0,
        "until_us": 30,
        "n": 3,
        "width": 8,
        "height": 6,
        "origin_us": None,
    }
    body = np.array([10, 20, 20], "<i8").tobytes() + np.array([0, 1, 2, 3, 4, 5], "<u2").tobytes() + b"\0\1\1"
    assert data == msgspec.msgpack.encode(header) + body


def test_packets_written_one_after_the_other_are_told_apart():
    mark = encode_packet(clock_mark(99, 2, 5), Sensor(8, 6))
    pipe = small_packet() + mark + small_packet()
    sizes = []
    while pipe:
        size = packet_length(pipe)
        decode_packet(memoryview(pipe)[:size])
        sizes.append(size)
        pipe = pipe[size:]
    assert sizes == [len(small_packet()), len(mark), len(small_packet())]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"v": 2}, r"Invalid enum value 2 - at `\$\.v`"),
        ({"n": 4}, "bytes, want"),
        ({"n": 2}, "bytes, want"),
        ({"n": -1}, r"`\$\.n`"),
        ({"n": 2**63}, "bytes, want"),
        ({"until_us": 19}, "want them up to 19"),
        ({"width": 2}, "beyond the 2x6 sensor"),
        ({"height": 5}, "beyond the 8x5 sensor"),
        ({"stream": None}, r"`\$\.stream`"),
        ({"extra": "x" * 5000}, "no end within 4096 bytes"),
    ],
)
def test_a_packet_that_does_not_fit_is_refused_in_one_line(change, complaint):
    with pytest.raises(ValueError, match=complaint) as caught:
        decode_packet(with_header(small_packet(), **change))
    assert "\n" not in str(caught.value)


def test_times_going_backwards_and_a_polarity_of_two_are_refused():
    data = bytearray(small_packet())
    data[-1] = 2
    with pytest.raises(ValueError, match="polarity"):
        decode_packet(data)
    data = bytearray(small_packet())
    data[-3 * 13] = 21
    with pytest.raises(ValueError, match="times go backwards"):
        decode_packet(data)


@settings(max_examples=50)
@given(anything)
@example("x" * 40)
@example("x" * 300)
@example(b"x" * 300)
@example([0.5] * 20)
@example({str(i): i for i in range(20)})
def test_a_packet_header_may_hold_fields_of_a_newer_writer(value):
    data = with_header(small_packet(), newer=value)
    assert len(data) < 4_000
    assert decode_packet(data).packet.t.tolist() == [10, 20, 20]


@pytest.mark.parametrize("size", [1, 2, 4, 8, 16, 40, 300])
def test_a_packet_header_may_hold_msgpack_extensions(size):
    data = with_header(small_packet(), newer=msgspec.msgpack.Ext(5, bytes(size)))
    assert len(decode_packet(data).packet) == 3


@settings(max_examples=300)
@given(st.binary(max_size=200))
@example(b"")
@example(b"\xdf\xff\xff\xff\xff")
@example(b"\x91" * 5_000)
def test_any_bytes_are_a_packet_or_a_value_error(data):
    with pytest.raises(ValueError):
        decode_packet(data)


@settings(max_examples=300)
@given(st.integers(0, 500), st.integers(0, 255), st.integers(0, 500))
def test_a_damaged_packet_keeps_the_contract_or_is_refused(at, byte, cut):
    data = bytearray(small_packet())
    data[at % len(data)] = byte
    del data[len(data) - cut % 20 :]
    try:
        header, packet = decode_packet(data)
    except ValueError:
        return
    assert (np.diff(packet.t) >= 0).all() and packet.t[-1] <= packet.until_us
    assert packet.x.max() < header.width and packet.y.max() < header.height and packet.p.max() <= 1


@each_message
def test_every_kind_survives_the_wire(message):
    assert decode_message(parts_of(message)) == message


@each_message
def test_fields_of_a_newer_publisher_are_ignored(message):
    assert decode_message(parts_of(message, newer={"a": [1, 2]})) == message


@each_message
def test_another_schema_a_missing_field_and_a_wrong_stream_are_named(message):
    with pytest.raises(BadMessage, match=r"Invalid enum value 2 - at `\$\.schema`"):
        decode_message(parts_of(message, schema=2))
    with pytest.raises(BadMessage, match="stream 'other' under topic of 'main'"):
        decode_message(parts_of(message, stream="other"))
    topic, _ = parts_of(message)
    with pytest.raises(BadMessage, match="missing required field"):
        decode_message([topic, msgspec.msgpack.encode({"schema": 1})])


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [b"v1/main/prediction/"],
        [b"v1/main/prediction/", b"\x80", b""],
        [b"v1/main/prediction", b"\x80"],
        [b"v2/main/prediction/", b"\x80"],
        [b"v1//prediction/", b"\x80"],
        [b"v1/main/thought/", b"\x80"],
        [b"\xff\xfe", b"\x80"],
        [b"v1/main/prediction/", b"\x81\xa1q" + b"\x91" * 100_000],
        [b"v1/main/status/", b"\x81\xa6labels\xdd\xff\xff\xff\xff"],
        parts_of(MESSAGES[2], data=bytes(23)),
        parts_of(MESSAGES[3], shape=[2**40, 2**40]),
    ],
)
def test_what_is_no_message_is_malformed_with_one_line(parts):
    item = interpret(parts)
    assert isinstance(item, Malformed) and item.reason and "\n" not in item.reason


topics = st.sampled_from([topic_of("main", kind).encode() for kind in KINDS]) | st.binary(max_size=30)


@settings(max_examples=500)
@given(st.lists(topics | st.binary(max_size=100), max_size=3))
def test_random_parts_never_raise(parts):
    assert isinstance(interpret(parts), Malformed)


@settings(max_examples=500)
@given(st.sampled_from(MESSAGES), st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), max_size=4))
def test_damaged_messages_never_raise(message, damage):
    topic, body = parts_of(message)
    changed = bytearray(body)
    for at, byte in damage:
        changed[at % len(changed)] = byte
    assert isinstance(interpret([topic, bytes(changed)]), Message | Malformed)


@pytest.mark.parametrize("name", ["", "a/b", "a b", "x" * 65, "ü", "a\n"])
def test_a_stream_name_that_cannot_stand_in_a_topic_is_refused(name):
    with pytest.raises(BusError, match="want 1 to 64"):
        messages.check_stream(name)


def test_an_account_balances_when_every_event_is_somewhere():
    account = EventAccount(received=28, processed=1, gated=2, skipped=3, filtered=4, refused=5, unfinished=6)
    assert not account.balanced
    assert msgspec.structs.replace(account, queued=7).balanced


def test_the_schema_files_are_up_to_date():
    tool = Path(__file__).parent.parent / "tools" / "make_schema.py"
    done = subprocess.run([sys.executable, tool, "--check"], capture_output=True, text=True, timeout=25)
    assert (done.returncode, done.stderr) == (0, "")
