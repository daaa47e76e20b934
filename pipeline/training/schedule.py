"""Optimisers and schedules of their rate, by name; see OptimiserConfig and ScheduleConfig."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from spikeline.pipeline.training.settings import OptimiserConfig, ScheduleConfig


def make_optimiser(config: OptimiserConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    parameters = list(parameters)
    if config.name == "sgd":
        return torch.optim.SGD(
            parameters, config.rate, momentum=config.momentum, weight_decay=config.weight_decay
        )
    kind = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
    return kind(parameters, config.rate, weight_decay=config.weight_decay)


class Schedule:
    """The rate of an optimiser: `after_batch` and `after_epoch` are called behind every one of them."""

    def __init__(
        self,
        config: ScheduleConfig,
        rate: float,
        optimiser: torch.optim.Optimizer,
        epochs: int,
        batches: int,
    ) -> None:
        self._optimiser = optimiser
        self._by_loss = config.name == "plateau"
        self._by_batch = config.name in ("one-cycle", "cosine")
        rates = torch.optim.lr_scheduler
        self._inner: Any
        if config.name == "one-cycle":
            self._inner = rates.OneCycleLR(
                optimiser, rate, total_steps=epochs * batches, pct_start=config.warm_up
            )
        elif config.name == "cosine":
            self._inner = rates.CosineAnnealingLR(optimiser, (config.epochs or epochs) * batches)
        elif config.name == "plateau":
            self._inner = rates.ReduceLROnPlateau(optimiser, factor=config.factor, patience=config.patience)
        elif config.name == "step":
            self._inner = rates.StepLR(optimiser, config.epochs, config.factor)
        else:
            self._inner = rates.ConstantLR(optimiser, 1.0)

    @property
    def rate(self) -> float:
        return float(self._optimiser.param_groups[0]["lr"])

    def after_batch(self) -> None:
        if self._by_batch:
            self._inner.step()

    def after_epoch(self, loss: float) -> None:
        if self._by_loss:
            self._inner.step(loss)
        elif not self._by_batch:
            self._inner.step()

    def state_dict(self) -> dict[str, Any]:
        return self._inner.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._inner.load_state_dict(state)
