"""Frames on disk: made once, whole or not at all, bounded, and made again where they cannot be trusted."""

import multiprocessing
import os
import shutil
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from data_trees import ibm_gesture, npz_set

from spikeline.pipeline.events import SourceError
from spikeline.pipeline.training import clip_cache, data
from spikeline.pipeline.training.clips import ACCOUNT
from spikeline.pipeline.training.data import load_set, load_training
from spikeline.pipeline.training.data_settings import DataConfig
from spikeline.pipeline.training.frames import CutConfig, clip_frames
from spikeline.pipeline.training.sets import open_set

CUT = CutConfig(slice_us=5_000, grid=(8, 8))


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return ibm_gesture(tmp_path_factory.mktemp("tree"))


@pytest.fixture(scope="module")
def gestures(tree):
    return open_set(tree.uri)


@pytest.fixture(autouse=True)
def parts_of_four(monkeypatch):
    monkeypatch.setattr(data, "PART_CLIPS", 4)


def parts(cache):
    return sorted(cache.glob("*/*.zst"))


def same(one, two):
    for name in ("frames", "offsets", "labels", "persons", "accounts"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    assert (one.names, one.sensor, one.slice_us, one.flipped) == (
        two.names,
        two.sensor,
        two.slice_us,
        two.flipped,
    )


def test_a_loaded_set_is_its_clips_one_after_another(gestures, tmp_path):
    reports = []
    clips = load_set(gestures, CUT, tmp_path, workers=1, progress=lambda *done: reports.append(done))
    assert reports == [(4 * k, 36) for k in range(1, 10)]
    for i, clip in enumerate(gestures.clips):
        frames, account = clip_frames(gestures, clip, CUT)
        np.testing.assert_array_equal(clips.clip(i), frames)
        np.testing.assert_array_equal(clips.accounts[i], account)
        assert (clips.labels[i], clips.persons[i]) == (clip.label, clip.person)
    assert clips.accounts[:, 0].sum() == clips.accounts[:, 1:].sum() and len(ACCOUNT) == 7


def test_what_is_there_is_not_made_again(gestures, tmp_path):
    first = load_set(gestures, CUT, tmp_path, workers=1)
    made = {file: file.read_bytes() for file in parts(tmp_path)}
    reports = []
    again = load_set(gestures, CUT, tmp_path, workers=1, progress=lambda *done: reports.append(done))
    same(first, again)
    assert reports == [] and {file: file.read_bytes() for file in parts(tmp_path)} == made


def test_processes_make_what_one_process_makes(gestures, tmp_path):
    alone = load_set(gestures, CUT, tmp_path / "one", workers=1)
    reports = []
    together = load_set(gestures, CUT, tmp_path / "two", workers=2, progress=lambda *d: reports.append(d))
    same(alone, together)
    assert reports[-1] == (36, 36) and len(reports) == 9
    for a, b in zip(parts(tmp_path / "one"), parts(tmp_path / "two"), strict=True):
        assert a.name == b.name and a.read_bytes() == b.read_bytes()


def load_alone(uri, cache, slice_us):
    return load_set(open_set(uri), replace(CUT, slice_us=slice_us), cache, workers=1).frames.tobytes()


@pytest.mark.full
def test_processes_that_share_a_full_cache_do_not_disturb_each_other(tree, gestures, tmp_path):
    """Four processes, three sets, and somebody who makes room all the time."""
    slices = [2_000, 2_500, 2_000, 4_000]
    wanted = {s: load_alone(tree.uri, tmp_path / "alone", s) for s in set(slices)}
    with ProcessPoolExecutor(4, mp_context=multiprocessing.get_context("spawn")) as pool:
        jobs = [(s, pool.submit(load_alone, tree.uri, tmp_path / "shared", s)) for s in slices * 6]
        while not all(job.done() for _, job in jobs):
            clip_cache.make_room(tmp_path / "shared", 0)
        for slice_us, job in jobs:
            assert job.result() == wanted[slice_us]


def test_chosen_clips_come_in_the_order_asked_for(gestures, tmp_path):
    whole = load_set(gestures, CUT, tmp_path, workers=1)
    chosen = [35, 0, 17, 5, 4]
    same(load_set(gestures, CUT, tmp_path, chosen=chosen, workers=1), whole.take(chosen))
    only = load_set(gestures, CUT, tmp_path / "few", chosen=[9, 8], workers=1)
    same(only, whole.take([9, 8]))
    assert len(parts(tmp_path / "few")) == 1
    with pytest.raises(SourceError, match="no clips"):
        load_set(gestures, CUT, tmp_path, chosen=[])


@pytest.mark.parametrize(
    "change", [{"slice_us": 2_500}, {"grid": (4, 8)}, {"most_us": 20_000}, {"clean_up": ("flip(x)",)}]
)
def test_another_cut_has_frames_of_its_own(gestures, tmp_path, change):
    load_set(gestures, CUT, tmp_path, chosen=[0], workers=1)
    load_set(gestures, replace(CUT, **change), tmp_path, chosen=[0], workers=1)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_file_that_has_changed_makes_another_set(tmp_path):
    tree = npz_set(tmp_path)
    before = open_set(tree.uri).key
    assert open_set(tree.uri).key == before
    os.utime(tmp_path / "set.npz", ns=(1, 1))
    assert open_set(tree.uri).key != before


def test_another_version_of_the_code_has_frames_of_its_own(gestures, tmp_path, monkeypatch):
    load_set(gestures, CUT, tmp_path, chosen=[0], workers=1)
    monkeypatch.setattr(data, "FRAMES_VERSION", data.FRAMES_VERSION + 1)
    load_set(gestures, CUT, tmp_path, chosen=[0], workers=1)
    assert len(list(tmp_path.iterdir())) == 2


DAMAGE = {
    "cut": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "altered": lambda data: data[:300] + bytes(byte ^ 0x55 for byte in data[300:400]) + data[400:],
    "another file": lambda data: b"not an archive at all",
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_part_is_made_again(gestures, tmp_path, how):
    whole = load_set(gestures, CUT, tmp_path, workers=1)
    sound = {file: file.read_bytes() for file in parts(tmp_path)}
    for file in list(sound)[::3]:
        file.write_bytes(DAMAGE[how](sound[file]))
    same(load_set(gestures, CUT, tmp_path, workers=1), whole)
    assert {file: file.read_bytes() for file in parts(tmp_path)} == sound


def test_a_part_of_other_clips_under_its_name_is_made_again(gestures, tmp_path):
    whole = load_set(gestures, CUT, tmp_path, workers=1)
    few = load_set(gestures, CUT, tmp_path / "few", chosen=[0], workers=1)
    assert len(few) == 1
    target = parts(tmp_path)[0]
    part = clip_cache.read_part(target, 4)
    short = clip_cache.Part(
        part.frames[: part.extents.lengths[0]], clip_cache.Extents(*(e[:1] for e in part.extents))
    )
    clip_cache.write_part(target, short)
    same(load_set(gestures, CUT, tmp_path, workers=1), whole)


def test_nothing_half_written_is_ever_a_part(gestures, tmp_path, monkeypatch):
    def fails(path, data):
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", fails)
    with pytest.raises(KeyboardInterrupt):
        load_set(gestures, CUT, tmp_path, workers=1)
    assert parts(tmp_path) == [] and list(tmp_path.glob("*/*partial*")) == []


def test_the_longest_unused_parts_go_when_the_cache_is_full(gestures, tmp_path):
    cuts = [replace(CUT, slice_us=slice_us) for slice_us in (2_000, 2_500, 4_000)]
    for age, cut in enumerate(cuts):
        load_set(gestures, cut, tmp_path, workers=1)
        for file in parts(tmp_path):
            if file.stat().st_mtime > 1_000_000:
                os.utime(file, (1_000 + age, 1_000 + age))
    by_age = {age: [f for f in parts(tmp_path) if f.stat().st_mtime == 1_000 + age] for age in range(3)}
    assert [len(files) for files in by_age.values()] == [9, 9, 9]
    load_set(gestures, cuts[0], tmp_path, workers=1)  # used again: now the newest
    total = sum(file.stat().st_size for file in parts(tmp_path))
    oldest = sum(file.stat().st_size for file in by_age[1])
    load_set(gestures, cuts[2], tmp_path, workers=1, most_bytes=total - oldest)
    assert not any(file.exists() for file in by_age[1])
    assert all(file.exists() for file in by_age[0] + by_age[2])


def test_parts_of_a_set_in_use_stay_even_if_it_is_larger_than_the_cache_may_be(gestures, tmp_path):
    other = replace(CUT, slice_us=4_000)
    load_set(gestures, other, tmp_path, workers=1)
    clips = load_set(gestures, CUT, tmp_path, workers=1, most_bytes=0)
    assert len(clips) == 36 and len(parts(tmp_path)) == 9
    with clip_cache.in_use(parts(tmp_path)[0].parent):  # as another process has it
        load_set(gestures, other, tmp_path, workers=1, most_bytes=0)
        assert len(parts(tmp_path)) == 18
    load_set(gestures, other, tmp_path, workers=1, most_bytes=0)
    assert len(parts(tmp_path)) == 9


def test_the_environment_can_say_how_much_is_kept(gestures, tmp_path, monkeypatch):
    load_set(gestures, replace(CUT, slice_us=4_000), tmp_path, workers=1)
    monkeypatch.setenv("SPIKELINE_CACHE_GB", "much")
    with pytest.raises(
        SourceError, match="SPIKELINE_CACHE_GB=much: wanted a number of gigabytes, such as 20"
    ):
        load_set(gestures, CUT, tmp_path, workers=1)
    monkeypatch.setenv("SPIKELINE_CACHE_GB", "0.000001")
    load_set(gestures, CUT, tmp_path, workers=1)
    assert len(parts(tmp_path)) == 9


def test_making_room_deletes_nothing_that_is_not_the_caches(gestures, tmp_path):
    load_set(gestures, replace(CUT, slice_us=4_000), tmp_path, workers=1)
    folder = parts(tmp_path)[0].parent
    others = [folder / "notes.txt", folder / "frames.zst", tmp_path / "photos" / f"{'a' * 16}.zst"]
    for file in others:
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(bytes(1_000))
    left = folder / f"{'b' * 16}.zst.12.partial"  # of a process that was killed
    left.write_bytes(bytes(1_000))
    load_set(gestures, CUT, tmp_path, workers=1, most_bytes=0)
    assert all(file.exists() for file in others) and not left.exists()
    assert not any(file.parent == folder for file in parts(tmp_path) if file.name != "frames.zst")


def test_frames_that_memory_cannot_hold_are_mapped_from_disk(gestures, tmp_path, monkeypatch):
    whole = load_set(gestures, CUT, tmp_path, workers=1)
    monkeypatch.setattr(data, "MEMORY_SHARE", 0.0)
    mapped = load_set(gestures, CUT, tmp_path, workers=1)
    assert isinstance(mapped.frames, np.memmap) and not isinstance(whole.frames, np.memmap)
    same(mapped, whole)
    same(mapped.take([3, 1]), whole.take([3, 1]))
    assert len(parts(tmp_path)) == 9 and len(list(tmp_path.glob("*/*"))) == 10  # nothing stays but the mark


def test_a_refusal_while_frames_are_made_is_one_line_from_any_process(tree, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(tree.uri.partition(":")[2], broken)
    gestures = open_set(f"IBMGesture:{broken}")
    path = broken / "DvsGesture" / "user23_lab.aedat"
    path.write_bytes(path.read_bytes()[:20_000])
    for workers in (1, 2):
        with pytest.raises(SourceError, match=r"user23_lab.aedat: damaged: .*; say damaged=take"):
            load_set(gestures, CUT, tmp_path / str(workers), workers=workers)
    taken = load_set(open_set(f"IBMGesture:{broken}?damaged=take"), CUT, tmp_path, workers=1)
    assert len(taken) == 36


def test_training_and_validation_clips_are_divided_by_person(tree, tmp_path):
    config = DataConfig(source=tree.uri, hold_out=0.5, steps=2, dt_us=10_000, slice_us=5_000, grid=(8, 8))
    train, validation = load_training(config, tmp_path)
    assert len(train) == len(validation) == 12
    assert set(train.persons) | set(validation.persons) == {2, 23}
    assert not set(train.persons) & set(validation.persons)
    first, second = (load_training(replace(config, folds=2, fold=k), tmp_path) for k in (1, 2))
    same(first[0], second[1])
    same(first[1], second[0])
    test = replace(config, validation=f"{tree.uri}?split=test")
    train, validation = load_training(test, tmp_path)
    assert (len(train), len(validation)) == (24, 12) and set(validation.persons) == {24}
    few, _ = load_training(replace(test, clips=11), tmp_path)
    assert sorted(few.labels) == list(range(11))


def test_a_division_that_cannot_be_is_refused(tree, tmp_path):
    config = DataConfig(source=tree.uri, slice_us=5_000, dt_us=5_000, steps=1)
    with pytest.raises(SourceError, match="DVS128 Gesture: 3 folds of 2 persons"):
        load_training(replace(config, folds=3), tmp_path)
    with pytest.raises(SourceError, match="24 clips to train on; wanted 25"):
        load_training(replace(config, clips=25), tmp_path)
    with pytest.raises(SourceError, match="split test: 0 clips to train on; wanted some"):
        load_training(replace(config, source=f"{tree.uri}?split=test"), tmp_path)
    with pytest.raises(SourceError, match="no data set: give one with --data"):
        load_training(replace(config, source=""), tmp_path)
    other = npz_set(tmp_path)
    with pytest.raises(SourceError, match=r"its classes are left, right, none; .* has hand_clap"):
        load_training(replace(config, validation=other.uri), tmp_path)


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"dt_us": 40_000}, "slice_us must divide dt_us 40000, got 25000"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"length": 10}, "length must be 0 or at least steps 20, got 10"),
        ({"most_us": 500_000}, "most_us must be 0 or at least 20 windows of 50000 us, got 500000"),
        ({"hold_out": 1.0}, "hold_out must be between 0 and 1, got 1.0"),
        ({"folds": 5, "fold": 6}, "fold 1 to folds, got fold 6 of 5"),
        ({"folds": 5, "validation": "npz:a.npz"}, "wanted one of them"),
        ({"clips": -1}, "clips must be 0 or more, got -1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, wanted):
    with pytest.raises(ValueError, match=wanted):
        DataConfig(**settings)
