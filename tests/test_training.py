"""Training: data through the live kernels, augmentation, and runs that resume bit for bit."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from spikeline.drivers.sim import GESTURES, draw_clip, simulate
from spikeline.pipeline.engines import open_engine
from spikeline.pipeline.evaluation import evaluate
from spikeline.pipeline.package import load_package
from spikeline.pipeline.training.augment import augment, batches, shifted, skips
from spikeline.pipeline.training.clips import ClipSet, packed
from spikeline.pipeline.training.data import FLIPPED, ClipConfig, clip_frames, load_clips
from spikeline.pipeline.training.loop import TrainingError, count_clip, train
from spikeline.pipeline.training.publish import make_package
from spikeline.pipeline.training.settings import (
    AugmentConfig,
    DataConfig,
    GateConfig,
    NetworkConfig,
    SkipConfig,
    TrainConfig,
)

from helpers import small_graph

CLIPS = ClipConfig(clips=24, duration_us=200_000, slice_us=25_000)
SETTINGS = {"channels": (4, 4, 4), "hidden": (8,), "votes": 2, "surrogate": "atan", "surrogate_width": 2.0}
CONFIG = TrainConfig(
    data=DataConfig(train_clips=24, duration_us=200_000, steps=4),
    network=NetworkConfig(settings=SETTINGS, clip_counts=6.0),
    epochs=3,
    batch=8,
)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return load_clips(CLIPS, tmp_path_factory.mktemp("cache"), workers=1)


def test_frames_of_a_clip_are_its_events_counted_by_hand():
    frames, label, person = clip_frames(CLIPS, 5)
    clip = draw_clip(CLIPS.seed, split="train", index=5, duration_s=0.2)
    t, x, y, p = simulate(clip)
    wanted = np.zeros((8, 2, 32, 32), np.int64)
    np.add.at(wanted, (t // 25_000, p, y // 4, x // 4), 1)
    np.testing.assert_array_equal(frames, np.minimum(wanted, 255))
    assert (label, person) == (clip.label, clip.person) and label == 5 % 12


def test_a_cached_set_is_the_simulated_one_and_a_longer_set_extends_it(clips, tmp_path):
    again = load_clips(CLIPS, tmp_path, workers=1)
    np.testing.assert_array_equal(again.frames, clips.frames)
    reports = []
    reread = load_clips(CLIPS, tmp_path, workers=1, progress=lambda *done: reports.append(done))
    np.testing.assert_array_equal(reread.frames, clips.frames)
    assert reports == []  # nothing was simulated again
    for i in (0, 23):
        np.testing.assert_array_equal(clips.clip(i), clip_frames(CLIPS, i)[0])


def test_flipping_swaps_the_arms_and_the_sense_of_turning():
    names = [GESTURES[i] for i in FLIPPED]
    pairs = {
        "right_hand_wave": "left_hand_wave",
        "right_arm_clockwise": "left_arm_counter_clockwise",
        "right_arm_counter_clockwise": "left_arm_clockwise",
        "hand_clap": "hand_clap",
        "none": "none",
    }
    for a, b in pairs.items():
        assert names[GESTURES.index(a)] == b and names[GESTURES.index(b)] == a


def test_shifts_move_whole_cells_and_lose_only_what_leaves():
    rng = np.random.default_rng(0)
    sample = rng.integers(0, 5, (3, 2, 6, 7)).astype(np.uint16)
    for dy in range(-2, 3):
        for dx in range(-2, 3):
            moved = shifted(sample, dy, dx)
            for y in range(6):
                for x in range(7):
                    inside = 0 <= y - dy < 6 and 0 <= x - dx < 7
                    wanted = sample[..., y - dy, x - dx] if inside else 0
                    assert (moved[..., y, x] == wanted).all()


def test_without_augmentation_a_sample_stays_as_it_is():
    rng = np.random.default_rng(0)
    sample = rng.integers(0, 5, (3, 2, 6, 7)).astype(np.uint16)
    still = AugmentConfig(shift=0, flip=False, keep_min=1.0, gain_max=1.0, noise=0.0)
    found, flipped = augment(sample, still, rng)
    np.testing.assert_array_equal(found, sample)
    assert not flipped


def test_skips_have_the_asked_for_ratio_and_leave_one_step():
    rng = np.random.default_rng(0)
    run = skips(20, 4_000, SkipConfig(share=0.5, max_ratio=0.6), rng)
    assert run.any(0).all()
    assert (~run).mean() == pytest.approx(0.5 * 0.3, abs=0.02)
    assert run.all(0).mean() == pytest.approx(0.5 + 0.5 / 0.6 / 21, abs=0.03)  # and E[(1 - ratio)^20]
    assert skips(20, 50, SkipConfig(share=0.0), rng).all()


def test_batches_are_drawn_from_their_seed_alone(clips):
    one, two = (list(batches(clips, CONFIG, np.random.default_rng([1, 2]))) for _ in range(2))
    assert len(one) == 3
    for a, b in zip(one, two, strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)
    assert one[0].frames.shape == (4, 8, 2, 32, 32)


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
}


@pytest.mark.parametrize("which", VARIANTS)
def test_a_resumed_run_ends_with_the_weights_of_one_not_stopped(clips, tmp_path, which):
    config = VARIANTS[which]
    whole = train(config, clips, clips, tmp_path / "whole")
    with pytest.raises(StoppedError):
        train(config, clips, clips, tmp_path / "parts", on_epoch=stop_after(1))
    resumed = train(config, clips, clips, tmp_path / "parts", resume=True)
    fresh = train(replace(config, seed=2), clips, clips, tmp_path / "other")
    for (name, a), b in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    assert any(
        not torch.equal(a, b)
        for a, b in zip(whole.state_dict().values(), fresh.state_dict().values(), strict=True)
    )
    rows = list(csv.DictReader((tmp_path / "parts" / "curve.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert json.loads((tmp_path / "parts" / "config.json").read_text())["epochs"] == 3


def test_resuming_says_what_is_missing_or_different(clips, tmp_path):
    with pytest.raises(TrainingError, match="nothing to resume"):
        train(CONFIG, clips, clips, tmp_path, resume=True)
    with pytest.raises(StoppedError):
        train(CONFIG, clips, clips, tmp_path, on_epoch=stop_after(1))
    with pytest.raises(TrainingError, match="made with other settings"):
        train(replace(CONFIG, rate=1.0), clips, clips, tmp_path, resume=True)


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
        epochs=60,
        batch=12,
        rate=1e-2,
        network=with_network(CONFIG, channels=(8, 8, 8), hidden=(32,), votes=4).network,
        augment=AugmentConfig(shift=0, flip=False, keep_min=0.8, gain_max=1.0),
        spike_penalty=0.1,
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
