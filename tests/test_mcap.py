"""MCAP recordings: what is written comes back, other tools open it, and nothing wrong comes of damage."""

import json
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcap.reader import NonSeekingReader, SeekingReader
from mcap.writer import Writer
from recording_victim import PACKET, packet_of
from test_sources_recording import plain, streams
from test_sources_writers import Events

from spikeline.drivers import open_source
from spikeline.drivers.formats.mcap import McapSource
from spikeline.drivers.mcap_layout import CHANNELS, CHUNK_BYTES, Run
from spikeline.drivers.mcap_recorder import PART_EVENTS, McapRecorder
from spikeline.drivers.packet_form import packet_bytes, packet_from
from spikeline.drivers.recording import open_recorder
from spikeline.pipeline.events import EventPacket, Sensor, SourceError, SourceReport, clock_mark
from spikeline.pipeline.wire import decode_packet, encode_packet

SENSOR = Sensor(6, 4, "TEST")
EVERY = settings(deadline=None, max_examples=60, derandomize=True)


def record(path, packets, sensor=SENSOR, **options):
    recorder = McapRecorder(path, sensor, **options)
    for packet in packets:
        recorder.add(packet)
    assert recorder.close("d1", SourceReport(dropped=7, refused=2, reordered=1)) == sum(map(len, packets))
    assert recorder.stopped == ""
    return path


def some_packets(count, n=40, *, sensor=SENSOR, seed=1):
    rng = np.random.default_rng(seed)
    for k in range(count):
        t = k * 1_000 + np.sort(rng.choice(1_000, n, replace=n > 1_000)).astype(np.int64)
        x, y = rng.integers(0, sensor.width, n), rng.integers(0, sensor.height, n)
        p = rng.integers(0, 2, n).astype(np.uint8)
        yield EventPacket(t, x.astype(np.uint16), y.astype(np.uint16), p, (k + 1) * 1_000, 0, 0)


def all_events(packets):
    return Events(*(np.concatenate([getattr(p, name) for p in packets]) for name in "txyp"))


def is_part(found, truth):
    """Whether the events are some of the truth, whose times are all different, in their order."""
    at = np.searchsorted(truth.t, found.t)
    return (
        bool((np.diff(at) > 0).all())
        and bool((at < len(truth.t)).all())
        and all(np.array_equal(a[at], b) for a, b in zip(truth, found, strict=True))
    )


@EVERY
@given(streams(), st.sampled_from(["zstd", "lz4", ""]), st.booleans())
def test_what_is_written_comes_back_packet_by_packet(tmp_path_factory, packets, compression, by_sensor):
    path = tmp_path_factory.mktemp("mcap") / "a.mcap"
    record(path, packets, compression=compression, by_sensor_clock=by_sensor)
    with open_source(path) as source:
        assert (source.sensor, source.format) == (SENSOR, "MCAP")
        assert plain(source) == plain(packets)
        report = source.report()
        assert source.end.digest == "d1"
    assert (report.packets, report.epochs) == (len(packets), len({packet.epoch for packet in packets}))
    assert (report.dropped, report.refused, report.reordered) == (7, 2, 1)
    assert not report.truncated and report.damage == []


@EVERY
@given(streams(), st.integers(0, 2**31))
def test_packets_are_the_bytes_of_the_bus(packets, seq):
    for packet in packets:
        data = packet_bytes(packet, SENSOR, "cam1", seq)
        assert data == encode_packet(packet, SENSOR, stream="cam1", seq=seq)
        header, own = packet_from(data)
        bus = decode_packet(data)
        assert plain([own]) == plain([bus.packet]) == plain([packet])
        assert msgspec.structs.asdict(header) == msgspec.structs.asdict(bus.header)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"t": [5, 4]}, "event 1 of 2"),
        ({"x": [6, 0]}, "event 0 of 2 .* outside 6x4"),
        ({"y": [0, 4]}, "event 1 of 2 .* outside 6x4"),
        ({"p": [0, 2]}, "event 1 of 2"),
        ({"t": [4, 9]}, "times 4 to 9 us; wanted them up to 8"),
    ],
)
def test_a_packet_that_breaks_the_contract_is_refused_by_name(change, found):
    columns = {"t": [4, 5], "x": [0, 1], "y": [0, 1], "p": [0, 1], **change}
    kinds = {"t": np.int64, "p": np.uint8}
    arrays = {name: np.array(values, kinds.get(name, np.uint16)) for name, values in columns.items()}
    data = packet_bytes(EventPacket(**arrays, until_us=8), SENSOR, "main", 0)
    with pytest.raises(ValueError, match=found):
        packet_from(data)
    for cut in (data[:-1], data + b"\0", data[1:], b"", bytes(5_000)):
        with pytest.raises(ValueError, match="no packet header in these"):
            packet_from(cut)


@pytest.mark.parametrize("closed", [True, False], ids=["closed", "killed"])
def test_other_mcap_readers_open_it(tmp_path, closed):
    packets = list(some_packets(60, 400))
    path = tmp_path / "a.mcap"
    recorder = McapRecorder(path, SENSOR, run=lambda: Run(v=1, width=6, height=4, labels=["a"], skips=True))
    for k, packet in enumerate(packets):
        recorder.add(packet)
        recorder.window(k, 0, k * 1_000, (k + 1) * 1_000, "gate" if k % 2 else None, label="a", scores=[0.5])
    if closed:
        recorder.close()
    for reader in (SeekingReader, NonSeekingReader):
        with open(path, "rb") as file:
            found = list(reader(file, validate_crcs=True).iter_messages())
        topics = [channel.topic for _, channel, _ in found]
        assert topics[0] == "/spikeline/run" and (topics[-1] == "/spikeline/end") == closed
        for schema, channel, message in found:
            if channel.message_encoding == "json":
                assert schema.encoding == "jsonschema"
                told, fields = json.loads(schema.data), json.loads(message.data)
                assert told["type"] == "object" and set(told["required"]) <= set(fields)
                assert set(fields) <= set(told["properties"])
        data = [m.data for _, c, m in found if c.topic == "/spikeline/packet"]
        whole = len(packets) if closed else len(data)
        assert plain(packet_from(d)[1] for d in data) == plain(packets[:whole]) and whole > 40
        log_times = [m.log_time for _, _, m in found]
        assert log_times == sorted(log_times)
    with open(path, "rb") as file:
        reader = SeekingReader(file, validate_crcs=True)
        assert reader.get_header().profile == "spikeline"
        summary = reader.get_summary()
        assert (summary is not None) == closed
        if summary:
            assert {c.topic for c in summary.channels.values()} == {c.topic for c in CHANNELS}
            assert summary.statistics.message_count == len(found)
            assert summary.statistics.chunk_count == len(summary.chunk_indexes) > 3
            assert max(chunk.uncompressed_size for chunk in summary.chunk_indexes) <= CHUNK_BYTES
            recorder = None
    if recorder:
        recorder.close()


def test_the_documented_way_to_read_it_works(tmp_path, monkeypatch):
    """The Python of docs/recordings.md, which knows nothing of ours."""
    text = (Path(__file__).parent.parent / "docs" / "recordings.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (packet,) = some_packets(1)
    record(tmp_path / "walk.mcap", [packet])
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(example, "recordings.md", "exec"), names)
    for name in "txyp":
        np.testing.assert_array_equal(names[name], getattr(packet, name))


def test_a_copy_in_large_chunks_by_another_program_is_the_same_recording(tmp_path):
    """As `mcap compress` and the like write it: other chunks, other channel numbers, no profile."""
    packets = list(some_packets(200, 400))
    record(tmp_path / "a.mcap", packets)
    with open(tmp_path / "a.mcap", "rb") as file, open(tmp_path / "b.mcap", "wb") as copy:
        writer, channels = Writer(copy), {}
        writer.start()
        for schema, channel, message in SeekingReader(file).iter_messages():
            if channel.id not in channels:
                number = writer.register_schema(schema.name, schema.encoding, schema.data)
                writer.register_schema("padding", "", b"")
                channels[channel.id] = writer.register_channel("/other" * (6 - channel.id), "json", number)
                channels[channel.id] = writer.register_channel(
                    channel.topic, channel.message_encoding, number
                )
            writer.add_message(channels[channel.id], message.log_time, message.data, message.publish_time)
        writer.finish()
    with open_source(tmp_path / "b.mcap") as source:
        assert plain(source) == plain(packets)
        assert source.report().damage == [] and not source.report().truncated
        assert source.report().dropped == 7


def test_a_packet_longer_than_a_chunk_is_recorded_in_parts(tmp_path):
    (packet,) = some_packets(1, 2 * PART_EVENTS + 3)
    record(tmp_path / "a.mcap", [packet, clock_mark(2_000, 0, 0)])
    with McapSource(tmp_path / "a.mcap") as source:
        parts = list(source)
    assert [len(part) for part in parts] == [PART_EVENTS, PART_EVENTS, 3, 0]
    assert [part.until_us for part in parts[2:]] == [1_000, 2_000]
    np.testing.assert_array_equal(np.concatenate([part.t for part in parts]), packet.t)
    with open(tmp_path / "a.mcap", "rb") as file:
        chunks = SeekingReader(file).get_summary().chunk_indexes
    assert max(chunk.uncompressed_size for chunk in chunks) <= CHUNK_BYTES


def test_the_same_packets_give_the_same_bytes_by_the_sensors_clock(tmp_path):
    for name in "ab":
        record(tmp_path / name, list(some_packets(30)), by_sensor_clock=True)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with open(tmp_path / "a", "rb") as file:
        log_times = [m.log_time for _, c, m in SeekingReader(file).iter_messages("/spikeline/packet")]
    first_us = int(next(some_packets(1)).t[0])
    assert log_times == [1_000 * (1_000 * (k + 1) - first_us) for k in range(30)]


def test_memory_does_not_grow_with_the_recording(tmp_path):
    recorder = McapRecorder(tmp_path / "a.mcap", Sensor(346, 260), compression="", by_sensor_clock=True)
    packet = packet_of(0)

    def add(count):
        for _ in range(count):
            recorder.add(packet)

    add(1_000)
    tracemalloc.start()
    try:
        add(500)
        before, _ = tracemalloc.get_traced_memory()
        add(12_000)  # 79 MB, 1,300 chunks, whose index of 0.15 MB waits for the end
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert recorder.close() == 13_500 * PACKET
    assert after - before < 400_000


def test_another_programs_mcap_file_is_refused_by_name(tmp_path):
    with open(tmp_path / "a.mcap", "wb") as file:
        writer = Writer(file)
        writer.start()
        schema = writer.register_schema("x", "jsonschema", b"{}")
        writer.add_message(writer.register_channel("/lidar", "json", schema), 0, b"{}", 0)
        writer.finish()
    with pytest.raises(SourceError, match="with the channels /lidar; wanted a recording of spikeline"):
        open_source(tmp_path / "a.mcap")


def test_a_recording_never_replaces_anything(tmp_path):
    (tmp_path / "old.mcap").write_bytes(b"mine")
    for name, found in {
        "old.mcap": "exists already; choose another name",
        "no/a.mcap": "its folder does not exist; make it first",
        "a.bag": "a recording is an .mcap or .npz file; found .bag",
    }.items():
        with pytest.raises(SourceError, match=found):
            open_recorder(tmp_path / name, SENSOR)
    assert (tmp_path / "old.mcap").read_bytes() == b"mine"
    with pytest.raises(SourceError, match="cannot be written: File exists"):
        McapRecorder(tmp_path / "old.mcap", SENSOR)


def test_recorder_and_reader_import_what_they_need_only():
    """Opening an .npz loads no MCAP library."""
    code = "import sys, spikeline.drivers.recording, spikeline.drivers as d; print('mcap' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert found.stdout == "False\n"
