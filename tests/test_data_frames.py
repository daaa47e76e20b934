"""Frames of a clip: those that a replay of it is served, cleaned, cut short, and never more than was read."""

import hashlib

import numpy as np
import pytest
from data_trees import DVS128, cut_list, events_of, folder, joined, part, write_recording
from hypothesis import given, settings
from hypothesis import strategies as st
from test_sources_writers import Events

from spikeline.drivers import open_source
from spikeline.pipeline.clean_up import CleanUp
from spikeline.pipeline.clean_up_settings import parse
from spikeline.pipeline.events import Sensor, SourceError
from spikeline.pipeline.package import Package
from spikeline.pipeline.run import Pipeline
from spikeline.pipeline.training.clips import ACCOUNT
from spikeline.pipeline.training.dataset import Clip, EventSet
from spikeline.pipeline.training.dataset import Events as ClipEvents
from spikeline.pipeline.training.frames import FRAMES_VERSION, CutConfig, clip_frames
from spikeline.pipeline.training.sets import open_set

from helpers import small_graph, small_manifest
from strategies import event_streams

GRAPH = small_graph(1, size=8)
CHAIN = ("crop(x=4,y=3,w=32,h=24)", "refractory(us=2000)", "flip(x)")


class OneClip(EventSet):
    """A set of a single clip, given as arrays."""

    name, key, labels, clips = "one", "one", ("a",), (Clip("only", 0),)

    def __init__(self, events, sensor=DVS128, origin_us=None, until_us=None):
        self.sensor, self._events, self._ends = sensor, events, (origin_us, until_us)

    def events(self, clip):
        return ClipEvents(*(column.copy() for column in self._events), *self._ends)


def account_of(data, cut):
    frames, account = clip_frames(data, data.clips[0], cut)
    facts = dict(zip(ACCOUNT, account.tolist(), strict=True))
    assert facts["events"] == sum(n for name, n in facts.items() if name != "events")
    assert facts["framed"] == frames.sum()
    return frames, facts


def served(packets, sensor, clean_up, dt_us):
    """The frames that a live run gives its network."""
    trained = CleanUp(parse(",".join(clean_up)), sensor).sensor[:2]
    manifest = small_manifest(
        GRAPH, sensor=trained, clean_up=list(clean_up), dt_us=dt_us, dt_range_us=(dt_us, dt_us)
    )
    pipeline = Pipeline(Package(manifest, GRAPH, "0" * 64), sensor)
    return [result.frame.copy() for result in pipeline.run(packets)]


@pytest.mark.parametrize("clean_up", [(), CHAIN], ids=["plain", "cleaned"])
def test_a_clip_has_the_frames_that_a_replay_is_served(tmp_path, clean_up):
    tree = folder(tmp_path)
    data = open_set(tree.uri)
    cut = CutConfig(slice_us=5_000, grid=(8, 8), clean_up=clean_up)
    for clip in data.clips[::2]:
        frames, _ = clip_frames(data, clip, cut)
        with open_source(tmp_path / clip.key, sensor=data.sensor) as source:
            wanted = served(source, data.sensor, clean_up, 5_000)
        assert len(wanted) > 5
        np.testing.assert_array_equal(frames, wanted)


def test_a_stretch_has_the_frames_of_a_replay_that_starts_at_its_first_event(tmp_path):
    tree = cut_list(tmp_path)
    data = open_set(tree.uri)
    cut = CutConfig(slice_us=5_000, grid=(8, 8))
    for clip, made in zip(data.clips, tree.clips, strict=True):
        alone = OneClip(made.events, data.sensor, None, made.until_us)
        wanted = served(alone.packets(alone.clips[0]), data.sensor, (), 5_000)
        np.testing.assert_array_equal(clip_frames(data, clip, cut)[0], wanted)


def test_no_more_than_the_first_part_of_a_clip_is_framed():
    data = OneClip(events_of(1))
    whole, _ = account_of(data, CutConfig(slice_us=5_000, grid=(8, 8)))
    for most in (1, 3, len(whole), len(whole) + 1):
        frames, facts = account_of(data, CutConfig(slice_us=5_000, grid=(8, 8), most_us=most * 5_000))
        np.testing.assert_array_equal(frames, whole[:most])
        assert (facts["beyond"] > 0) == (most <= len(whole))


def test_what_the_sensor_cannot_have_seen_is_refused_and_counted():
    events = events_of(2)
    x = events.x.copy()
    x[::10] = 128
    _, facts = account_of(OneClip(events._replace(x=x)), CutConfig())
    assert facts["refused"] == 40 and facts["events"] == 400


def test_what_the_clean_up_takes_and_full_cells_lose_is_counted():
    rng = np.random.default_rng(0)
    n = 3_000
    t = np.sort(rng.integers(0, 20_000, n))
    t[-1] = 20_000
    place = np.zeros(n, np.uint16)
    busy = Events(t, place, place, np.ones(n, np.uint8))
    frames, facts = account_of(OneClip(busy, DVS128, 0), CutConfig(slice_us=5_000))
    assert frames.max() == 255 and facts["saturated"] == n - 1 - 4 * 255
    _, cleaned = account_of(
        OneClip(busy, DVS128, 0), CutConfig(slice_us=5_000, clean_up=("refractory(us=1000)",))
    )
    assert cleaned["filtered"] >= n - 21 and cleaned["saturated"] == 0


def test_after_a_reset_of_its_clock_a_clip_is_over():
    first, second = events_of(3, start_us=5_000_000), events_of(4, start_us=100)
    frames, facts = account_of(OneClip(joined([first, second])), CutConfig(slice_us=5_000))
    np.testing.assert_array_equal(frames, account_of(OneClip(first), CutConfig(slice_us=5_000))[0])
    assert facts["beyond"] == 400


def test_an_empty_clip_has_no_frames_and_a_silent_one_has_empty_frames():
    nothing = part(events_of(5), 0, 0)
    assert len(account_of(OneClip(nothing), CutConfig())[0]) == 0
    frames, facts = account_of(OneClip(nothing, DVS128, 0, 100_000), CutConfig(slice_us=25_000))
    assert frames.shape == (4, 2, 32, 32) and not frames.any() and facts["events"] == 0


def test_a_smaller_recording_goes_into_the_middle_of_the_named_size(tmp_path):
    sizes = {"small": Sensor(20, 10), "large": Sensor(40, 30)}
    made = {name: events_of(k, sensor=size) for k, (name, size) in enumerate(sizes.items())}
    for name, size in sizes.items():
        write_recording(tmp_path / name / "a.npz", made[name], size, "npz")
    mixed = open_set(f"folder:{tmp_path}")
    with pytest.raises(SourceError, match="its sensor is 20x10; the set's is 40x30; say sensor=WxH"):
        list(mixed.packets(mixed.clips[1]))
    data = open_set(f"folder:{tmp_path}?sensor=40x30")
    small, large = made["small"], made["large"]
    wanted = [large, small._replace(x=small.x + 10, y=small.y + 10)]
    for clip, events in zip(data.clips, wanted, strict=True):
        found = [
            np.concatenate(c) for c in zip(*((p.t, p.x, p.y, p.p) for p in data.packets(clip)), strict=True)
        ]
        for column, expected in zip(found, events, strict=True):
            np.testing.assert_array_equal(column, expected)
    tight = open_set(f"folder:{tmp_path}?sensor=30x30")
    with pytest.raises(SourceError, match="its sensor is 40x30; the set's is 30x30"):
        list(tight.packets(tight.clips[0]))


# A version never changes its frames: where these do, raise FRAMES_VERSION, since caches hold the old ones.
DIGESTS = {1: {"plain": "821393eb189e55d5", "cleaned": "13cb5aaa671d1a01"}}


def test_frames_of_this_version_are_what_they_always_were():
    data = OneClip(events_of(6, n=5_000, sensor=Sensor(40, 30)), Sensor(40, 30))
    digests = {}
    for name, clean_up in (("plain", ()), ("cleaned", (*CHAIN, "background(us=3000)", "transpose"))):
        frames, account = account_of(data, CutConfig(slice_us=5_000, grid=(8, 8), clean_up=clean_up))
        facts = frames.tobytes() + repr(sorted(account.items())).encode()
        digests[name] = hashlib.sha256(facts).hexdigest()[:16]
    assert digests == DIGESTS[FRAMES_VERSION]


@settings(deadline=None, max_examples=60)
@given(event_streams(width=44, height=33, most=200, gap_us=3_000), st.integers(0, 2**32 - 1), st.booleans())
def test_every_event_of_any_stream_is_accounted_for_once(stream, seed, cleaned):
    """Some are outside the sensor, some late, some beyond, some taken out."""
    rng = np.random.default_rng(seed)
    t, x, y, p = stream
    late = rng.random(len(t)) < 0.1
    t = t - np.where(late, rng.integers(0, 3_000, len(t)), 0)
    most_us = int(rng.integers(0, 4)) * 20_000
    cut = CutConfig(slice_us=5_000, grid=(8, 8), clean_up=CHAIN if cleaned else (), most_us=most_us)
    _, facts = account_of(OneClip(Events(t, x, y, p), Sensor(40, 30)), cut)
    assert facts["events"] == len(t)
    assert facts["refused"] >= np.count_nonzero((x >= 40) | (y >= 30))
