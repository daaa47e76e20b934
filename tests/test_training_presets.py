"""Every shipped preset parses and builds, and a whole run learns from it on clips of its own shape."""

from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch

from spikeline.pipeline.commands import run
from spikeline.pipeline.config import load_preset, parse
from spikeline.pipeline.training.build import build
from spikeline.pipeline.training.clips import ClipSet, packed
from spikeline.pipeline.training.loop import train
from spikeline.pipeline.training.settings import TrainConfig

PRESETS = sorted(file.stem for file in Path(str(resources.files("spikeline.configs"))).glob("*.toml"))
SMALL = ("gesture", "nmnist", "sign")
PAPERS = ("masnn", "tasnn", "plif", "staa", "syna", "gac", "ms-resnet", "att-res-snn")


def config_of(preset):
    table, name = load_preset(preset)
    assert table.pop("note")
    needs = table.pop("needs", "")
    config = parse(TrainConfig, table, name)
    assert config.data.source or "--data" in needs
    return config


def channels_of(config):
    if "gac" in config.network.name or config.network.name.startswith("ms-resnet"):
        return 3
    return 1 if config.network.name == "syna-mnist" else 2


def clips_for(config, count):
    """Random clips of two classes, as long as a sample; pictures where the network takes pictures."""
    W, H = config.data.grid
    channels = channels_of(config)
    still = channels != 2
    slices = 1 if still else config.data.windows * config.data.dt_us // config.data.slice_us
    rng = np.random.default_rng(0)
    frames, offsets = packed(
        [rng.poisson(0.3, (slices, channels, H, W)).astype(np.uint8) for _ in range(count)]
    )
    return ClipSet(
        about="made up",
        names=("a", "b"),
        sensor=(W, H),
        slice_us=config.data.slice_us,
        frames=frames,
        offsets=offsets,
        labels=np.arange(count) % 2,
        persons=np.full(count, -1),
        flipped=(0, 1),
        still=still,
    )


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_parses_and_builds(preset):
    config = config_of(preset)
    network = build(config, 11, 6.0, channels_of(config))
    assert network.shapes[network.frames] == (channels_of(config), *reversed(config.data.grid))
    assert network.steps == config.data.steps


def test_there_is_one_of_every_paper_and_of_every_set():
    assert all(any(preset.startswith(paper) for preset in PRESETS) for paper in PAPERS)
    sets = " ".join(load_preset(preset)[0].get("needs", "") for preset in PRESETS)
    for name in ("DVSGesture:", "DVSGait:", "CIFAR10DVS:", "CIFAR10:", "MNIST:", "NMNIST:", "images:"):
        assert name in sets


def two_batches(preset, tmp_path):
    config = replace(config_of(preset), batch=2, epochs=1, early_stop=0)
    clips = clips_for(config, 4)
    heard = []
    torch.manual_seed(0)
    network = train(config, clips, clips.take([0, 1]), tmp_path, on_epoch=heard.append)
    assert np.isfinite(heard[0].loss) and len(heard) == 1
    assert all(torch.isfinite(p).all() for p in network.parameters())


@pytest.mark.parametrize("preset", SMALL)
def test_two_batches_of_a_small_preset(preset, tmp_path):
    two_batches(preset, tmp_path)


@pytest.mark.full
@pytest.mark.parametrize("preset", [preset for preset in PRESETS if preset not in SMALL])
def test_two_batches_of_a_paper_s_preset(preset, tmp_path):
    two_batches(preset, tmp_path)


@pytest.mark.parametrize("preset", [preset for preset in PRESETS if preset != "gesture"])
def test_a_preset_without_its_data_says_what_to_give(preset, capsys, tmp_path):
    assert run(["train", preset, "--out", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"{preset}: no data set; give " in said and "--data" in said
    assert not (tmp_path / "run").exists()
