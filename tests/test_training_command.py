"""`spikeline train` from a file of clips: folds, run folder, resuming, and one-line refusals."""

import csv
import json
import re

import msgspec
import numpy as np
import pytest

from spikeline.pipeline.commands import run
from spikeline.pipeline.engines import open_engine
from spikeline.pipeline.evaluation import evaluate
from spikeline.pipeline.package import load_package
from spikeline.pipeline.training.data import load_training
from spikeline.pipeline.training.data_settings import DataConfig

PRESET = """
note = "corners"
epochs = 8
batch = 4
average = 0.9
[data]
source = ""
slice_us = 10000
dt_us = 20000
steps = 4
grid = [16, 16]
[skip]
share = 0.0
[loss]
name = "tet"
[optimiser]
rate = 2e-2
[network]
name = "masnn3"
[network.settings]
channels = [4, 8, 8]
hidden = [16]
votes = 4
surrogate = "atan"
surrogate_width = 2.0
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A preset, and 30 clips of three classes whose events are in three corners."""
    folder = tmp_path_factory.mktemp("corners")
    (folder / "corners.toml").write_text(PRESET)
    rng = np.random.default_rng(0)
    parts = []
    for k in range(30):
        t = np.sort(rng.integers(0, 85_000, 300))
        x, y = rng.integers(0, 7, (2, 300))
        parts.append((t, x + 8 * (k % 3 == 1), y + 8 * (k % 3 == 2), rng.integers(0, 2, 300)))
    t, x, y, p = (np.concatenate(each) for each in zip(*parts, strict=True))
    np.savez(
        folder / "corners.npz",
        t=t.astype(np.int64),
        x=x.astype(np.uint16),
        y=y.astype(np.uint16),
        p=p.astype(np.uint8),
        offsets=np.arange(31) * 300,
        labels=np.arange(30) % 3,
        width=16,
        height=16,
    )
    return folder


def arguments(files, out, *more):
    base = ["train", str(files / "corners.toml"), "--data", f"npz:{files / 'corners.npz'}"]
    return [*base, "--out", str(out), "--cache", str(files / "cache"), "--threads", "1", *more]


def test_a_fold_is_held_out_and_measured_from_the_package(files, tmp_path, capsys, monkeypatch):
    argv = arguments(files, tmp_path / "run", "--fold", "2/5")
    monkeypatch.setattr("sys.argv", ["spikeline", *argv])
    assert run(argv) == 0
    out = capsys.readouterr().out
    said = re.search(
        r"fold 2 of 5: ([\d.]+)% right \((\d+) of 6, 95 % interval ([\d.]+)% to ([\d.]+)%\)", out
    )
    assert said and "left 0:" in out
    folder = tmp_path / "run"
    kept = {path.name for path in folder.iterdir()}
    assert kept == {
        "checkpoint.pt",
        "command.txt",
        "config.json",
        "corners.safetensors",
        "curve.csv",
        "curve.png",
    }
    assert (folder / "curve.png").read_bytes()[:4] == b"\x89PNG"
    assert (folder / "command.txt").read_text().startswith("spikeline train ")
    config = json.loads((folder / "config.json").read_text())
    assert (config["data"]["fold"], config["data"]["folds"]) == (2, 5)
    rows = list(csv.DictReader((folder / "curve.csv").read_text().splitlines()))
    assert len(rows) == 8

    data = DataConfig(**{k: tuple(v) if isinstance(v, list) else v for k, v in config["data"].items()})
    training, held = load_training(data, files / "cache")
    assert len(training) == 24 and sorted(held.labels) == [0, 0, 1, 1, 2, 2]
    package = load_package(folder / "corners.safetensors")
    samples = [(held.sample(i, 20_000, 4), int(held.labels[i])) for i in range(6)]
    accuracy = evaluate(open_engine("onnx", package.graph, "window"), samples).accuracy
    assert float(said[1]) == pytest.approx(100 * accuracy, abs=0.05) and int(said[2]) == round(6 * accuracy)
    assert accuracy >= 0.8  # corners are easy


def test_a_stopped_command_goes_on_to_the_same_package(files, tmp_path):
    assert run(arguments(files, tmp_path / "whole", "--epochs", "3")) == 0
    assert _stopped_after_one(files, tmp_path / "parts") == 130
    assert run(arguments(files, tmp_path / "parts", "--epochs", "3", "--resume")) == 0
    whole, resumed = (load_package(tmp_path / run / "corners.safetensors") for run in ("whole", "parts"))
    assert msgspec.json.encode(whole.manifest) == msgspec.json.encode(resumed.manifest)
    for name, tensor in whole.graph.tensors.items():
        np.testing.assert_array_equal(tensor, resumed.graph.tensors[name])
    rows = list(csv.DictReader((tmp_path / "parts" / "curve.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert len((tmp_path / "parts" / "command.txt").read_text().splitlines()) == 2


def _stopped_after_one(files, out):
    """Ctrl-C at the first batch of the second epoch."""
    from spikeline.pipeline.training import loop

    real = loop.update
    seen = []

    def update(*args):
        seen.append(1)
        if len(seen) > 6:  # 27 clips are six batches of four
            raise KeyboardInterrupt
        return real(*args)

    loop.update = update
    try:
        return run(arguments(files, out, "--epochs", "3"))
    finally:
        loop.update = real


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--fold", "two"], "--fold two: wanted a part of a number of parts, such as 2/5"),
        (["--fold", "6/5"], "wanted folds >= 2 and fold 1 to folds, got fold 6 of 5"),
        (["--fold", "1/40"], "40 folds of 30"),
        (["--device", "tpu"], "--device tpu: choose from auto, cpu, cuda"),
        (["--resume"], "nothing to resume; start without --resume"),
        (["--clips", "2"], "do not fill one batch of 4"),
        (["--validation", "npz:nowhere.npz"], "nowhere.npz"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(files, tmp_path, capsys, more, words):
    assert run(arguments(files, tmp_path / "run", *more)) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and words in said


def test_early_stopping_does_not_choose_on_a_held_out_fold(files, tmp_path, capsys):
    preset = tmp_path / "stops.toml"
    preset.write_text(PRESET.replace("batch = 4", "batch = 4\nearly_stop = 2"))
    argv = arguments(files, tmp_path / "run", "--fold", "1/5")
    argv[1] = str(preset)
    assert run(argv) == 2
    assert "early_stop the held-out clips would choose" in capsys.readouterr().err


def test_a_run_that_gets_no_better_ends_early_with_its_best_weights(files, tmp_path, capsys):
    preset = tmp_path / "stops.toml"
    preset.write_text(
        PRESET.replace("batch = 4", "batch = 4\nearly_stop = 2").replace("epochs = 8", "epochs = 40")
    )
    argv = arguments(files, tmp_path / "run")
    argv[1] = str(preset)
    assert run(argv) == 0
    rows = list(csv.DictReader((tmp_path / "run" / "curve.csv").read_text().splitlines()))
    accuracies = [float(row["accuracy"]) for row in rows]
    best = int(np.argmax(accuracies))
    assert len(rows) == best + 3 < 40
    (found,) = load_package(tmp_path / "run" / "stops.safetensors").manifest.accuracy.values()
    assert found == pytest.approx(accuracies[best])
