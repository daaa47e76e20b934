"""`sim:digits`: the picture moves as in N-MNIST, every part of the pixel model can be left out."""

import sys
from dataclasses import replace

import numpy as np
import pytest

from spikeline.drivers.sim.digits import DigitClip, draw_digit, simulate_digit
from spikeline.drivers.sim.handwriting import FINE, MARGIN, picture
from spikeline.drivers.sim.parts import PARTS
from spikeline.drivers.sim.saccades import PATH_X, PATH_Y, SIZE
from spikeline.pipeline.events import SourceError


@pytest.fixture(scope="module")
def images():
    """A bar, a frame and a dot, ten of each digit."""
    pictures = np.zeros((100, 8, 8))
    pictures[0::3, 1:7, 3:5] = 16
    pictures[1::3, 1:7, 1:7] = 16
    pictures[1::3, 2:6, 2:6] = 0
    pictures[2::3, 3:5, 3:5] = 16
    return pictures, np.arange(100) % 10


def quiet(clip: DigitClip) -> DigitClip:
    camera = clip.camera._replace(noise_bright_hz=0.0, noise_dark_hz=0.0, hot_share=0.0, leak_hz=0.0)
    return replace(clip, camera=camera)


def middle(events, start_us, stop_us):
    t, x, y, _ = events
    chosen = (t >= start_us) & (t < stop_us)
    return x[chosen].mean(), y[chosen].mean()


def test_the_picture_runs_along_a_triangle(images):
    """Down and right, up and right, and back to the left: Orchard et al. 2015, their figure 2."""
    clip = quiet(draw_digit(1, index=1, level="easy", images=images))
    clip = replace(clip, place=clip.place._replace(x_px=0.0, y_px=0.0))
    events = simulate_digit(clip)
    (x0, y0), (x1, y1) = middle(events, 15_000, 30_000), middle(events, 70_000, 90_000)
    (x2, y2), (x3, y3) = middle(events, 175_000, 190_000), middle(events, 285_000, 300_000)
    assert y1 - y0 > 3 and x1 > x0
    assert y1 - y2 > 3 and x2 - x1 > 1.5
    assert x2 - x3 > 3 and abs(y3 - y2) < 1.5
    assert len(PATH_X) == len(PATH_Y)


def test_a_picture_that_rests_sends_nothing(images):
    clip = quiet(draw_digit(1, index=1, level="easy", images=images))
    still = replace(clip, turn=clip.turn._replace(scale_x=0.0, scale_y=0.0))
    assert len(simulate_digit(still)[0]) == 0
    assert len(simulate_digit(clip)[0]) > 500


def test_pixels_beyond_the_sensor_are_silent(images):
    clip = draw_digit(1, index=2, level="hard", images=images)
    noisy = replace(
        clip, camera=clip.camera._replace(noise_bright_hz=200.0, noise_dark_hz=200.0, leak_hz=50.0)
    )
    _, x, y, _ = simulate_digit(noisy)
    assert x.max() == y.max() == SIZE - 1


def test_the_picture_is_black_around_and_keeps_its_light(images):
    clip = draw_digit(1, index=0, level="easy", images=images)
    cells = np.zeros((8, 8))
    cells[2:6, 3] = 1.0
    image = picture(cells, clip.place)
    assert image.min() >= 0.0 and image.max() <= 1.0
    assert image[: MARGIN * FINE // 2].max() == 0.0
    assert image.max() > 0.9
    assert 0.005 < image.mean() < 0.05  # a stroke, not a blob
    assert picture(np.zeros((8, 8)), clip.place).max() == 0.0


def test_light_that_moves_as_one_moves_every_pixel_as_one(images):
    """Turning the picture by half a turn turns the smoothed picture too."""
    clip = draw_digit(1, index=1, level="easy", images=images)
    cells = np.array(clip.cells).reshape(8, 8)
    place = clip.place._replace(x_px=0.0, y_px=0.0, shear=0.0)
    once = picture(cells, place)
    turned = picture(cells[::-1, ::-1], place._replace(turn=0.5))
    np.testing.assert_allclose(turned, once, atol=1e-5)


@pytest.mark.parametrize("part", PARTS)
def test_each_part_can_be_left_out(part, images):
    whole = draw_digit(3, index=4, images=images)
    less = draw_digit(3, index=4, images=images, off=part)
    assert replace(less, camera=whole.camera, readout=whole.readout) == whole
    if part == "rebound":  # the camera of N-MNIST has none
        assert less == whole
    else:
        assert less != whole
        a, b = simulate_digit(whole), simulate_digit(less)
        assert part == "readout" or len(a[0]) != len(b[0])
    all_off = draw_digit(3, index=4, images=images, off=",".join(PARTS))
    assert (all_off.camera.theta_spread, all_off.camera.leak_hz, all_off.readout.bus_us) == (0.0, 0.0, 0)


def test_pictures_are_checked(images):
    pictures, labels = images
    with pytest.raises(
        ValueError, match=r"images: shapes \(100, 8\) and \(100,\); wanted \(N, 8, 8\) and \(N,\)"
    ):
        draw_digit(1, images=(pictures[:, 0], labels))
    with pytest.raises(ValueError, match="images: none of digit 3 in split validation; wanted at least 10"):
        draw_digit(1, split="validation", index=3, images=(pictures[:40], labels[:40]))


def test_without_scikit_learn_one_line_says_so(monkeypatch):
    from spikeline.pipeline.training.sets import digit_images

    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(SourceError, match="sim:digits: its pictures come with scikit-learn: pip install"):
        digit_images.digit_images.__wrapped__()


def test_simulated_digits_are_near_the_real_ones():
    """Event statistics against the figures of 1,000 real clips, which docs/simulator.md lists."""
    datasets = pytest.importorskip("sklearn.datasets")
    digits = datasets.load_digits()
    counts, shares, active, gaps = [], [], [], []
    for index in range(60):
        clip = draw_digit(11, index=index, images=(digits.images, digits.target))
        t, x, y, p = simulate_digit(clip)
        pixel = y.astype(np.int64) * SIZE + x
        order = np.lexsort((t, pixel))
        gaps.append(np.diff(t[order])[np.diff(pixel[order]) == 0])
        counts.append(len(t))
        shares.append(p.mean())
        active.append(len(np.unique(pixel)))
    assert 4_133 * 0.75 < np.mean(counts) < 4_133 * 1.3
    assert 0.45 < np.mean(shares) < 0.55
    assert 448 * 0.8 < np.mean(active) < 448 * 1.2
    found = np.percentile(np.concatenate(gaps), (1, 5, 25, 50, 75))
    np.testing.assert_allclose(found, [1_750, 2_210, 3_290, 5_210, 13_400], rtol=0.25)


def test_as_a_labelled_set_it_finds_its_own_pictures():
    pytest.importorskip("sklearn.datasets")
    from spikeline.pipeline.training.sets import open_set

    data = open_set("sim:digits?clips=20&validation=10&off=noise")
    assert [clip.label for clip in data.clips[:20]] == [*range(10), *range(10)]
    assert {clip.split for clip in data.clips} == {"train", "validation"}
    assert data.draw("train", 3).camera.noise_dark_hz == 0.0
    assert len(data.events(data.clips[3]).t) > 500
