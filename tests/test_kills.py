"""Camera, pipeline and listener as three processes; one of them is killed at a random moment.

Every survivor says what happened within two seconds and goes on, or ends cleanly; nothing hangs.
"""

import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from spikeline.pipeline.package import save_package

from helpers import small_graph, small_manifest

pytest.importorskip("dv_processing", reason="the camera of this test is dv-processing's NetworkWriter")

SPIKELINE = Path(sys.executable).parent / "spikeline"
CAMERA = Path(__file__).parent / "dv_camera.py"
VICTIMS = ("camera", "pipeline", "listener")
SOON_S = 2.0
LIMIT_S = 30.0  # to start a process on a busy machine


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Running:
    """A process and what it has printed, line by line with the time of each."""

    def __init__(self, *command):
        self.process = subprocess.Popen(
            [str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.lines = []
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append((time.monotonic(), line))

    def wait_for(self, what, since=0.0, limit_s=LIMIT_S):
        """When a line with `what` came, later than `since`."""
        until = time.monotonic() + limit_s
        seen = 0
        while time.monotonic() < until:
            for at, line in self.lines[seen:]:
                seen += 1
                if at >= since and what in line:
                    return at
            time.sleep(0.01)
        raise AssertionError(f"no {what!r} within {limit_s} s; last lines: {self.lines[-3:]}")

    @property
    def alive(self):
        return self.process.poll() is None

    def kill(self):
        self.process.kill()
        self.end()

    def end(self):
        self.process.wait(10)
        self.thread.join(10)
        if self.process.stdout:
            self.process.stdout.close()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    graph = small_graph(2)
    changes = {"dt_us": 40_000, "dt_range_us": (40_000, 40_000)}
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    save_package(path, small_manifest(graph, **changes), graph)
    return path


def trial(victim, pause_s, model):
    camera_port, bus = free_port(), f"tcp://127.0.0.1:{free_port()}"
    running = {}

    def start(name):
        command = {
            "camera": (sys.executable, CAMERA, camera_port),
            "pipeline": (
                SPIKELINE,
                "live",
                f"dv://127.0.0.1:{camera_port}",
                "--model",
                model,
                "--publish",
                bus,
            ),
            "listener": (SPIKELINE, "listen", bus, "--json"),
        }[name]
        running[name] = Running(*command)

    try:
        start("camera")
        running["camera"].wait_for("ready")
        start("pipeline")
        start("listener")
        running["listener"].wait_for('"type":"prediction"')
        time.sleep(pause_s)
        killed = time.monotonic()
        running.pop(victim).kill()
        if victim == "camera":
            # the pipeline's source has ended: it says so on the bus, prints its account and ends
            assert running["listener"].wait_for('"state":"stopping"', killed) - killed < SOON_S
            running["pipeline"].wait_for("digest", killed, SOON_S)
            running["pipeline"].end()
            assert running["pipeline"].process.returncode in (0, 1)
            assert running["listener"].alive
        elif victim == "pipeline":
            assert running["listener"].wait_for('"type":"silence"', killed) - killed < SOON_S
            assert running["camera"].alive
            running["camera"].kill()
            start("camera")
            running["camera"].wait_for("ready")
            start("pipeline")
            running["listener"].wait_for('"type":"restart"', killed)
            running["listener"].wait_for('"type":"prediction"', killed)
        else:
            start("listener")
            running["listener"].wait_for('"type":"prediction"', killed)
            assert running["pipeline"].alive and running["camera"].alive
    finally:
        for process in running.values():
            process.kill()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("victim", VICTIMS)
def test_survivors_say_what_happened_and_go_on(victim, model):
    trial(victim, 0.3, model)


@pytest.mark.full
@pytest.mark.timeout(900)
def test_twenty_kills_at_random_moments(model):
    rng = np.random.default_rng(20)
    for k in range(20):
        trial(VICTIMS[k % 3], float(rng.uniform(0, 1.5)), model)
