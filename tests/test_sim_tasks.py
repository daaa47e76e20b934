"""Every task of the simulator: clips from their line alone, no leak of the label, nobody in two splits."""

import hashlib
import json
from itertools import combinations

import numpy as np
import pytest

from spikeline.drivers.sim.chain import HOLD_US, ORDERS, TURN_US, draw_chain
from spikeline.drivers.sim.gestures import FLIPPED, GESTURES
from spikeline.drivers.sim.tasks import TASKS

SHORT_S = {"gesture": 0.2, "gait": 0.2, "chain": 4.4, "digits": 0.1}
# What says who or what is shown; everything else must not.
TELLING = {
    "gesture": ("label", "motion", "index", "seed"),
    "gait": ("label", "gait", "index", "seed"),
    "chain": ("label", "segments", "index", "seed"),
    "digits": ("label", "cells", "source", "index", "seed"),
}
# sha256 of clip (seed 20, index 3): changes only together with the task's version
GOLDEN = {
    "gesture hard": "1779f3bb8431b9a12363904910279d030f73df27cc66d504c00c9a95f6d3a3b6",
    "gait normal": "e0edea17ef4ae1667b7e4d2585f4a268bc347f89f1650b3add2939d3e0ad0be5",
    "gait hard": "4882d74fa6e7ecf303f85862e9ce785025d033d6df82402aa0161de6112f2d3f",
    "chain normal": "41e4ccc85a799720bf318c06eb39f062fce33acf525179e3279e9fecbdf983ce",
    "digits normal": "0e39df2ca51f64c001b8140da3cb33e7a02e49dac4068023b4af1001da9a38a9",
}


@pytest.fixture(scope="module")
def images():
    """Pictures of nothing: ten of each digit, strokes drawn at random."""
    rng = np.random.default_rng(5)
    pictures = np.zeros((100, 8, 8))
    for picture in pictures:
        for _ in range(3):
            y, x, steps = rng.integers(1, 6), rng.integers(1, 6), rng.integers(0, 2, 2)
            for k in range(4):
                picture[min(y + k * steps[0], 7), min(x + k * steps[1], 7)] = 16
    return pictures, np.arange(100) % 10


def draw(name, images, index, **options):
    task = TASKS[name]
    given = {"images": images} if "images" in task.needs else {}
    return task.draw(options.pop("seed", 20), index=index, **given, **options)


def digest(events) -> str:
    return hashlib.sha256(b"".join(a.tobytes() for a in events)).hexdigest()


def numbers(value, name=""):
    """All numbers of a manifest line, in order, but those of the fields that may tell."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from numbers(item, f"{name}.{key}")
    elif isinstance(value, list):
        for item in value:
            yield from numbers(item, name)
    elif isinstance(value, (int, float)):
        yield float(value)


@pytest.mark.parametrize("which", GOLDEN)
def test_a_clip_is_made_again_from_its_line_alone(which, images):
    name, level = which.split()
    task = TASKS[name]
    clip = draw(name, images, 3, level=level, duration_s=SHORT_S[name])
    again = task.from_dict(json.loads(json.dumps(clip.as_dict())))
    assert again == clip
    t, x, y, p = events = task.simulate(clip)
    assert [a.dtype for a in events] == [np.int64, np.uint16, np.uint16, np.uint8]
    assert (np.diff(t) >= 0).all() and t[0] >= 0 and t[-1] < clip.duration_us
    assert x.max() < task.sensor.width and y.max() < task.sensor.height and set(np.unique(p)) <= {0, 1}
    assert digest(events) == digest(task.simulate(again)) == GOLDEN[which]


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("level", ["normal", "hard"])
def test_nothing_but_the_motion_tells_the_label(name, level, images):
    """A classifier on every number of the manifest that is no motion stays at chance."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    task, classes = TASKS[name], len(TASKS[name].labels)
    count = 60 * classes if classes < 15 else 40 * classes
    rows, labels = [], []
    for index in range(count):
        clip = draw(name, images, index, level=level)
        line = {key: value for key, value in clip.as_dict().items() if key not in TELLING[name]}
        if name == "chain":
            del line["scene"]["seed"], line["scene"]["index"]
        rows.append(list(numbers(line)))
        labels.append(clip.label)
    longest = max(map(len, rows))
    features = np.array([row + [0.0] * (longest - len(row)) for row in rows])
    features = StandardScaler().fit_transform(features)
    labels = np.array(labels)
    half = np.arange(count) // classes % 2 == 0
    model = LogisticRegression(max_iter=60, C=0.02, tol=1e-2).fit(features[half], labels[half])
    right = model.score(features[~half], labels[~half])
    chance = 1 / classes
    assert right < chance + 3.5 * np.sqrt(chance * (1 - chance) / (~half).sum())
    assert task.labels[labels[0]] == task.labels[0]


@pytest.mark.parametrize("name", TASKS)
def test_no_camera_wall_or_picture_is_in_two_splits(name, images):
    kept = {}
    for split in TASKS[name].splits:
        clips = [draw(name, images, index, split=split).as_dict() for index in range(100)]
        scenes = [clip.get("scene", clip) for clip in clips]
        kept[split] = {
            "camera": {scene["camera_seed"] for scene in scenes},
            "wall": {scene["wall"]["seed"] for scene in scenes if "wall" in scene},
            "source": {scene["source"] for scene in scenes if "source" in scene},
            "person": {scene["person"] for scene in scenes if scene["person"] >= 0},
        }
    for one, other in combinations(kept.values(), 2):
        assert all(not one[what] & other[what] for what in one)


@pytest.mark.parametrize("name", TASKS)
def test_a_flip_is_its_own_reverse(name):
    flipped = TASKS[name].flipped
    assert flipped is None or [flipped[k] for k in flipped] == list(range(len(TASKS[name].labels)))
    assert FLIPPED[GESTURES.index("right_arm_clockwise")] == GESTURES.index("left_arm_counter_clockwise")


def test_the_order_of_a_chain_changes_nothing_else():
    """Scene, times and every motion are the same for all six orders; each part is in each place twice."""
    for index in range(20):
        chains = [draw_chain(7, index=index, label=label) for label in range(6)]
        first = chains[0]
        for label, chain in enumerate(chains):
            assert chain.scene == first.scene
            assert tuple(segment.part for segment in chain.segments) == ORDERS[label]
            assert [s[1:3] for s in chain.segments] == [s[1:3] for s in first.segments]
            motions = {segment.part: segment.motion for segment in chain.segments}
            assert motions == {segment.part: segment.motion for segment in first.segments}
        for place in range(3):
            parts = [chain.segments[place].part for chain in chains]
            assert sorted(parts) == [0, 0, 1, 1, 2, 2]


def test_gestures_of_a_chain_keep_apart_and_inside():
    for index in range(100):
        chain = draw_chain(9, index=index)
        end_us = 0
        for segment in chain.segments:
            assert segment.start_us >= end_us
            held_us = segment.stop_us - segment.start_us - TURN_US
            assert HOLD_US[0] <= held_us <= HOLD_US[1]
            end_us = segment.stop_us + TURN_US
        assert end_us <= chain.duration_us


@pytest.mark.full
@pytest.mark.timeout(1_200)
def test_the_mean_frame_of_a_chain_is_at_chance():
    """Nearest centroid of the log of the summed frame, on people it has not seen."""

    def frames(split, count):
        made = []
        for index in range(count):
            chain = draw_chain(1, split=split, index=index, level="easy", camera="dvs128-slow")
            _, x, y, p = TASKS["chain"].simulate(chain)
            frame = np.zeros((2, 16, 16))
            np.add.at(frame, (p, y // 8, x // 8), 1)
            made.append(np.log1p(frame).ravel())
        return np.array(made), np.arange(count) % 6

    (train, labels), (test, wanted) = frames("train", 90), frames("test", 90)
    centroids = np.array([train[labels == k].mean(0) for k in range(6)])
    nearest = ((test[:, None] - centroids) ** 2).sum(-1).argmin(1)
    assert np.mean(nearest == wanted) < 1 / 6 + 3 * np.sqrt(5 / 36 / 90)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("gait", {"split": "dev"}, "split: unknown name 'dev'; choose from train, validation, test"),
        ("gait", {"view": "top"}, "view: unknown name 'top'; choose from side, oblique"),
        ("gait", {"camera": "imx"}, "camera: unknown name 'imx'; choose from dvs128-fast"),
        ("chain", {"duration_s": 2.0}, "duration_s: 2; a chain needs at least 4.4"),
        ("gesture", {"off": "nois"}, "off: unknown part 'nois'; choose from mismatch, noise"),
        ("digits", {"level": "harsh"}, "level: unknown name 'harsh'; choose from easy, normal, hard"),
    ],
)
def test_a_wrong_word_is_named(name, options, message, images):
    with pytest.raises(ValueError, match=message.split(";")[0]) as error:
        draw(name, images, 0, **options)
    assert message in str(error.value) and "\n" not in str(error.value)
