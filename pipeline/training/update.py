"""One batch: forward, loss, gradients, a step of the optimiser."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from spikeline.models.network import Network
from spikeline.pipeline.training.augment import Batch
from spikeline.pipeline.training.loss import Targets, activity, loss_of, mean_output
from spikeline.pipeline.training.machine import Machine
from spikeline.pipeline.training.settings import TrainConfig


def update(
    config: TrainConfig, network: Network, batch: Batch, optimiser: torch.optim.Optimizer, machine: Machine
) -> tuple[float, int]:
    """Loss of this process's part of the batch, and how many of its samples were right."""
    frames, run = machine.put(batch.frames), machine.put(batch.run)
    targets = Targets(*(machine.put(x) for x in (batch.labels, batch.others, batch.share)))
    weights = None
    if network.frame_gate is not None:
        run, weights = network.choose(frames, machine.put(batch.discard))
    optimiser.zero_grad(set_to_none=True)
    last = config.data.steps
    outputs = []
    loss = 0.0
    for output, fired, part, share in _parts(config, network, frames, run, weights):
        scored = slice(-last, None)  # of a sample longer than T, the last T steps
        found = loss_of(config.loss, output[scored], run[part][scored], targets)
        total = found
        if config.loss.spike_penalty:
            total = found + config.loss.spike_penalty * activity(fired)
        (share * total).backward()
        loss += share * float(found.detach())
        outputs.append(output.detach())
    machine.mean_gradients(network)
    if config.optimiser.clip:
        torch.nn.utils.clip_grad_norm_(network.parameters(), config.optimiser.clip)
    optimiser.step()
    mean = mean_output(torch.cat(outputs)[-last:], run[-last:])
    return loss, int((mean.argmax(1) == targets.labels).sum())


def _parts(
    config: TrainConfig, network: Network, frames: Tensor, run: Tensor, weights: Tensor | None
) -> Iterator[tuple[Tensor, dict[str, Tensor], slice, float]]:
    """Output and spikes of each stretch of steps that has gradients of its own, which, and its share."""
    settings: dict[str, Any] = {"bf16": config.precision == "bf16", "recompute": config.recompute}
    steps = config.truncate or len(frames)
    state = None
    for start in range(0, len(frames), steps):
        part = slice(start, min(start + steps, len(frames)))
        own = None if weights is None else weights[part]
        some = None if own is None and bool(run[part].all()) else run[part]
        if config.truncate:
            output, fired, state = network.stretch(frames[part], state, some, weights=own, **settings)
        else:
            output, fired = network.over_time(frames[part], some, weights=own, **settings)
        yield output, fired, part, (part.stop - part.start) / len(frames)
