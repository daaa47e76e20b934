"""Every layout of a data set: clips, labels, persons and splits as made; every event counted once."""

import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from data_trees import LAYOUTS, Tree, plain_npz_set
from test_sources_writers import DATA

from spikeline.pipeline.training.clips import ACCOUNT
from spikeline.pipeline.training.data import folds, load_set
from spikeline.pipeline.training.frames import CutConfig, clip_frames
from spikeline.pipeline.training.sets import MODULES, open_set

SLICE_US = 7_000


@pytest.fixture(scope="module", params=LAYOUTS)
def tree(request, tmp_path_factory):
    return LAYOUTS[request.param](tmp_path_factory.mktemp("tree"))


def counted(made, sensor, grid):
    """Frames of the closed slices, event by event."""
    t, x, y, p = (column.astype(np.int64) for column in made.events)
    zero_us = int(t[0]) if made.zero_us is None else made.zero_us
    until_us = int(t[-1]) if made.until_us is None else made.until_us
    closed = (until_us - zero_us) // SLICE_US
    frames = np.zeros((closed, 2, grid[1], grid[0]), np.int64)
    cells_x, cells_y = x * grid[0] // sensor.width, y * grid[1] // sensor.height
    inside = (t - zero_us) // SLICE_US < closed
    np.add.at(frames, ((t - zero_us)[inside] // SLICE_US, p[inside], cells_y[inside], cells_x[inside]), 1)
    return frames


def test_a_set_has_the_clips_that_were_made(tree: Tree):
    data = open_set(tree.uri)
    assert data.labels == tree.labels
    assert data.sensor[:2] == tree.sensor[:2]
    found = [(clip.label, clip.person, clip.split) for clip in data.clips]
    assert found == [(made.label, made.person, made.split) for made in tree.clips]
    assert len({clip.key for clip in data.clips}) == len(data.clips)


def test_a_clip_gives_its_events_as_one_epoch(tree: Tree):
    data = open_set(tree.uri)
    for clip, made in zip(data.clips, tree.clips, strict=True):
        packets = [
            (p.t.copy(), p.x.copy(), p.y.copy(), p.p.copy(), p.epoch, p.until_us) for p in data.packets(clip)
        ]
        assert {packet[4] for packet in packets} == {0}, clip.key
        for k, column in enumerate(made.events):
            np.testing.assert_array_equal(np.concatenate([packet[k] for packet in packets]), column, clip.key)
        assert packets[-1][5] == (made.events.t[-1] if made.until_us is None else made.until_us)


def test_frames_are_the_events_counted_by_hand_and_the_account_adds_up(tree: Tree):
    data = open_set(tree.uri)
    grid = (8, 6)
    for clip, made in list(zip(data.clips, tree.clips, strict=True))[::5]:
        frames, account = clip_frames(data, clip, CutConfig(slice_us=SLICE_US, grid=grid))
        wanted = counted(made, tree.sensor, grid)
        np.testing.assert_array_equal(frames, wanted, clip.key)
        facts = dict(zip(ACCOUNT, account.tolist(), strict=True))
        assert facts.pop("events") == len(made.events.t) == sum(facts.values())
        assert facts["framed"] == wanted.sum() and facts["unfinished"] == len(made.events.t) - wanted.sum()


def test_another_process_reads_the_same(tree: Tree):
    data = open_set(tree.uri)
    list(data.packets(data.clips[0]))
    again = pickle.loads(pickle.dumps(data))
    assert again.clips == data.clips and again.key == data.key
    one, two = (clip_frames(one, one.clips[-1], CutConfig(slice_us=SLICE_US))[0] for one in (data, again))
    np.testing.assert_array_equal(one, two)


def test_a_split_can_be_taken_alone(tree: Tree):
    sign = "&" if "?" in tree.uri else "?"
    for split in {made.split for made in tree.clips} - {""}:
        data = open_set(f"{tree.uri}{sign}split={split}")
        assert {clip.split for clip in data.clips} == {split}
        if not tree.uri.startswith("sim:"):  # where it is the people that are chosen
            assert len(data.clips) == sum(made.split == split for made in tree.clips)


SHARED = {
    "nmnist_small_train.npz": (1_000, 10, (34, 34), 4_133_231),
    "dvs_sign3_train.npz": (120, 3, (128, 128), 3_699_943),
}


@pytest.mark.parametrize("name", SHARED)
def test_the_shared_sets_are_read_whole(name, tmp_path):
    if not (DATA / name).is_file():
        pytest.skip(f"{name} is not here (../shared/data)")
    clips, classes, size, events = SHARED[name]
    data = open_set(f"npz:{DATA / name}")
    assert (len(data.clips), len(data.labels), data.sensor[:2]) == (clips, classes, size)
    step = clips // 20
    found = load_set(data, CutConfig(slice_us=20_000), tmp_path, chosen=range(0, clips, step), workers=1)
    facts = dict(zip(ACCOUNT, found.accounts.sum(0).tolist(), strict=True))
    assert facts["events"] == sum(len(data.events(clip).t) for clip in data.clips[::step])
    assert facts["framed"] == found.frames.sum() and facts["refused"] == facts["saturated"] == 0
    assert sum(len(data.events(clip).t) for clip in data.clips) == events
    for test in folds(found.labels, found.persons, 5, 1):
        assert len(test) == 4


def test_the_python_example_of_the_documentation_runs(tmp_path, monkeypatch):
    text = (Path(__file__).parent.parent / "docs" / "data.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    plain_npz_set(tmp_path)
    (tmp_path / "set.npz").rename(tmp_path / "clips.npz")
    monkeypatch.chdir(tmp_path)
    found = {}
    exec(compile(example.replace("n=5", "n=2"), "data.md", "exec"), found)
    assert found["frames"].shape == (6, 2, 34, 34) and found["frames"].any()
    assert sorted(np.concatenate(found["tests"])) == [0, 1, 2, 3]


def test_every_kind_of_set_is_documented():
    text = (Path(__file__).parent.parent / "docs" / "data.md").read_text()
    for kind in MODULES:
        assert f"| `{kind}:" in text or f", `{kind}:" in text, kind
