"""Recordings through a pipe: the same events as from a file, however the bytes come, in little memory."""

import io
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from format_files import FILES, make, open_file
from made import seeded_stream
from make_prophesee import header
from mutations import read_all, read_or_refuse, same

from spikeline.drivers import open_source
from spikeline.drivers.piped import KEEP_BYTES, Piped
from spikeline.pipeline.events import SourceError

EVENTS = seeded_stream(3_000)
FORWARD = ("aedat1", "aedat2-davis", "evt2", "evt21", "evt3", "dat-cd", "es-dvs", "nmnist", "csv", "csv-gz")


@contextmanager
def pouring(data, into, size=5_000):
    """A thread writes the data into this file descriptor, `size` bytes at once, and closes it."""

    def pour():
        with open(into, "wb", buffering=0) as pipe:
            for at in range(0, len(data), size):
                try:
                    pipe.write(data[at : at + size])
                except BrokenPipeError:
                    return

    thread = threading.Thread(target=pour)
    thread.start()
    yield
    thread.join(timeout=20)
    assert not thread.is_alive()


def from_stdin(monkeypatch, data, query, sensor, size=5_000):
    get, put = os.pipe()
    with pouring(data, put, size), open(get) as pipe:
        monkeypatch.setattr(sys, "stdin", pipe)
        found = read_or_refuse(lambda: open_source(f"-{query}", sensor=sensor))
        monkeypatch.undo()
    return found


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("size", [777, 1 << 20])
def test_standard_input_gives_the_events_of_the_file(name, size, monkeypatch):
    about, data = FILES[name], make(name, EVENTS).data
    found, report = from_stdin(monkeypatch, data, about.query, about.sensor, size)
    assert same(found, EVENTS)
    assert (report.damage, report.truncated, report.refused, report.bytes) == ([], False, 0, len(data))


@pytest.mark.parametrize(
    "name", ["aedat1", "aedat2-davis", "evt2", "evt21", "evt3", "dat-cd", "es-dvs", "csv", "csv-gz"]
)
def test_damage_in_a_pipe_is_told_as_in_a_file(name, monkeypatch, tmp_path):
    about, data = FILES[name], bytearray(make(name, EVENTS).data)
    middle = len(data) // 2
    data[middle : middle + 300] = np.random.default_rng(1).bytes(300)
    data = bytes(data[:-3])
    path = tmp_path / about.file
    path.write_bytes(data)
    expected, of_file = read_all(open_file(name, path))
    found, of_pipe = from_stdin(monkeypatch, data, about.query, about.sensor)
    assert same(found, expected) and of_pipe == of_file
    assert of_pipe.damage and len(found.t) < len(EVENTS.t)


@pytest.mark.parametrize("name", ["evt3", "csv", "npz"])
def test_a_fifo_is_read_as_standard_input_is_and_once(name, tmp_path):
    about, data = FILES[name], make(name, EVENTS).data
    path = tmp_path / f"fifo{Path(about.file).suffix}"
    os.mkfifo(path)
    with pouring(data, path):
        found, report = read_all(open_source(path, sensor=about.sensor))
    assert same(found, EVENTS) and not report.damage
    with pytest.raises(SourceError, match="a pipe can be read only once"):
        open_source(f"loop(times=2)+{path}", sensor=about.sensor)


def test_what_a_pipe_holds_is_refused_in_one_line(monkeypatch):
    for data in (b"", b"hello", b"MATLAB 5.0 MAT-file, x", header("EVT3", 0, 0)):
        found, refusal = from_stdin(monkeypatch, data, "", None)
        assert found is None and refusal.startswith("standard input: ")


def test_a_pipe_forgets_what_lies_far_behind():
    data = np.random.default_rng(1).bytes(4 * KEEP_BYTES)
    piped = Piped(io.BytesIO(data), "a pipe")
    assert piped.at(10, 20) == data[10:30] and piped.size > len(data)
    for at in range(0, len(data), 100_000):
        assert piped.at(at, 150_000) == data[at : at + 150_000]
    assert piped.at(len(data) - KEEP_BYTES // 2, 7) == data[len(data) - KEEP_BYTES // 2 :][:7]
    assert piped.size == len(data) and str(piped) == "a pipe"
    with pytest.raises(SourceError, match="byte 5 of a pipe is gone"):
        piped.at(5, 1)
    assert Piped(io.BytesIO(data), "a pipe").reader().read() == data


@pytest.mark.timeout(120)
def test_a_recording_larger_than_its_memory_goes_through_a_pipe(tmp_path):
    """80 MB of EVT2 into a process; `make test-long` pours 10 GB."""
    script = Path(__file__).with_name("pour.py")
    command = [sys.executable, str(script), "evt2", "80"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    written, read, peak_mb = (int(word) for word in done.stdout.split())
    assert written == read and peak_mb < 300
