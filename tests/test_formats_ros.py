"""ROS bags: the same events from every container and encoding, and from what is left of a broken bag."""

import bz2
import shutil
import sqlite3
import struct
from functools import partial

import numpy as np
import pytest
import zstandard
from make_bags import array_messages, evt3, libcaer, mono, packet_messages, write_bag
from mutations import is_part, mutated, read_all, read_or_refuse, same
from test_sources_writers import DATA, pieces, random_events

from spikeline.drivers import open_source
from spikeline.drivers.formats.ros import RosSource
from spikeline.drivers.formats.ros_container import unpack
from spikeline.drivers.formats.ros_messages import Packet, read_array, read_packet
from spikeline.drivers.formats.ros_payloads import ENCODINGS, decode_cmp
from spikeline.pipeline.events import Sensor, SourceError

SENSOR = Sensor(16, 12)
BAG = DATA / "recordings" / "evk_evt3_eventpacket.bag"
KINDS = pytest.mark.parametrize("kind", ["bag", "db3", "mcap"])


def arrays(events, size=100):
    return {"/dvs/events": lambda store: array_messages(store, events, size)}


def packets(payloads, encoding, **keywords):
    return {"/camera/events": lambda store: packet_messages(payloads, encoding, **keywords)}


def cut(data, sizes):
    """The bytes in pieces of these sizes, again and again."""
    out, at = [], 0
    while at < len(data):
        out.append(data[at : at + sizes[len(out) % len(sizes)]])
        at += len(out[-1])
    return out


def encoded(events, encoding):
    if encoding == "evt3":  # cut anywhere, but between words
        return packets(cut(evt3(events), [200, 2, 66, 1_000]), encoding)
    base_us = int(events.t[0]) - 5
    write = {"mono": mono, "libcaer": libcaer}[encoding]
    return packets(
        [write(part, base_us) for part in pieces(events, 100)], encoding, time_base=base_us * 1_000
    )


def topics(events, form):
    return arrays(events) if form == "array" else encoded(events, form)


@KINDS
@pytest.mark.parametrize("form", ["array", "evt3", "mono", "libcaer"])
def test_every_container_and_encoding_gives_the_same_events(tmp_path, kind, form):
    events = random_events(2_000)
    path = write_bag(tmp_path / f"a.{kind}", kind, topics(events, form))
    source = open_source(path)
    assert source.sensor == SENSOR and source.format == "ROS bag"
    found, report = read_all(source)
    assert same(found, events)
    assert report.damage == [] and not report.truncated and report.refused == 0
    assert report.bytes == path.stat().st_size


@pytest.mark.parametrize("packing", [None, "BZ2", "LZ4"])
def test_packed_chunks_of_ros_1(tmp_path, packing):
    events = random_events(5_000)
    path = write_bag(tmp_path / "a.bag", "bag", arrays(events), packing=packing, chunk_bytes=4_000)
    found, report = read_all(RosSource(path))
    assert same(found, events) and report.damage == []


def test_messages_that_their_recorder_packed(tmp_path):
    events = random_events(500)
    path = write_bag(tmp_path / "a.db3", "db3", arrays(events))
    bag = sqlite3.connect(path)
    rows = bag.execute("SELECT data, id FROM messages").fetchall()
    packer = zstandard.ZstdCompressor()
    bag.executemany("UPDATE messages SET data = ? WHERE id = ?", [(packer.compress(d), k) for d, k in rows])
    bag.commit()
    bag.close()
    assert same(read_all(RosSource(path))[0], events)


@KINDS
def test_the_topic_is_the_only_one_or_the_users_word(tmp_path, kind):
    left, right = random_events(300), random_events(200, seed=9)
    both = {
        "/left": lambda store: array_messages(store, left, 50),
        "/right": lambda store: packet_messages([mono(right, 0)], "mono"),
        "/chatter": lambda store: [],
    }
    right = right._replace(t=right.t - 5_000_000)
    path = write_bag(tmp_path / f"a.{kind}", kind, both)
    with pytest.raises(
        SourceError, match=r"events on several topics; choose from /left, /right with \?topic="
    ):
        open_source(path)
    assert same(read_all(open_source(f"{path}?topic=/left"))[0], left)
    assert same(read_all(open_source(f"{path}?topic=/right"))[0], right)
    with pytest.raises(SourceError, match="topic=/up: no events there; choose from /left, /right"):
        open_source(f"{path}?topic=/up")


def test_a_bag_without_events_lists_its_topics(tmp_path):
    from rosbags.rosbag1 import Writer

    with Writer(tmp_path / "a.bag") as writer:
        connection = writer.add_connection(
            "/chatter", "std_msgs/msg/String", msgdef="string data\n", md5sum="0" * 32
        )
        writer.write(connection, 5, struct.pack("<I2s", 2, b"hi"))
    with pytest.raises(
        SourceError, match=r"no topic with events .* its topics are /chatter \(std_msgs/String\)"
    ):
        open_source(tmp_path / "a.bag")


def test_a_libcaer_clock_that_wraps_within_and_between_messages(tmp_path):
    t = np.concatenate([np.arange(2_147_483_000, 2_147_484_200, 100), [2_147_484_300, 2_147_484_400]])
    events = random_events(len(t))._replace(t=t + 1_700_000_000_000_000)
    base_us = 1_700_000_000_000_000

    def messages(store):
        first = packet_messages([libcaer(events.slice(0, 12), base_us)], "libcaer", time_base=base_us * 1_000)
        after = (base_us + (1 << 31)) * 1_000
        second = packet_messages(
            [libcaer(events.slice(12, 14), base_us)], "libcaer", time_base=after, first_seq=6
        )
        return [*first, *second]

    path = write_bag(tmp_path / "a.bag", "bag", {"/events": messages})
    found, report = read_all(RosSource(path))
    assert same(found, events) and report.damage == []


def test_libcaer_events_that_the_camera_calls_invalid():
    payload = bytearray(libcaer(random_events(5, start_us=0), 0))
    payload[8] &= 0xFE
    decoder = ENCODINGS["libcaer"]()
    room = decoder.events(Packet(16, 12, 1, 0, "libcaer", False, bytes(payload)))
    assert len(room.t) == 4 and decoder.refused == 1


@pytest.mark.parametrize(
    ("encoding", "words", "expected"),
    [
        (
            "libcaer",
            "7705d201 9cd6f07f 2105be01 9fd6f07f",
            [(2146490012, 233, 349, 1), (2146490015, 223, 328, 0)],
        ),
        ("mono", "00000000 4001f000 e8030000 4101f180", [(0, 320, 240, 0), (1, 321, 241, 1)]),
        (
            "libcaer_cmp",
            "0100 0510 2c21 c838 6040 8150",
            [(4101, 300, 200, 1), (4101, 300, 96, 0), (4101, 300, 103, 0)],
        ),
    ],
)
def test_payloads_of_real_cameras(encoding, words, expected):
    packet = Packet(640, 480, 1, 0, encoding, False, bytes.fromhex(words))
    room = ENCODINGS[encoding]().events(packet)
    assert [tuple(int(v) for v in row) for row in zip(*room, strict=True)] == expected
    width = {"mono": 8, "libcaer": 4, "libcaer_cmp": 2}[encoding]
    swapped = np.frombuffer(packet.payload, f"<u{width}").astype(f">u{width}").tobytes()
    again = ENCODINGS[encoding]().events(packet._replace(big_endian=True, payload=swapped))
    assert all(np.array_equal(a, b) for a, b in zip(room, again, strict=True))


def test_libcaer_cmp_words_without_a_place_are_counted():
    words = np.array([0x3005, 0x2004, 0x5001, 0x4007, 0x50FF, 0x6123], np.uint16)
    room = [np.empty(48, kind) for kind in ("i8", "u2", "u2", "u1")]
    n, refused = decode_cmp(words, *room, 1_000)
    assert (n, refused) == (8, 2)
    assert room[2][:8].tolist() == list(range(7, 15)) and set(room[0][:8].tolist()) == {1_000}


def test_the_message_of_the_reference():
    data = bytes.fromhex(
        "07000000 002f6859 15cd5b07 03000000 647673 b4000000 f0000000 01000000 7800 5a00 002f6859 15cd5b07 01"
    )
    found = read_array(data, "ros1")
    assert (found.width, found.height) == (240, 180)
    assert [column.tolist() for column in found.events] == [[1500000000123456], [120], [90], [1]]


@pytest.mark.parametrize("form", ["ros1", "cdr"])
def test_every_prefix_of_a_message_is_refused(tmp_path, form):
    kind = "bag" if form == "ros1" else "mcap"
    for make, read in ((arrays, read_array), (partial(packets, encoding="mono"), read_packet)):
        given = random_events(5) if make is arrays else [b"12345678"]
        path = write_bag(tmp_path / f"{read.__name__}.{kind}", kind, make(given))
        with RosSource(path) as source:
            data = bytes(next(piece.data for piece in source._walk(source._stored)))
        read(data, form)
        for stop in range(len(data)):
            with pytest.raises(ValueError, match=r"cut|bytes in a message|CDR head"):
                read(data[:stop], form)


# --- damage


def test_missing_messages_are_named_and_the_decoder_waits(tmp_path):
    events = random_events(4_000)
    payloads = cut(evt3(events), [500])

    def messages(store):
        whole = list(packet_messages(payloads, "evt3"))
        return whole[:5] + whole[8:]

    path = write_bag(tmp_path / "a.bag", "bag", {"/events": messages})
    found, report = read_all(RosSource(path))
    assert report.damage[0] == "messages 10 to 12 are missing; their events are lost"
    assert report.damage[1].endswith(" bytes of evt3 words are damaged, or before a time")
    assert 3_000 < len(found.t) < 4_000 and is_part(found, events)


def test_a_message_of_another_size_is_left_out(tmp_path):
    events = random_events(600)

    def messages(store):
        whole = list(array_messages(store, events, 100))
        whole[3][1]["width"] = 640
        return whole

    path = write_bag(tmp_path / "a.bag", "bag", {"/events": messages})
    found, report = read_all(RosSource(path))
    kept = np.r_[:300, 400:600]
    assert same(found, [column[kept] for column in events])
    assert len(report.damage) == 1 and "of a sensor of 640x12; wanted 16x12; left out" in report.damage[0]


def test_a_bag_that_does_not_say_its_size(tmp_path):
    events = random_events(100)
    path = write_bag(
        tmp_path / "a.bag", "bag", {"/e": lambda store: array_messages(store, events, 50, width=0, height=0)}
    )
    with pytest.raises(SourceError, match="its messages do not say its size; say it with --sensor"):
        open_source(path)
    assert same(read_all(open_source(path, sensor=SENSOR))[0], events)


@pytest.mark.parametrize("packing", [None, "BZ2", "LZ4"])
@pytest.mark.parametrize("form", ["array", "evt3"])
def test_a_ros_1_bag_cut_anywhere_gives_all_before_the_cut(tmp_path, packing, form):
    events = random_events(3_000)
    path = write_bag(tmp_path / "a.bag", "bag", topics(events, form), packing=packing, chunk_bytes=6_000)
    data = path.read_bytes()
    last = 0
    for stop in np.unique(np.linspace(1, len(data) - 1, 120).astype(int)).tolist():
        path.write_bytes(data[:stop])
        found, report = read_or_refuse(lambda: RosSource(path))
        n = 0 if found is None else len(found.t)
        assert n >= last and (found is None or same(found, events.slice(0, n)))
        assert found is None or n == 3_000 or report.truncated
        last = n
    assert last == 3_000


def test_no_byte_of_a_small_bag_matters_to_what_lies_before_it(tmp_path):
    events = random_events(40)
    path = write_bag(tmp_path / "a.bag", "bag", arrays(events, 10))
    data = path.read_bytes()
    for stop in range(4_000, len(data)):
        path.write_bytes(data[:stop])
        found, _ = read_or_refuse(lambda: RosSource(path))
        assert found is None or same(found, events.slice(0, len(found.t)))


@pytest.mark.parametrize("packing", [None, "BZ2", "LZ4"])
def test_a_damaged_block_costs_little_more_than_itself(tmp_path, packing):
    events = random_events(20_000)
    path = write_bag(tmp_path / "a.bag", "bag", arrays(events, 50), packing=packing, chunk_bytes=5_000)
    data = bytearray(path.read_bytes())
    at = len(data) // 2
    data[at : at + 100] = b"\xa5" * 100
    path.write_bytes(data)
    found, report = read_all(RosSource(path))
    assert len(found.t) >= (19_850 if packing is None else 19_000) and report.damage
    within = [line for line in report.damage if line.startswith("bytes ")]
    start, stop = (int(word) for word in within[0].split(":")[0].split()[1::2])
    assert start <= at + 100 and stop >= at
    assert np.count_nonzero(~np.isin(found.t, events.t)) <= 10


def test_a_bag_without_its_index_or_first_connection(tmp_path):
    events = random_events(1_000)
    path = write_bag(tmp_path / "a.bag", "bag", arrays(events), chunk_bytes=2_000)
    data = path.read_bytes()
    index = int.from_bytes(data[data.index(b"index_pos=") + 10 :][:8], "little")
    path.write_bytes(data[:index])
    found, report = read_all(RosSource(path))
    assert same(found, events) and report.truncated and "0 of " in report.damage[-1]
    first = data.index(b"op=\x07")
    path.write_bytes(data[:first] + b"op=\x55" + data[first + 4 :])
    found, report = read_all(RosSource(path))
    assert same(found, events) and report.damage


@KINDS
@pytest.mark.parametrize("form", ["array", "evt3"])
def test_damage_of_any_kind_is_survived(tmp_path, kind, form):
    events = random_events(3_000)
    data = write_bag(tmp_path / f"a.{kind}", kind, topics(events, form)).read_bytes()
    path = tmp_path / f"b.{kind}"
    whole = 0
    for _, copy in mutated(data, 13, 120):
        path.write_bytes(copy)
        found, report = read_or_refuse(lambda: RosSource(path))
        whole += found is not None and len(found.t) >= 2_500
        assert found is None or report.epochs <= 8
    assert whole >= 30


@KINDS
@pytest.mark.parametrize("form", ["array", "mono"])
def test_a_cut_bag_of_any_kind_gives_what_it_still_has(tmp_path, kind, form):
    events = random_events(8_000)
    path = write_bag(tmp_path / f"a.{kind}", kind, topics(events, form))
    data, delivered = path.read_bytes(), []
    for stop in np.linspace(1, len(data) - 1, 60).astype(int).tolist():
        path.write_bytes(data[:stop])
        found, report = read_or_refuse(lambda: RosSource(path))
        delivered.append(0 if found is None else len(found.t))
        if found is not None:
            assert same(found, events.slice(0, len(found.t)))
            assert len(found.t) == 8_000 or (report.truncated and report.damage)
    assert delivered == sorted(delivered) and delivered[-1] >= 7_500
    assert np.mean(delivered) > 2_500


@pytest.mark.parametrize("compression", ["none", "lz4", "zstd"])
def test_a_cut_mcap_chunk_gives_its_whole_messages(tmp_path, compression):
    from mcap.writer import CompressionType, Writer

    events = random_events(30_000)
    path = write_bag(tmp_path / "a.mcap", "mcap", arrays(events, 100))
    with RosSource(path) as source:
        messages = [bytes(piece.data) for piece in source._walk(source._stored)]
    with open(tmp_path / "b.mcap", "wb") as file:
        writer = Writer(file, compression=CompressionType[compression.upper()], chunk_size=1 << 22)
        writer.start("ros2")
        schema = writer.register_schema("dvs_msgs/msg/EventArray", "ros2msg", b"")
        channel = writer.register_channel("/events", "cdr", schema)
        for k, message in enumerate(messages):
            writer.add_message(channel, k, message, k)
        writer.finish()
    data = (tmp_path / "b.mcap").read_bytes()
    assert same(read_all(open_source(tmp_path / "b.mcap"))[0], events)
    (tmp_path / "b.mcap").write_bytes(data[: len(data) // 2])
    found, report = read_all(open_source(tmp_path / "b.mcap"))
    assert 5_000 < len(found.t) < 20_000 and same(found, events.slice(0, len(found.t))) and report.truncated


def test_messages_outside_of_chunks(tmp_path):
    """As a recorder writes that wants no chunks."""
    from mcap.writer import Writer

    events = random_events(300)
    path = write_bag(tmp_path / "a.mcap", "mcap", arrays(events, 20))
    with RosSource(path) as source:
        messages = [bytes(piece.data) for piece in source._walk(source._stored)]
    with open(tmp_path / "b.mcap", "wb") as file:
        writer = Writer(file, use_chunking=False)
        writer.start("ros2")
        schema = writer.register_schema("dvs_msgs/msg/EventArray", "ros2msg", b"")
        channel = writer.register_channel("/events", "cdr", schema)
        for k, message in enumerate(messages):
            writer.add_message(channel, k, message, k)
        writer.finish()
    found, report = read_all(open_source(tmp_path / "b.mcap"))
    assert same(found, events) and report.damage == []


def test_the_bag_beside_its_unfinished_log_is_read_with_it(tmp_path):
    events = random_events(400)
    path = write_bag(tmp_path / "a.db3", "db3", arrays(events))
    bag = sqlite3.connect(path)
    bag.execute("PRAGMA journal_mode = WAL")
    last = bag.execute("SELECT max(id) FROM messages").fetchone()[0]
    bag.execute("DELETE FROM messages WHERE id = ?", (last,))
    bag.commit()
    (tmp_path / "left").mkdir()
    for name in (path.name, f"{path.name}-wal"):
        shutil.copy(path.parent / name, tmp_path / "left" / name)
    bag.close()
    assert same(read_all(RosSource(tmp_path / "left" / path.name))[0], events.slice(0, 300))


def test_what_unpacks_to_more_than_it_says_is_cut():
    packed = memoryview(bz2.compress(b"\0" * 10_000_000))
    assert unpack("bz2", packed, 1_000) == (b"\0" * 1_000, "")
    data, reason = unpack("bz2", packed[:20], 1_000)
    assert data == b"" and reason == "unpacks to 0 bytes; wanted 1000"
    assert unpack("rar", packed, 5)[1].startswith("packed with 'rar'; wanted none, bz2, lz4 or zstd")


def test_what_is_no_bag_is_refused(tmp_path):
    (tmp_path / "a.bag").write_bytes(b"hello")
    with pytest.raises(SourceError, match="wanted a ROS bag"):
        open_source(f"{tmp_path}/a.bag?format=rosbag")
    sqlite3.connect(tmp_path / "a.db3").execute("CREATE TABLE t (x)").connection.close()
    with pytest.raises(SourceError, match="no table 'topics'; its tables are t"):
        open_source(tmp_path / "a.db3")


@pytest.mark.skipif(not BAG.exists(), reason=f"{BAG} is not here")
def test_the_recording_of_a_real_camera():
    source = open_source(BAG)
    assert source.sensor == Sensor(640, 480)
    found, report = read_all(source)
    assert len(found.t) == 343_474 and report.damage == [] and report.refused == report.reordered == 0
    assert round((found.t[-1] - found.t[0]) / 1e6, 2) == 2.08
