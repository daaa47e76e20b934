"""`sim:gesture` as a source: the contract, the truth, and the same bytes however it is read."""

from itertools import islice

import numpy as np
import pytest

from spikeline.drivers.sim import GESTURES, SimSource
from spikeline.drivers.sim.stepper import KEYFRAME_US
from spikeline.pipeline.events import Sensor, SourceError


def events(packets) -> list[np.ndarray]:
    packets = list(packets)
    return [np.concatenate([getattr(packet, name) for packet in packets]) for name in "txyp"]


def same(a, b) -> bool:
    return all(np.array_equal(p, q) for p, q in zip(a, b, strict=True))


def test_the_stream_keeps_the_contract():
    with SimSource({"seed": "4", "duration_s": "0.8", "gesture_s": "0.5"}) as source:
        assert source.sensor == Sensor(128, 128, "DVS128")
        assert source.format == "sim:gesture"
        until_us, marks, count = -1, [], 0
        for packet in source:
            assert packet.epoch == 0 and packet.origin_us == 0
            assert (np.diff(packet.t) >= 0).all()
            if len(packet):
                assert packet.t[0] >= until_us and packet.t[-1] <= packet.until_us
                assert packet.x.max() < 128 and packet.y.max() < 128 and packet.p.max() <= 1
            else:
                marks.append(packet.until_us)
            until_us, count = packet.until_us, count + len(packet)
        assert marks == list(range(KEYFRAME_US, 800_001, KEYFRAME_US))
        report = source.report()
    assert report.events == count > 1_000
    assert (report.refused, report.reordered, report.dropped, report.epochs) == (0, 0, 0, 1)


def test_the_same_options_are_the_same_bytes_however_they_are_read():
    options = {"seed": "11", "duration_s": "1.5", "gesture_s": "0.5"}
    whole_source = SimSource(options)
    whole = events(whole_source)
    first, second = SimSource(options), SimSource({**options, "duration_s": "0"})
    one, other = iter(first), iter(second)  # two streams taking turns, one of them endless
    parts, endless = [], []
    for packet in one:
        parts.append(packet)
        endless.extend(islice(other, 1))
    assert same(events(parts), whole)
    assert first.truth == whole_source.truth
    assert same(events(endless), [a[: sum(map(len, endless))] for a in whole])


def test_a_shorter_stream_is_the_beginning_of_a_longer_one():
    long = events(SimSource({"seed": "5", "duration_s": "1.0", "gesture_s": "0.5"}))
    short = events(SimSource({"seed": "5", "duration_s": "0.7512", "gesture_s": "0.5"}))
    assert same(short, [a[: len(short[0])] for a in long])
    assert len(short[0]) == np.searchsorted(long[0], 751_200)


def test_other_seeds_are_other_streams():
    a, b = (events(SimSource({"seed": seed, "duration_s": "0.2"})) for seed in "12")
    assert not same(a, b)


def test_truth_grows_and_never_repeats_a_class():
    source = SimSource({"seed": "2", "gesture_s": "0.5", "duration_s": "8"})
    stream = iter(source)
    next(stream)
    assert len(source.truth) == 1
    end_us = max(packet.until_us for packet in stream)
    assert end_us == 8_000_000
    assert len(source.truth) >= 5
    assert source.truth[0]["onset_us"] == 0
    for before, after in zip(source.truth, source.truth[1:], strict=False):
        assert before["label"] != after["label"]
        assert before["onset_us"] < before["offset_us"] < after["onset_us"]
        assert 175_000 <= after["onset_us"] - before["offset_us"] <= 1_800_000
    assert source.truth[-1]["offset_us"] <= 8_000_000


@pytest.mark.parametrize("name", ["arm_roll", "7"])
def test_a_fixed_class_lasts_for_the_whole_stream(name):
    source = SimSource({"class": name, "gesture_s": "0.5", "duration_s": "1.3"})
    assert len(events(source)[0]) > 1_000
    (row,) = source.truth
    assert (row["label"], row["onset_us"], row["offset_us"]) == (GESTURES.index("arm_roll"), 0, 1_300_000)
    assert 250_000 < row["full_us"] <= 500_000 and row["person"] == source.clip.person


def test_a_source_is_read_once_and_stops_when_closed():
    with SimSource({"duration_s": "0"}) as source:
        stream = iter(source)
        next(stream)
        with pytest.raises(SourceError, match="already being read"):
            iter(source)
    assert list(stream) == []
    with pytest.raises(SourceError, match="closed"):
        iter(source)


def test_person_camera_and_split_are_taken():
    source = SimSource({"person": "42", "split": "validation", "camera": "dvs128-slow", "level": "easy"})
    assert (source.clip.person, source.clip.split, source.clip.preset) == (42, "validation", "dvs128-slow")
    assert source.clip.level == "easy"
