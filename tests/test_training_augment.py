"""Augmentations: each does what its setting says, counts stay whole, and the seed decides everything."""

from dataclasses import replace

import numpy as np
import pytest

from spikeline.pipeline.training.augment import augment, batches, cut, mixed, shifted, skips
from spikeline.pipeline.training.augment_settings import AugmentConfig
from spikeline.pipeline.training.clips import ClipSet, packed
from spikeline.pipeline.training.data_settings import DataConfig
from spikeline.pipeline.training.settings import SkipConfig, TrainConfig
from spikeline.pipeline.training.warp import lens, warped

OFF = AugmentConfig()


def sample_of(seed=0, shape=(3, 2, 6, 7), most=5):
    return np.random.default_rng(seed).integers(0, most, shape).astype(np.uint16)


def clips_of(lengths, *, size=8, classes=3, flipped=None, seed=0):
    rng = np.random.default_rng(seed)
    frames, offsets = packed([rng.integers(0, 4, (n, 2, size, size)).astype(np.uint8) for n in lengths])
    return ClipSet(
        about="made up",
        names=tuple("abc"[:classes]),
        sensor=(size, size),
        slice_us=10_000,
        frames=frames,
        offsets=offsets,
        labels=np.arange(len(lengths)) % classes,
        persons=np.full(len(lengths), -1),
        flipped=flipped,
    )


def config_of(augment=OFF, *, batch=4, length=0, seed=1):
    data = DataConfig(slice_us=10_000, dt_us=20_000, steps=3, length=length, grid=(8, 8))
    return TrainConfig(data=data, augment=augment, skip=SkipConfig(share=0.0), batch=batch, seed=seed)


def changed(sample, seed=0, **settings):
    return augment(sample.copy(), AugmentConfig(**settings), np.random.default_rng(seed))[0]


def test_with_nothing_on_a_sample_stays_as_it_is():
    sample = sample_of()
    found, flipped = augment(sample, OFF, np.random.default_rng(0))
    np.testing.assert_array_equal(found, sample)
    assert not flipped


def test_shifts_move_whole_cells_and_lose_only_what_leaves():
    sample = sample_of()
    for dy in range(-2, 3):
        for dx in range(-2, 3):
            moved = shifted(sample, dy, dx)
            for y in range(6):
                for x in range(7):
                    inside = 0 <= y - dy < 6 and 0 <= x - dx < 7
                    wanted = sample[..., y - dy, x - dx] if inside else 0
                    assert (moved[..., y, x] == wanted).all()


def test_flips_come_with_their_labels_and_never_to_a_set_without_them():
    config = config_of(AugmentConfig(flip=True))
    swapping = clips_of([6] * 12, flipped=(1, 0, 2))
    plain = swapping.frames.reshape(12, 3, 2, 2, 8, 8).sum(2)
    seen = set()
    for batch in batches(swapping, config, 0):
        for k, label in enumerate(batch.labels):
            shown = batch.frames[:, k]
            (i,) = (j for j in range(12) if (shown == plain[j]).all() or (shown == plain[j, ..., ::-1]).all())
            mirrored = not (shown == plain[i]).all()
            was = int(swapping.labels[i])
            assert label == (swapping.flipped[was] if mirrored else was)
            seen.add((was, mirrored))
    assert len(seen) >= 5
    for batch in batches(replace(swapping, flipped=None), config, 0):
        assert all((batch.frames[:, k] == plain).all((1, 2, 3, 4)).any() for k in range(4))


def test_a_lens_that_changes_nothing_gives_the_same_counts():
    sample = sample_of()
    out = np.empty_like(sample)
    warped(sample, lens(6, 7, OFF, np.random.default_rng(0)), np.random.default_rng(0), out)
    np.testing.assert_array_equal(out, sample)


def slow_warp(sample, source):
    """Mean counts read between four cells, one by one."""
    H, W = sample.shape[-2:]
    out = np.zeros(sample.shape)
    for y in range(H):
        for x in range(W):
            sy, sx = source[:, y, x].astype(float)
            for j in range(H):
                for i in range(W):
                    weight = max(0, 1 - abs(sy - j)) * max(0, 1 - abs(sx - i))
                    out[..., y, x] += weight * sample[..., j, i]
    return out


def test_warped_counts_are_whole_and_right_on_average():
    config = AugmentConfig(rotation_deg=25, scale=1.3, shear=0.2, elastic=0.8, shift=1)
    sample = sample_of(1)
    source = lens(6, 7, config, np.random.default_rng(3))
    rng, out = np.random.default_rng(0), np.empty_like(sample)
    total = np.zeros(sample.shape)
    wanted = slow_warp(sample, source)
    for _ in range(2000):
        warped(sample, source, rng, out)
        assert (np.abs(out - wanted) < 1 + 1e-4).all()
        total += out
    np.testing.assert_allclose(total / 2000, wanted, atol=0.06)


def test_a_quarter_turn_is_a_quarter_turn():
    sample = sample_of(2, (2, 2, 7, 7))

    class Turn:
        def uniform(self, low, high, size=None):
            return 1.0 if size is None else np.zeros(size)

        def normal(self, mean, width, size):
            return np.zeros(size)

    source = lens(7, 7, AugmentConfig(rotation_deg=90), Turn())
    out = np.empty_like(sample)
    warped(sample, np.rint(source).astype(np.float32), np.random.default_rng(0), out)
    assert any((out == np.rot90(sample, k, (2, 3))).all() for k in (1, 3))


@pytest.mark.parametrize(
    "setting", [{"rotation_deg": 20.0}, {"scale": 1.5}, {"shear": 0.5}, {"elastic": 1.0}]
)
def test_each_kind_of_warp_moves_something_and_keeps_most(setting):
    sample = np.zeros((2, 2, 16, 16), np.uint16)
    sample[:, :, 4:12, 4:12] = 3
    found = changed(sample, 1, **setting)
    assert (found != sample).any()
    assert 0.3 < found.sum() / sample.sum() < 2.5


def test_dropped_and_multiplied_events_have_their_mean():
    sample = sample_of(0, (40, 2, 20, 20))
    rng = np.random.default_rng(1)
    dropped = [augment(sample.copy(), AugmentConfig(keep_min=0.2), rng)[0] for _ in range(60)]
    assert all((d <= sample).all() for d in dropped)
    assert np.mean([d.sum() for d in dropped]) / sample.sum() == pytest.approx(0.6, abs=0.08)
    shares = [
        augment(sample.copy(), AugmentConfig(gain_max=8.0), rng)[0].sum() / sample.sum() for _ in range(200)
    ]
    assert 1 / 8.5 < min(shares) < 0.2 and 5 < max(shares) < 8.5
    assert np.mean(np.log(shares)) == pytest.approx(0, abs=0.25)


def test_noise_and_hot_pixels_add_what_they_say():
    empty = np.zeros((30, 2, 16, 16), np.uint16)
    rng = np.random.default_rng(0)
    added = [augment(empty.copy(), AugmentConfig(noise=0.1), rng)[0].mean() for _ in range(300)]
    assert np.mean(added) == pytest.approx(0.05, abs=0.005) and max(added) < 0.11
    for _ in range(20):
        hot = augment(empty.copy(), AugmentConfig(hot_pixels=3, hot_counts=4), rng)[0]
        fires = hot.any(0)
        assert fires.sum() <= 3 and (hot > 0).all(0)[fires].all() and hot.max() <= 3 * 4


def test_cutout_leaves_a_square_without_events():
    sample = np.ones((2, 2, 12, 12), np.uint16)
    for seed in range(30):
        gone = changed(sample, seed, cutout=4)[0, 0] == 0
        assert 0 < gone.sum() <= 16
        ys, xs = np.nonzero(gone)
        assert gone[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1].all()


def test_windows_of_a_stretched_clip_hold_every_slice_once():
    clip = np.random.default_rng(0).integers(0, 9, (40, 1, 2, 2)).astype(np.uint8)
    np.testing.assert_array_equal(cut(clip, 0, 4.0, 10), clip.reshape(10, 4, 1, 2, 2).sum(1))
    for per in (3.3, 4.0, 4.7):
        windows = cut(clip, 2, per, 8)
        end = min(2 + round(8 * per), 40)
        assert windows.sum() == clip[2:end].sum()
    assert cut(clip, 38, 4.0, 3)[1:].sum() == 0  # after the end: empty windows


def test_a_fast_showing_takes_more_slices_than_a_slow_one():
    clip = ClipSet(
        about="a ramp",
        names=("a", "b"),
        sensor=(1, 1),
        slice_us=10_000,
        frames=np.ones((4 * 60, 2, 8, 8), np.uint8),
        offsets=np.arange(5) * 60,
        labels=np.zeros(4, np.int64),
        persons=np.zeros(4, np.int64),
    )
    config = config_of(AugmentConfig(stretch=1.5))
    counts = np.concatenate([b.frames.sum((0, 2, 3, 4)) for e in range(50) for b in batches(clip, config, e)])
    slices = counts / (2 * 64)
    assert 6 / 1.6 < slices.min() < 4.5 and 8 < slices.max() < 6 * 1.6


def test_random_starts_reach_both_ends_of_clips_of_any_length():
    frames, offsets = packed(
        [
            np.arange(n, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 8, 8), np.uint8)
            for n in (4, 9, 30, 6)
        ]
    )
    clips = replace(clips_of([4, 9, 30, 6]), frames=frames, offsets=offsets)
    first = {0: set(), 1: set(), 2: set(), 3: set()}
    for epoch in range(120):
        for batch in batches(clips, config_of(), epoch):
            order = np.random.default_rng([1, epoch]).permutation(4)
            for k, i in enumerate(order):
                first[int(i)].add(
                    int(batch.frames[0, k, 0, 0, 0] - 1) // 2
                )  # two slices s, s + 1 sum to 2 s + 1
    assert first[0] == {0} and first[3] == {0}  # a sample is six slices
    assert first[1] == set(range(4)) and min(first[2]) == 0 and max(first[2]) == 24
    fixed = config_of(replace(OFF, start=False))
    assert all((b.frames[0, :, 0, 0, 0] == 1).all() for b in batches(clips, fixed, 0))


def test_a_short_clip_of_a_long_sample_ends_with_it():
    """The loss is over the last T windows: they must not be the silence behind the clip."""
    clips = clips_of([8, 40, 8, 40])
    for batch in batches(clips, config_of(length=9), 0):  # 9 windows of two slices, the last three count
        order = np.random.default_rng([1, 0]).permutation(4)
        for k, i in enumerate(order):
            shown = batch.frames[:, k]
            if clips.slices(i) == 8:
                assert not shown[:5].any()
                np.testing.assert_array_equal(shown[5:], clips.clip(i).reshape(4, 2, 2, 8, 8).sum(1))
            else:
                assert shown.any((1, 2, 3)).all()


def test_mixed_samples_have_their_share_of_both():
    a, b = np.full((2, 2, 16, 16), 40, np.uint16), np.zeros((2, 2, 16, 16), np.uint16)
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(50):
        found, share = mixed(a.copy(), b.copy(), AugmentConfig(mixup=0.5), rng)
        assert found.mean() / 40 == pytest.approx(1 - share, abs=0.03)
        found, area = mixed(a.copy(), b.copy(), AugmentConfig(cutmix=1.0), rng)
        assert (found == 0).mean() == pytest.approx(area)
        shares.append(share)
    assert min(shares) < 0.1 and max(shares) > 0.9
    batch = next(batches(clips_of([6] * 12), config_of(AugmentConfig(mixup=0.4)), 0))
    assert (batch.share > 0).all() and (batch.others != batch.labels).any()


def test_skips_have_the_asked_for_ratio_and_leave_one_step():
    rng = np.random.default_rng(0)
    run = np.stack([skips(20, SkipConfig(share=0.5, max_ratio=0.6), rng) for _ in range(4000)], 1)
    assert run.any(0).all()
    assert (~run).mean() == pytest.approx(0.5 * 0.3, abs=0.02)
    assert run.all(0).mean() == pytest.approx(0.5 + 0.5 / 0.6 / 21, abs=0.03)  # and E[(1 - ratio)^20]
    assert skips(20, SkipConfig(share=0.0), rng).all()


EVERYTHING = AugmentConfig(
    stretch=1.2,
    shift=1,
    flip=True,
    rotation_deg=10,
    elastic=0.5,
    cutout=2,
    keep_min=0.5,
    gain_max=2,
    noise=0.1,
    hot_pixels=2,
    mixup=0.4,
)


def test_batches_are_drawn_from_seed_and_epoch_alone_and_shared_out_whole():
    clips = clips_of([6, 9, 30, 8] * 3, flipped=(1, 0, 2))
    config = config_of(EVERYTHING)
    one, two = (list(batches(clips, config, 2)) for _ in range(2))
    assert len(one) == 3 and one[0].frames.shape == (3, 4, 2, 8, 8) and one[0].frames.dtype == np.uint16
    halves = [list(batches(clips, config, 2, rank=rank, processes=2)) for rank in range(2)]
    for k, batch in enumerate(one):
        for name, values in batch._asdict().items():
            np.testing.assert_array_equal(values, getattr(two[k], name))
            axis = 1 if name in ("frames", "run") else 0
            both = np.concatenate([getattr(half[k], name) for half in halves], axis)
            np.testing.assert_array_equal(values, both)
    other = next(batches(clips, config, 3))
    assert (other.frames != one[0].frames).any()
    assert (next(batches(clips, config_of(EVERYTHING, seed=2), 2)).frames != one[0].frames).any()


def test_a_still_picture_is_changed_once_and_shown_at_every_step():
    pictures = replace(clips_of([1] * 8), still=True)
    batch = next(batches(pictures, config_of(AugmentConfig(shift=2, rotation_deg=20, keep_min=0.5)), 0))
    assert batch.frames.shape == (3, 4, 2, 8, 8)
    assert (batch.frames == batch.frames[:1]).all()


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"scale": 0.8}, "scale must be at least 1, got 0.8"),
        ({"shift": -1}, "shift must not be negative, got -1"),
        ({"keep_min": 0.0}, "keep_min must be above 0 and at most 1, got 0.0"),
        ({"cutmix": 1.5}, "cutmix is a chance from 0 to 1, got 1.5"),
        ({"hot_counts": 0}, "hot_counts must be at least 1, got 0"),
    ],
)
def test_impossible_settings_are_refused_by_name(setting, words):
    with pytest.raises(ValueError, match=words):
        AugmentConfig(**setting)
