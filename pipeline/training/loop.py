"""Surrogate-gradient training of a network on labelled clips, with checkpoints that resume bit for bit.

Every epoch draws from its own generators, seeded by (seed, epoch), and a checkpoint is written after each:
on a processor a run stopped and resumed ends with the weights of one that was not.
"""

import copy
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from spikeline.models.network import Network
from spikeline.pipeline.training.augment import batches
from spikeline.pipeline.training.average import Average
from spikeline.pipeline.training.build import build, count_clip
from spikeline.pipeline.training.clips import ClipSet
from spikeline.pipeline.training.errors import TrainingError
from spikeline.pipeline.training.machine import Machine
from spikeline.pipeline.training.measure import measure
from spikeline.pipeline.training.run_folder import Epoch, RunFolder
from spikeline.pipeline.training.schedule import Schedule, make_optimiser
from spikeline.pipeline.training.settings import TrainConfig
from spikeline.pipeline.training.update import update

RECALIBRATION = 8, 64  # batches whose statistics the averaged weights' batch norm takes, at most: between
# epochs, and of the last one, which is published

OnBatch = Callable[[int, int, int], None]


def train(
    config: TrainConfig,
    clips: ClipSet,
    validation: ClipSet,
    folder: Path,
    *,
    resume: bool = False,
    machine: Machine | None = None,
    on_batch: OnBatch | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> Network:
    """Train and return the network of the last epoch, or with early_stop of the best. Writes config, curve
    and checkpoint to `folder`.

    on_batch(epoch, batch, batches) and on_epoch(figures) report progress.
    """
    run = _Run(config, clips, validation, machine or Machine(torch.device("cpu")))
    files = RunFolder(folder, config)
    first = 0
    if resume:
        first = run.load_state_dict(files.checkpoint(run.machine.device))
    elif run.machine.first:
        files.begin()
    for epoch in range(first, config.epochs):
        if run.ends_early:
            break
        figures = run.epoch(epoch, on_batch)
        if run.machine.first:
            files.keep(figures, run.state_dict(epoch + 1))
        if on_epoch and run.machine.first:
            on_epoch(figures)
    return run.result()


class _Run:
    """The network, and all that changes with it from batch to batch."""

    def __init__(self, config: TrainConfig, clips: ClipSet, validation: ClipSet, machine: Machine) -> None:
        self.config, self.clips, self.validation, self.machine = config, clips, validation, machine
        self.batches = len(clips) // config.batch
        if self.batches == 0:
            raise TrainingError(f"{len(clips)} clips do not fill one batch of {config.batch}")
        if config.batch % machine.processes:
            raise TrainingError(f"batch {config.batch} does not divide among {machine.processes} processes")
        torch.manual_seed(config.seed)
        clip = config.network.clip_counts or count_clip(clips, config.data.dt_us)
        self.network = build(config, len(clips.names), clip, clips.frames.shape[1]).to(machine.device)
        self.network.train()
        machine.share_norms(self.network)
        self.optimiser = make_optimiser(config.optimiser, self.network.parameters())
        self.schedule = Schedule(
            config.schedule, config.optimiser.rate, self.optimiser, config.epochs, self.batches
        )
        self.average = Average(self.network, config.average) if config.average else None
        self.best: dict[str, Any] = {"accuracy": -1.0, "epoch": 0, "network": {}}
        self.done = 0  # epochs

    def epoch(self, epoch: int, on_batch: OnBatch | None) -> Epoch:
        config, machine = self.config, self.machine
        began = time.monotonic()
        torch.manual_seed(int(np.random.default_rng([config.seed, epoch]).integers(2**31)))
        self.network.train()
        loss, right, seen = 0.0, 0, 0
        shown = batches(self.clips, config, epoch, rank=machine.rank, processes=machine.processes)
        for k, batch in enumerate(shown):
            each, hits = update(config, self.network, batch, self.optimiser, machine)
            self.schedule.after_batch()
            if self.average:
                self.average.update(self.network)
            loss, right, seen = loss + each, right + hits, seen + len(batch.labels)
            if on_batch and machine.first:
                on_batch(epoch, k + 1, self.batches)
        total, all_right, all_seen = machine.total(loss, right, seen)
        loss = total / (self.batches * machine.processes)
        if not np.isfinite(loss):
            raise TrainingError(f"epoch {epoch + 1}: the loss is {loss}; try a lower optimiser.rate")
        self.schedule.after_epoch(loss)
        self.done = epoch + 1
        served = self.served()
        found = measure(served, self.validation, config, machine)
        skipped = 0.0
        if config.skip.share or config.gate.form:
            skipped = measure(served, self.validation, config, machine, skip_ratio=0.5).accuracy
        if config.early_stop and found.accuracy > self.best["accuracy"]:
            state = {name: value.clone() for name, value in served.state_dict().items()}
            self.best = {"accuracy": found.accuracy, "epoch": epoch, "network": state}
        seconds = time.monotonic() - began
        return Epoch(epoch, loss, all_right / all_seen, found.accuracy, skipped, found.nasar, seconds)

    @property
    def ends_early(self) -> bool:
        patience = self.config.early_stop
        return bool(patience) and self.done - 1 - self.best["epoch"] >= patience

    def served(self) -> Network:
        """The network as it would be published now."""
        if self.average is None:
            return self.network
        machine = self.machine
        shown = batches(
            self.clips, self.config, max(self.done - 1, 0), rank=machine.rank, processes=machine.processes
        )
        most = RECALIBRATION[self.done == self.config.epochs]
        return self.average.network(self.network, islice(shown, most), machine)

    def result(self) -> Network:
        network = copy.deepcopy(self.served()) if self.config.early_stop else self.served()
        if self.best["network"]:
            network.load_state_dict(self.best["network"])
        return network.cpu().eval()

    def state_dict(self, epochs: int) -> dict[str, Any]:
        return {
            "epoch": epochs,
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "average": self.average.state_dict() if self.average else None,
            "best": self.best,
        }

    def load_state_dict(self, state: dict[str, Any]) -> int:
        """Returns the number of epochs that are done."""
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        if self.average:
            self.average.load_state_dict(state["average"])
        self.best, self.done = state["best"], int(state["epoch"])
        return self.done
