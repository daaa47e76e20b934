"""Training: data through the live kernels, augmentation, and runs that resume bit for bit."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from spikeline.drivers.sim import GESTURES
from spikeline.pipeline.engines import open_engine
from spikeline.pipeline.evaluation import evaluate
from spikeline.pipeline.package import load_package
from spikeline.pipeline.training import run_folder
from spikeline.pipeline.training.augment_settings import AugmentConfig
from spikeline.pipeline.training.build import count_clip
from spikeline.pipeline.training.clips import ClipSet, packed
from spikeline.pipeline.training.data import CutConfig, load_set
from spikeline.pipeline.training.data_settings import DataConfig
from spikeline.pipeline.training.errors import TrainingError
from spikeline.pipeline.training.loop import train
from spikeline.pipeline.training.publish import make_package
from spikeline.pipeline.training.sets import open_set
from spikeline.pipeline.training.settings import (
    GateConfig,
    LossConfig,
    NetworkConfig,
    OptimiserConfig,
    ScheduleConfig,
    TrainConfig,
)

from helpers import small_graph

SET = "sim:gesture?split=train&clips=24&duration_s=0.2"
PLIF = {"channels": 4, "layers": 2, "hidden": 8, "votes": 2, "grid": (32, 32)}
SETTINGS = {"channels": (4, 4, 4), "hidden": (8,), "votes": 2, "surrogate": "atan", "surrogate_width": 2.0}
CONFIG = TrainConfig(
    data=DataConfig(source=SET, steps=4),
    augment=AugmentConfig(shift=2, flip=True, keep_min=0.5, gain_max=2.0, noise=0.01),
    network=NetworkConfig(settings=SETTINGS, clip_counts=6.0),
    epochs=2,
    batch=8,
)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return load_set(open_set(SET), CutConfig(), tmp_path_factory.mktemp("cache"), workers=1)


class StoppedError(Exception):
    """Stands for Ctrl-C after an epoch."""


def stop_after(n):
    def on_epoch(figures):
        if figures.epoch + 1 == n:
            raise StoppedError

    return on_epoch


def with_network(config, **settings):
    return replace(config, network=replace(config.network, settings=SETTINGS | settings))


VARIANTS = {
    "plain": CONFIG,
    "attention": with_network(CONFIG, attention="cs", c_ratio=2, kernel=3),
    "gate": replace(CONFIG, gate=GateConfig(form="sliding")),
    "average": replace(CONFIG, average=0.9, loss=LossConfig(name="tet")),
    "early stop": replace(CONFIG, early_stop=3, optimiser=OptimiserConfig(name="adam")),
    "dropout, plateau": replace(
        CONFIG,
        network=NetworkConfig(name="plifnet", settings=PLIF, clip_counts=6.0),
        optimiser=OptimiserConfig(name="sgd", rate=0.05),
        schedule=ScheduleConfig(name="plateau", patience=0, factor=0.5),
        precision="bf16",
    ),
    "cosine, mixed, truncated": replace(
        CONFIG,
        schedule=ScheduleConfig(name="cosine"),
        augment=AugmentConfig(mixup=0.5, rotation_deg=9),
        truncate=3,
    ),
    "step, recomputed": replace(CONFIG, schedule=ScheduleConfig(name="step", epochs=2), recompute=True),
}


@pytest.mark.parametrize("which", VARIANTS)
def test_a_resumed_run_ends_with_the_weights_of_one_not_stopped(clips, tmp_path, which):
    config = VARIANTS[which]
    whole = train(config, clips, clips, tmp_path / "whole")
    with pytest.raises(StoppedError):
        train(config, clips, clips, tmp_path / "parts", on_epoch=stop_after(1))
    resumed = train(config, clips, clips, tmp_path / "parts", resume=True)
    for (name, a), b in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    rows = list(csv.DictReader((tmp_path / "parts" / "curve.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert json.loads((tmp_path / "parts" / "config.json").read_text())["epochs"] == 2


def test_another_seed_is_another_network(clips, tmp_path):
    one, two = (train(replace(CONFIG, seed=k, epochs=1), clips, clips, tmp_path / f"{k}") for k in (1, 2))
    assert any(not torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_an_epoch_that_was_written_down_but_not_kept_is_done_again(clips, tmp_path):
    with pytest.raises(StoppedError):
        train(CONFIG, clips, clips, tmp_path, on_epoch=stop_after(1))
    curve = tmp_path / "curve.csv"
    curve.write_text(
        curve.read_text() + "1,9,9,9,9,9,9\n"
    )  # as a run leaves it that dies before its checkpoint
    train(CONFIG, clips, clips, tmp_path, resume=True)
    rows = list(csv.DictReader(curve.read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["0", "1"] and float(rows[1]["loss"]) < 9


def test_a_curve_is_drawn_where_matplotlib_is(clips, tmp_path, monkeypatch):
    train(replace(CONFIG, epochs=1), clips, clips, tmp_path)
    monkeypatch.setattr(run_folder, "find_spec", lambda name: None)
    assert not run_folder.draw_curve(tmp_path) and not (tmp_path / "curve.png").exists()
    monkeypatch.undo()
    pytest.importorskip("matplotlib")
    assert run_folder.draw_curve(tmp_path) and (tmp_path / "curve.png").stat().st_size > 5_000


def test_resuming_says_what_is_missing_or_different(clips, tmp_path):
    with pytest.raises(TrainingError, match="nothing to resume"):
        train(CONFIG, clips, clips, tmp_path, resume=True)
    with pytest.raises(StoppedError):
        train(CONFIG, clips, clips, tmp_path, on_epoch=stop_after(1))
    with pytest.raises(TrainingError, match="made with other settings"):
        train(replace(CONFIG, epochs=4), clips, clips, tmp_path, resume=True)


def separable():
    """24 clips that say their class by where their events are."""
    frames = np.zeros((24, 8, 2, 32, 32), np.uint8)
    labels = np.arange(24) % 12
    for i, label in enumerate(labels):
        frames[
            i, :, :, 4 + 8 * (label // 4) : 8 + 8 * (label // 4), 8 * (label % 4) : 4 + 8 * (label % 4)
        ] = 5
    flat, offsets = packed(list(frames))
    return ClipSet(
        about="made up",
        names=tuple(GESTURES),
        sensor=(128, 128),
        slice_us=25_000,
        frames=flat,
        offsets=offsets,
        labels=labels,
        persons=np.zeros(24, np.int64),
    )


def test_training_learns_and_its_package_serves_what_was_trained(tmp_path):
    """An easy task is learnt; the package has the network's accuracy, spikes and labels."""
    easy = separable()
    config = replace(
        CONFIG,
        epochs=30,
        batch=12,
        optimiser=OptimiserConfig(rate=2e-2),
        network=with_network(CONFIG, channels=(8, 8, 8), hidden=(32,), votes=4).network,
        augment=AugmentConfig(keep_min=0.8),
        loss=LossConfig(spike_penalty=0.1),
    )
    epochs = []
    network = train(config, easy, easy, tmp_path, on_epoch=epochs.append)
    assert epochs[-1].loss < epochs[0].loss / 2
    assert epochs[-1].accuracy >= 0.9
    package = make_package(tmp_path / "easy.safetensors", "easy", network, config, easy, easy, "a test")
    again = load_package(tmp_path / "easy.safetensors")
    assert again.digest == package.digest
    manifest = again.manifest
    assert manifest.labels == list(GESTURES) and manifest.skip.max_ratio == config.skip.max_ratio
    assert manifest.accuracy == {"validation (made up)": epochs[-1].accuracy}
    assert set(manifest.statistics.spikes) == {"conv1", "conv2", "conv3", "fc1", "fc2"}
    assert manifest.statistics.event_rate.mean == pytest.approx(5 * 32 * 2 / 0.05)


def test_the_input_saturates_at_the_top_of_the_training_counts(clips):
    per_window = clips.frames.reshape(24, 4, 2, -1).sum(2, dtype=np.int64)
    assert count_clip(clips, 50_000) == pytest.approx(np.percentile(per_window[per_window > 0], 99.9))


def test_an_evaluation_adds_up(clips):
    graph = small_graph(1, size=32, classes=12)
    engine = open_engine("onnx", graph, "window")
    samples = [(f, int(clips.labels[i])) for i, f in clips.windows(50_000, 4)]
    result = evaluate(engine, samples)
    facts = result.as_dict(list(GESTURES))
    assert result.samples == 24 and result.confusion.sum(1).tolist() == [2] * 12
    neurons = sum(result.neurons.values())
    assert facts["nasar"] == pytest.approx(facts["spikes_per_sample"] / (4 * neurons))
    assert facts["energy_paper_uj"] == pytest.approx((4.6 * result.mac + 0.9 * result.synops) * 4e-6)
    half = evaluate(engine, samples, skip_ratio=0.5)
    assert half.processed == pytest.approx(0.5, abs=0.15)
    assert half.mac == pytest.approx(result.mac * half.processed)
