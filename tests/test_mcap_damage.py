"""Damaged, cut and disturbed MCAP recordings: nothing wrong comes out, and what is lost is counted."""

import errno
import os
import re
import tracemalloc

import numpy as np
import pytest
import zstandard
from mcap.records import Message, Schema
from mcap.stream_reader import StreamReader
from mutations import mutated, read_all, read_or_refuse
from recording_victim import PACKET, packet_of, run
from test_mcap import SENSOR, all_events, is_part, record, some_packets
from test_sources_recording import plain

from spikeline.drivers import open_source
from spikeline.drivers.formats.mcap import McapSource
from spikeline.drivers.formats.mcap_chunks import Broken, walk
from spikeline.drivers.mcap_layout import CHUNK_BYTES, OP_CHUNK
from spikeline.drivers.mcap_recorder import McapRecorder
from spikeline.pipeline.events import Sensor, SourceError


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A recording of 12 chunks and its packets."""
    path = tmp_path_factory.mktemp("small") / "a.mcap"
    packets = list(some_packets(120, 400, seed=4))
    return record(path, packets, by_sensor_clock=True), packets


def chunks_of(path):
    with McapSource(path) as source:
        found = [item for item in walk(source._stored) if not isinstance(item, Broken)]
    return [item for item in found if item.operation == OP_CHUNK]


def test_a_damaged_chunk_costs_itself_and_is_counted_exactly(tmp_path, small):
    path, packets = small
    data, chunks = path.read_bytes(), chunks_of(path)
    assert len(chunks) == 12
    for k in range(1, len(chunks) - 1):  # the first is the run's, the last the end's
        copy = bytearray(data)
        copy[(chunks[k].start + chunks[k].stop) // 2] ^= 1
        (tmp_path / "b.mcap").write_bytes(copy)
        events, report = read_all(McapSource(tmp_path / "b.mcap"))
        lost = sum(map(len, packets)) - len(events.t)
        assert 0 < lost <= CHUNK_BYTES / 13 and is_part(events, all_events(packets))
        assert len(report.damage) == 1 and not report.truncated
        assert report.damage[0].startswith(f"bytes {chunks[k].start} to {chunks[k].stop}: a chunk ")
        assert f"; {lost} events are lost, after " in report.damage[0]


def test_predictions_that_are_lost_are_counted_too(tmp_path):
    recorder = McapRecorder(tmp_path / "a.mcap", SENSOR, by_sensor_clock=True)
    for k, packet in enumerate(some_packets(40)):
        recorder.add(packet)
        recorder.window(k, 0, k * 1_000, (k + 1) * 1_000, None, scores=[0.5] * 900)
    recorder.close()
    chunk = chunks_of(tmp_path / "a.mcap")[2]
    data = bytearray((tmp_path / "a.mcap").read_bytes())
    data[chunk.stop - 1] ^= 1
    (tmp_path / "b.mcap").write_bytes(data)
    with McapSource(tmp_path / "b.mcap") as source:
        kept = len(list(source))
        (line,) = source.report().damage
    lost = 40 - kept
    assert re.search(rf"; {40 * lost} events are lost, after .*; {lost} predictions are lost$", line)


def test_chunks_that_are_gone_are_missed(tmp_path, small):
    path, packets = small
    data, chunks = path.read_bytes(), chunks_of(path)
    (tmp_path / "b.mcap").write_bytes(data[: chunks[3].start] + data[chunks[6].start :])
    events, report = read_all(McapSource(tmp_path / "b.mcap"))
    lost = sum(map(len, packets)) - len(events.t)
    at = chunks[3].start
    until = int(events.t[events.t < events.t[-1]][0])
    assert lost > 0 and until >= 0 and len(report.damage) == 1
    assert report.damage[0].startswith(
        f"bytes {at} to {at}: chunks are missing; {lost} events are lost, after"
    )


def test_swapped_chunks_never_turn_time_back(tmp_path, small):
    path, packets = small
    data, chunks = path.read_bytes(), chunks_of(path)
    a, b = data[chunks[2].start : chunks[3].start], data[chunks[3].start : chunks[4].start]
    (tmp_path / "b.mcap").write_bytes(data[: chunks[2].start] + b + a + data[chunks[4].start :])
    events, report = read_all(McapSource(tmp_path / "b.mcap"))
    assert is_part(events, all_events(packets))
    assert len(report.damage) == 2 and "a chunk in the wrong place" in report.damage[1]


def test_a_file_without_its_beginning_is_read_if_the_format_is_named(tmp_path, small):
    path, packets = small
    data, chunks = path.read_bytes(), chunks_of(path)
    (tmp_path / "b.mcap").write_bytes(data[chunks[2].start - 30 :])
    with pytest.raises(SourceError, match=r"\?format=NAME"):
        open_source(tmp_path / "b.mcap")
    events, report = read_all(open_source(f"{tmp_path / 'b.mcap'}?format=mcap"))
    assert 0 < len(events.t) < sum(map(len, packets)) and is_part(events, all_events(packets))
    lost = sum(map(len, packets)) - len(events.t)
    assert f"no MCAP magic; {lost} events are lost" in report.damage[0]


def test_cut_anywhere_it_gives_every_whole_chunk(tmp_path):
    """At every byte of a small file: what is given is the begin of the recording, and the cut is said."""
    packets = list(some_packets(6, 700, seed=3))
    data = record(tmp_path / "a.mcap", packets, by_sensor_clock=True).read_bytes()
    chunks, truth, held = chunks_of(tmp_path / "a.mcap"), all_events(packets), []
    for chunk in chunks:
        (tmp_path / "b.mcap").write_bytes(data[: chunk.stop])
        held.append((chunk.stop, len(read_all(McapSource(tmp_path / "b.mcap"))[0].t)))
    assert held[-1][1] == len(truth.t)
    step = max(1, len(data) // 900)
    for cut in sorted({*range(0, len(data), step), *range(len(data) - 60, len(data)), *(s for s, _ in held)}):
        (tmp_path / "b.mcap").write_bytes(data[:cut])
        found, said = read_or_refuse(lambda: McapSource(tmp_path / "b.mcap"))
        if found is None:
            assert cut < chunks[0].stop and "says the sensor's size" in said
            continue
        assert len(found.t) == max((n for stop, n in held if stop <= cut), default=0)
        assert is_part(found, truth) and said.truncated and len(said.damage) == 1
        assert said.damage[0].startswith("bytes ")


@pytest.mark.parametrize("seed", range(4))
def test_damage_never_gives_a_wrong_event(tmp_path, small, seed):
    path, packets = small
    truth, total = all_events(packets), sum(map(len, packets))
    for k, (kind, data) in enumerate(mutated(path.read_bytes(), seed, 100)):
        (tmp_path / "b.mcap").write_bytes(data)
        found, said = read_or_refuse(lambda: McapSource(tmp_path / "b.mcap", sensor=SENSOR))
        if found is None:
            continue
        assert is_part(found, truth), (k, kind)
        assert len(found.t) == total or said.damage, (k, kind)


@pytest.mark.full
@pytest.mark.timeout(900)
def test_ten_thousand_mutations_give_no_wrong_event(tmp_path, small):
    path, packets = small
    truth = all_events(packets)
    total, wrong, silent = len(truth.t), 0, 0
    for _, data in mutated(path.read_bytes(), 77, 10_000):
        (tmp_path / "b.mcap").write_bytes(data)
        found, said = read_or_refuse(lambda: McapSource(tmp_path / "b.mcap", sensor=SENSOR))
        if found is not None:
            wrong += not is_part(found, truth)
            silent += len(found.t) < total and not said.damage
    assert (wrong, silent) == (0, 0)


def test_a_chunk_that_would_unpack_to_gigabytes_is_not_unpacked(tmp_path, small):
    path, packets = small
    data, chunk = path.read_bytes(), chunks_of(path)[4]
    bomb = zstandard.compress(bytes(300 << 20))
    head = bytearray(data[chunk.start + 9 : chunk.start + 9 + 36])
    record_ = bytes(head[:16]) + (300 << 20).to_bytes(8, "little") + bytes(head[24:36])
    body = record_ + len(bomb).to_bytes(8, "little") + bomb
    (tmp_path / "b.mcap").write_bytes(
        data[: chunk.start] + b"\x06" + len(body).to_bytes(8, "little") + body + data[chunk.stop :]
    )
    tracemalloc.start()
    try:
        events, report = read_all(McapSource(tmp_path / "b.mcap"))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 64 << 20 and is_part(events, all_events(packets))
    assert "its sizes do not agree" in report.damage[0]


@pytest.mark.parametrize("limit", [0, 100, 5_000, 9_001, 30_000, 44_444, 60_000])
def test_a_full_disk_stops_the_recorder_and_leaves_a_valid_file(tmp_path, limit):
    """60 packets of 500 events in some 130 kB, at every kind of write: head, chunk, index, summary."""
    path = tmp_path / "a.mcap"
    check_limit(path, limit)


@pytest.mark.full
def test_a_full_disk_at_any_byte_leaves_a_valid_file(tmp_path):
    rng = np.random.default_rng(6)
    for k, limit in enumerate(rng.integers(0, 140_000, 40)):
        check_limit(tmp_path / f"{k}.mcap", int(limit))


def check_limit(path, limit):
    victim = run(path, "--limit", limit, "--packets", 60)
    out, err = victim.communicate(timeout=60)
    if "cannot be written" in err:
        assert limit < 10_000 and not path.exists()  # not even the head went in
        return
    assert err == "" and victim.returncode == 0
    *handed, last = out.splitlines()
    assert len(handed) == 60  # it went on to the end
    with open(path, "rb") as file:  # valid for any reader
        records = list(StreamReader(file, validate_crcs=True).records)
    assert sum(isinstance(record, Schema) for record in records) >= 5
    with McapSource(path, sensor=Sensor(346, 260)) as source:
        packets = list(source)
    assert plain(packets) == plain(packet_of(k) for k in range(len(packets)))
    messages = [r for r in records if isinstance(r, Message) and r.channel_id == 2]
    assert len(messages) == len(packets)
    if "File too large" in last:
        assert f"closed {PACKET * len(packets)} " in last
        assert last.endswith(
            f"recording stopped: File too large; it holds the first {500 * len(packets):,} events"
        )
        assert os.path.getsize(path) <= limit
        assert source.report().truncated == (source.end is None)
    else:
        assert last == "closed 30000 " and len(packets) == 60 and not source.report().truncated


def test_a_disk_that_fails_to_keep_what_was_written_stops_the_recorder(tmp_path, monkeypatch):
    def broken(file):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("spikeline.drivers.mcap_file.SYNC_S", 0.01)
    monkeypatch.setattr(os, "fdatasync", broken)
    recorder = McapRecorder(tmp_path / "a.mcap", SENSOR)
    for packet in some_packets(100_000, 2_000):
        recorder.add(packet)
        if recorder.stopped:
            break
    assert recorder.stopped.startswith(f"{tmp_path / 'a.mcap'}: recording stopped: Input/output error")
    held = recorder.close()
    with McapSource(tmp_path / "a.mcap") as source:
        assert sum(len(packet) for packet in source) == held
