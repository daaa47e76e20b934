"""DV network streams: real sockets, with dv-processing's writer in a second process, or bytes of our own.

The tests with bytes of our own need no dv-processing; they cover what its writer never sends.
"""

import importlib.util
import itertools
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress

import numpy as np
import pytest
import test_sources
from test_sources_writers import COMPRESSIONS, Events, aedat4, evts_payload, pieces, random_events

from spikeline.drivers import open_source
from spikeline.drivers.formats.aedat4_layout import MAGIC
from spikeline.drivers.recording import write_npz
from spikeline.pipeline.events import Sensor, SourceError

pytestmark = pytest.mark.timeout(20)
needs_dv = pytest.mark.skipif(
    importlib.util.find_spec("dv_processing") is None,
    reason="dv-processing is not installed (extra `cameras`)",
)
SENSOR = Sensor(346, 260, "TEST")

# Commands on stdin, one "done" for each. Its writer can hang while it is taken down: it is killed at the end.
SENDER = """
import sys, time
import numpy as np, dv_processing as dv
stream = dv.io.Stream.EventStream(0, "events", "TEST_0042", (346, 260))
writer = dv.io.NetworkWriter("127.0.0.1", int(sys.argv[1]), stream)
def now_us():
    return time.monotonic_ns() // 1000
def send(rows):
    store = dv.EventStore()
    for t, x, y, p in rows:
        store.push_back(t, x, y, bool(p))
    while writer.getQueuedPacketCount() > 500:  # its queue holds 1,024 and drops the rest
        time.sleep(0.001)
    writer.writeEvents(store)
print("ready", flush=True)
while writer.getClientCount() == 0:
    time.sleep(0.001)
for line in sys.stdin:
    command, *options = line.split()
    if command == "file":  # path, events in a packet
        rows, size = np.load(options[0]).tolist(), int(options[1])
        for start in range(0, len(rows), size):
            send(rows[start : start + size])
    elif command == "slices":  # so many, each of so many ms and with 20 events, sent when it is over
        for _ in range(int(options[0])):
            start = now_us()
            time.sleep(int(options[1]) / 1000)
            times = np.linspace(start, now_us(), 20).astype(int).tolist()
            send([(t, 1, 2, 1) for t in times])
    elif command == "close":
        while writer.getQueuedPacketCount():
            time.sleep(0.001)
        time.sleep(0.2)  # it does not send what it still holds when it is taken down
        del writer
    print("done", flush=True)
"""


class Sender:
    def __init__(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"dv://127.0.0.1:{self.port}"
        self.process = subprocess.Popen(
            [sys.executable, "-c", SENDER, str(self.port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        assert self.process.stdout.readline() == "ready\n"

    def ask(self, command):
        self.process.stdin.write(command + "\n")

    def done(self):
        assert self.process.stdout.readline() == "done\n"


@pytest.fixture
def sender():
    sender = Sender()
    yield sender
    sender.process.kill()
    sender.process.wait()
    sender.process.stdout.close()
    sender.process.stdin.close()


@contextmanager
def listening(serve):
    """A listener on this host; `serve(connection)` runs in a thread. Gives the URI."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)

        def run():
            connection, _ = server.accept()
            with connection:
                serve(connection)

        thread = threading.Thread(target=run)
        thread.start()
        yield f"dv://127.0.0.1:{server.getsockname()[1]}"
        thread.join(10)
        assert not thread.is_alive()


def stream_of(packets, **options):
    """The bytes of a DV network stream: those of an AEDAT4 file without its first line and its table."""
    return aedat4(packets, sensor=SENSOR, table=False, **options).data[len(MAGIC) :]


HEAD = stream_of([])


def framed(payload, stream=0):
    return struct.pack("<iI", stream, len(payload)) + payload


def at(t_us, n=1):
    ones = np.ones(n, np.uint16)
    return framed(evts_payload(Events(np.full(n, t_us), ones, ones, ones)))


@pytest.fixture(scope="module", autouse=True)
def compiled():
    """The first event takes a while, and a reader that is late for that."""
    read_all(HEAD + at(1_000))


def columns(packets):
    return [np.concatenate([getattr(packet, name) for packet in packets]) for name in "txyp"]


def read_all(data, **options):
    """What a source gives for these bytes, and its report."""
    with listening(lambda connection: connection.sendall(data)) as uri, open_source(uri, **options) as source:
        return list(source), source.report()


def silent_until_closed(connection):
    connection.sendall(HEAD + at(5_000_000))
    connection.recv(1)


class Iterating(threading.Thread):
    """Reads a source to its end; `packets` with the time on our clock when each came."""

    def __init__(self, source):
        super().__init__(daemon=True)
        self.source = source
        self.packets = []
        self.start()

    def run(self):
        for packet in self.source:
            self.packets.append((time.monotonic_ns() // 1000, packet))

    def wait_for(self, count):
        until = time.monotonic() + 10
        while len(self.packets) < count:
            assert time.monotonic() < until
            time.sleep(0.001)

    def ends_within(self, seconds):
        self.join(seconds)
        return not self.is_alive()


@needs_dv
def test_all_events_arrive_once_and_in_order_however_late_we_read(sender, tmp_path):
    events = random_events(30_000, sensor=SENSOR)
    np.save(tmp_path / "events.npy", np.stack(events, axis=1).astype(np.int64))
    with open_source(sender.uri) as source:
        assert (source.sensor, source.format) == (SENSOR, "dv")
        sender.ask(f"file {tmp_path}/events.npy 10")  # 3,000 packets; dv-processing's reader keeps 1,000
        sender.done()
        sender.ask("close")
        packets = list(source)
        report = source.report()
    for found, sent in zip(columns(packets), events, strict=True):
        np.testing.assert_array_equal(found, sent)
    assert (report.events, report.refused, report.reordered, report.epochs) == (30_000, 0, 0, 1)
    assert report.packets == len(packets) and report.bytes > 16 * 30_000
    assert not report.damage and not report.truncated


@needs_dv
def test_the_clock_goes_on_in_silence_and_nothing_after_it_is_refused(sender):
    with open_source(sender.uri) as source:
        iterating = Iterating(source)
        sender.ask("slices 3 300")
        sender.done()
        before = len(iterating.packets)
        time.sleep(1.0)
        marks = [(host_us, p) for host_us, p in iterating.packets[before + 1 :] if len(p) == 0]
        sender.ask("slices 2 50")  # quicker than the marks expect, so a busy machine is no failure
        sender.done()
        sender.ask("close")
        assert iterating.ends_within(5)
        report = source.report()
    assert (report.events, report.refused, report.reordered) == (5 * 20, 0, 0)
    assert len(marks) > 20
    lags = [host_us - mark.until_us for host_us, mark in marks]
    assert min(lags) > 300_000 and np.median(lags) < 700_000  # the slices of 300 ms and the margins
    until = [packet.until_us for _, packet in iterating.packets]
    assert all(a <= b for a, b in itertools.pairwise(until))


@needs_dv
def test_a_sender_that_closes_ends_the_iteration(sender):
    with open_source(sender.uri) as source:
        iterating = Iterating(source)
        sender.ask("slices 1 50")
        sender.done()
        sender.ask("close")
        assert iterating.ends_within(2)
        assert source.report().events == 20 and source.report().damage == []


@needs_dv
def test_a_sender_that_is_killed_ends_the_iteration(sender):
    with open_source(sender.uri) as source:
        iterating = Iterating(source)
        sender.ask("slices 1 50")
        iterating.wait_for(1)
        sender.ask("slices 50 100")
        sender.process.send_signal(signal.SIGKILL)
        assert iterating.ends_within(2)
        assert source.report().events == 20


def test_close_from_another_thread_ends_a_silent_iteration_that_needs_little_cpu():
    with listening(silent_until_closed) as uri:
        source = open_source(uri)
        iterating = Iterating(source)
        iterating.wait_for(1)
        cpu_s = time.process_time()
        time.sleep(0.5)
        assert time.process_time() - cpu_s < 0.2
        source.close()
        assert iterating.ends_within(0.5)
        assert source.report().damage == []
        source.close()
        with pytest.raises(SourceError, match="is closed; open it again"):
            next(iter(source))


def test_close_inside_the_loop_ends_it():
    with listening(silent_until_closed) as uri, open_source(uri) as source:
        lengths = []
        for packet in source:
            lengths.append(len(packet))
            source.close()
        assert lengths == [1]


@COMPRESSIONS
def test_any_split_of_the_bytes_gives_the_same_events(compression):
    events = random_events(2_000, sensor=SENSOR)
    events = events._replace(t=events.t * 10)  # a clock that no mark can overtake here
    data = stream_of(pieces(events, 300), compression=compression)
    cuts = np.sort(np.random.default_rng(1).integers(0, len(data), 300)).tolist()

    def serve(connection):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start, stop in itertools.pairwise([0, *cuts, len(data)]):
            connection.sendall(data[start:stop])
            time.sleep(0.0005)

    with listening(serve) as uri, open_source(f"cut(events=70)+{uri}") as source:
        packets = list(source)
        report = source.report()
    for found, sent in zip(columns(packets), events, strict=True):
        np.testing.assert_array_equal(found, sent)
    assert max(map(len, packets)) == 70
    assert report.bytes == len(data) and report.damage == []


def test_rough_events_keep_the_contract_as_those_of_a_file_do():
    events = test_sources.rough_events()
    data = stream_of(pieces(events, 300), streams={0: ("EVTS", test_sources.SENSOR)})
    with listening(lambda connection: connection.sendall(data)) as uri:
        test_sources.test_packets_keep_the_contract(lambda: open_source(uri))
    report = read_all(data)[1]
    assert report.events + report.refused == len(events.t) and report.epochs == 2


def test_a_closed_source_leaves_no_file_open():
    folder = "/proc/self/fd"
    if not os.path.exists(folder):
        pytest.skip("no /proc here")
    before = len(os.listdir(folder))
    for data in (HEAD + at(1_000), HEAD[:9]):
        with suppress(SourceError):
            read_all(data)
    assert len(os.listdir(folder)) == before


def test_a_recording_gives_the_marks_again(tmp_path):
    seen = []

    def serve(connection):
        connection.sendall(HEAD)
        for t_us in (5_000_000, 5_300_000):
            time.sleep(0.1)
            connection.sendall(at(t_us))
            time.sleep(0.2)

    with listening(serve) as uri, open_source(uri) as source:
        write_npz(tmp_path / "a.npz", (seen.append(packet) or packet for packet in source), source.sensor)
    with open_source(tmp_path / "a.npz") as recording:
        again = [(packet.t.tolist(), packet.until_us) for packet in recording]
    assert again == [(packet.t.tolist(), packet.until_us) for packet in seen]
    assert sum(not t for t, _ in again) > 10


def test_other_streams_are_left_out():
    streams = {3: ("FRME", SENSOR), 5: ("EVTS", SENSOR)}
    frame = (3, struct.pack("<II4s", 8, 8, b"FRME"))
    events = [(5, evts_payload(part)) for part in pieces(random_events(100, sensor=SENSOR), 40)]
    packets, report = read_all(stream_of([frame, events[0], frame, *events[1:]], streams=streams))
    assert sum(map(len, packets)) == 100 and report.damage == []


def test_events_beyond_the_sensor_and_backwards_times_are_refused():
    t = np.array([10_000, 20_000, 15_000, 21_000])
    x = np.array([1, 346, 1, 345])
    packets, report = read_all(HEAD + framed(evts_payload(Events(t, x, x % 2, x % 2))))
    assert columns(packets)[0].tolist() == [10_000, 15_000, 21_000] and report.refused == 1


@pytest.mark.parametrize("cut", [1, 7, 8, 20, 100])
def test_a_connection_that_ends_inside_a_packet_is_damage(cut):
    whole = stream_of(pieces(random_events(20, sensor=SENSOR), 10))
    packets, report = read_all(whole[:-cut])
    assert sum(map(len, packets)) == 10 and report.truncated
    assert (
        len(report.damage) == 1 and "the connection ended inside a packet; last good time" in report.damage[0]
    )


def test_a_reset_connection_is_damage():
    def serve(connection):
        connection.sendall(HEAD + at(5_000_000))
        time.sleep(0.1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with listening(serve) as uri, open_source(uri) as source:
        assert sum(map(len, source)) == 1
        assert "the connection was lost: Connection reset by peer" in source.report().damage[0]


def test_a_bad_packet_is_left_out_and_a_bad_size_ends_the_stream():
    noise = np.random.default_rng(3).bytes(200)
    packets, report = read_all(HEAD + at(1_000) + framed(noise) + at(2_000) + framed(b"", 77) + at(3_000))
    assert columns(packets)[0].tolist() == [1_000, 2_000]
    assert [line.split(": ")[1].split(";")[0] for line in report.damage] == ["no EVTS payload", "no packet"]
    assert report.damage[0].startswith(f"bytes {len(HEAD) + 56} to {len(HEAD) + 264}: ")
    assert report.truncated


def test_the_marks_follow_a_clock_that_starts_anew():
    def serve(connection):
        connection.sendall(HEAD)
        time.sleep(0.1)
        connection.sendall(at(900_000_000))
        time.sleep(0.3)
        connection.sendall(at(1_000))
        connection.recv(1)

    with listening(serve) as uri, open_source(uri) as source:
        iterating = Iterating(source)
        time.sleep(0.8)
        source.close()
        assert iterating.ends_within(1)
    last = {packet.epoch: packet for _, packet in iterating.packets}
    assert list(last) == [0, 1]
    assert 900_000_000 < last[0].until_us < 905_000_000 and 1_000 < last[1].until_us < 5_000_000
    assert source.report().events == 2


def test_no_mark_before_the_first_event():
    def serve(connection):
        connection.sendall(HEAD)
        time.sleep(0.1)
        connection.sendall(at(5_000_000))

    with listening(serve) as uri, open_source(uri) as source:
        assert len(next(iter(source))) == 1


@pytest.mark.parametrize(
    "uri",
    [
        "dv:",
        "dv://",
        "dv:///",
        "dv://host",
        "dv://host:",
        "dv://host:abc",
        "dv://host:0",
        "dv://host:99999",
        "dv://host:-1",
        "dv://:7777",
        "dv://user@host:7777",
        "dv://host:7777/path",
        "dv://host:7777?reconnect=1",
        "dv://[::1:7777",
    ],
)
def test_a_bad_uri_ends_in_one_line(uri):
    with pytest.raises(SourceError, match=r"wanted dv://host:port, a port from 1 to 65535") as caught:
        open_source(uri)
    assert str(caught.value).startswith(uri) and "\n" not in str(caught.value)


def test_nobody_listening_ends_in_one_line():
    with socket.socket() as bound:  # but does not listen
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        for host in ("127.0.0.1", "localhost"):
            start = time.monotonic()
            with pytest.raises(SourceError) as caught:
                open_source(f"dv://{host}:{port}")
            assert time.monotonic() - start < 5
            text = f"dv://{host}:{port}: cannot connect: Connection refused; is the sender running?"
            assert str(caught.value) == text


@pytest.mark.parametrize(
    ("sent", "found"),
    [
        (b"", "the sender closed the connection before the stream's header"),
        (HEAD[:50], "the sender closed the connection before the stream's header"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "begins with b'SSH-'; this is no DV network stream"),
        (b"\x10\0\0\0" + bytes(16), "AEDAT4 header: identifier"),
        (stream_of([], streams={0: ("FRME", SENSOR)}), r"wanted a stream of events \(EVTS\); .* holds FRME"),
        (stream_of([], streams={}), r"wanted a stream of events \(EVTS\); .* holds nothing"),
        (
            stream_of([], streams={0: ("EVTS", Sensor(0, 0))}),
            "its sensor is of unknown size; wanted 1x1 to .* or --sensor WxH",
        ),
        (stream_of([], streams={0: ("EVTS", Sensor(40_000, 1))}), "its sensor is 40000x1 pixels"),
    ],
)
def test_a_peer_that_sends_no_events_ends_in_one_line(sent, found):
    with (
        listening(lambda connection: connection.sendall(sent)) as uri,
        pytest.raises(SourceError, match=found) as caught,
    ):
        open_source(uri)
    assert str(caught.value).startswith(uri) and "\n" not in str(caught.value)


def test_a_peer_that_says_nothing_is_given_two_seconds():
    with listening(lambda connection: connection.recv(1)) as uri:
        start = time.monotonic()
        with pytest.raises(SourceError, match=r"connected, but nothing of a stream's header within 2 s"):
            open_source(uri)
        assert time.monotonic() - start < 4


def test_the_user_may_say_the_sensor_of_a_stream_that_does_not():
    data = stream_of([random_events(10)], streams={0: ("EVTS", Sensor(0, 0, "X"))})
    packets, report = read_all(data, sensor=Sensor(16, 12))
    assert sum(map(len, packets)) == 10 and report.refused == 0
    with pytest.raises(SourceError, match="only AEDAT4 files have streams"):
        open_source("dv://127.0.0.1:1", stream=1)
