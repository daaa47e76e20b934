"""Accuracy and activity of a torch network between epochs; what is published is measured in an engine."""

from typing import NamedTuple

import numpy as np
import torch

from spikeline.models.network import Network
from spikeline.pipeline.training.clips import ClipSet
from spikeline.pipeline.training.machine import Machine
from spikeline.pipeline.training.settings import TrainConfig

BATCH = 64


class Measured(NamedTuple):
    """accuracy 0..1, on the clips' first T windows; nasar: spikes per neuron and step."""

    accuracy: float
    nasar: float


def measure(
    network: Network, clips: ClipSet, config: TrainConfig, machine: Machine, *, skip_ratio: float = 0.0
) -> Measured:
    """Every process measures a part of the clips."""
    data = config.data
    was = network.training
    network.eval()
    right, spikes = 0, 0.0
    neurons = sum(int(np.prod(network.shapes[name])) for name in network.layers)
    with torch.inference_mode():
        for start in range(machine.rank * BATCH, len(clips), BATCH * machine.processes):
            rows = range(start, min(start + BATCH, len(clips)))
            frames = machine.put(np.stack([clips.sample(i, data.dt_us, data.steps) for i in rows], 1))
            run = None
            if skip_ratio and network.frame_gate is not None:
                run, _ = network.choose(frames, torch.full((len(rows),), skip_ratio, device=machine.device))
            elif skip_ratio:
                rng = np.random.default_rng([config.seed, start])
                run = machine.put(rng.random(frames.shape[:2]) >= skip_ratio)
            output, fired = network.over_time(frames, run)
            right += int((output.sum(0).argmax(1).cpu().numpy() == clips.labels[rows]).sum())
            spikes += float(sum(s.sum() for s in fired.values()))
    network.train(was)
    total_right, total_spikes = machine.total(right, spikes)
    return Measured(total_right / len(clips), total_spikes / (max(neurons, 1) * data.steps * len(clips)))
