"""Measure a model on labelled samples: accuracy with its interval, confusion, activity, energy.

A sample is T frames from a zero state; its class is the best score after the last of them (the papers'
`window` readout). Energy is arithmetic, not a measurement: 45 nm, 32 bit, 4.6 pJ per MAC and 0.9 pJ per
AC (MA-SNN, SynA and GAC all use these figures).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeline.pipeline.engines import Engine

MAC_PJ = 4.6
AC_PJ = 0.9
BATCH = 32

Sample = tuple[NDArray[np.uint16], int]  # frames (T, 2, H, W), label


@dataclass(frozen=True)
class Evaluation:
    """confusion[i, j]: samples of class i called j. Rates and counts are per step unless they say so."""

    confusion: NDArray[np.int64]
    neurons: dict[str, int]
    spikes: dict[str, float]  # per layer and step, over all steps; skipped ones count as 0
    synops: float  # per step
    mac: float  # per step
    steps: int  # per sample
    processed: float  # share of the steps that were run

    @property
    def samples(self) -> int:
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        return float(np.trace(self.confusion) / self.samples)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the accuracy."""
        return wilson(int(np.trace(self.confusion)), self.samples)

    @property
    def nasar(self) -> float:
        """Spikes per neuron and step over all T (MA-SNN: network average spiking activity rate)."""
        return sum(self.spikes.values()) / sum(self.neurons.values())

    @property
    def energy_uj(self) -> float:
        """Of one sample, by the papers' arithmetic: 4.6 pJ x MAC + 0.9 pJ x AC."""
        return (MAC_PJ * self.mac + AC_PJ * self.synops) * self.steps * 1e-6

    def as_dict(self, labels: list[str]) -> dict[str, Any]:
        low, high = self.interval
        per_class = self.confusion.diagonal() / np.maximum(self.confusion.sum(1), 1)
        return {
            "samples": self.samples,
            "accuracy": self.accuracy,
            "accuracy_low": low,
            "accuracy_high": high,
            "per_class": dict(zip(labels, per_class.tolist(), strict=True)),
            "confusion": self.confusion.tolist(),
            "steps": self.steps,
            "processed_share": self.processed,
            "nasar": self.nasar,
            "nasar_processed": self.nasar / self.processed if self.processed else 0.0,
            "spikes_per_sample": sum(self.spikes.values()) * self.steps,
            "spikes_per_step": self.spikes,
            "synops_per_step": self.synops,
            "mac_per_step": self.mac,
            "energy_paper_uj": self.energy_uj,
        }


def evaluate(
    engine: Engine, samples: Iterable[Sample], *, skip_ratio: float = 0.0, rule: str = "idle", seed: int = 1
) -> Evaluation:
    """Run every sample through the engine, in batches; each window is skipped with `skip_ratio`."""
    graph = engine.graph
    rng = np.random.default_rng(seed)
    confusion = np.zeros((graph.classes, graph.classes), np.int64)
    spikes = np.zeros(len(graph.layers))
    synops = mac = run_steps = count = 0
    pending = iter(samples)
    while batch := list(islice(pending, BATCH)):
        frames = np.stack([frame for frame, _ in batch], 1)
        state = engine.init_state(len(batch))
        result = None
        for frame in frames:
            run = rng.random(len(batch)) >= skip_ratio
            if rule == "zero":
                result = engine.step(np.where(run[:, None, None, None], frame, np.uint16(0)), state)
            else:
                result = engine.step(np.ascontiguousarray(frame), state, run)
            spikes += result.activity.spikes.sum(0)
            synops += int(result.activity.synops.sum())
            mac += int(result.activity.mac.sum())
            run_steps += int(run.sum())
        assert result is not None
        for (_, label), scores in zip(batch, result.scores, strict=True):
            confusion[label, int(scores.argmax())] += 1
        count += frames.shape[0] * len(batch)
    if count == 0:
        raise ValueError("no samples to evaluate")
    return Evaluation(
        confusion,
        {name: int(np.prod(graph.shapes[name])) for name in graph.layers},
        dict(zip(graph.layers, (spikes / count).tolist(), strict=True)),
        synops / count,
        mac / count,
        graph.steps,
        run_steps / count,
    )


def wilson(right: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """95 % interval of a share of `right` among n.

    >>> [round(x, 3) for x in wilson(9, 10)]
    [0.596, 0.982]
    """
    p = right / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, middle - half), min(1.0, middle + half)


def resting(engine: Engine, settle: int = 0) -> dict[str, float]:
    """Spikes per neuron and step of each layer with no events at all, over T steps after `settle`."""
    state = engine.init_state()
    zeros = np.zeros((1, *engine.graph.document.input_shape), np.uint16)
    for _ in range(settle):
        engine.step(zeros, state)
    total = sum(engine.step(zeros, state).activity.spikes[0] for _ in range(engine.graph.steps))
    return {
        name: float(n) / (engine.graph.steps * int(np.prod(engine.graph.shapes[name])))
        for name, n in zip(engine.graph.layers, np.asarray(total), strict=True)
    }
