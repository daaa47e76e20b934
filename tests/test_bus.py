"""The bus over real sockets on loopback: nothing blocks, and nothing is lost unsaid."""

import signal
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pytest
import zmq

from spikeline.pipeline.messages import (
    Activity,
    BusError,
    Dropped,
    Event,
    EventAccount,
    Frame,
    Message,
    Packet,
    Prediction,
    Status,
)
from spikeline.pipeline.publisher import STATUS_EVERY_NS, Publisher
from spikeline.pipeline.reader import BusReader, Gap, Malformed, Restart, Silence

pytestmark = pytest.mark.timeout(20)
ANY_PORT = "tcp://127.0.0.1:*"
BODY = {
    "t_start_us": 0,
    "t_end_us": 10_000,
    "window": 0,
    "label": "wave",
    "label_index": 0,
    "score": 0.9,
    "scores": [0.9, 0.1],
}
STATUS = {"t_start_us": 0, "t_end_us": 0, "state": "running"}


def until_heard(bus: Publisher, *readers: BusReader) -> None:
    """Tick until every reader has had a status, which also tells it every sequence number."""
    for reader in readers:
        for _ in range(500):
            bus.tick()
            if isinstance(reader.receive(0.01), Status):
                break
        else:
            raise AssertionError("no status within 5 s")


def rest(reader: BusReader, quiet_s: float = 0.3) -> list:
    items = []
    while (item := reader.receive(quiet_s)) is not None:
        items.append(item)
    return items


@pytest.fixture
def bus():
    with Publisher(ANY_PORT, model_digest="ab12", run_id="run1") as publisher:
        publisher.publish(Status, **STATUS)
        yield publisher


def test_a_message_arrives_with_everything_filled_in(bus):
    with BusReader(bus.endpoint, "main", ("prediction", "status")) as reader:
        until_heard(bus, reader)
        before_ns = time.monotonic_ns()
        bus.publish(Prediction, epoch=3, dropped=Dropped(events=5), **BODY)
        bus.publish(Prediction, **{**BODY, "score": np.float32(0.5), "scores": np.array([0.5, 0.25])})
        first, second = reader.receive(5), reader.receive(5)
    assert isinstance(first, Prediction) and isinstance(second, Prediction)
    assert (first.run_id, first.stream, first.model, first.epoch) == ("run1", "main", "ab12", 3)
    assert [first.seq, second.seq] == [0, 1]
    assert before_ns <= first.publish_mono_ns <= second.publish_mono_ns <= time.monotonic_ns()
    assert abs(first.publish_unix_ns - time.time_ns()) < 60e9
    assert first.dropped == second.dropped == Dropped(events=5)
    assert (second.score, second.scores) == (0.5, [0.5, 0.25])


def test_a_fast_reader_hears_everything_with_no_gap(bus):
    with BusReader(bus.endpoint, "main", ("prediction", "activity", "status")) as reader:
        until_heard(bus, reader)
        heard: Counter[str] = Counter()
        for i in range(2_000):
            bus.publish(Prediction, **BODY)
            bus.publish(Activity, t_start_us=0, t_end_us=0, window=i, spikes={"a": 1}, synops=9, mac=0)
            for _ in range(2):
                heard[type(reader.receive(5)).__name__] += 1
    assert heard == {"Prediction": 2_000, "Activity": 2_000}


def test_every_message_a_slow_reader_misses_is_accounted_for(bus):
    with BusReader(bus.endpoint, kinds=("prediction", "status")) as reader:
        until_heard(bus, reader)
        seen: list[int] = []
        gaps: list[Gap] = []
        sent, end_s, scores = 0, time.monotonic() + 3, [0.5] * 200
        while time.monotonic() < end_s:
            for _ in range(100):  # far faster than one message per turn
                bus.publish(Prediction, **{**BODY, "scores": scores})
            sent += 100
            bus.tick()
            item = reader.receive(0)
            if isinstance(item, Prediction):
                seen.append(item.seq)
            elif isinstance(item, Gap):
                gaps.append(item)
        for item in rest(reader):
            if isinstance(item, Prediction):
                seen.append(item.seq)
            elif isinstance(item, Gap):
                gaps.append(item)
        bus.publish(Status, **STATUS)  # tells of a loss at the very end, after which no prediction came
        gaps += [item for item in rest(reader) if isinstance(item, Gap)]
    lost = [gap for gap in gaps if gap.topic == "v1/main/prediction/"]
    assert sum(gap.missed for gap in lost) > sent / 2
    assert sorted(seen + [gap.first + i for gap in lost for i in range(gap.missed)]) == list(range(sent))
    assert reader.missed == sum(gap.missed for gap in gaps)


def test_publishing_never_waits_for_a_reader_that_does_not_read(bus):
    with BusReader(bus.endpoint, kinds=("frame", "status")) as reader:
        until_heard(bus, reader)
        data, longest_s = bytes(2 * 2 * 100 * 100), 0.0
        for i in range(1_000):
            start_s = time.perf_counter()
            bus.publish(
                Frame, t_start_us=0, t_end_us=0, window=i, channels=2, width=100, height=100, data=data
            )
            longest_s = max(longest_s, time.perf_counter() - start_s)
    assert longest_s < 1


def test_a_late_joiner_gets_the_status_at_once_and_no_gap():
    with Publisher(ANY_PORT) as bus:
        account = EventAccount(received=5, processed=5)
        bus.publish(Status, events=account, labels=["wave"], **STATUS)
        for _ in range(500):
            bus.publish(Prediction, **BODY)
        start_s = time.monotonic()
        with BusReader(bus.endpoint, kinds=("prediction", "status")) as reader:
            items = []
            while not any(isinstance(item, Status) for item in items):
                assert time.monotonic() - start_s < 1.2
                bus.tick()
                bus.publish(Prediction, **BODY)
                if (item := reader.receive(0.01)) is not None:
                    items.append(item)
            items += rest(reader)
    status = next(item for item in items if isinstance(item, Status))
    assert (status.events, status.labels, status.state) == (account, ["wave"], "running")
    assert status.uptime_s > 0
    assert not any(isinstance(item, Gap | Restart | Malformed) for item in items)


def test_the_status_is_repeated_every_second_without_a_thread(bus):
    with BusReader(bus.endpoint, "main", kinds=("status",)) as reader:
        until_heard(bus, reader)
        start_ns = time.monotonic_ns()
        for ms in range(0, 10_000, 100):
            bus.tick(start_ns + ms * 1_000_000)
        stamps = [item.publish_mono_ns for item in rest(reader) if isinstance(item, Status)]
    assert 9 <= len(stamps) <= 10
    assert set(np.diff(stamps)) == {STATUS_EVERY_NS}


def test_a_restarted_publisher_is_seen_and_what_it_said_before_we_were_back_is_counted():
    with Publisher(ANY_PORT, run_id="old") as bus:
        bus.publish(Status, **STATUS)
        endpoint = bus.endpoint
        reader = BusReader(endpoint, kinds=("prediction", "status"))
        until_heard(bus, reader)
        bus.publish(Prediction, **BODY)
        assert isinstance(reader.receive(5), Prediction)
    with reader, Publisher(endpoint, run_id="new") as bus:
        bus.publish(Status, **STATUS)
        for _ in range(5):
            bus.publish(Prediction, **BODY)
        items = []
        while not any(isinstance(item, Status) for item in items):
            bus.tick()
            if (item := reader.receive(0.01)) is not None:
                items.append(item)
        bus.publish(Prediction, **BODY)
        items += rest(reader)
    assert items[0] == Restart(old="old", new="new", stream="main")
    assert Gap("v1/main/prediction/", missed=5, first=0) in items
    assert [item.seq for item in items if isinstance(item, Prediction)] == [5]


def test_silence_is_said_and_said_again_and_a_reader_may_start_first():
    with Publisher(ANY_PORT) as bus:
        endpoint = bus.endpoint
    with BusReader(endpoint, silence_s=0.2) as reader:  # nobody is there
        silences = [reader.receive(5), reader.receive(5)]
        with Publisher(endpoint, stream="cam7") as bus:
            bus.publish(Status, **STATUS)
            end_s = time.monotonic() + 5
            while not isinstance(reader.receive(0.01), Prediction):
                assert time.monotonic() < end_s
                bus.tick()
                bus.publish(Prediction, **BODY)
        rest(reader, 0.1)
        silences.append(reader.receive(5))
    first, second, third = silences
    assert isinstance(first, Silence) and 0.2 <= first.seconds < 1
    assert isinstance(second, Silence) and first.seconds + 0.2 <= second.seconds < 2
    assert isinstance(third, Silence) and 0.2 <= third.seconds < 1


def test_silence_is_said_within_two_seconds_and_a_status_breaks_it_unseen(bus):
    with BusReader(bus.endpoint) as reader:  # predictions only
        start_s = time.monotonic()
        while time.monotonic() < start_s + 3:
            bus.tick()
            assert reader.receive(0.05) is None
        item = reader.receive(5)
    assert isinstance(item, Silence) and 1.8 <= item.seconds < 2.0


def test_what_is_no_message_becomes_an_item_and_the_rest_is_read_on():
    with zmq.Context() as context, context.socket(zmq.XPUB) as raw:
        raw.linger = 0
        port = raw.bind_to_random_port("tcp://127.0.0.1")
        with BusReader(f"tcp://127.0.0.1:{port}", "main", ("event",)) as reader:
            assert raw.poll(5_000) and raw.recv() == b"\x01v1/main/event/"
            raw.send_multipart([b"v1/main/event/", b"\xff junk"])
            raw.send(b"v1/main/event/")
            raw.send_multipart([b"v1/main/event/more/", b"\x80"])
            items = [reader.receive(5) for _ in range(3)]
    assert all(isinstance(item, Malformed) for item in items)
    assert [item.topic for item in items] == ["v1/main/event/", "v1/main/event/", "v1/main/event/more/"]


def test_only_what_is_wanted_is_sent(bus):
    assert not bus.wanted(Packet)
    with BusReader(bus.endpoint, kinds=("event", "status")) as reader:
        until_heard(bus, reader)
        bus.publish(Event, t_start_us=0, t_end_us=0, kind="epoch", text="new")
        items = rest(reader)
        deadline_s = time.monotonic() + 5
        while bus.wanted(Packet):  # at first the reader listened to everything, to learn the stream's name
            assert time.monotonic() < deadline_s
            bus.tick()
            time.sleep(0.01)
        assert bus.wanted(Event) and bus.wanted(Status) and not bus.wanted(Prediction)
    assert [type(item) for item in items if not isinstance(item, Status)] == [Event]


def test_similar_stream_names_are_not_mixed_up():
    with Publisher(ANY_PORT, stream="cam10") as bus:
        bus.publish(Status, **STATUS)
        with BusReader(bus.endpoint, "cam1", ("status",)) as other, BusReader(bus.endpoint, "cam10") as own:
            while not isinstance(own.receive(0.01), Message):
                bus.tick()
                bus.publish(Prediction, **BODY)
            assert other.receive(0.2) is None


def test_a_port_in_use_is_one_line_with_the_fix(bus):
    with pytest.raises(BusError, match=r"in use by another program; .*take another port") as caught:
        Publisher(bus.endpoint)
    assert bus.endpoint in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("host", ["*", "0.0.0.0", "[::]", "192.168.1.5", "eth0"])
def test_listeners_from_elsewhere_must_be_asked_for(host):
    with pytest.raises(BusError, match=r"use tcp://127\.0\.0\.1:5599, or insecure=True"):
        Publisher(f"tcp://{host}:5599")


def test_insecure_allows_any_address():
    with Publisher("tcp://0.0.0.0:*", insecure=True) as bus:
        assert bus.endpoint.startswith("tcp://0.0.0.0:")


@pytest.mark.parametrize("endpoint", ["tcp://localhost:*", "tcp://lo:*", "ipc://*"])
def test_local_endpoints_work(endpoint):
    with Publisher(endpoint) as bus:
        bus.publish(Status, **STATUS)
        with BusReader(bus.endpoint, kinds=("status",)) as reader:
            until_heard(bus, reader)


@pytest.mark.parametrize(
    "endpoint", ["", "nonsense", "tcp://127.0.0.1", "tcp://127.0.0.1:x", "carrier://pigeon"]
)
def test_an_endpoint_that_makes_no_sense_is_one_line(endpoint):
    for opened in (Publisher, BusReader):
        with pytest.raises(BusError, match=r"want .*tcp://127\.0\.0\.1:5556"):
            opened(endpoint)


def test_unknown_kinds_and_use_after_close_are_refused():
    with pytest.raises(BusError, match="kind 'thought': choose from prediction, "):
        BusReader(kinds=("thought",))
    with Publisher(ANY_PORT) as bus, BusReader(bus.endpoint) as reader:
        pass
    with pytest.raises(BusError, match="the publisher is closed"):
        bus.publish(Prediction, **BODY)
    with pytest.raises(BusError, match="the reader is closed"):
        reader.receive(1)


def test_iteration_ends_after_the_timeout(bus):
    with BusReader(bus.endpoint, timeout_s=0.5, silence_s=0.2) as reader:
        start_s = time.monotonic()
        items = list(reader)
    assert [type(item) for item in items] == [Silence, Silence]
    assert 0.5 <= time.monotonic() - start_s < 2


def test_an_interrupted_reader_ends_at_once():
    code = (
        "from spikeline.pipeline.reader import BusReader\n"
        "with BusReader('tcp://127.0.0.1:9', silence_s=60) as reader:\n"
        "    print('ready', flush=True)\n"
        "    try:\n        next(reader)\n"
        "    except KeyboardInterrupt:\n        print('interrupted')\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with child:
        try:
            assert child.stdout is not None and child.stdout.readline() == b"ready\n"
            time.sleep(0.2)
            start_s = time.monotonic()
            child.send_signal(signal.SIGINT)
            out, err = child.communicate(timeout=10)
        finally:
            child.kill()
    assert (out, err, child.returncode) == (b"interrupted\n", b"", 0)
    assert time.monotonic() - start_s < 2
