"""Measure a model on labelled samples: accuracy with its interval, confusion, activity, energy.

A sample is T frames from a zero state; its class is the best score after the last of them (the papers'
`window` readout). Under the protocols of ten stretches, ten samples in a row are one recording; see
protocols.py. Energy has three columns; see energy.py.
"""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeline.pipeline.energy import PowerMeter, Ran, paper_pj
from spikeline.pipeline.engines import Engine
from spikeline.pipeline.protocols import UNDECIDED, Protocol, decide, stretches

BATCH = 32

Sample = tuple[NDArray[np.uint16], int]  # frames (T, 2, H, W), label


@dataclass(frozen=True)
class Evaluation:
    """confusion[i, j]: recordings of class i called j. Rates and counts are per step unless they say so."""

    confusion: NDArray[np.int64]
    undecided: NDArray[np.int64]  # recordings of each class whose stretches had no majority
    right_at: list[int]  # recordings called right after each step of a sample, 1..T
    stretches: int  # samples per recording
    neurons: dict[str, int]
    spikes: dict[str, float]  # per layer and step, over all steps; skipped ones count as 0
    spikes_at: list[float]  # of the whole network at each step of a sample, 1..T
    synops: float  # per step
    mac: float  # per step
    steps: int  # per sample
    processed: float  # share of the steps that were run
    layer_synops: dict[str, float]  # per step, of each layer that spikes feed
    layer_mac: dict[str, int]  # per step that is run, of each layer that real values feed
    ran: Ran  # per step, idle ones too
    clipped: int  # membranes, in all steps of all samples, by an engine of whole numbers
    joules: float | None = None  # of all samples, as the processor's meter read them

    @property
    def samples(self) -> int:
        """Recordings that were judged."""
        return int(self.confusion.sum() + self.undecided.sum())

    @property
    def accuracy(self) -> float:
        return float(np.trace(self.confusion) / self.samples)

    @property
    def accuracy_at(self) -> list[float]:
        """After each step of a sample; empty where a network runs whole windows."""
        return [right / self.samples for right in self.right_at]

    @property
    def skip_ratio(self) -> float:
        """Share of the steps that were left out."""
        return 1.0 - self.processed

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the accuracy."""
        return wilson(int(np.trace(self.confusion)), self.samples)

    @property
    def nasar(self) -> float:
        """Spikes per neuron and step over all T (MA-SNN: network average spiking activity rate)."""
        return sum(self.spikes.values()) / sum(self.neurons.values())

    @property
    def nsar(self) -> list[float]:
        """Spikes per neuron at each step of a sample (MA-SNN: network spiking activity rate); a network that
        runs whole windows tells only their sum."""
        return [spikes / sum(self.neurons.values()) for spikes in self.spikes_at]

    @property
    def energy_uj(self) -> float:
        """Of one sample, by the papers' arithmetic: 4.6 pJ x MAC + 0.9 pJ x AC."""
        return paper_pj(self.mac, self.synops) * self.steps * 1e-6

    @property
    def energy_ran_uj(self) -> float:
        """Of one sample, by the same figures, of all that the engine executed and moved."""
        return self.ran.picojoules * self.steps * 1e-6

    @property
    def energy_measured_uj(self) -> float | None:
        """Of one sample, the whole processor's; None where it has no meter that can be read."""
        return None if self.joules is None else self.joules * 1e6 / (self.samples * self.stretches)

    def as_dict(self, labels: list[str]) -> dict[str, Any]:
        low, high = self.interval
        shown = self.confusion.sum(1) + self.undecided
        per_class = self.confusion.diagonal() / np.maximum(shown, 1)
        return {
            "samples": self.samples,
            "stretches": self.stretches,
            "accuracy": self.accuracy,
            "accuracy_low": low,
            "accuracy_high": high,
            "per_class": dict(zip(labels, per_class.tolist(), strict=True)),
            "confusion": self.confusion.tolist(),
            "undecided": self.undecided.tolist(),
            "accuracy_at": self.accuracy_at,
            "steps": self.steps,
            "processed_share": self.processed,
            "skip_ratio": self.skip_ratio,
            "nsar": self.nsar,
            "nasar": self.nasar,
            "nasar_processed": self.nasar / self.processed if self.processed else 0.0,
            "spikes_per_sample": sum(self.spikes.values()) * self.steps,
            "spikes_per_step": self.spikes,
            "synops_per_step": self.synops,
            "mac_per_step": self.mac,
            "synops_per_layer": self.layer_synops,
            "mac_per_layer": self.layer_mac,
            "ran_per_step": asdict(self.ran),
            "clipped": self.clipped,
            "energy_paper_uj": self.energy_uj,
            "energy_ran_uj": self.energy_ran_uj,
            "energy_measured_uj": self.energy_measured_uj,
        }


def evaluate(
    engine: Engine,
    samples: Iterable[Sample],
    *,
    protocol: Protocol = "first",
    skip_ratio: float = 0.0,
    gate_threshold: float | None = None,
    rule: str = "idle",
    seed: int = 1,
    shuffle: bool = False,
    reset_each_step: bool = False,
) -> Evaluation:
    """Run every sample through the engine, in batches.

    Windows are skipped at random with `skip_ratio`, or where the frame gate lies under its threshold. Two
    controls say how much of the answer needs time: `shuffle` shows a sample's frames in random order;
    `reset_each_step` starts every step from a zero state, and the readout alone goes on.
    """
    graph = engine.graph
    if reset_each_step and engine.windowed:
        raise ValueError("reset_each_step: a network of form window has no steps of its own to reset")
    rng, order = np.random.default_rng(seed), np.random.default_rng([seed, 1])
    spikes, at = np.zeros(len(graph.layers)), np.zeros(graph.steps)
    synops = np.zeros(len(engine.meter.fed))
    mac = run_steps = count = clipped = 0
    labels: list[int] = []
    scores_at: list[NDArray[np.float32]] = []  # of each sample after each step, (T, K)
    pending = iter(samples)
    joules: float | None = 0.0
    while batch := list(islice(pending, BATCH)):
        if shuffle:
            batch = [(frames[order.permutation(len(frames))], label) for frames, label in batch]
        frames = np.stack([frame for frame, _ in batch], 1)
        state = engine.init_state(len(batch))
        gates = [graph.frame_gate_run() for _ in batch] if gate_threshold is not None else []
        heard: NDArray[np.float32] = np.zeros((len(frames), len(batch), graph.classes), np.float32)
        meter = PowerMeter()
        for t, frame in enumerate(frames):
            run = rng.random(len(batch)) >= skip_ratio
            if gate_threshold is not None:
                run = np.array([gate(f) >= gate_threshold for gate, f in zip(gates, frame, strict=True)])
            if reset_each_step:
                engine.reset(state)
            if rule == "zero":
                result = engine.step(np.where(run[:, None, None, None], frame, np.uint16(0)), state)
            else:
                result = engine.step(np.ascontiguousarray(frame), state, run)
            heard[t] = result.scores
            spikes += result.activity.spikes.sum(0)
            at[t] += result.activity.spikes.sum()
            synops += result.activity.layer_synops.sum(0)
            mac += int(result.activity.mac.sum())
            clipped += int(result.activity.clipped.sum())
            run_steps += int(run.sum())
        used = meter.joules()
        joules = None if joules is None or used is None else joules + used
        if reset_each_step:
            heard = (heard.cumsum(0) / np.arange(1, len(frames) + 1).reshape(-1, 1, 1)).astype(np.float32)
        scores_at += list(heard.transpose(1, 0, 2))
        labels += [label for _, label in batch]
        count += frames.shape[0] * len(batch)
    if count == 0:
        raise ValueError("no samples to evaluate")
    m = stretches(protocol)
    truth = np.array(labels[::m])
    called = decide(np.stack(scores_at).reshape(len(truth), m, graph.steps, -1).swapaxes(1, 2), protocol)
    confusion = np.zeros((graph.classes, graph.classes), np.int64)
    certain = called[:, -1] != UNDECIDED
    np.add.at(confusion, (truth[certain], called[certain, -1]), 1)
    return Evaluation(
        confusion,
        np.bincount(truth[~certain], minlength=graph.classes),
        [] if engine.windowed else (called == truth[:, None]).sum(0).tolist(),
        m,
        {name: int(np.prod(graph.shapes[name])) for name in graph.layers},
        dict(zip(graph.layers, (spikes / count).tolist(), strict=True)),
        [] if engine.windowed else (at / len(labels)).tolist(),
        float(synops.sum()) / count,
        mac / count,
        graph.steps,
        run_steps / count,
        dict(zip(engine.meter.fed, (synops / count).tolist(), strict=True)),
        engine.meter.layer_mac,
        engine.ran(
            1.0 if engine.windowed or rule == "zero" else run_steps / count,
            mac / count,
            float(synops.sum()) / count,
        ),
        clipped,
        joules,
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
