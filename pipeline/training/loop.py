"""Surrogate-gradient training of a simulated-gesture network, with checkpoints that resume bit for bit.

Every epoch draws from its own generator, seeded by (seed, epoch), and a checkpoint is written after
each: a run stopped and resumed ends with the weights of one that was not.
"""

import csv
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from spikeline.models import registry
from spikeline.models.network import Network
from spikeline.pipeline.training.augment import Batch, batches
from spikeline.pipeline.training.clips import ClipSet
from spikeline.pipeline.training.settings import TrainConfig

INPUT_GAIN = 0.25  # counts of some units to currents of about 1; batch norm does the rest


class TrainingError(ValueError):
    """A run that cannot start or go on: one line naming the file or setting."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """What an epoch did: losses and accuracies 0..1, spikes per neuron and step, seconds taken."""

    epoch: int
    loss: float
    train_accuracy: float
    accuracy: float
    skipped_accuracy: float  # with half of the windows skipped: at random, or by the gate
    nasar: float
    seconds: float


def build(config: TrainConfig, classes: int, clip: float) -> Network:
    """The network of a run; `clip` is the count above which the input saturates."""
    W, H = config.data.grid
    settings = {"classes": classes, "steps": config.data.steps, "grid": (H, W)} | config.network.settings
    if "gain" not in settings:
        settings |= {"gain": INPUT_GAIN, "clip": clip * INPUT_GAIN}
    try:
        network = registry.build(config.network.name, **settings)
    except ValueError as error:
        raise TrainingError(f"network: {error}") from error
    if network.shapes[network.frames] != (2, H, W):
        raise TrainingError(
            f"network: takes frames {network.shapes[network.frames]}; data.grid gives {(2, H, W)}"
        )
    if network.tumbling and config.data.windows % network.steps:
        raise TrainingError(
            f"data.length: {config.data.windows} windows; this network starts anew after {network.steps},"
            " wanted a multiple of it"
        )
    if config.gate.form:
        network.add_frame_gate(config.gate.form, config.gate.ratio)
    return network


def count_clip(clips: ClipSet, dt_us: int) -> float:
    """The 99.9th percentile of the counts of occupied cells in windows of dt, over the first clips."""
    counts = [
        clips.sample(i, dt_us, clips.slices(i) // clips.per(dt_us)) for i in range(min(len(clips), 240))
    ]
    return float(np.percentile(np.concatenate([c[c > 0] for c in counts]), 99.9))


def train(
    config: TrainConfig,
    clips: ClipSet,
    validation: ClipSet,
    folder: Path,
    *,
    resume: bool = False,
    on_batch: Callable[[int, int, int], None] | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> Network:
    """Train and return the network of the last epoch. Writes config, curve and checkpoint to `folder`.

    on_batch(epoch, batch, batches) and on_epoch(figures) report progress.
    """
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(config.seed)
    network = build(
        config, len(clips.names), config.network.clip_counts or count_clip(clips, config.data.dt_us)
    )
    optimiser = torch.optim.AdamW(network.parameters(), lr=config.rate, weight_decay=config.weight_decay)
    per_epoch = len(clips) // config.batch
    if per_epoch == 0:
        raise TrainingError(f"{len(clips)} clips do not fill one batch of {config.batch}")
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, config.rate, total_steps=config.epochs * per_epoch, pct_start=0.1
    )
    checkpoint = folder / "checkpoint.pt"
    first = _restore(checkpoint, config, network, optimiser, schedule) if resume else 0
    if not resume:
        (folder / "config.json").write_text(json.dumps(asdict(config), indent=1))
        (folder / "curve.csv").unlink(missing_ok=True)
    for epoch in range(first, config.epochs):
        began = time.monotonic()
        rng = np.random.default_rng([config.seed, epoch])
        network.train()
        losses, right, seen = [], 0, 0
        for k, batch in enumerate(batches(clips, config, rng)):
            loss, hits = _update(config, network, batch, optimiser)
            schedule.step()
            losses.append(loss)
            right += hits
            seen += len(batch.labels)
            if on_batch:
                on_batch(epoch, k + 1, per_epoch)
        accuracy, nasar = evaluate(network, validation, config)
        skipped = 0.0
        if config.skip.share or config.gate.form:
            skipped = evaluate(network, validation, config, skip_ratio=0.5)[0]
        figures = Epoch(
            epoch,
            float(np.mean(losses)),
            right / seen,
            accuracy,
            skipped,
            nasar,
            time.monotonic() - began,
        )
        _record(folder / "curve.csv", figures)
        partial = checkpoint.with_suffix(".partial")
        torch.save(
            {
                "config": json.dumps(asdict(config)),
                "epoch": epoch + 1,
                "network": network.state_dict(),
                "optimiser": optimiser.state_dict(),
                "schedule": schedule.state_dict(),
            },
            partial,
        )
        partial.replace(checkpoint)
        if on_epoch:
            on_epoch(figures)
    return network.eval()


def evaluate(
    network: Network, clips: ClipSet, config: TrainConfig, *, skip_ratio: float = 0.0
) -> tuple[float, float]:
    """Accuracy on the clips' first T windows, and spikes per neuron and step."""
    data = config.data
    rng = np.random.default_rng(config.seed)
    network.eval()
    right, spikes, neurons = 0, 0.0, sum(int(np.prod(network.shapes[name])) for name in network.layers)
    frames = np.stack([frame for _, frame in clips.windows(data.dt_us, data.steps)], 1)
    with torch.inference_mode():
        for i in range(0, len(clips), 64):
            part = torch.from_numpy(frames[:, i : i + 64].astype(np.float32))
            run = None
            if skip_ratio and network.frame_gate is not None:
                run, _ = network.choose(part, torch.full((part.shape[1],), skip_ratio))
            elif skip_ratio:
                run = torch.from_numpy(rng.random(part.shape[:2]) >= skip_ratio)
            output, fired = network.over_time(part, run)
            right += int((output.sum(0).argmax(1).numpy() == clips.labels[i : i + 64]).sum())
            spikes += float(sum(s.sum() for s in fired.values()))
    return right / len(clips), spikes / (neurons * data.steps * len(clips))


def _update(
    config: TrainConfig, network: Network, batch: Batch, optimiser: torch.optim.Optimizer
) -> tuple[float, int]:
    labels = torch.from_numpy(batch.labels)
    frames = torch.from_numpy(batch.frames.astype(np.float32))
    run, weights = torch.from_numpy(batch.run), None
    if network.frame_gate is not None:
        run, weights = network.choose(frames, torch.from_numpy(batch.discard))
    output, fired = network.over_time(frames, run, bf16=config.precision == "bf16", weights=weights)
    last = slice(-config.data.steps, None)
    mean = output[last].sum(0) / run[last].sum(0).clamp(min=1)[:, None]
    if config.loss == "mse":
        loss = F.mse_loss(mean, F.one_hot(labels, mean.shape[1]).to(mean.dtype))
    else:
        loss = F.cross_entropy(config.scale * mean, labels, label_smoothing=0.05)
    total = loss
    if config.spike_penalty:
        total = loss + config.spike_penalty * sum(s.mean() for s in fired.values())
    optimiser.zero_grad(set_to_none=True)
    total.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 2.0)
    optimiser.step()
    return float(loss.detach()), int((mean.argmax(1) == labels).sum())


def _record(path: Path, figures: Epoch) -> None:
    row = {name: f"{getattr(figures, name):.6g}" for name in Epoch.__slots__}
    fresh = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        if fresh:
            writer.writeheader()
        writer.writerow(row)


def _restore(path: Path, config: TrainConfig, network: Any, optimiser: Any, schedule: Any) -> int:
    if not path.is_file():
        raise TrainingError(f"{path}: nothing to resume; start without --resume")
    saved = torch.load(path, weights_only=True)
    if saved["config"] != json.dumps(asdict(config)):
        raise TrainingError(f"{path}: made with other settings; wanted those of its config.json")
    network.load_state_dict(saved["network"])
    optimiser.load_state_dict(saved["optimiser"])
    schedule.load_state_dict(saved["schedule"])
    return int(saved["epoch"])
