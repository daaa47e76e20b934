"""A trained network as a model package: lowered, with what it saw and how well it did."""

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from spikeline.models.graph import Graph
from spikeline.models.network import Network
from spikeline.pipeline.engines import Engine, open_engine
from spikeline.pipeline.evaluation import evaluate
from spikeline.pipeline.package import Manifest, Package, Range, Skip, Statistics, save_package
from spikeline.pipeline.training.clips import ClipSet
from spikeline.pipeline.training.settings import TrainConfig

STATISTICS_CLIPS = 240


def make_package(
    path: Path,
    name: str,
    network: Network,
    config: TrainConfig,
    clips: ClipSet,
    validation: ClipSet,
    note: str,
) -> Package:
    """Write the package of `network` and return it as read back."""
    graph = network.eval().lower()
    data = config.data
    engine = open_engine("onnx", graph, "window")
    samples = (
        (frames, int(validation.labels[i])) for i, frames in validation.windows(data.dt_us, data.steps)
    )
    whole = evaluate(engine, samples)
    manifest = Manifest(
        name=name,
        graph=graph.document,
        labels=list(clips.names),
        dt_us=data.dt_us,
        dt_range_us=(int(data.dt_us / config.augment.stretch), int(data.dt_us * config.augment.stretch)),
        sensor=clips.sensor,
        clean_up=list(data.clean_up),
        grid=clips.grid,
        skip=_skip_rule(config, "zero" if graph.document.form == "window" else "idle"),
        gate_thresholds=gate_thresholds(graph, clips, config),
        statistics=_statistics(engine.graph.layers, clips, config, engine),
        accuracy={f"validation ({validation.about})": whole.accuracy},
        producer=f"spikeline train: {config.epochs} epochs, {len(clips)} clips of {clips.about},"
        f" seed {config.seed}",
        note=note,
    )
    return save_package(path, manifest, graph)


def _skip_rule(config: TrainConfig, rule: Literal["idle", "zero"]) -> Skip | None:
    if config.gate.form:
        return Skip(rule, config.gate.max_ratio)
    skip = config.skip
    return Skip(rule, skip.max_ratio) if skip.share and skip.max_ratio else None


def gate_thresholds(graph: Graph, clips: ClipSet, config: TrainConfig) -> dict[str, float]:
    """Skip ratio -> the threshold that skips this share of the training windows; empty without a gate.

    Measured as it will be served: an endless gate sees clip after clip without a reset, and windows before
    its ring is full do not count; a tumbling one sees each clip's windows of T from the start.
    """
    if graph.document.frame_gate is None:
        return {}
    T, per = graph.steps, clips.per(config.data.dt_us)
    gate = graph.frame_gate_run()
    weights = []
    for i in range(min(len(clips), STATISTICS_CLIPS)):
        windows = clips.slices(i) // per
        windows -= windows % T if graph.tumbling else 0
        weights += [gate(frame) for frame in clips.sample(i, config.data.dt_us, windows)]
    if not graph.tumbling:
        weights = weights[T:]
    shares = np.arange(0, config.gate.max_ratio + 1e-9, 0.05)
    return {f"{share:.2f}": float(np.quantile(weights, share)) for share in shares}


def _statistics(layers: list[str], clips: ClipSet, config: TrainConfig, engine: Engine) -> Statistics:
    """Per window over the first training clips: rate, polarity, occupied cells, spikes of each layer."""
    data = config.data
    rates, shares, occupied = [], [], []
    spikes: list[NDArray[np.int64]] = []
    for i, frames in clips.windows(data.dt_us, data.steps):
        if i >= STATISTICS_CLIPS:
            break
        counts = frames.reshape(len(frames), frames.shape[1], -1).astype(np.int64)
        total = counts.sum((1, 2))
        rates.append(total / (data.dt_us * 1e-6))
        on = counts[:, 1] if counts.shape[1] == 2 else counts[:, 0]  # a picture has no polarity
        shares.append(on.sum(1)[total > 0] / total[total > 0])
        occupied.append((counts.sum(1) > 0).mean(1))
        state = engine.init_state()
        spikes += [engine.step(np.ascontiguousarray(f[None]), state).activity.spikes[0] for f in frames]
    per_layer = np.stack(spikes, 1)
    return Statistics(
        _range(np.concatenate(rates)),
        _range(np.concatenate(shares)),
        _range(np.concatenate(occupied)),
        {name: _range(values) for name, values in zip(layers, per_layer, strict=True)},
    )


def _range(values: NDArray[np.float64] | NDArray[np.int64]) -> Range:
    p1, p99 = np.percentile(values, [1, 99])
    return Range(float(values.mean()), float(p1), float(p99))
