"""`sim:gait`: twenty walkers who differ, walk both ways and keep their feet on the floor."""

from itertools import combinations

import numpy as np
import pytest

from spikeline.drivers.sim.gait import draw_gait, simulate_gait
from spikeline.drivers.sim.walk import FOOT, HEAD, WALKER_SHAPES, walker_shapes
from spikeline.drivers.sim.walkers import WALKERS, walkers


def shapes_over(clip, times_s) -> np.ndarray:
    """(times, shapes, 7)"""
    out = np.zeros((len(times_s), WALKER_SHAPES, 7))
    for k, t_s in enumerate(times_s):
        walker_shapes(clip.gait, clip.path, 0.0, t_s, out[k])
    return out


def side_on(clip):
    """The clip's walker exactly from the side, far away, 100 px tall."""
    path = clip.path._replace(
        heading=0.0, distance=1e6, scale_px=100.0, x_px=0.0, floor_px=100.0, eye=0.5, wander=0.0, tempo=1.0
    )
    return clip.__class__(**{**clip.__dict__, "path": path})


def test_twenty_walkers_differ_and_stay_the_same():
    assert len(walkers()) == WALKERS == len(set(walkers()))
    assert walkers() is walkers()
    numbers = np.array([tuple(gait) for gait in walkers()])
    scaled = (numbers - numbers.min(0)) / np.ptp(numbers, axis=0)
    assert min(np.linalg.norm(a - b) for a, b in combinations(scaled, 2)) > 0.9


def test_the_label_is_the_walker_in_every_split():
    for split in ("train", "validation", "test"):
        for index in range(40):
            clip = draw_gait(2, split=split, index=index)
            assert clip.label == index % WALKERS
            assert clip.gait == walkers()[clip.label]
            assert clip.person == -1  # the walker is no nuisance to be held out


def test_everybody_walks_both_ways_in_both_views():
    seen = {(c.view, c.path.heading > 0.25) for c in (draw_gait(3, index=i) for i in range(80))}
    assert len(seen) == 4


@pytest.mark.parametrize(("heading", "sign"), [(0.0, 1), (0.5, -1)])
def test_the_way_is_the_heading(heading, sign):
    clip = draw_gait(4, index=3, view="side", camera="dvs128-fast")
    clip = clip.__class__(**{**clip.__dict__, "path": clip.path._replace(heading=heading)})
    t, x, _, _ = simulate_gait(clip)
    early, late = (t > 600_000) & (t < 900_000), (t > 1_500_000) & (t < 1_800_000)
    assert sign * (np.median(x[late]) - np.median(x[early])) > 15


def test_a_foot_stands_still_while_it_carries():
    """The lower foot slides at less than a third of the walker's speed over half the time."""
    for index in range(WALKERS):
        clip = side_on(draw_gait(5, index=index))
        times = np.arange(0.0, 2.0, 0.005)
        shapes = shapes_over(clip, times)
        heel = shapes[:, FOOT : FOOT + 2, 0]  # of the foot; the ankle is above it
        speed = np.abs(np.diff(heel, axis=0)).min(1) / 0.005  # the slower foot's
        walk = np.abs(np.diff(shapes[:, HEAD, 0])).mean() / 0.005
        assert np.median(speed) < 0.3 * walk


def test_feet_never_leave_or_enter_the_floor():
    for index in range(WALKERS):
        clip = side_on(draw_gait(6, index=index))
        feet = shapes_over(clip, np.arange(0.0, 1.5, 0.01))[:, FOOT : FOOT + 2]
        lowest = np.maximum(feet[..., 1] + feet[..., 2], feet[..., 4] + feet[..., 5]).max(1)
        assert lowest.max() < 101.0  # px below the hips; the floor is at 100
        assert lowest.min() > 96.0


def test_the_head_rises_twice_a_stride_and_the_body_stays_one():
    for index in range(WALKERS):
        clip = side_on(draw_gait(7, index=index))
        stride_s = 120.0 / clip.gait.cadence
        times = np.linspace(0.0, stride_s, 65)[:-1]
        height = shapes_over(clip, times)[:, HEAD, 1]
        power = np.abs(np.fft.rfft(height - height.mean()))
        assert power[1:].argmax() + 1 == 2
        assert 1.0 < np.ptp(height) < 9.0  # of 100


def test_limbs_keep_their_length():
    clip = side_on(draw_gait(8, index=9))
    shapes = shapes_over(clip, np.arange(0.0, 1.2, 0.01))
    shank = np.hypot(shapes[:, 2, 3] - shapes[:, 2, 0], shapes[:, 2, 4] - shapes[:, 2, 1])
    assert shank.max() < 1.02 * 24.6 * clip.gait.legs


def test_who_comes_nearer_grows():
    clip = draw_gait(9, index=2, view="oblique")
    toward = clip.path._replace(heading=0.125)
    shapes = np.zeros((2, WALKER_SHAPES, 7))
    for k, t_s in enumerate((0.2, 2.3)):
        walker_shapes(clip.gait, toward, 0.0, t_s, shapes[k])
    heights = shapes[:, FOOT, 1] - shapes[:, HEAD, 1]
    assert 1.3 < heights[1] / heights[0] < 2.5
