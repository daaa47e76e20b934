"""spikeline evaluate: measure a model on held-out simulated people."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from spikeline.pipeline.commands.options import EngineName, Json, Model
from spikeline.pipeline.commands.progress import clips_progress
from spikeline.pipeline.commands.session import DEFAULT_MODEL
from spikeline.pipeline.config import ConfigError
from spikeline.pipeline.engines import open_engine
from spikeline.pipeline.evaluation import Evaluation
from spikeline.pipeline.evaluation import evaluate as measure
from spikeline.pipeline.gate import threshold_for
from spikeline.pipeline.package import Package, load_package
from spikeline.pipeline.training.clips import ClipSet
from spikeline.pipeline.training.data import LABELS, ClipConfig, load_clips

SLICE_US = 25_000
DURATION_US = 1_800_000
TEST_SEED = 1


def evaluate(
    model: Model = DEFAULT_MODEL,
    engine: EngineName = "auto",
    clips: Annotated[int, typer.Option(min=12, help="How many test clips.")] = 480,
    split: Annotated[str, typer.Option(help="test, validation or train people.")] = "test",
    seed: Annotated[int, typer.Option(help="Of the clips.")] = TEST_SEED,
    skip_ratio: Annotated[float, typer.Option(min=0, max=0.95, help="Skip this share of windows.")] = 0.0,
    gate: Annotated[float, typer.Option(min=0, max=0.95, help="Skip by the model's frame gate.")] = 0.0,
    against: Annotated[
        str,
        typer.Option(
            help="A vanilla model: also print r_EE, its energy over this one's.", show_default=False
        ),
    ] = "",
    cache: Annotated[Path, typer.Option(help="Where simulated clips are kept.")] = Path("runs/cache"),
    json: Json = False,
) -> None:
    """Measure a model on simulated people it has not seen.

    Prints accuracy with its 95 % interval, the confusion of classes, NASAR, spikes, synaptic
    operations, MAC and energy. The first run simulates the clips, about a second for ten on each core.

    Example: spikeline evaluate --model gesture --clips 1440
    """
    package = load_package(model)
    manifest = package.manifest
    if manifest.labels != list(LABELS):
        raise ConfigError(f"model {manifest.name}: its labels are not those of sim:gesture; wanted {LABELS}")
    if skip_ratio and (manifest.skip is None or skip_ratio > manifest.skip.max_ratio):
        most = 0 if manifest.skip is None else manifest.skip.max_ratio
        raise ConfigError(f"--skip-ratio {skip_ratio}: model {manifest.name} was trained for at most {most}")
    if split not in ("test", "validation", "train"):
        raise ConfigError(f"--split {split}: choose from test, validation, train")
    config = ClipConfig(
        seed=seed,
        split=split,
        clips=clips,
        slice_us=math.gcd(SLICE_US, manifest.dt_us),
        duration_us=max(DURATION_US, package.graph.steps * manifest.dt_us),
        grid=manifest.grid,
        clean_up=tuple(manifest.clean_up),
    )
    with clips_progress("simulating") as progress:
        data = load_clips(config, cache, progress=progress)
    samples = (
        (frames, int(data.labels[i])) for i, frames in data.windows(manifest.dt_us, package.graph.steps)
    )
    rule = manifest.skip.rule if manifest.skip else "idle"
    runner = open_engine(engine, package.graph, "window")
    if gate and skip_ratio:
        raise ConfigError("--gate and --skip-ratio: wanted one of them")
    threshold = threshold_for(manifest.gate_thresholds, gate) if gate else None
    result = measure(runner, samples, skip_ratio=skip_ratio, gate_threshold=threshold, rule=rule)
    gain = _gain(result, against, data, engine) if against else None
    if json:
        facts: dict[str, Any] = {
            "model": manifest.name,
            "model_digest": package.digest,
            "engine": runner.name,
            "split": split,
        }
        if gain is not None:
            facts |= {"against": against, "r_ee": gain}
        print(msgspec.json.encode(facts | result.as_dict(manifest.labels)).decode())
    else:
        _print(package, result)
        if gain is not None:
            print(f"r_EE               {gain:.2f}: energy of {against} over this model's (paper arithmetic)")


def _gain(result: Evaluation, against: str, data: ClipSet, engine: str) -> float:
    """MA-SNN's r_EE: the paper energy of a sample in another network over that in this one."""
    other = load_package(against)
    windows = data.windows(other.manifest.dt_us, other.graph.steps)
    vanilla = measure(
        open_engine(engine, other.graph, "window"), ((f, int(data.labels[i])) for i, f in windows)
    )
    return vanilla.energy_uj / result.energy_uj


def _print(package: Package, result: Evaluation) -> None:
    labels = package.manifest.labels
    facts: dict[str, Any] = result.as_dict(labels)
    low, high = result.interval
    print(
        f"{package.manifest.name}: right on {result.accuracy:.1%} of {result.samples} simulated clips"
        f" (95 % interval {low:.1%} to {high:.1%})"
    )
    width = max(map(len, labels)) + 4
    print(f"{'class':{width}s}right" + "".join(f"{i:5d}" for i in range(len(labels))))
    for i, (label, row) in enumerate(zip(labels, result.confusion.tolist(), strict=True)):
        cells = "".join(f"{n or '.':>5}" for n in row)
        print(f"{i:2d} {label:{width - 3}s}{facts['per_class'][label]:5.0%}{cells}")
    print(f"steps per sample   {result.steps}, of which {result.processed:.0%} were run")
    print(f"NASAR              {result.nasar:.4f} spikes per neuron and step")
    print("spikes per step    " + ", ".join(f"{k} {v:.0f}" for k, v in result.spikes.items()))
    print(f"synops per step    {result.synops:,.0f} AC, {_per_layer(result.layer_synops)}")
    print(f"MAC per step       {result.mac:,.0f}, of one that is run {_per_layer(result.layer_mac)}")
    measured = result.energy_measured_uj
    print("energy per sample, three figures that say different things:")
    print(
        f"  paper            {result.energy_uj:,.2f} uJ, what spikes ask for: 4.6 pJ per MAC, 0.9 pJ per AC"
    )
    print(
        f"  ran              {result.energy_ran_uj:,.2f} uJ, what the engine executed and moved, same figures"
    )
    print(
        "  measured         "
        + (
            "absent: this machine has no power meter that can be read"
            if measured is None
            else f"{measured:,.0f} uJ, the whole processor's"
        )
    )


def _per_layer(counts: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {n:,.0f}" for name, n in counts.items()) or "none"
