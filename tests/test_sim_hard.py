"""Level hard: what it adds is there as often as it says, and does what it should to the light."""

from dataclasses import replace

import numpy as np
import pytest

from spikeline.drivers.sim import draw_clip, simulate
from spikeline.drivers.sim.effects import displacement, gains
from spikeline.drivers.sim.hard import FINGERS, SHADOWED
from spikeline.drivers.sim.render import from_tiles
from spikeline.drivers.sim.stepper import Stepper


@pytest.fixture(scope="module")
def clips():
    return [draw_clip(1, index=index, level="hard", duration_s=1.8) for index in range(400)]


def with_effects(clip, **changes):
    return replace(clip, hard=clip.hard._replace(effects=clip.hard.effects._replace(**changes)))


def plain(clip):
    """The clip without anything that level hard adds."""
    still = {"flicker": 0.0, "drift": 0.0, "lamp_us": -1.0, "shake_px": 0.0, "pan_px": 0.0}
    hard = clip.hard._replace(shadow=0.0, mover=-1, held=0.0, begin_us=-1.0, end_us=-1.0)
    return with_effects(replace(clip, hard=hard), **still)


def silent(clip):
    """The clip's camera without noise and leak."""
    return clip.camera._replace(noise_bright_hz=0.0, noise_dark_hz=0.0, hot_share=0.0, leak_hz=0.0)


def scene(clip):
    """The reflectance before the first step, (height, width)."""
    stepper = Stepper(clip)
    return from_tiles(stepper._reflectance, stepper.array.columns)


@pytest.mark.parametrize(
    ("what", "share"),
    [
        (lambda c: c.hard.effects.flicker > 0, 0.40),
        (lambda c: c.hard.effects.shakes, 0.145),
        (lambda c: c.hard.mover >= 0, 0.20),
        (lambda c: c.hard.begin_us >= 0 or c.hard.end_us >= 0, 0.30),
        (lambda c: c.idle.fidget != 0, 0.50),
        (lambda c: c.camera.follower_hz > 0, 0.30),
    ],
)
def test_things_are_as_frequent_as_they_should_be(clips, what, share):
    found = np.mean([what(clip) for clip in clips])
    assert abs(found - share) < 3 * np.sqrt(share * (1 - share) / len(clips))


def test_ranges_are_wider_than_those_of_normal(clips):
    normal = [draw_clip(1, index=index, duration_s=1.8) for index in range(400)]
    for what in (
        lambda c: np.log(c.light.level),
        lambda c: c.view.x_px,
        lambda c: c.view.scale_px,
        lambda c: c.view.blur_px,
        lambda c: np.log(c.camera.refractory_us),
        lambda c: np.log(c.camera.noise_dark_hz),
    ):
        assert np.ptp([what(c) for c in clips]) > 1.2 * np.ptp([what(c) for c in normal])


def test_flicker_lights_every_pixel_at_its_rate():
    clip = plain(draw_clip(3, index=11, level="hard", duration_s=0.4))
    clip = replace(clip, light=clip.light._replace(level=1.0), motion=clip.motion._replace(variant=0))
    camera = silent(clip)._replace(theta_on=0.22, theta_off=0.22, theta_spread=0.1, f_ref_hz=3000.0,
                                   follower_hz=0.0, refractory_us=300.0)  # fmt: skip
    clip = replace(clip, camera=camera)
    assert len(simulate(clip)[0]) == 0
    t = simulate(with_effects(clip, flicker=0.15, flicker_hz=100.0))[0]
    assert len(t) > 2_000  # of the few pixels whose thresholds the ripple reaches
    late = t[t >= 100_000] // 1_000 - 100  # when the references have left where they began
    power = np.abs(np.fft.rfft(np.bincount(late, minlength=300)[:300]))
    assert power[20:50].argmax() == 10 and power[30] > 10 * np.median(power)  # 100 Hz


def test_gains_follow_the_lamp_and_the_flicker():
    effects = plain(draw_clip(3, index=1, level="hard")).hard.effects
    assert (gains(effects, 0, 5) == 1.0).all()
    lamp = effects._replace(lamp_us=50_000.0, lamp=0.5)
    assert (gains(lamp, 45_000, 5) == 1.0).all() and (gains(lamp, 50_000, 5) == 0.5).all()
    flicker = effects._replace(flicker=0.1, flicker_hz=100.0, flicker_phase=0.0)
    found = np.concatenate([gains(flicker, t_us, 5) for t_us in range(0, 20_000, 5_000)])
    np.testing.assert_allclose(found, 1 + 0.1 * np.cos(2 * np.pi * 0.1 * np.arange(1, 21)), atol=1e-6)


def test_a_camera_that_shakes_sees_the_wall_move():
    clip = plain(draw_clip(3, index=11, level="hard", duration_s=0.4))
    clip = replace(clip, motion=clip.motion._replace(variant=0), light=clip.light._replace(level=1.0),
                   wall=clip.wall._replace(contrast=0.5, furniture=3),
                   camera=silent(clip))  # fmt: skip
    still = len(simulate(clip)[0])
    shaking = with_effects(clip, shake_px=1.5)
    assert len(simulate(shaking)[0]) > still + 1_000
    way = np.array([displacement(shaking.hard.effects, t) for t in range(0, 2_000_000, 5_000)])
    assert 1.0 < np.abs(way).max() < 3.0
    assert np.abs(np.diff(way, axis=0)).max() < 0.5 * 5  # no edge moves over half a pixel per ms


def test_a_shadow_only_darkens_and_falls_beside_the_person():
    """By no more than its share, also where the shadows of two limbs overlap."""
    for index in range(8):
        clip = plain(draw_clip(5, index=index, level="hard"))
        shadow = replace(
            clip, hard=clip.hard._replace(shadow=0.4, shadow_x=6.0, shadow_y=4.0, shadow_blur=4.0)
        )
        without, dark = scene(clip), scene(shadow)
        assert (dark <= without * 1.0001).all()
        assert (dark < 0.7 * without).sum() > 30
        assert (dark >= 0.599 * without).all()


def test_hands_have_as_many_fingers_as_drawn():
    for fingers in (3, 5):
        clip = plain(draw_clip(6, index=1, level="hard"))
        clip = replace(clip, hard=clip.hard._replace(fingers=fingers))
        stepper = Stepper(clip)
        shapes = stepper._shapes[0, 13 : 13 + 2 * FINGERS]
        assert (shapes[:, 2] > 0.2).sum() == 2 * fingers
        assert len(stepper.figure.looks) == 13 + 2 * FINGERS + 1 + len(SHADOWED)


@pytest.mark.parametrize("end", ["begin_us", "end_us"])
def test_a_performance_begins_and_ends_where_it_says(end):
    """Before it begins, or after it ends, the hands rest; at the other end they work."""
    clip = plain(draw_clip(7, index=8, level="hard", duration_s=2.0))
    idle = clip.idle._replace(fidget=0.0, sway=0.0, nod=0.0, right_rest=0, left_rest=0)
    clip = replace(clip, idle=idle, hard=clip.hard._replace(**{end: 1_000_000.0}))
    stepper, hands = Stepper(clip), []
    stepper.t_us = 0
    while stepper.t_us < 2_500_000:
        stepper._keyframe()
        stepper.t_us += 5_000
        hands.append(stepper.joints[:, 2].copy())
    speed = np.linalg.norm(np.diff(hands, axis=0), axis=-1).max(1)
    resting, working = (speed[10:190], speed[300:]) if end == "begin_us" else (speed[300:], speed[:190])
    assert resting.max() < 1e-3 < 0.004 < working.max()


def test_somebody_walks_through_behind():
    clip = plain(draw_clip(8, index=11, level="hard", duration_s=0.5, preset="dvs128-slow"))
    clip = replace(clip, motion=clip.motion._replace(variant=0), light=clip.light._replace(level=1.0))
    nobody = len(simulate(clip)[0])
    passing = replace(
        clip, hard=clip.hard._replace(mover=5, mover_from=0.4, mover_scale=90.0, mover_floor=0.95)
    )
    t, x, _, _ = simulate(passing)
    assert len(t) > nobody + 500
    assert 20 < np.median(x[t > 250_000]) < 108
