"""Batches of training samples: random start, shift, flip, gain, event drop, noise, random skips."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikeline.pipeline.training.clips import ClipSet
from spikeline.pipeline.training.settings import AugmentConfig, SkipConfig, TrainConfig


class Batch(NamedTuple):
    """frames (T, B, 2, H, W) uint16, labels (B,), run (T, B) bool: False where the window is skipped.

    discard (B,): the share of each sample's windows that a frame gate is to skip, in place of `run`.
    """

    frames: NDArray[np.uint16]
    labels: NDArray[np.int64]
    run: NDArray[np.bool_]
    discard: NDArray[np.float64]


def batches(clips: ClipSet, config: TrainConfig, rng: np.random.Generator) -> Iterator[Batch]:
    """One epoch in random order; the last incomplete batch is left out."""
    order = rng.permutation(len(clips))
    for i in range(0, len(order) - config.batch + 1, config.batch):
        yield _batch(clips, order[i : i + config.batch], config, rng)


def _batch(clips: ClipSet, chosen: NDArray[np.int64], config: TrainConfig, rng: np.random.Generator) -> Batch:
    data = config.data
    taken = data.windows * clips.per(data.dt_us)
    samples = []
    labels = clips.labels[chosen].copy()
    for k, i in enumerate(chosen):
        start = int(rng.integers(max(clips.slices(i) - taken, 0) + 1))
        sample = clips.sample(i, data.dt_us, data.windows, start)
        sample, flipped = augment(sample, config.augment, rng)
        if flipped and clips.flipped is not None:
            labels[k] = clips.flipped[labels[k]]
        samples.append(sample)
    run = skips(data.windows, len(chosen), config.skip, rng)
    most = config.gate.max_ratio if config.gate.form else 0.0
    discard = rng.uniform(0, most, len(chosen))
    return Batch(np.stack(samples, 1), labels, run, discard)


def augment(
    sample: NDArray[np.uint16], config: AugmentConfig, rng: np.random.Generator
) -> tuple[NDArray[np.uint16], bool]:
    """A changed copy of one sample (T, 2, H, W), and whether it was flipped."""
    dy, dx = rng.integers(-config.shift, config.shift + 1, 2)
    sample = shifted(sample, int(dy), int(dx))
    flipped = bool(config.flip and rng.random() < 0.5)
    if flipped:
        sample = sample[..., ::-1]
    gain = config.gain_max ** rng.uniform(-1, 1) * rng.uniform(config.keep_min, 1)
    # More events than there are: draw around the scaled count; fewer: keep each one with that chance.
    counts = rng.poisson(sample * gain) if gain > 1 else rng.binomial(sample, gain)
    counts = counts + rng.poisson(rng.uniform(0, config.noise), sample.shape)
    return counts.astype(np.uint16), flipped


def shifted(sample: NDArray[np.uint16], dy: int, dx: int) -> NDArray[np.uint16]:
    """`sample` (..., H, W) moved by whole cells, zeros entering."""
    H, W = sample.shape[-2:]
    out = np.zeros_like(sample)
    out[..., max(dy, 0) : H + min(dy, 0), max(dx, 0) : W + min(dx, 0)] = sample[
        ..., max(-dy, 0) : H + min(-dy, 0), max(-dx, 0) : W + min(-dx, 0)
    ]
    return out


def skips(steps: int, batch: int, config: SkipConfig, rng: np.random.Generator) -> NDArray[np.bool_]:
    """run (T, B): for a share of the clips each window is skipped with that clip's ratio; one step stays."""
    ratio = rng.uniform(0, config.max_ratio, batch) * (rng.random(batch) < config.share)
    run = rng.random((steps, batch)) >= ratio
    run[rng.integers(steps, size=batch), np.arange(batch)] = True
    return run
