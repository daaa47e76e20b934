"""Batches of training samples: which part of a clip, how it is changed, which windows are skipped.

Every sample draws from a generator of its own, seeded by (seed, epoch, place in the epoch's order): a run
that is stopped and resumed, or shared out among processes, sees the same samples.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikeline.pipeline.training.augment_settings import AugmentConfig
from spikeline.pipeline.training.clips import ClipSet
from spikeline.pipeline.training.settings import SkipConfig, TrainConfig
from spikeline.pipeline.training.warp import lens, thinned, warped

MIX = 1 << 32  # added to a sample's place: the generator of the sample it is mixed with


class Batch(NamedTuple):
    """frames (T, B, 2, H, W) uint16, labels (B,), run (T, B) bool: False where the window is skipped.

    discard (B,): the share of each sample's windows that a frame gate is to skip, in place of `run`.
    others, share (B,): a second label and its part in the sample, where samples are mixed; else 0.
    """

    frames: NDArray[np.uint16]
    labels: NDArray[np.int64]
    run: NDArray[np.bool_]
    discard: NDArray[np.float64]
    others: NDArray[np.int64]
    share: NDArray[np.float32]


def batches(
    clips: ClipSet, config: TrainConfig, epoch: int, *, rank: int = 0, processes: int = 1
) -> Iterator[Batch]:
    """One epoch in random order; the last incomplete batch is left out.

    Of several processes each gets its own part of every batch.
    """
    order = np.random.default_rng([config.seed, epoch]).permutation(len(clips))
    own = config.batch // processes
    for i in range(0, len(order) - config.batch + 1, config.batch):
        yield _batch(clips, order, range(i + rank * own, i + (rank + 1) * own), config, epoch)


def _batch(clips: ClipSet, order: NDArray[np.int64], places: range, config: TrainConfig, epoch: int) -> Batch:
    samples, labels, runs, discards, others, shares = [], [], [], [], [], []
    most = config.gate.max_ratio if config.gate.form else 0.0
    for place in places:
        rng = np.random.default_rng([config.seed, epoch, place])
        sample, label = _sample(clips, int(order[place]), config, rng)
        other, share = label, 0.0
        if config.augment.mixes:
            # Its partner is drawn whole, from a generator that does not disturb the sample's own.
            second = np.random.default_rng([config.seed, epoch, place + MIX])
            drawn, other = _sample(clips, int(second.integers(len(clips))), config, second)
            sample, share = mixed(sample, drawn, config.augment, second)
        samples.append(sample)
        labels.append(label)
        others.append(other)
        shares.append(share)
        runs.append(skips(config.data.windows, config.skip, rng))
        discards.append(rng.uniform(0, most))
    return Batch(
        np.stack(samples, 1),
        np.array(labels, np.int64),
        np.stack(runs, 1),
        np.array(discards),
        np.array(others, np.int64),
        np.array(shares, np.float32),
    )


def _sample(
    clips: ClipSet, i: int, config: TrainConfig, rng: np.random.Generator
) -> tuple[NDArray[np.uint16], int]:
    """A changed sample of clip i, and its label after a flip."""
    data, changes = config.data, config.augment
    if clips.still:  # one picture: changed once, and shown at every step
        picture = clips.clip(i).astype(np.uint16)
        sample, flipped = augment(picture, changes, rng, flips=clips.flipped is not None)
        return np.repeat(sample, data.windows, 0), _label(clips, i, flipped)
    pace = changes.stretch ** rng.uniform(-1, 1)
    slices = data.windows * clips.per(data.dt_us) * pace
    place = rng.random()
    spare = clips.slices(i) - round(slices)
    start = int(place * (max(spare, 0) + 1)) if changes.start else 0
    if data.windows > data.steps and spare < 0:
        start = (
            spare  # the loss is over the last T windows: a short clip ends with them, and silence comes first
        )
    sample = cut(clips.clip(i), start, clips.per(data.dt_us) * pace, data.windows)
    sample, flipped = augment(sample, changes, rng, flips=clips.flipped is not None)
    return sample, _label(clips, i, flipped)


def _label(clips: ClipSet, i: int, flipped: bool) -> int:
    label = int(clips.labels[i])
    return clips.flipped[label] if flipped and clips.flipped is not None else label


def cut(clip: NDArray[np.uint8], start: int, per: float, windows: int) -> NDArray[np.uint16]:
    """`windows` windows (windows, 2, H, W) of `per` slices each from slice `start`, with borders at the
    nearest slice; zeros before the clip and after its end."""
    edges = np.clip(start + np.rint(np.arange(windows + 1) * per).astype(int), 0, len(clip))
    out = np.zeros((windows, *clip.shape[1:]), np.uint16)
    for k in range(windows):
        if edges[k] < edges[k + 1]:
            clip[edges[k] : edges[k + 1]].sum(0, dtype=np.uint16, out=out[k])
    return out


def augment(
    sample: NDArray[np.uint16], config: AugmentConfig, rng: np.random.Generator, *, flips: bool = True
) -> tuple[NDArray[np.uint16], bool]:
    """A changed copy of one sample (T, 2, H, W), and whether it was flipped; `flips` False: it never is."""
    H, W = sample.shape[-2:]
    if config.warps:
        out = np.empty_like(sample)
        warped(np.ascontiguousarray(sample), lens(H, W, config, rng), rng, out)
        sample = out
    else:
        dy, dx = rng.integers(-config.shift, config.shift + 1, 2)
        sample = shifted(sample, int(dy), int(dx))
    flipped = bool(flips and config.flip and rng.random() < 0.5)
    if flipped:
        sample = np.ascontiguousarray(sample[..., ::-1])
    if config.cutout:
        side = config.cutout
        y, x = rng.integers(-side // 2, H - side // 2), rng.integers(-side // 2, W - side // 2)
        sample[..., max(y, 0) : max(y + side, 0), max(x, 0) : max(x + side, 0)] = 0
    flat = sample.reshape(-1)
    gain = config.gain_max ** rng.uniform(-1, 1) * rng.uniform(config.keep_min, 1)
    if gain > 1:  # more events than there are: drawn around the scaled count
        at = np.flatnonzero(flat)
        flat[at] = np.minimum(rng.poisson(flat[at] * gain), 65_535)
    elif gain < 1:
        thinned(flat, gain, rng)
    added = rng.poisson(rng.uniform(0, config.noise) * flat.size)
    np.add.at(flat, rng.integers(flat.size, size=added), 1)
    if config.hot_pixels:
        n = rng.integers(config.hot_pixels + 1)
        y, x, p = (rng.integers(most, size=n) for most in (H, W, sample.shape[1]))
        rate = rng.integers(1, config.hot_counts + 1, n)
        counts = rng.integers(1, rate + 1, (len(sample), n)).astype(np.uint16)
        for frame, events in zip(sample, counts, strict=True):
            np.add.at(frame, (p, y, x), events)
    return sample, flipped


def mixed(
    a: NDArray[np.uint16], b: NDArray[np.uint16], config: AugmentConfig, rng: np.random.Generator
) -> tuple[NDArray[np.uint16], float]:
    """Sample `a` with a part of `b` in it, both may be changed in place, and b's share in the label."""
    if config.cutmix and rng.random() < config.cutmix:
        H, W = a.shape[-2:]
        side = np.sqrt(rng.random())
        h, w = round(H * side), round(W * side)
        y, x = rng.integers(H - h + 1), rng.integers(W - w + 1)
        a[..., y : y + h, x : x + w] = b[..., y : y + h, x : x + w]
        return a, h * w / (H * W)
    if config.mixup:
        share = float(rng.beta(config.mixup, config.mixup))
        thinned(a.reshape(-1), 1 - share, rng)
        thinned(b.reshape(-1), share, rng)
        return a + b, share
    return a, 0.0


def shifted(sample: NDArray[np.uint16], dy: int, dx: int) -> NDArray[np.uint16]:
    """`sample` (..., H, W) moved by whole cells, zeros entering."""
    H, W = sample.shape[-2:]
    out = np.zeros_like(sample)
    out[..., max(dy, 0) : H + min(dy, 0), max(dx, 0) : W + min(dx, 0)] = sample[
        ..., max(-dy, 0) : H + min(-dy, 0), max(-dx, 0) : W + min(-dx, 0)
    ]
    return out


def skips(steps: int, config: SkipConfig, rng: np.random.Generator) -> NDArray[np.bool_]:
    """run (T,): for a share of the samples each window is skipped with the sample's ratio; one step stays."""
    ratio = rng.uniform(0, config.max_ratio) * (rng.random() < config.share)
    run = rng.random(steps) >= ratio
    run[rng.integers(steps)] = True
    return run
