"""What a sample's outputs are held against, by name; see LossConfig."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from spikeline.pipeline.training.settings import LossConfig


class Targets(NamedTuple):
    """labels (B,) int64; where samples are mixed, a second label and its share, (B,) each."""

    labels: Tensor
    others: Tensor
    share: Tensor


def mean_output(output: Tensor, run: Tensor) -> Tensor:
    """(T, B, K), run (T, B) -> (B, K): the mean over the steps that ran, the papers' readout."""
    return output.sum(0) / run.sum(0).clamp(min=1)[:, None]


def loss_of(config: LossConfig, output: Tensor, run: Tensor, targets: Targets) -> Tensor:
    """Mean over the batch, of outputs (T, B, K) and run (T, B) bool."""
    first = _loss(config, output, run, targets.labels)
    if not targets.share.any():
        return first.mean()
    second = _loss(config, output, run, targets.others)
    return ((1 - targets.share) * first + targets.share * second).mean()


def _loss(config: LossConfig, output: Tensor, run: Tensor, labels: Tensor) -> Tensor:
    """Of each sample, (B,)."""
    if config.name == "tet":
        return _tet(config, output, run, labels)
    mean = mean_output(output, run)
    if config.name == "mse":
        return (mean - F.one_hot(labels, mean.shape[1]).to(mean.dtype)).square().mean(1)
    return F.cross_entropy(config.scale * mean, labels, reduction="none", label_smoothing=config.smoothing)


def _tet(config: LossConfig, output: Tensor, run: Tensor, labels: Tensor) -> Tensor:
    """Deng et al. 2022, Eq. 9-11: (1 - w) mean over t of CE(O(t), y) + w mean over t of MSE(O(t), target)."""
    T, B, _ = output.shape
    scores = config.scale * output
    each = F.cross_entropy(
        scores.flatten(0, 1), labels.repeat(T), reduction="none", label_smoothing=config.smoothing
    )
    pull = (scores - config.tet_target).square().mean(2)
    total = (1 - config.tet_weight) * each.view(T, B) + config.tet_weight * pull
    return (total * run).sum(0) / run.sum(0).clamp(min=1)


def activity(fired: dict[str, Tensor]) -> Tensor:
    """Spikes per neuron and step, of each layer, summed over layers."""
    return torch.stack([s.mean() for s in fired.values()]).sum()
