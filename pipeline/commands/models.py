"""spikeline models: the shipped models, or one of them in detail."""

from typing import Annotated, Any

import msgspec
import numpy as np
import typer

from spikeline.pipeline.commands.options import Json
from spikeline.pipeline.engines import open_engine
from spikeline.pipeline.engines.activity import dense_macs
from spikeline.pipeline.evaluation import resting
from spikeline.pipeline.package import Package, load_package, zoo


def models(
    show: Annotated[str, typer.Option(help="A name or file: print all about it.", show_default=False)] = "",
    json: Json = False,
) -> None:
    """List the shipped models, or show one: layers, neurons, operations, resting activity.

    Example: spikeline models --show gesture
    """
    facts = (
        [describe(load_package(show))] if show else [summary(load_package(path)) for path in zoo().values()]
    )
    if json:
        for fact in facts:
            print(msgspec.json.encode(fact).decode())
    elif show:
        _print(facts[0])
    else:
        for fact in facts:
            print(
                f"{fact['name']:20s} {len(fact['labels'])} classes, {fact['accuracy_text']}  {fact['note']}"
            )


def summary(package: Package) -> dict[str, Any]:
    m = package.manifest
    accuracy = ", ".join(f"{name} {value:.1%}" for name, value in m.accuracy.items())
    return {
        "name": m.name,
        "digest": package.digest,
        "labels": m.labels,
        "dt_us": m.dt_us,
        "steps": package.graph.steps,
        "sensor": m.sensor,
        "accuracy": m.accuracy,
        "accuracy_text": accuracy,
        "note": m.note,
    }


def describe(package: Package) -> dict[str, Any]:
    """All about a package. resting: spikes per neuron and step of each layer with no events at all."""
    graph, m = package.graph, package.manifest
    engine = open_engine("auto", graph)
    rest = resting(engine)
    neurons = {name: int(np.prod(graph.shapes[name])) for name in graph.layers}
    spikes_at_rest = sum(rest[name] * n for name, n in neurons.items())
    dense = dense_macs(graph)
    return summary(package) | {
        "grid": m.grid,
        "fit": m.fit,
        "readout": m.readout,
        "horizon": graph.document.horizon,
        "skip": None if m.skip is None else {"rule": m.skip.rule, "max_ratio": m.skip.max_ratio},
        "layers": {name: {"shape": graph.shapes[name], "neurons": n} for name, n in neurons.items()},
        "neurons": sum(neurons.values()),
        "parameters": sum(int(tensor.size) for tensor in graph.tensors.values()),
        "mac_per_step": engine.meter.mac,
        "dense_ac_per_step": sum(dense.values()) - dense[next(iter(dense))],
        "state_bytes": sum(a.nbytes for a in engine.snapshot(engine.init_state()).values()),
        "causal": "yes: one prediction per window, nothing of a later one is used",
        "resting": rest,
        "resting_nasar": spikes_at_rest / sum(neurons.values()),
        "producer": m.producer,
    }


def _print(fact: dict[str, Any]) -> None:
    print(f"{fact['name']}: {fact['note']}")
    print(f"digest             {fact['digest']}")
    print(f"classes            {', '.join(fact['labels'])}")
    print(
        f"window             {fact['dt_us'] / 1000:g} ms, {fact['steps']} steps a sample, {fact['horizon']}"
    )
    print(
        f"sensor             {'x'.join(map(str, fact['sensor']))} to {'x'.join(map(str, fact['grid']))} cells"
    )
    print(f"one-step latency   {fact['causal']}")
    skip = fact["skip"]
    text = f"{skip['rule']}, up to {skip['max_ratio']:.0%}" if skip else "never"
    print(f"skipped windows    {text}")
    print(f"measured           {fact['accuracy_text'] or '-'}")
    print(
        "layer              shape           neurons  resting activity (spikes per neuron and step, no events)"
    )
    for name, layer in fact["layers"].items():
        shape = "x".join(map(str, layer["shape"]))
        print(f"  {name:16s} {shape:14s} {layer['neurons']:8,d}  {fact['resting'][name]:.4f}")
    print(f"  {'all':31s} {fact['neurons']:8,d}  {fact['resting_nasar']:.4f}")
    print(f"parameters         {fact['parameters']:,}")
    print(f"MAC per step       {fact['mac_per_step']:,}")
    print(f"dense AC per step  {fact['dense_ac_per_step']:,}")
    print(f"state              {fact['state_bytes']:,} bytes a stream")
