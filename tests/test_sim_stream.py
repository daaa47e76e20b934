"""`sim:stream`: what happens when, the truth in order, and the same bytes however they are read."""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from spikeline.drivers import open_source
from spikeline.drivers.sim import GESTURES, SimSource, draw_clip
from spikeline.drivers.sim.gestures import NONE
from spikeline.drivers.sim.idle import NONE_VARIANTS
from spikeline.drivers.sim.scripts import GESTURE_US, REST_US, TURN_US, StreamScript
from spikeline.drivers.sim.stage import KEYFRAME_US
from spikeline.drivers.sim.stepper import Stepper
from spikeline.pipeline.events import SourceError

MINUTES_US = 40 * 60_000_000


def events(packets) -> list[np.ndarray]:
    packets = list(packets)
    return [np.concatenate([getattr(packet, name) for packet in packets]) for name in "txyp"]


def same(a, b) -> bool:
    return all(np.array_equal(p, q) for p, q in zip(a, b, strict=True))


def run_script(only: int | None, seed: int = 3):
    """(truth, rests) of a long stream, without making its events: rests as (begin, end, variant)."""
    clip = draw_clip(seed, split="test", label=0)
    truth: list = []
    script = StreamScript(clip, only, None, truth)
    stepper = Stepper(replace(clip, motion=script.motion))
    shown = [(0, script.motion)]
    stepper.t_us = 0
    while stepper.t_us < MINUTES_US:
        script.prepare(stepper)
        if script.motion is not shown[-1][1]:
            shown.append((stepper.t_us, script.motion))
        stepper.t_us += KEYFRAME_US
    return truth, [(a[0], b[0], a[1]) for a, b in pairwise(shown)]


def test_the_same_seed_is_the_same_bytes_in_any_slicing():
    uri = "sim:stream?seed=6&duration_s=3"
    with open_source(uri) as source:
        whole = events(source)
    with open_source(f"cut(events=97)+{uri}") as source:
        packets = list(source)
    assert max(map(len, packets)) <= 97
    assert same(events(packets), whole)
    with SimSource({"seed": "6", "duration_s": "0"}, "stream") as endless:
        parts = []
        for packet in endless:
            if packet.until_us > 3_000_000:
                break
            parts.append(packet)
    assert same(events(parts), whole)
    assert len(whole[0]) > 1_000


def test_truth_is_in_order_and_lasts_as_it_should():
    truth, shown = run_script(None)
    assert len(truth) > 200
    for row in truth:
        assert row["onset_us"] < row["full_us"] <= row["offset_us"]
        assert 0 <= row["label"] < NONE
        held_us = row["offset_us"] - row["onset_us"]
        assert GESTURE_US[0] - KEYFRAME_US <= held_us <= GESTURE_US[1] + TURN_US[1]
    for before, after in pairwise(truth):
        assert before["offset_us"] + 0.6 * TURN_US[0] < after["onset_us"]
    for begin_us, end_us, motion in shown[1:]:
        if motion.kind == NONE:
            assert REST_US[0] <= end_us - begin_us <= REST_US[1] + TURN_US[1]


def test_labels_are_drawn_evenly_and_rests_are_of_every_kind():
    truth, shown = run_script(None)
    labels = np.array([row["label"] for row in truth])
    counts = np.bincount(labels, minlength=NONE)
    assert counts.min() > 0.4 * len(labels) / NONE
    assert np.mean(labels[1:] == labels[:-1]) < 1 / 11 + 3 * np.sqrt(1 / 11 / len(labels))
    assert {m.variant for _, _, m in shown if m.kind == NONE} == set(range(NONE_VARIANTS))


def test_a_stream_of_one_class_shows_no_other():
    truth, _ = run_script(4)
    assert len(truth) > 100
    assert {row["label"] for row in truth} == {4}
    truth, shown = run_script(NONE)
    assert truth == []
    assert {motion.kind for _, _, motion in shown} == {NONE}


def test_a_stream_of_nothing_still_has_events_and_no_truth():
    with open_source("sim:stream?seed=2&class=none&duration_s=2") as source:
        count = sum(map(len, source))
        assert source.truth == []
    assert count > 100


def test_the_truth_file_says_what_the_source_says(tmp_path):
    path = tmp_path / "truth.jsonl"
    with open_source(f"sim:stream?seed=1&duration_s=11&truth={path}") as source:
        assert sum(map(len, source)) > 1_000
        truth = list(source.truth)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(rows) >= 1
    assert rows == [{**row, "label": GESTURES[row["label"]]} for row in truth]
    assert rows[-1]["offset_us"] <= 11_000_000


def test_a_stream_cut_short_leaves_what_was_seen_of_it(tmp_path):
    path = tmp_path / "truth.jsonl"
    with open_source(f"sim:gesture?seed=1&duration_s=0&truth={path}") as source:
        for packet in source:
            if packet.until_us == 400_000:
                break
    (row,) = [json.loads(line) for line in path.read_text().splitlines()]
    assert (row["onset_us"], row["offset_us"]) == (0, 400_000)


def test_a_truth_file_that_cannot_be_written_is_named():
    with pytest.raises(SourceError, match=r"sim:stream: truth=/nowhere/t.jsonl: cannot be written"):
        open_source("sim:stream?truth=/nowhere/t.jsonl")


@pytest.mark.parametrize("uri", ["sim:chain?seed=4&index=2", "sim:gait?seed=4&index=7&duration_s=0.8"])
def test_clips_play_as_sources_with_their_truth(uri):
    with open_source(uri) as source:
        whole = events(source)
        truth, labels = source.truth, source.labels
    with open_source(f"cut(events=50)+{uri}") as source:
        assert same(events(source), whole)
    assert len(truth) == (3 if "chain" in uri else 1)
    assert all(row["onset_us"] < row["full_us"] <= row["offset_us"] for row in truth)
    assert all(row["label"] < len(labels) for row in truth)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("stream", {"gesture_s": "3"}, "sim:stream: unknown option 'gesture_s'; expected one of seed, split"),
        ("stream", {"off": "nois"}, "sim:stream: off has 'nois'; expected some of mismatch, noise, "),
        ("chain", {"index": "-1"}, "sim:chain: index is '-1'; expected an integer from 0 to "),
        ("gait", {"view": "top"}, "sim:gait: view is 'top'; expected one of side, oblique"),
    ],
)
def test_a_bad_option_says_what_is_wanted(kind, options, message):
    with pytest.raises(SourceError) as error:
        SimSource(options, kind)
    assert message in str(error.value) and "\n" not in str(error.value)
