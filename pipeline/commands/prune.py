"""spikeline prune MODEL --data SOURCE --out PRUNED: a model without the shortcuts that never fire."""

import hashlib
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import typer

from spikeline.drivers import open_source
from spikeline.models.graph import Graph
from spikeline.models.pruning import prune as pruned_graph
from spikeline.models.pruning import shortcuts
from spikeline.pipeline.commands.options import EngineName, Json, SensorSize, exit_code, sensor_of
from spikeline.pipeline.commands.replay import print_json
from spikeline.pipeline.config import ConfigError
from spikeline.pipeline.events import SourceReport
from spikeline.pipeline.package import Package, load_package, save_package
from spikeline.pipeline.run import Pipeline, RunConfig, WindowResult

_WINDOW = struct.Struct("<qqqq")


class PruneError(ValueError):
    """A model that cannot be pruned on this data: one line."""


@dataclass
class Run:
    """What a model did on the data. windows: a hash of each one's times, scores and spikes."""

    steps: int = 0  # that the network was run; one of form window runs once T of them are there
    spikes: dict[str, int] = field(default_factory=dict)  # by layer
    synops: int = 0
    windows: list[bytes] = field(default_factory=list)

    def add(self, result: WindowResult, graph: Graph, layers: list[str]) -> None:
        if graph.document.form == "step":
            self.steps += 1
        elif result.steps == graph.steps:
            self.steps += graph.steps
        for name, n in result.spikes.items():
            self.spikes[name] = self.spikes.get(name, 0) + n
        self.synops += result.synops
        times = _WINDOW.pack(result.seq, result.epoch, result.t_start_us, result.t_end_us)
        spikes = np.array([result.spikes[name] for name in layers], "<i8")
        content = times + result.scores.astype("<f4").tobytes() + spikes.tobytes()
        self.windows.append(hashlib.blake2b(content, digest_size=16).digest())


def prune(
    model: Annotated[str, typer.Argument(help="A shipped model's name or a .safetensors file.")],
    data: Annotated[
        list[str], typer.Option(help="A recording, a glob, or any source that repeats; more than once.")
    ],
    out: Annotated[Path, typer.Option(help="The new .safetensors file.", show_default=False)],
    engine: EngineName = "auto",
    sensor: SensorSize = "",
    json: Json = False,
) -> None:
    """Take the shortcuts that never fire on the data out of a model, and prove its output unchanged on it.

    A shortcut is a layer of neurons that only feeds an OR or ADD join. Scores and spikes of every window
    must be the same, to the bit, with and without it; on data where it would fire they may differ.

    Example: spikeline prune syna.safetensors --data 'test/*.aedat4' --out pruned.safetensors
    """
    if out.suffix != ".safetensors" or out.exists():
        raise ConfigError(
            f"{out}: {'exists already' if out.exists() else 'wanted a name ending in .safetensors'}"
        )
    package = load_package(model)
    name, known = package.manifest.name, shortcuts(package.graph)
    if not known:
        raise PruneError(f"model {name}: has no shortcut, a layer of neurons that only feeds a join")
    others = [layer for layer in package.graph.layers if layer not in known]
    before, reports = _run(package, data, engine, sensor, others)
    if not before.steps:
        wanted = package.graph.steps if package.graph.document.form == "window" else 1
        dt_ms = package.manifest.dt_us / 1000
        raise PruneError(f"{', '.join(data)}: too short; wanted {wanted} whole windows of {dt_ms:g} ms")
    silent = [layer for layer in known if before.spikes[layer] == 0]
    if not silent:
        raise PruneError(f"model {name}: every one of its {len(known)} shortcuts fires on this data")
    smaller = _without(package, silent, before.steps)
    after, _ = _run(smaller, data, engine, sensor, others)
    if after.windows != before.windows:
        raise PruneError(f"{_first_difference(before, after)}; nothing was written")
    saved = save_package(out, smaller.manifest, smaller.graph)
    facts = {
        "model": name,
        "file": str(out),
        "digest": saved.digest,
        "windows": before.steps,
        "shortcuts": {layer: before.spikes[layer] / before.steps for layer in known},
        "removed": silent,
        "before": _figures(package, before),
        "after": _figures(smaller, after),
        "equal": True,
    }
    if json:
        print_json(facts)
    else:
        _print(facts)
    if code := max(exit_code(report) for report in reports):
        raise typer.Exit(code)


def _run(
    package: Package, data: list[str], engine: str, sensor: str, layers: list[str]
) -> tuple[Run, list[SourceReport]]:
    """Every source, from a fresh state, with no window skipped."""
    run, reports = Run(), []
    for uri in data:
        with open_source(uri, sensor=sensor_of(sensor)) as source:
            pipeline = Pipeline(package, source.sensor, RunConfig(engine=engine))
            for result in pipeline.run(source):
                run.add(result, package.graph, layers)
            reports.append(source.report())
    return run, reports


def _without(package: Package, silent: list[str], windows: int) -> Package:
    """The package without these layers; its note says so."""
    graph, m = pruned_graph(package.graph, silent), package.manifest
    statistics = m.statistics
    if statistics is not None:
        spikes = {layer: figures for layer, figures in statistics.spikes.items() if layer in graph.layers}
        statistics = msgspec.structs.replace(statistics, spikes=spikes)
    note = f"{m.note}; " if m.note else ""
    note += f"without {', '.join(silent)}, silent in {windows} windows"
    manifest = msgspec.structs.replace(m, graph=graph.document, statistics=statistics, note=note)
    return Package(manifest, graph, "")


def _first_difference(before: Run, after: Run) -> str:
    pairs = zip(before.windows, after.windows, strict=False)
    for i, (a, b) in enumerate(pairs):
        if a != b:
            return f"window {i} of {len(before.windows)} differs without the shortcuts"
    return f"the data gave {len(before.windows)} windows, and {len(after.windows)} when it was read again"


def _figures(package: Package, run: Run) -> dict[str, Any]:
    graph = package.graph
    neurons = sum(int(np.prod(graph.shapes[layer])) for layer in graph.layers)
    spikes = sum(run.spikes.values())
    return {
        "neurons": neurons,
        "layers": len(graph.layers),
        "parameters": sum(int(tensor.size) for tensor in graph.tensors.values()),
        "spikes": spikes,
        "spikes_per_neuron": spikes / neurons,
        "synops": run.synops,
    }


def _print(facts: dict[str, Any]) -> None:
    print(f"{facts['model']}: {facts['windows']:,} windows")
    for layer, spikes in facts["shortcuts"].items():
        fate = "  removed" if layer in facts["removed"] else ""
        print(f"  {layer:24s} {spikes:12,.1f} spikes per window{fate}")
    print(f"{'':20s} {'before':>14s} {'after':>14s}")
    for figure, value in facts["before"].items():
        form = "14,.3f" if isinstance(value, float) else "14,d"
        print(f"{figure.replace('_', ' '):20s} {value:{form}} {facts['after'][figure]:{form}}")
    print("scores and spikes of every window are the same, to the bit")
    print(f"{facts['file']}  digest {facts['digest']}")
