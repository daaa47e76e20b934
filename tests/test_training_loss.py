"""Losses against their formulas, one number at a time; optimisers and schedules by name."""

import numpy as np
import pytest
import torch

from spikeline.pipeline.training.loss import Targets, loss_of, mean_output
from spikeline.pipeline.training.schedule import Schedule, make_optimiser
from spikeline.pipeline.training.settings import LossConfig, OptimiserConfig, ScheduleConfig

T, B, K = 5, 4, 3
RNG = np.random.default_rng(0)
OUTPUT = RNG.random((T, B, K))
RUN = RNG.random((T, B)) < 0.7
RUN[0] = True
OUTPUT *= RUN[:, :, None]  # a step that is skipped gives nothing
LABELS = np.array([0, 2, 1, 2])


def found(config, labels=LABELS, others=LABELS, share=0.0):
    targets = Targets(torch.tensor(labels), torch.tensor(others), torch.full((B,), share))
    return loss_of(config, torch.tensor(OUTPUT), torch.tensor(RUN), targets).item()


def cross_entropy(scores, label, smoothing):
    log = scores - np.log(np.exp(scores).sum())
    target = np.full(K, smoothing / K)
    target[label] += 1 - smoothing
    return -(target * log).sum()


def by_hand(config):
    losses = []
    for b in range(B):
        steps = [OUTPUT[t, b] for t in range(T) if RUN[t, b]]
        mean = sum(steps) / len(steps)
        if config.name == "mse":
            losses.append(sum((mean[k] - (k == LABELS[b])) ** 2 for k in range(K)) / K)
        elif config.name == "ce":
            losses.append(cross_entropy(config.scale * mean, LABELS[b], config.smoothing))
        else:
            w = config.tet_weight
            each = [
                (1 - w) * cross_entropy(config.scale * o, LABELS[b], config.smoothing)
                + w * np.mean((config.scale * o - config.tet_target) ** 2)
                for o in steps
            ]
            losses.append(sum(each) / len(each))
    return np.mean(losses)


@pytest.mark.parametrize(
    "config",
    [
        LossConfig(name="mse"),
        LossConfig(name="ce", scale=3.0, smoothing=0.1),
        LossConfig(name="tet", scale=2.0, smoothing=0.0, tet_weight=0.05, tet_target=1.0),
        LossConfig(name="tet", scale=1.0, smoothing=0.2, tet_weight=0.0),
    ],
)
def test_a_loss_is_its_formula(config):
    assert found(config) == pytest.approx(by_hand(config), rel=1e-6)


@pytest.mark.parametrize("name", ["mse", "ce", "tet"])
def test_the_loss_of_a_mixed_sample_is_between_those_of_its_labels(name):
    config = LossConfig(name=name)
    other = np.array([1, 0, 2, 1])
    pure, second = found(config), found(config, labels=other)
    assert found(config, others=other, share=0.3) == pytest.approx(0.7 * pure + 0.3 * second)


def test_the_readout_is_the_mean_over_the_steps_that_ran():
    mean = mean_output(torch.tensor(OUTPUT), torch.tensor(RUN)).numpy()
    for b in range(B):
        np.testing.assert_allclose(mean[b], OUTPUT[RUN[:, b], b].mean(0))


def rates(config, epochs=6, batches=4, losses=None):
    weight = torch.nn.Parameter(torch.zeros(2))
    optimiser = make_optimiser(OptimiserConfig(name="sgd", rate=0.8), [weight])
    schedule = Schedule(config, 0.8, optimiser, epochs, batches)
    seen = []
    for epoch in range(epochs):
        for _ in range(batches):
            seen.append(schedule.rate)
            weight.grad = torch.ones(2)
            optimiser.step()
            schedule.after_batch()
        schedule.after_epoch(losses[epoch] if losses else 1.0 / (epoch + 1))
    return np.array(seen)


def test_schedules_do_what_they_are_called():
    assert (rates(ScheduleConfig(name="constant")) == 0.8).all()
    np.testing.assert_allclose(
        rates(ScheduleConfig(name="cosine")), 0.4 * (1 + np.cos(np.pi * np.arange(24) / 24)), rtol=1e-6
    )
    np.testing.assert_allclose(
        rates(ScheduleConfig(name="step", epochs=2, factor=0.5)), 0.8 * 0.5 ** (np.arange(24) // 8)
    )
    one = rates(ScheduleConfig(name="one-cycle", warm_up=0.25))
    assert one.argmax() == 5 and one.max() == pytest.approx(0.8) and one[0] < 0.05 and one[-1] < 0.01
    again = rates(ScheduleConfig(name="cosine", epochs=2), epochs=4)
    assert again[8] < 1e-6 and again[15] > 0.7  # down over two epochs, up over two


def test_plateau_waits_for_a_training_loss_that_stands_still():
    plateau = ScheduleConfig(name="plateau", factor=0.1, patience=1)
    assert (rates(plateau) == 0.8).all()
    stuck = rates(plateau, losses=[1.0, 0.5, 0.5, 0.5, 0.5, 0.4])
    np.testing.assert_allclose(stuck.reshape(6, 4)[:, 0], [0.8, 0.8, 0.8, 0.8, 0.08, 0.08])


@pytest.mark.parametrize(
    ("name", "kind"), [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam), ("sgd", torch.optim.SGD)]
)
def test_optimisers_by_name(name, kind):
    weight = torch.nn.Parameter(torch.zeros(2))
    optimiser = make_optimiser(OptimiserConfig(name=name, rate=0.3, weight_decay=0.2, momentum=0.7), [weight])
    group = optimiser.param_groups[0]
    assert type(optimiser) is kind and group["lr"] == 0.3 and group["weight_decay"] == 0.2
    assert name != "sgd" or group["momentum"] == 0.7


@pytest.mark.parametrize(
    ("cls", "setting", "words"),
    [
        (LossConfig, {"name": "huber"}, "name must be one of ce, mse, tet, got 'huber'"),
        (LossConfig, {"smoothing": 1.0}, "wanted 0 <= smoothing < 1"),
        (OptimiserConfig, {"name": "lion"}, "name must be one of adamw, adam, sgd, got 'lion'"),
        (OptimiserConfig, {"rate": 0.0}, "wanted rate > 0"),
        (ScheduleConfig, {"name": "step"}, "step: epochs must be at least 1, got 0"),
        (ScheduleConfig, {"name": "cosine", "warm_up": 0.0}, "wanted 0 < warm_up < 1"),
    ],
)
def test_impossible_settings_are_refused_by_name(cls, setting, words):
    with pytest.raises(ValueError, match=words):
        cls(**setting)
