"""Still pictures: read from every layout, shown in every window, never unpickled."""

import gzip
import pickle

import numpy as np
import pytest
from PIL import Image

from spikeline.pipeline.events import SourceError
from spikeline.pipeline.training.clips import ACCOUNT
from spikeline.pipeline.training.data import load_set
from spikeline.pipeline.training.frames import CutConfig
from spikeline.pipeline.training.sets import open_set


def cifar(root, kind):
    """Four pictures a file, channels first."""
    rng = np.random.default_rng(1)
    names = {
        "CIFAR10": [f"data_batch_{k}.bin" for k in range(1, 6)] + ["test_batch.bin"],
        "CIFAR100": ["train.bin", "test.bin"],
    }[kind]
    made = []
    for name in names:
        pictures = rng.integers(0, 256, (4, 3, 32, 32), np.uint8)
        labels = rng.integers(0, 10 if kind == "CIFAR10" else 100, 4).astype(np.uint8)
        coarse = labels[:, None] // 5 if kind == "CIFAR100" else np.zeros((4, 0), np.uint8)
        rows = np.concatenate([coarse, labels[:, None], pictures.reshape(4, -1)], 1).astype(np.uint8)
        (root / name).write_bytes(rows.tobytes())
        split = "test" if "test" in name else "train"
        made += [(int(label), split, picture) for label, picture in zip(labels, pictures, strict=True)]
    return made


def idx(root, packed):
    rng = np.random.default_rng(2)
    made = []
    for split, start, count in (("train", "train", 6), ("test", "t10k", 3)):
        pictures = rng.integers(0, 256, (count, 28, 28), np.uint8)
        labels = rng.integers(0, 10, count).astype(np.uint8)
        files = {
            f"{start}-images-idx3-ubyte": bytes((0, 0, 8, 3))
            + np.array([count, 28, 28], ">u4").tobytes()
            + pictures.tobytes(),
            f"{start}-labels-idx1-ubyte": bytes((0, 0, 8, 1))
            + np.array([count], ">u4").tobytes()
            + labels.tobytes(),
        }
        for name, data in files.items():
            (root / (f"{name}.gz" if packed else name)).write_bytes(gzip.compress(data) if packed else data)
        made += [(int(label), split, picture[None]) for label, picture in zip(labels, pictures, strict=True)]
    return made


LAYOUTS = {
    "CIFAR10": (lambda root: cifar(root, "CIFAR10"), "CIFAR10", 32, 10),
    "CIFAR100": (lambda root: cifar(root, "CIFAR100"), "cifar100", 32, 100),
    "MNIST": (lambda root: idx(root, False), "MNIST", 28, 10),
    "MNIST, packed": (lambda root: idx(root, True), "MNIST", 28, 10),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pictures_are_read_as_they_were_made(tmp_path, layout):
    make, kind, side, classes = LAYOUTS[layout]
    (tmp_path / "set").mkdir()
    made = make(tmp_path / "set")
    data = open_set(f"{kind}:{tmp_path / 'set'}")
    assert len(data.labels) == classes and data.sensor[:2] == (side, side)
    assert [(clip.label, clip.split) for clip in data.clips] == [(label, split) for label, split, _ in made]
    clips = load_set(data, CutConfig(grid=(side, side)), tmp_path / "cache")
    assert clips.still and clips.sensor == (side, side)
    for i, (_, _, picture) in enumerate(made):
        np.testing.assert_array_equal(clips.clip(i), picture[None])
    with pytest.raises(
        SourceError, match=rf"its pictures are {side}x{side}; wanted grid = \[{side}, {side}\]"
    ):
        load_set(data, CutConfig(grid=(16, 16)), tmp_path / "cache")


def test_every_window_shows_the_picture_whatever_its_length(tmp_path):
    made = idx(tmp_path, False)
    clips = load_set(open_set(f"MNIST:{tmp_path}?split=train"), CutConfig(grid=(28, 28)), tmp_path / "cache")
    assert len(clips) == 6
    for dt_us in (1, 1_000, 70_000):
        sample = clips.sample(2, dt_us, 5, start=3)
        assert sample.dtype == np.uint16 and sample.shape == (5, 1, 28, 28)
        np.testing.assert_array_equal(sample, np.repeat(made[2][2][None], 5, 0))
        assert clips.per(dt_us) == 1 and clips.shorter_than(10**9) == 0
    assert clips.take([1, 0]).still
    assert clips.accounts.shape == (6, len(ACCOUNT)) and not clips.accounts.any()


def test_pictures_in_folders_cover_the_grid_and_are_cut_to_it(tmp_path):
    """A wide picture, red left, green middle, blue right, keeps its middle."""
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, :20, 0] = wide[:, 20:40, 1] = wide[:, 40:, 2] = 200
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            (tmp_path / split / name).mkdir(parents=True)
            Image.fromarray(wide).save(tmp_path / split / name / "a.png")
            Image.fromarray(wide[..., 1]).save(tmp_path / split / name / "grey.jpg")
    data = open_set(f"images:{tmp_path}")
    assert data.labels == ("cat", "dog") and data.flipped == (0, 1)
    assert [clip.split for clip in data.clips] == ["train"] * 4 + ["validation"] * 4
    clips = load_set(data, CutConfig(grid=(10, 10)), tmp_path / "cache", workers=1)
    assert clips.sensor == (10, 10)
    assert clips.frames.shape == (8, 3, 10, 10)
    np.testing.assert_array_equal(clips.clip(0)[0, 1, :, 2:8], 200)
    assert not clips.clip(0)[0, [0, 2], :, 2:8].any()
    grey = clips.clip(1)[0]
    assert (grey[0] == grey[1]).all() and (grey[1] == grey[2]).all() and grey[:, :, 2:8].min() > 190


def test_pictures_have_no_events_and_nothing_to_clean(tmp_path):
    idx(tmp_path, False)
    data = open_set(f"MNIST:{tmp_path}")
    with pytest.raises(SourceError, match="has pictures; wanted a set with events"):
        list(data.packets(data.clips[0]))
    with pytest.raises(SourceError, match="pictures have no events to clean"):
        load_set(data, CutConfig(grid=(28, 28), clean_up=("flip(x)",)), tmp_path / "cache")


class Explosive:
    def __reduce__(self):
        return (pytest.fail, ("it was unpickled",))


def test_pickles_are_refused_and_never_read(tmp_path):
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps(Explosive()))
    for kind in ("CIFAR10", "CIFAR100"):
        (tmp_path / "train").write_bytes(pickle.dumps(Explosive()))
        with pytest.raises(SourceError, match="Python pickles, which are never unpickled; wanted the binary"):
            open_set(f"{kind}:{tmp_path}")


def test_malformed_pictures_are_refused(tmp_path):
    def refused(uri, wanted):
        with pytest.raises(SourceError, match=wanted):
            load_set(open_set(uri), CutConfig(grid=(8, 8)), tmp_path / "cache", workers=1)

    refused(f"CIFAR10:{tmp_path}", "no data_batch_1.bin there; wanted the binary version of CIFAR-10")
    refused(f"MNIST:{tmp_path}", "no train-images-idx3-ubyte or train-images-idx3-ubyte.gz there")
    cifar(tmp_path, "CIFAR10")
    (tmp_path / "data_batch_3.bin").write_bytes(bytes(3_074))
    refused(f"CIFAR10:{tmp_path}", "data_batch_3.bin: 3074 bytes; wanted records of 3073")
    (tmp_path / "data_batch_3.bin").write_bytes(bytes([10]) + bytes(3_072))
    refused(f"CIFAR10:{tmp_path}", "a label is 10; wanted 0 to 9")
    idx(tmp_path, False)
    path = tmp_path / "train-images-idx3-ubyte"
    whole = path.read_bytes()
    for data, wanted in (
        (whole[:-1], "4703 bytes; wanted 6 x 28 x 28"),
        (b"\0\0\x0d\3" + whole[4:], "starts with 00 00 0d 03; wanted 00 00 08 03"),
        (whole[:7], "starts with"),
    ):
        path.write_bytes(data)
        refused(f"MNIST:{tmp_path}", wanted)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.png").write_bytes(b"no picture")
    refused(f"images:{tmp_path}", "b.png: cannot identify image file")
