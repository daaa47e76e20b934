"""A recorder killed at a random moment leaves a file that opens, and loses at most its last chunk."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from mcap.reader import make_reader
from recording_victim import PACKET, check_kill

from spikeline.drivers import open_source
from spikeline.drivers.recording import write_npz
from spikeline.pipeline import open_pipeline
from spikeline.pipeline.events import EventPacket, Sensor
from spikeline.pipeline.package import save_package

from helpers import small_graph, small_manifest

pytestmark = pytest.mark.timeout(120)
SPIKELINE = Path(sys.executable).parent / "spikeline"


@pytest.mark.parametrize("pause_s", [0.05, 0.73])
def test_a_killed_recorder_loses_at_most_a_chunk(tmp_path, pause_s):
    path = tmp_path / "a.mcap"
    recovered, _ = check_kill(path, pause_s)
    with open(path, "rb") as file:  # and any other MCAP reader opens it too
        messages = make_reader(file, validate_crcs=True).iter_messages("/spikeline/packet")
        assert PACKET * sum(1 for _ in messages) == recovered


@pytest.mark.full
@pytest.mark.timeout(600)
def test_twelve_kills_at_random_moments(tmp_path):
    rng = np.random.default_rng(12)
    for k in range(12):
        check_kill(tmp_path / f"{k}.mcap", float(rng.uniform(0, 1.5)))


def test_a_killed_live_run_replays_as_far_as_it_was_recorded(tmp_path):
    """The replay of what is left decides as the live run did, window by window."""
    graph = small_graph(2)
    model = tmp_path / "small.safetensors"
    save_package(model, small_manifest(graph, dt_us=40_000, dt_range_us=(40_000, 40_000)), graph)
    rng = np.random.default_rng(9)
    t = np.sort(rng.integers(0, 4_000_000, 40_000)).astype(np.int64)
    x, y = rng.integers(0, 64, (2, len(t))).astype(np.uint16)
    packet = EventPacket(t, x, y, rng.integers(0, 2, len(t)).astype(np.uint8), 4_000_000, 0, 0)
    write_npz(tmp_path / "events.npz", [packet], Sensor(64, 64))
    running = subprocess.Popen(
        [SPIKELINE, "live", tmp_path / "events.npz", "--model", model, "--json", "--publish", "",
         "--record", tmp_path / "run.mcap"],
        stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert running.stdout
    lines = [running.stdout.readline() for _ in range(20)]
    time.sleep(0.13)
    running.send_signal(signal.SIGKILL)
    out, _ = running.communicate(timeout=30)
    live = [json.loads(line) for line in (*lines, *out.splitlines()) if line.endswith(("}\n", "}"))]
    with open_pipeline(tmp_path / "run.mcap", model) as replay:
        again = [(r.seq, r.label, r.scores.tolist(), r.spikes) for r in replay]
    assert len(live) - 4 <= len(again) <= len(live) + 1  # of 40 ms each; a chunk is 100 ms
    for was, now in zip(live, again, strict=False):
        assert (was["seq"], was["label"], was["scores"], was["spikes"]) == now
    with open_source(tmp_path / "run.mcap") as source:
        events = sum(len(packet) for packet in source)
        assert source.report().truncated and source.run.model == "small"
    assert 0 < events < 40_000
