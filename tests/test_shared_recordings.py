"""Recordings of real cameras, read as a user does, by content: counts and spans of the manifest, one digest.

They are not in the repository (most have no licence): tests are skipped, by name, where they are absent. The
digests are those of `spikeline info`; the tests of each format compare event by event, with slow readers.
"""

import os
from pathlib import Path

import pytest

from spikeline.drivers import open_source
from spikeline.pipeline.commands.info import describe
from spikeline.pipeline.events import Sensor

DATA = Path(os.environ.get("SPIKELINE_DATA", Path(__file__).parents[2] / "shared" / "data"))
CROP, GENX320 = Sensor(120, 100), Sensor(320, 320)  # where the file does not say it
REAL = {  # format, width, height, events, span in us, the digest's begin, what the user must say
    "dvs128_hand_a.aedat4": ("AEDAT4", 128, 128, 348_461, 5_390_005, "53253af00faa4aa2", None),
    "dvs128_hand_b.aedat4": ("AEDAT4", 128, 128, 337_389, 5_459_967, "035ce22a1868c239", None),
    "dvs128_hand_c.aedat4": ("AEDAT4", 128, 128, 229_092, 5_440_003, "9ffbcf7e5c2cd3bb", None),
    "dvs128_hand_d.aedat4": ("AEDAT4", 128, 128, 260_499, 5_989_948, "13006875c2104008", None),
    "davis346.aedat4": ("AEDAT4", 346, 260, 117_667, 129_999, "71947d85750838e6", None),
    "dvs128_walking_alex_1.aedat": ("AEDAT 2.0", 128, 128, 125_028, 8_043_874, "75688b7f938502cf", None),
    "dvs128_walking_alex_2.aedat": ("AEDAT 2.0", 128, 128, 19_182, 6_886_550, "8531b58b3eeb3976", None),
    "dvs128_standing_up_alex.aedat": ("AEDAT 2.0", 128, 128, 290_292, 25_085_667, "6b4336b19c083209", None),
    "dvs128_right_clamp.aedat": ("AEDAT 2.0", 128, 128, 110_228, 18_018_985, "b70fe43e2579e53b", None),
    "dvs128_pencil.aedat": ("AEDAT 2.0", 128, 128, 249_545, 36_444_251, "96ef102363c48020", None),
    "dvs128_scissors.aedat": ("AEDAT 2.0", 128, 128, 263_941, 33_007_781, "6bdc1a98b5546f0e", None),
    "davis240_rotating_disk_imu_aps.aedat": (
        "AEDAT 2.0", 240, 180, 374_296, 3_166_759, "fd16103527ebac50", None,
    ),
    "tmpdiff128_aedat1.dat": ("AEDAT 1.0", 128, 128, 121_270, 21_890_580, "c2de109ac5ad7875", None),
    "gen3_evt2.raw": ("EVT2", 640, 480, 521_252, 95_871, "d91942aab687d3fd", None),
    "gen41_evt3.raw": ("EVT3", 1280, 720, 219_596, 8_801, "7b41ad56897ed60d", None),
    "scene_dvs.es": ("Event Stream", 320, 240, 473_225, 999_000, "abdb7997dff62c2a", None),
    "ncars_car.dat": ("DAT", 120, 100, 7_102, 99_966, "7a96b2402194f3c6", CROP),
    # 11,085 bytes, of which 93 are header: the manifest's 1,384 do not fit
    "ncars_background.dat": ("DAT", 120, 100, 1_374, 99_806, "059b71e8ef2c37ac", CROP),
    "nmnist_one.bin": ("N-MNIST", 34, 34, 5_999, 302_938, "1a33e8287ef29968", None),
    "evk_evt3_eventpacket.bag": ("ROS bag", 640, 480, 343_474, 2_078_178, "98b4bc8dd5992a8b", None),
    "genx320_headerless_evt2.bin": ("EVT2", 320, 320, 119_317, 2_947_587, "dc14c7b8eddb4688", GENX320),
}  # fmt: skip
SETS = {  # width, height, clips, labels, events
    "nmnist_small_train.npz": (34, 34, 1_000, 10, 4_133_231),
    "dvs_sign3_train.npz": (128, 128, 120, 3, 3_699_943),
}


@pytest.mark.parametrize("name", REAL)
def test_a_real_recording_has_the_counts_and_span_of_its_manifest(name):
    path = DATA / "recordings" / name
    if not path.exists():
        pytest.skip(f"{path} is not here")
    form, width, height, events, span_us, digest, sensor = REAL[name]
    with open_source(path, sensor=sensor) as source:
        found = describe(source)
    assert found["format"] == form and (found["width"], found["height"]) == (width, height)
    assert (found["events"], found["t_last_us"] - found["t_first_us"]) == (events, span_us)
    assert found["digest"].startswith(digest)
    assert (found["refused"], found["reordered"], found["epochs"]) == (0, 0, 1)
    assert (found["truncated"], found["damage"]) == (False, [])


def test_every_real_recording_is_in_the_table():
    if not (DATA / "recordings").is_dir():
        pytest.skip(f"{DATA / 'recordings'} is not here")
    assert {path.name for path in (DATA / "recordings").iterdir()} == set(REAL)


@pytest.mark.parametrize("name", SETS)
def test_a_labelled_set_is_a_recording_of_one_epoch_per_clip(name):
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{path} is not here")
    width, height, clips, labels, events = SETS[name]
    with open_source(path) as source:
        found = describe(source)
        assert len(set(source.labels.tolist())) == labels
    assert (found["width"], found["height"], found["epochs"]) == (width, height, clips)
    assert found["events"] == events
    assert (found["refused"], found["reordered"], found["damage"]) == (0, 0, [])
