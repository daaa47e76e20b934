"""The pixel model alone: thresholds, reset, leak and noise, on tiles whose light the test sets."""

import numpy as np
import pytest

from spikeline.drivers.sim.camera import read_out
from spikeline.drivers.sim.pixel import settle, step_pixels
from spikeline.drivers.sim.pixel_state import STEP_US, PixelValues, make_pixels
from spikeline.drivers.sim.poles import F_MAX_HZ, I_DARK, follower_share, light_tile

TILES = 16
IDEAL = PixelValues(
    theta_on=0.25,
    theta_off=0.4,
    theta_spread=0.0,
    f_ref_hz=1e6,  # held at F_MAX_HZ
    refractory_us=1.0,
    leak_hz=0.0,
    noise_bright_hz=0.0,
    noise_dark_hz=0.0,
    noise_spread=0.0,
    hot_share=0.0,
    rebound_after_off=0.0,
    rebound_after_on=0.0,
    rebound_us=800.0,
    duplicate=0.0,
)


class Array:
    """A pixel array under light that is the same everywhere."""

    def __init__(self, values: PixelValues, light: float, seed: int = 1, t_us: int = -500_000) -> None:
        self.values, self.seed = values, np.uint64(seed)
        self.pixels = make_pixels(values, seed, TILES)
        self.t_us = t_us  # before zero, as in the settling of a clip
        self._scratch = np.zeros(64, np.float32)
        self._flags = np.zeros(TILES, np.uint8)
        self.light(light)
        settle(self.pixels, values, self.seed, t_us)

    def light(self, level: float) -> None:
        px = self.pixels
        for tile in range(TILES):
            light_tile(
                tile, np.full(64, level, np.float32), np.float32(1.0), px.light, px.log_light, px.a, px.b,
                px.z_per_light, px.log_table, px.a_table, px.b_table, self._scratch,
                self._scratch.view(np.uint32),
            )  # fmt: skip
        px.hot[:] = 1

    def run(self, steps: int, awake: bool = False):
        """(t, pixel, p) of the next steps, sorted by time."""
        t, pixel, p = np.empty(1 << 20, np.int64), np.empty(1 << 20, np.int64), np.empty(1 << 20, np.uint8)
        n = 0
        painted = np.full(TILES, awake, np.uint8)
        for _ in range(steps):
            if awake:
                self.pixels.hot[:] = 1
            n, lost = step_pixels(
                self.pixels, self.values, self.seed, self.t_us, painted, self._flags, t, pixel, p, n
            )
            assert lost == 0
            self.t_us += STEP_US
        order = np.lexsort((pixel[:n], t[:n]))
        return t[:n][order], pixel[:n][order], p[:n][order]


def test_a_still_scene_without_noise_sends_nothing():
    assert len(Array(IDEAL, 0.5).run(2_000)[0]) == 0


@pytest.mark.parametrize(("before", "after", "sign"), [(0.1, 0.8, 1), (0.8, 0.1, 0)])
def test_a_step_of_light_sends_its_height_over_the_threshold(before, after, sign):
    array = Array(IDEAL, before)
    array.light(after)
    t, pixel, p = array.run(20)
    height = abs(np.log((after + I_DARK) / (before + I_DARK)))
    theta = IDEAL.theta_on if sign else IDEAL.theta_off
    counts = np.bincount(pixel, minlength=TILES * 64)
    assert (p == sign).all()
    # references start anywhere between the thresholds, and each reset loses what 1 us brings
    assert counts.min() >= int((height - IDEAL.theta_on - IDEAL.theta_off) / theta) - 1
    assert counts.mean() == pytest.approx(
        (height - 0.5 * abs(IDEAL.theta_on - IDEAL.theta_off)) / theta, abs=1.0
    )
    assert t[-1] + 500_000 < 1e6 * 8 / (2 * np.pi * F_MAX_HZ) + 2 * STEP_US


def test_higher_thresholds_send_fewer_events():
    counts = []
    for theta in (0.15, 0.3, 0.6):
        array = Array(IDEAL._replace(theta_on=theta), 0.1)
        array.light(0.9)
        counts.append(len(array.run(20)[0]))
    assert counts[0] > 1.7 * counts[1] > 1.7 * 1.7 * counts[2]


def test_dim_pixels_are_slow():
    def last_us(level):
        array = Array(IDEAL._replace(f_ref_hz=60.0), level)
        start_us = array.t_us
        array.light(3 * level)
        return array.run(400)[0][-1] - start_us

    assert last_us(0.02) > 4 * last_us(0.3)


def test_no_pixel_fires_twice_within_its_reset():
    array = Array(IDEAL._replace(refractory_us=2_000.0, noise_bright_hz=200.0, noise_dark_hz=200.0), 0.1)
    array.light(0.9)
    t, pixel, _ = array.run(100)
    order = np.lexsort((t, pixel))
    gaps = np.diff(t[order])[np.diff(pixel[order]) == 0]
    assert len(gaps) > 1_000
    assert gaps.min() >= array.pixels.refractory_us.min()


def test_leak_sends_on_events_at_its_rate():
    array = Array(IDEAL._replace(leak_hz=2.0), 0.5)
    array.run(3_000)  # until every reference has left its random start
    t, _, p = array.run(4_000)
    rate = len(t) / (4.0 * TILES * 64)
    assert (p == 1).all()
    assert rate == pytest.approx(2.0 * np.exp(0.5 * 0.4**2), rel=0.05)  # log-normal over pixels


@pytest.mark.parametrize(("light", "expected"), [(1e-4, 3.0), (1.0, 0.5)])
def test_shot_noise_falls_with_light(light, expected):
    values = IDEAL._replace(noise_bright_hz=0.38, noise_dark_hz=3.0)
    t, _, p = Array(values, light).run(4_000)
    assert len(t) / (4.0 * TILES * 64) == pytest.approx(expected, rel=0.1)
    assert p.mean() == pytest.approx(0.5, abs=0.05)


def test_rebound_and_duplicates_come_with_their_probabilities():
    values = IDEAL._replace(noise_bright_hz=1.0, noise_dark_hz=1.0, rebound_after_off=0.6, duplicate=0.12)
    t, pixel, p = Array(values, 0.5).run(6_000)
    order = np.lexsort((t, pixel))
    t, pixel, p = t[order], pixel[order], p[order]
    same = np.diff(pixel) == 0
    doubled = same & (np.diff(t) == 1) & (np.diff(p.astype(int)) == 0)
    assert doubled.sum() / (len(t) - doubled.sum()) == pytest.approx(0.12, abs=0.015)
    first = np.append(True, ~doubled)
    t, pixel, p = t[first], pixel[first], p[first]
    soon = (np.diff(pixel) == 0) & (np.diff(t) < 5_000)
    off = p[:-1] == 0
    assert (soon & off & (p[1:] == 1)).sum() / off.sum() == pytest.approx(0.58, abs=0.05)
    assert (soon & ~off).sum() / (~off).sum() < 0.02


def test_sleeping_tiles_miss_nothing():
    """With leak and noise but still light, tiles that sleep send what tiles kept awake send."""
    values = IDEAL._replace(leak_hz=1.0, noise_bright_hz=1.0, noise_dark_hz=2.0, rebound_after_off=0.5)
    asleep, awake = Array(values, 0.5).run(1_500), Array(values, 0.5).run(1_500, awake=True)
    assert len(asleep[0]) > 1_000
    assert abs(len(asleep[0]) - len(awake[0])) <= 0.002 * len(awake[0])
    n = min(len(asleep[0]), len(awake[0]))
    assert np.mean(np.abs(asleep[0][:n] - awake[0][:n]) <= 1_000) > 0.99


def test_the_bus_sends_one_event_per_microsecond_and_loses_what_overflows():
    n = 600
    t = np.zeros(n, np.int64)
    pixel, p = np.arange(n, dtype=np.int64), np.zeros(n, np.uint8)
    out = (np.empty(n, np.int64), np.empty(n, np.uint16), np.empty(n, np.uint16), np.empty(n, np.uint8))
    m, last_us, lost = read_out(t, pixel, p, n, 16, -5, *out, 0)
    assert (m, lost) == (251, n - 251)
    np.testing.assert_array_equal(out[0][:m], np.arange(251))
    assert last_us == 250
    sent = out[1][:m].astype(int) // 8 * 64 + out[2][:m] % 8 * 8 + out[1][:m] % 8
    assert len(set(sent)) == m  # every pixel at most once


def test_a_source_follower_comes_behind_and_loses_nothing():
    """The second pole delays the events of a step of light, and sends as many of them."""

    def found(follower_hz):
        array = Array(IDEAL._replace(f_ref_hz=300.0, follower_hz=follower_hz), 0.1)
        start_us = array.t_us
        array.light(0.9)
        t = array.run(200)[0] - start_us
        return len(t), np.median(t)

    (count, without), (slow_count, behind) = found(0.0), found(60.0)
    assert slow_count == pytest.approx(count, rel=0.03)
    assert behind > without + 1e6 / (2 * np.pi * 60.0) * 0.5


def test_the_share_of_a_pole_is_that_of_the_exponential():
    for hz in (1.0, 30.0, 255.0, 900.0, 5_000.0):
        z = 2 * np.pi * min(hz, F_MAX_HZ) * STEP_US * 1e-6
        assert follower_share(hz) == pytest.approx(1 - np.exp(-z), abs=1e-7)


def test_a_second_pole_sleeps_and_wakes_like_one():
    """Tiles that sleep send the same events as tiles kept awake."""
    values = IDEAL._replace(f_ref_hz=120.0, follower_hz=80.0, leak_hz=0.5)
    events = []
    for awake in (False, True):
        array = Array(values, 0.2, seed=4)
        array.light(0.5)
        first = array.run(300, awake)
        array.light(0.3)
        events.append([np.concatenate(pair) for pair in zip(first, array.run(300, awake), strict=True)])
    counts = [len(found[0]) for found in events]
    assert counts[0] == pytest.approx(counts[1], rel=0.01) and counts[0] > 1_000


def test_without_a_bus_events_leave_when_they_happen():
    rng = np.random.default_rng(7)
    t = np.sort(rng.integers(0, 3_000, 5_000))
    shuffled = rng.permutation(5_000)
    pixel, p = rng.integers(0, 1_024, 5_000), rng.integers(0, 2, 5_000).astype(np.uint8)
    out_t = np.empty(6_000, np.int64)
    out = [np.empty(6_000, dtype) for dtype in (np.uint16, np.uint16, np.uint8)]
    m, _, lost = read_out(t[shuffled], pixel, p, 5_000, 4, -1, out_t, *out, 0, 0)
    assert (m, lost) == (5_000, 0)
    np.testing.assert_array_equal(out_t[:m], t)
