"""A reader in another language, written from docs/bus.md alone, hears what this project publishes.

Needs node and npm, and packages from npm's registry; skipped where they are not to be had.
"""

import json
import os
import queue
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from spikeline.drivers.recording import write_npz
from spikeline.pipeline.events import EventPacket, Sensor
from spikeline.pipeline.package import save_package

from helpers import small_graph, small_manifest

CLIENT = Path(__file__).parent.parent / "tools" / "client-node"
WINDOW_US = 10_000
WINDOWS = 30  # in the recording; played in a loop, each round is an epoch

pytestmark = [pytest.mark.full, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """client.mjs in a folder of its own, with its packages."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("node and npm are not installed")
    folder = tmp_path_factory.mktemp("client")
    for name in ("package.json", ".npmrc", "client.mjs"):
        shutil.copy(CLIENT / name, folder)
    command = ["npm", "install", "--no-audit", "--no-fund"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        pytest.skip("npm install took more than 120 s")
    if done.returncode:
        pytest.skip(f"npm install failed: {done.stderr.strip()[-300:]}")
    return folder / "client.mjs"


@pytest.fixture(scope="module")
def publisher(tmp_path_factory):
    """The command that publishes a small recording for ever, without --publish; its predictions, in order."""
    folder = tmp_path_factory.mktemp("files")
    graph = small_graph(2)
    save_package(folder / "small.safetensors", small_manifest(graph), graph)
    rng = np.random.default_rng(9)
    t = np.sort(rng.integers(0, WINDOWS * WINDOW_US, 4_000)).astype(np.int64)
    x, y = rng.integers(0, 64, (2, 4_000)).astype(np.uint16)
    packet = EventPacket(t, x, y, rng.integers(0, 2, 4_000).astype(np.uint8), WINDOWS * WINDOW_US, 0, 0)
    write_npz(folder / "events.npz", [packet], Sensor(64, 64))
    spikeline = Path(sys.executable).with_name("spikeline")
    command = [spikeline, "replay", folder / "events.npz", "--model", folder / "small.safetensors"]
    out = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=60, check=True).stdout
    *windows, _ = map(json.loads, out.splitlines())
    assert len(windows) == WINDOWS
    return command, windows


@pytest.fixture
def endpoint():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"


class Running:
    """A process and its lines of JSON, as they come; killed at the end of the `with` block."""

    def __init__(self, command, log):
        self._log = log.open("w")
        self._process = subprocess.Popen(
            [str(part) for part in command], stdout=subprocess.PIPE, stderr=self._log, text=True
        )
        self._lines = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def line(self, timeout_s):
        """The next line, None at the end; fails when there is neither within the time."""
        try:
            return self._lines.get(timeout=timeout_s)
        except queue.Empty:
            pytest.fail(
                f"nothing more within {timeout_s:.1f} s; stderr: {Path(self._log.name).read_text()!r}"
            )

    def until(self, type, timeout_s):
        """The lines up to the first of this type."""
        deadline_s, lines = time.monotonic() + timeout_s, []
        while not lines or lines[-1]["type"] != type:
            line = self.line(max(0.0, deadline_s - time.monotonic()))
            assert line is not None, (type, lines[-3:], Path(self._log.name).read_text())
            lines.append(line)
        return lines

    def wait(self, timeout_s):
        return self._process.wait(timeout_s)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait(10)
        self._thread.join(10)
        self._process.stdout.close()
        self._log.close()

    def _read(self):
        for line in self._process.stdout:
            self._lines.put(json.loads(line))
        self._lines.put(None)


def publishing(publisher, endpoint, folder):
    options = ["--json", "--publish", endpoint, "--speed", "0.5", "--loop", "0"]
    return Running([*publisher[0], *options], folder / f"publisher-{os.urandom(4).hex()}.txt")


def listening(client, endpoint, folder, *options):
    return Running(["node", client, endpoint, "--json", *options], folder / "client.txt")


def places(lines):
    """(epoch, end of the window) of the predictions among these lines."""
    return [(line["epoch"], line["t_end_us"]) for line in lines if line["type"] == "prediction"]


def test_it_prints_as_many_predictions_as_asked_with_our_labels(client, publisher, endpoint, tmp_path):
    with (
        publishing(publisher, endpoint, tmp_path),
        listening(client, endpoint, tmp_path, "--count", "80") as heard,
    ):
        lines = heard.until("prediction", 60)
        while (line := heard.line(20)) is not None:
            lines.append(line)
        assert heard.wait(10) == 0
    predictions = [line for line in lines if line["type"] == "prediction"]
    assert {line["type"] for line in lines} <= {"prediction", "silence"}  # silence: it may be up first
    assert len(predictions) == 80
    first = predictions[0]["seq"]
    assert [p["seq"] for p in predictions] == list(range(first, first + 80))
    at = places(predictions)
    assert at == sorted(set(at)) and len({epoch for epoch, _ in at}) >= 3
    # Every round starts the network anew, so each window is predicted as in a replay that nobody hears.
    for p in predictions:
        ours = publisher[1][p["t_end_us"] // WINDOW_US - 1]
        assert (p["label"], p["t_end_us"]) == (ours["label"], ours["t_end_us"])
        assert p["score"] == pytest.approx(max(ours["scores"]))
        assert p["epoch"] == p["seq"] // WINDOWS


def test_it_tells_of_a_publisher_that_was_killed_and_started_again(client, publisher, endpoint, tmp_path):
    with listening(client, endpoint, tmp_path) as heard:
        with publishing(publisher, endpoint, tmp_path):
            before = heard.until("prediction", 60)
        assert heard.until("silence", 15)[-1]["ms"] < 2_000
        with publishing(publisher, endpoint, tmp_path):
            restart = heard.until("restart", 60)
            after = heard.until("prediction", 20)
    assert "restart" not in {line["type"] for line in before}
    assert [line["type"] for line in restart] == ["restart"]  # one silence, said once
    gaps = [line for line in after if line["type"] == "gap" and line["kind"] == "prediction"]
    assert after[-1]["seq"] == sum(gap["lost"] for gap in gaps)  # what came before we were back is a loss
    assert after[-1]["epoch"] == after[-1]["seq"] // WINDOWS


def test_a_name_that_is_given_is_kept(client, publisher, endpoint, tmp_path):
    with publishing(publisher, endpoint, tmp_path) as publish:
        assert publish.line(60) is not None
        with listening(client, endpoint, tmp_path, "--stream", "main", "--count", "1") as heard:
            assert heard.until("prediction", 20)[-1]["label"] in ("left", "right", "none")
        with listening(client, endpoint, tmp_path, "--stream", "mai") as heard:
            assert heard.until("silence", 20)[-1]["type"] == "silence"  # a prefix of a name is another name
