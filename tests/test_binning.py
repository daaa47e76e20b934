import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikeline.pipeline.binning import Binner, FitError, pixel_map
from spikeline.pipeline.events import EventPacket, Sensor


def test_the_training_sensor_maps_by_integer_division():
    pixels = pixel_map(Sensor(128, 128), (128, 128), (32, 32), "refuse")
    y, x = np.mgrid[:128, :128]
    np.testing.assert_array_equal(pixels.cells, y // 4 * 32 + x // 4)
    assert pixels.gain == 1


@pytest.mark.parametrize(
    ("sensor", "fit", "found"),
    [
        (Sensor(346, 260), "refuse", "346x260, the model was trained on 128x128: choose --fit crop or scale"),
        (Sensor(34, 34), "refuse", "34x34, the model was trained on 128x128: choose --fit pad or scale"),
        (Sensor(34, 34), "crop", "--fit crop wants a larger sensor"),
        (Sensor(346, 260), "pad", "--fit pad wants a smaller sensor"),
        (Sensor(346, 100), "refuse", "choose --fit scale"),
        (Sensor(128, 128), "stretch", "wanted one of refuse, crop, pad, scale"),
    ],
)
def test_a_sensor_that_does_not_fit_is_refused_by_name(sensor, fit, found):
    with pytest.raises(FitError) as error:
        pixel_map(sensor, (128, 128), (32, 32), fit)
    assert found in str(error.value)


def test_crop_takes_the_middle_pixel_for_pixel():
    pixels = pixel_map(Sensor(346, 260), (128, 128), (32, 32), "crop")
    inside = pixels.cells >= 0
    assert inside.sum() == 128 * 128 and pixels.gain == 1
    assert (np.bincount(pixels.cells[inside]) == 16).all()
    assert inside[66:194, 109:237].all()


def test_pad_puts_a_small_sensor_in_the_middle():
    pixels = pixel_map(Sensor(34, 34), (128, 128), (32, 32), "pad")
    assert (pixels.cells >= 0).all()
    assert pixels.cells[0, 0] == (47 // 4) * 32 + 47 // 4


@given(st.integers(20, 700), st.integers(20, 700))
def test_scaling_keeps_aspect_and_the_count_per_cell(width, height):
    pixels = pixel_map(Sensor(width, height), (128, 128), (32, 32), "scale")
    ratio = 128 / max(width, height)
    assert pixels.gain == pytest.approx(ratio**2)
    assert (pixels.cells >= 0).all()
    # the longer side fills the grid, the other one is centred
    rows, columns = np.unique(pixels.cells // 32), np.unique(pixels.cells % 32)
    assert max(len(rows), len(columns)) == min(32, max(width, height))
    for cells, side in ((rows, height), (columns, width)):
        assert abs((cells[0] + cells[-1]) / 2 - 15.5) <= 1
        assert len(cells) <= np.ceil(side * ratio / 4) + 1


def packet_of(x, y, p):
    n = len(x)
    return EventPacket(
        np.zeros(n, np.int64), np.array(x, np.uint16), np.array(y, np.uint16), np.array(p, np.uint8), 0
    )


def test_a_frame_is_empty_after_an_empty_slice():
    pixels = pixel_map(Sensor(4, 4), (4, 4), (2, 2), "refuse")
    binner = Binner(pixels, (2, 2))
    packet = packet_of([0, 3], [0, 3], [0, 1])
    binner.add(packet, 0, 2)
    np.testing.assert_array_equal(binner.close()[0], [[[1, 0], [0, 0]], [[0, 0], [0, 1]]])
    assert binner.close().sum() == 0


def test_overlapping_windows_sum_their_slices():
    pixels = pixel_map(Sensor(2, 1), (2, 1), (2, 1), "refuse")
    binner = Binner(pixels, (2, 1), hops=3)
    sums = []
    for n in (1, 2, 4, 8, 16):
        binner.add(packet_of([0] * n, [0] * n, [1] * n), 0, n)
        sums.append(int(binner.close()[0, 1, 0, 0]))
    assert sums == [1, 3, 7, 14, 28]
