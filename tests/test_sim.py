"""The simulator: the same clip is the same bytes, people and hands are where they should be."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeline.drivers.sim import GESTURES, Clip, SimSource, clip_from_dict, draw_clip, simulate
from spikeline.drivers.sim.people import SPLITS, draw_person
from spikeline.drivers.sim.pixel_state import FREE, PixelValues
from spikeline.drivers.sim.stepper import KEYFRAME_US, SETTLE_US, Stepper
from spikeline.pipeline.events import SourceError

# sha256 of clip (seed 20, index 3, 0.4 s): changes only together with SIM_VERSION
GOLDEN = "d54741ee73d718b6c858e8f2350ea42d93c6e51612007d520ab5058c347ed3ce"


def digest(events) -> str:
    return hashlib.sha256(b"".join(a.tobytes() for a in events)).hexdigest()


def joints(clip: Clip, seconds: float) -> np.ndarray:
    """(keyframes, 2 arms, shoulder elbow wrist tip, xyz) in body units."""
    stepper = Stepper(clip)
    stepper.t_us = 0
    kept = []
    for _ in range(round(seconds * 1e6) // KEYFRAME_US):
        stepper._keyframe()
        stepper.t_us += KEYFRAME_US
        kept.append(stepper.joints.copy())
    return np.array(kept)


def plain(clip: Clip) -> Clip:
    """The clip seen straight on by a person who stands still but for the gesture."""
    idle = clip.idle._replace(fidget=0.0, right_rest=0, left_rest=0, sway=0.0, nod=0.0)
    view = clip.view._replace(x_px=64.0, yaw_turns=0.0, roll_turns=0.0)
    return replace(clip, idle=idle, view=view, motion=clip.motion._replace(coupling=0.0))


def quiet(clip: Clip) -> PixelValues:
    return clip.camera._replace(noise_bright_hz=0.0, noise_dark_hz=0.0, hot_share=0.0, leak_hz=0.0)


def test_a_clip_is_always_the_same_bytes():
    clip = draw_clip(20, index=3, duration_s=0.4)
    events = simulate(clip)
    assert digest(events) == GOLDEN
    again = clip_from_dict(json.loads(json.dumps(clip.as_dict())))
    assert again == clip
    assert digest(simulate(again)) == GOLDEN


def test_events_are_in_order_and_inside():
    t, x, y, p = simulate(draw_clip(1, index=4, duration_s=0.5, preset="dvs128-fast"))
    assert [a.dtype for a in (t, x, y, p)] == [np.int64, np.uint16, np.uint16, np.uint8]
    assert len(t) > 1_000
    assert np.diff(t).min() >= 1  # the bus sends one event per microsecond
    assert t[0] >= 0 and t[-1] < 500_000
    assert x.max() < 128 and y.max() < 128 and set(np.unique(p)) == {0, 1}


def test_a_clip_is_the_beginning_of_a_longer_one():
    long = simulate(draw_clip(2, index=7, duration_s=0.4))
    short = simulate(draw_clip(2, index=7, duration_s=0.203))
    n = len(short[0])
    assert n == np.searchsorted(long[0], 203_000)
    assert all(np.array_equal(a, b[:n]) for a, b in zip(short, long, strict=True))


def test_stepper_starts_before_zero_and_every_block_keeps_to_its_time():
    stepper = Stepper(draw_clip(3, index=5, preset="dvs128-fast"))
    assert stepper.t_us == -SETTLE_US
    for _ in range(60):
        start_us = stepper.t_us
        t = stepper.advance()[0]
        assert stepper.t_us == start_us + KEYFRAME_US
        assert len(t) == 0 or (t[0] >= start_us and t[-1] < stepper.t_us)
    px = stepper.pixels  # nobody is left in a reset that has passed
    assert (px.reset_us[px.reset_us != FREE] >= stepper.t_us).all()
    np.testing.assert_array_equal(np.isnan(px.ref), px.reset_us != FREE)


@pytest.mark.parametrize("label", [1, 2])
def test_the_right_hand_waves_at_image_left(label):
    for index in range(4):
        clip = plain(draw_clip(31, index=index, label=label, duration_s=0.6, preset="dvs128-fast"))
        clip = replace(clip, camera=quiet(clip))
        x = simulate(clip)[1]
        assert len(x) > 2_000
        assert np.mean(x < 64 if label == 1 else x > 64) > 0.99


@pytest.mark.parametrize(("label", "arm", "sign"), [(3, 0, -1), (4, 0, 1), (5, 1, -1), (6, 1, 1)])
def test_clockwise_for_the_subject_is_counter_clockwise_in_the_image(label, arm, sign):
    for index in range(12):
        clip = plain(draw_clip(5, index=index, label=label))
        hand = joints(clip, 3.0)[:, arm, 2, :2]
        around = hand - hand.mean(0)
        area = np.sum(around[:-1, 0] * around[1:, 1] - around[:-1, 1] * around[1:, 0])
        assert np.sign(area) == sign  # x right, y down: a positive area turns clockwise in the image
        other = joints(clip, 0.5)[:, 1 - arm, 2]
        assert np.ptp(other, axis=0).max() < 0.01


@given(seed=st.integers(0, 10_000), label=st.integers(0, 11))
@settings(deadline=None, max_examples=60, derandomize=True)
def test_no_joint_turns_faster_than_15_rad_per_second(seed, label):
    limbs = np.diff(joints(draw_clip(seed, label=label), 1.5)[:, :, :3], axis=2)
    limbs /= np.linalg.norm(limbs, axis=-1, keepdims=True)
    chord = np.linalg.norm(np.diff(limbs, axis=0), axis=-1)
    turn = 2 * np.arcsin(np.clip(chord / 2, 0, 1)) / (KEYFRAME_US * 1e-6)
    assert turn.max() < 15.0


def test_bones_keep_their_length():
    for index in range(24):
        clip = draw_clip(6, index=index)
        length = np.linalg.norm(np.diff(joints(clip, 0.5)[:, :, :3], axis=2), axis=-1)
        np.testing.assert_allclose(length[..., 0], clip.body.upper_arm, rtol=1e-9)
        np.testing.assert_allclose(length[..., 1], 0.82 * clip.body.forearm, rtol=1e-9)


def test_no_person_camera_or_wall_is_in_two_splits():
    seen: dict[str, dict[str, set]] = {}
    for split in SPLITS:
        clips = [draw_clip(0, split=split, index=i) for i in range(200)]
        seen[split] = {
            "person": {c.person for c in clips},
            "body": {c.body for c in clips},
            "camera": {c.camera_seed for c in clips},
            "wall": {c.wall.seed for c in clips},
        }
    assert seen["train"]["person"] <= set(range(40))
    assert seen["validation"]["person"] == set(range(40, 50))
    assert seen["test"]["person"] <= set(range(1000, 1020))
    for what in ("person", "body", "camera", "wall"):
        sets = [seen[split][what] for split in SPLITS]
        assert sum(map(len, sets)) == len(set.union(*sets))


def test_only_the_motion_knows_the_class():
    """Scene, camera and idling are the same whatever the label; so are tempo jitter and phase."""
    clips = [draw_clip(8, index=5, label=label) for label in range(len(GESTURES))]
    for clip in clips[1:]:
        assert replace(clip, label=0, motion=clips[0].motion) == clips[0]
        for name in ("phase", "wander", "amp", "dx", "dy", "dz", "coupling"):
            assert getattr(clip.motion, name) == getattr(clips[0].motion, name)


def test_persons_are_fixed_and_differ():
    assert draw_person(1003) == draw_person(1003)
    assert len({draw_person(n).body.shoulder_width for n in range(50)}) == 50


def test_an_empty_room_has_only_noise():
    clip = draw_clip(9, label=11, duration_s=1.0)
    clip = replace(clip, motion=clip.motion._replace(variant=0), camera=quiet(clip))
    assert len(simulate(clip)[0]) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sede": "1"}, "unknown option 'sede'; expected one of seed, split, person"),
        ({"seed": "x"}, "seed is 'x'; expected an integer from 0 to"),
        ({"split": "dev"}, "split is 'dev'; expected one of train, validation, test"),
        ({"person": "7"}, "person is '7'; expected an integer from 1000 to 1019"),
        ({"class": "12"}, "class is '12'; expected 0 to 11 or one of hand_clap, "),
        ({"class": "²"}, "class is '²'; expected 0 to 11 or one of hand_clap, "),
        ({"duration_s": "-1"}, "duration_s is '-1'; expected a number from 0 to 1e+09"),
        ({"duration_s": "nan"}, "duration_s is 'nan'; expected a number from 0 to 1e+09"),
        ({"gesture_s": "0.1"}, "gesture_s is '0.1'; expected a number from 0.5 to 3600"),
        ({"camera": "imx"}, "camera is 'imx'; expected one of dvs128-fast, dvs128-slow"),
        ({"level": "harsh"}, "level is 'harsh'; expected one of easy, normal, hard"),
    ],
)
def test_a_bad_option_says_what_is_wanted(options, message):
    with pytest.raises(SourceError) as error:
        SimSource(options)
    assert message in str(error.value) and "\n" not in str(error.value)
