"""tonic's data sets: the same clips as our own reader of the same files; and what is said without tonic."""

import pickle
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from data_trees import events_of

from spikeline.pipeline.events import SourceError
from spikeline.pipeline.training.data import load_set
from spikeline.pipeline.training.frames import CutConfig
from spikeline.pipeline.training.sets import open_set

needs_tonic = pytest.mark.skipif(
    find_spec("tonic") is None, reason="tonic (extra `datasets`) is not installed"
)


@pytest.mark.parametrize(
    ("module", "uri", "extra"), [("tonic", "tonic:NMNIST:x", "datasets"), ("PIL", "images:.", "images")]
)
def test_a_missing_extra_is_named(monkeypatch, module, uri, extra):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SourceError, match=rf"is not installed; pip install 'spikeline\[{extra}\]'"):
        open_set(uri)


@pytest.fixture
def gestures(tmp_path):
    """As many files as tonic wants before it believes that its archive is there."""
    home = tmp_path / "DVSGesture"
    for half, first, users in (("Train", 1, 10), ("Test", 24, 10)):
        for user in range(first, first + users):
            folder = home / f"ibmGesture{half}" / f"user{user:02d}_led"
            folder.mkdir(parents=True)
            for label in range(11):
                t, x, y, p = events_of(100 * user + label, n=40)
                np.save(folder / f"{label}.npy", np.stack([x, y, p, t // 1_000], 1).astype(np.float64))
        (home / f"ibmGesture{half}.tar.gz").write_bytes(b"")
    return tmp_path


@needs_tonic
def test_tonic_gives_the_clips_that_our_own_reader_gives(gestures, tmp_path):
    theirs, ours = open_set(f"tonic:DVSGesture:{gestures}"), open_set(f"DVSGesture:{gestures}")
    assert theirs.sensor[:2] == ours.sensor[:2] == (128, 128)
    assert len(theirs.clips) == len(ours.clips) == 220
    assert theirs.labels[0] == "Hand clapping" and len(theirs.labels) == 11

    def bag(data):
        return sorted(
            (clip.split, clip.label, *(np.concatenate(c).tobytes() for c in zip(*rows, strict=True)))
            for clip in data.clips
            for rows in [[(packet.t, packet.x, packet.y, packet.p) for packet in data.packets(clip)]]
        )

    assert bag(theirs) == bag(ours)
    cut = CutConfig(slice_us=5_000, grid=(8, 8))
    one, two = (load_set(data, cut, tmp_path / "cache", workers=1) for data in (theirs, ours))
    assert one.frames.sum() == two.frames.sum() and one.accounts.sum() == two.accounts.sum()
    again = pickle.loads(pickle.dumps(theirs))
    np.testing.assert_array_equal(load_set(again, cut, tmp_path / "again", workers=1).frames, one.frames)


@needs_tonic
def test_sets_without_halves_sizes_or_numbers_for_classes(tmp_path, monkeypatch):
    import tonic

    class Small(tonic.dataset.Dataset):
        """Classes by name, clips of several sizes."""

        sensor_size = None

        def __init__(self, save_to):
            super().__init__(save_to)
            self.targets = ["dog", "cat", "dog"]

        def __getitem__(self, index):
            t, x, y, p = events_of(index, n=50)
            kinds = [("x", int), ("y", int), ("t", int), ("p", int)]
            return np.array(list(zip(x, y, t, p, strict=True)), kinds), self.targets[index]

    class Unlabelled(Small):
        sensor_size = (128, 128, 2)

        def __init__(self, save_to):
            super().__init__(save_to)
            self.targets = [{"boxes": []}]

    monkeypatch.setattr(tonic.datasets, "Small", Small, raising=False)
    monkeypatch.setattr(tonic.datasets, "Unlabelled", Unlabelled, raising=False)
    with pytest.raises(SourceError, match="has clips of several sizes; say sensor=WIDTHxHEIGHT"):
        open_set(f"tonic:Small:{tmp_path}")
    data = open_set(f"tonic:Small:{tmp_path}?sensor=128x128")
    assert data.labels == ("cat", "dog")
    assert [(clip.label, clip.split) for clip in data.clips] == [(1, ""), (0, ""), (1, "")]
    packet = next(iter(data.packets(data.clips[1])))
    for ours, theirs in zip((packet.t, packet.x, packet.y, packet.p), events_of(1, n=50), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(SourceError, match="has no class for each clip; wanted one with labels"):
        open_set(f"tonic:Unlabelled:{tmp_path}")
    with pytest.raises(SourceError, match="tonic has no data set 'Nothing'; choose from"):
        open_set(f"tonic:Nothing:{tmp_path}")
