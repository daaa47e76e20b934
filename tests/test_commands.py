"""The commands, by calling them: what they print, how they refuse, how they exit."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from spikeline.drivers.recording import write_npz
from spikeline.drivers.sim import GESTURES
from spikeline.pipeline.commands import COMMANDS, run
from spikeline.pipeline.events import EventPacket, Sensor
from spikeline.pipeline.package import save_package

from helpers import small_graph, small_manifest

WINDOW_KEYS = {
    *["seq", "epoch", "t_start_us", "t_end_us", "label", "scores", "spikes", "synops", "skipped", "timing"]
}
SUMMARY_KEYS = {*["type", "events", "windows", "predictions", "digest", "digest_input"]}
INFO_KEYS = {
    *[
        "format",
        "width",
        "height",
        "events",
        "t_first_us",
        "t_last_us",
        "on",
        "off",
        "refused",
        "truncated",
        "digest",
    ]
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """small.safetensors for a 64x64 sensor, events.npz from one, other.npz from another sensor."""
    folder = tmp_path_factory.mktemp("files")
    graph = small_graph(2)
    save_package(folder / "small.safetensors", small_manifest(graph), graph)
    rng = np.random.default_rng(9)
    t = np.sort(rng.integers(0, 300_000, 4_000)).astype(np.int64)
    x, y = rng.integers(0, 64, (2, 4_000)).astype(np.uint16)
    packet = EventPacket(t, x, y, rng.integers(0, 2, 4_000).astype(np.uint8), 300_000, 0, 0)
    write_npz(folder / "events.npz", [packet], Sensor(64, 64))
    write_npz(folder / "other.npz", [packet], Sensor(100, 64))
    return folder


def call(capsys, *argv):
    code = run([str(a) for a in argv])
    out, err = capsys.readouterr()
    return code, out, err


def replayed(capsys, folder, *options):
    source, model = folder / "events.npz", folder / "small.safetensors"
    code, out, _ = call(capsys, "replay", source, "--model", model, "--json", *options)
    assert code == 0
    return [json.loads(line) for line in out.splitlines()]


def test_replay_writes_an_object_per_window_and_a_summary(folder, capsys):
    *windows, summary = replayed(capsys, folder)
    assert len(windows) == 30 == summary["windows"]
    for i, window in enumerate(windows):
        assert window.keys() >= WINDOW_KEYS
        assert (window["seq"], window["t_start_us"], window["t_end_us"]) == (i, i * 10_000, (i + 1) * 10_000)
        assert len(window["scores"]) == 3 and set(window["spikes"]) == {"n1", "n2", "out"}
        assert window["label"] in ("left", "right", "none", None)
    assert summary.keys() >= SUMMARY_KEYS
    assert summary["type"] == "summary" and summary["events"] == 4_000


def test_one_digest_however_it_is_played(folder, capsys):
    options = [
        (),
        ("--packet-events", "1"),
        ("--packet-events", "100"),
        ("--packet-events", "10000"),
        ("--speed", "7"),
        ("--speed", "1"),
    ]
    digests = {replayed(capsys, folder, *o)[-1]["digest"] for o in options}
    assert len(digests) == 1


def test_engines_agree_on_what_they_were_given_and_gave(folder, capsys):
    onnx = replayed(capsys, folder, "--engine", "onnx")
    torch = replayed(capsys, folder, "--engine", "torch")
    assert onnx[-1]["digest_input"] == torch[-1]["digest_input"]
    assert (onnx[-1]["engine"], torch[-1]["engine"]) == ("onnx", "torch")
    for a, b in zip(onnx[:-1], torch[:-1], strict=True):
        assert a["spikes"] == b["spikes"]
        np.testing.assert_allclose(a["scores"], b["scores"], atol=1e-4)


def test_replay_for_a_person_ends_with_the_digest(folder, capsys):
    code, out, _ = call(capsys, "replay", folder / "events.npz", "--model", folder / "small.safetensors")
    assert code == 0
    assert out.splitlines()[-1].startswith("digest ")
    assert "4,000 events, 30 windows" in out


def test_info_has_the_documented_keys(folder, capsys):
    code, out, _ = call(capsys, "info", folder / "events.npz", "--json")
    facts = json.loads(out)
    assert code == 0 and facts.keys() >= INFO_KEYS
    assert (facts["events"], facts["on"] + facts["off"], facts["width"]) == (4_000, 4_000, 64)
    assert facts["truncated"] is False and len(facts["digest"]) == 64


def test_models_show_prints_resting_activity(folder, capsys):
    code, out, _ = call(capsys, "models", "--show", folder / "small.safetensors", "--json")
    facts = json.loads(out)
    assert code == 0
    assert facts["resting"].keys() == {"n1", "n2", "out"} and 0 <= facts["resting_nasar"] <= 1
    code, out, _ = call(capsys, "models", "--show", folder / "small.safetensors")
    assert "resting activity" in out and "MAC per step" in out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name, capsys):
    code, out, _ = call(capsys, name, "--help")
    assert code == 0
    assert f"Example: spikeline {name}" in out


def test_the_list_of_commands_is_printed(capsys):
    for argv in ([], ["--help"]):
        code, out, _ = call(capsys, *argv)
        assert code == 0
        assert all(name in out for name in COMMANDS)


def refusals(folder):
    small, events = folder / "small.safetensors", folder / "events.npz"
    broken = folder / "broken.safetensors"
    data = bytearray(small.read_bytes())
    data[-5] ^= 1
    broken.write_bytes(data)
    (folder / "noise.xyz").write_bytes(np.random.default_rng(1).bytes(500))
    (folder / "notes.txt").write_text("# Notes\n\nnot a recording\n")
    (folder / "cut.toml").write_text("epochs = [")
    (folder / "odd.toml").write_text("[network]\nlayers = 4\n")
    return {
        "no such file": ("replay", folder / "none.npz", "--model", small),
        "is in no format we know; this version reads AEDAT 1 to 4, ": ("info", folder / "noise.xyz"),
        "sensor is 100x64, the model was trained on 64x64: choose --fit crop or scale": (
            *("replay", folder / "other.npz", "--model", small),
        ),
        "broken.safetensors: damaged or changed": ("replay", events, "--model", broken),
        "no such file or shipped package": ("replay", events, "--model", "nothing"),
        "wanted one of auto, onnx, torch, sparse": ("replay", events, "--model", small, "--engine", "brian"),
        "readout 'median': wanted window, sliding or ema": (
            *("replay", events, "--model", small, "--readout", "median"),
        ),
        "threshold must be 0 to 1, got 3": ("replay", events, "--model", small, "--threshold", "3"),
        "--sensor big: wanted WIDTHxHEIGHT": ("info", events, "--sensor", "big"),
        "--kinds nonsense: choose from": ("listen", "--kinds", "nonsense"),
        "its labels are not those of sim:gesture": ("evaluate", "--model", small),
        "no such file or shipped preset": ("train", "nothing"),
        "cut.toml": ("train", folder / "cut.toml"),
        "odd.network.layers: unknown setting; choose from name, settings": ("train", folder / "odd.toml"),
        "--split foo: choose from test, validation, train": ("evaluate", "--split", "foo"),
        "notes.txt: is in no format we know": ("info", folder / "notes.txt"),
        "events.npz": ("evaluate", "--clips", "12", "--cache", folder / "events.npz"),
        "No such command": ("fly",),
        "--fly": ("replay", events, "--fly"),
        "Missing argument": ("replay",),
        "anyone who reaches this machine could listen; use tcp://127.0.0.1:0": (
            "replay",
            events,
            "--model",
            small,
            "--publish",
            "tcp://0.0.0.0:0",
        ),
    }


def test_what_cannot_be_done_ends_in_one_line_and_code_2(folder, capsys):
    for wanted, argv in refusals(folder).items():
        code, out, err = call(capsys, *argv)
        assert code == 2, argv
        assert err.startswith("spikeline: ") and err.count("\n") == 1, err
        assert wanted in err
        assert out == ""


def test_a_port_in_use_is_named(folder, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        endpoint = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        code, _, err = call(
            *(
                capsys,
                "replay",
                folder / "events.npz",
                "--model",
                folder / "small.safetensors",
                "--publish",
                endpoint,
            )
        )
    assert code == 2
    assert endpoint in err and "in use" in err and err.count("\n") == 1


def test_backward_times_are_refused_counted_and_said(folder, tmp_path, capsys):
    t = np.arange(100, dtype=np.int64) * 1_000
    t[50] = 10_000  # 40 ms late: refused
    one = np.ones(100, np.uint16)
    np.savez(tmp_path / "late.npz", t=t, x=one, y=one, p=one.astype(np.uint8), width=64, height=64)
    _, out, _ = call(capsys, "info", tmp_path / "late.npz", "--json")
    facts = json.loads(out)
    assert (facts["events"], facts["refused"]) == (99, 1)
    _, out, _ = call(
        *(capsys, "replay", tmp_path / "late.npz", "--model", folder / "small.safetensors", "--json")
    )
    summary = json.loads(out.splitlines()[-1])
    assert summary["account"]["refused"] == 1 and summary["events"] == 100


def test_the_installed_command_runs_without_torch_and_without_a_traceback(folder):
    """In a process of its own, torch made impossible to import, output cut off by the reader."""
    blocker = folder / "site"
    (blocker / "torch").mkdir(parents=True, exist_ok=True)
    (blocker / "torch" / "__init__.py").write_text("raise ImportError('torch is not for the core')")
    command = "import sys; from spikeline.pipeline.commands import main; main(sys.argv[1:])"
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", command, "replay", folder / "events.npz", "--model",
         folder / "small.safetensors"],
        env={**os.environ, "PYTHONPATH": str(blocker)}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert found.stderr == "" and "digest" in found.stdout


def test_a_reader_that_stops_reading_is_no_error(folder):
    """`spikeline replay ... --json | head -1`"""
    spikeline = Path(sys.executable).parent / "spikeline"
    model = folder / "small.safetensors"
    player = subprocess.Popen(
        [spikeline, "replay", f"loop(times=0)+{folder / 'events.npz'}", "--model", model, "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert player.stdout and player.stderr
    assert player.stdout.readline().startswith(b"{")
    player.stdout.close()
    assert player.wait(60) == 0
    assert player.stderr.read() == b""
    player.stderr.close()


def test_listen_hears_what_replay_publishes(folder):
    """Real processes and a real socket: a subscriber started first gets predictions and a status."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        endpoint = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    spikeline = Path(sys.executable).parent / "spikeline"
    listener = subprocess.Popen(
        [spikeline, "listen", endpoint, "--json", "--count", "20", "--seconds", "60"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    player = subprocess.Popen(
        [spikeline, "replay", folder / "events.npz", "--model", folder / "small.safetensors", "--publish",
         endpoint, "--speed", "0.5", "--loop", "0"],
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        out, _ = listener.communicate(timeout=90)
    finally:
        player.terminate()
        player.wait(20)
    items = [json.loads(line) for line in out.splitlines()]
    predictions = [item for item in items if item["type"] == "prediction"]
    assert listener.returncode == 0 and len(predictions) >= 10
    assert {"run_id", "epoch", "window", "label", "scores", "model"} <= predictions[0].keys()
    sequence = [item["seq"] for item in predictions]
    assert sequence == list(range(sequence[0], sequence[0] + len(sequence)))


@pytest.mark.parametrize("source", ["sim:gesture?seed=3&duration_s=1"])
def test_the_simulated_camera_is_a_source_like_any_other(source, capsys):
    code, out, _ = call(capsys, "info", source, "--json")
    facts = json.loads(out)
    assert code == 0 and facts["events"] > 500 and facts["format"] == "sim:gesture"
    assert len(GESTURES) == 12


def test_the_demo_as_json_ends_with_its_account(capsys):
    code, out, _ = call(capsys, "demo", "--seconds", "1", "--publish", "", "--json")
    *windows, summary = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert len(windows) == 20 == summary["windows"] and summary["account"]["queued"] == 0
    assert set(windows[0]["spikes"]) == {"conv1", "conv2", "conv3", "fc1", "fc2"}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_offers_json(name, capsys):
    code, out, _ = call(capsys, name, "--help")
    assert code == 0 and "--json" in out
