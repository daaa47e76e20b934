"""spikeline models: the shipped models and the networks that can be trained, or one of them in detail."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import typer

from spikeline.models.graph import Graph, gates_of
from spikeline.pipeline.commands.options import Json
from spikeline.pipeline.engines import open_engine
from spikeline.pipeline.engines.activity import Meter
from spikeline.pipeline.evaluation import resting
from spikeline.pipeline.package import Package, load_package, zoo


def models(
    show: Annotated[str, typer.Option(help="A name or file: print all about it.", show_default=False)] = "",
    networks: Annotated[bool, typer.Option("--networks", help="List what can be trained instead.")] = False,
    json: Json = False,
) -> None:
    """List the shipped models, or show one: layers, neurons, operations, resting activity.

    --show also takes a network that can be trained, with untrained weights, at its published size.

    Example: spikeline models --show gesture
    """
    if networks:
        facts = _registered()
        lines = [f"{fact['name']:20s} {fact['about']} ({fact['paper']})" for fact in facts]
    elif show:
        graph = _untrained(show)
        facts = [describe_graph(show, graph) if graph is not None else describe(load_package(show))]
        lines = _lines(facts[0])
    else:
        facts = [summary(load_package(path)) for path in zoo().values()]
        lines = [
            f"{fact['name']:20s} {len(fact['labels'])} classes, {fact['accuracy_text']}  {fact['note']}"
            for fact in facts
        ]
    for line in map(_text, facts) if json else lines:
        print(line)


def print_facts(package: Package) -> None:
    print("\n".join(_lines(describe(package))))


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
    rest = resting(open_engine("auto", graph))
    facts = describe_graph(m.name, graph)
    spikes_at_rest = sum(rest[name] * layer["neurons"] for name, layer in facts["layers"].items())
    return (
        facts
        | summary(package)
        | {
            "grid": m.grid,
            "fit": m.fit,
            "readout": m.readout,
            "threshold": m.threshold,
            "hold_us": m.hold_us,
            "tuned": None if m.tuned is None else msgspec.structs.asdict(m.tuned),
            "skip": None if m.skip is None else {"rule": m.skip.rule, "max_ratio": m.skip.max_ratio},
            "gate_thresholds": m.gate_thresholds,
            "resting": rest,
            "resting_nasar": spikes_at_rest / facts["neurons"],
            "producer": m.producer,
        }
    )


def describe_graph(name: str, graph: Graph) -> dict[str, Any]:
    """What a network is, whatever its weights. MAC and AC are of one dense step."""
    neurons = {layer: int(np.prod(graph.shapes[layer])) for layer in graph.layers}
    dense = graph.dense_macs
    mac = Meter(graph).mac
    per_step = mac // graph.steps if graph.document.form == "window" else mac
    fed_by_spikes = {
        node.name for node in graph.nodes if node.name in dense and node.inputs[0] in graph.spiking
    }
    return {
        "name": name,
        "steps": graph.steps,
        "horizon": graph.document.horizon,
        "form": graph.document.form,
        "causal": causality(graph),
        "attention": attention(graph),
        "layers": {layer: {"shape": graph.shapes[layer], "neurons": n} for layer, n in neurons.items()},
        "neurons": sum(neurons.values()),
        "parameters": sum(int(tensor.size) for tensor in graph.tensors.values()),
        "mac_per_step": per_step,
        "dense_ac_per_step": sum(n for node, n in dense.items() if node in fed_by_spikes),
        "state_bytes": sum(4 * int(np.prod(state.shape)) for state in graph.states.values()),
    }


def causality(graph: Graph) -> str:
    """One line: whether the network predicts at every step, or why not."""
    window = [
        f"{node.name} ({attrs['kind']})"
        for node in graph.nodes
        for _, attrs in gates_of(node)
        if attrs["form"] == "window"
    ]
    if window:
        return (
            f"no: one prediction every {graph.steps} windows; attention over the window in"
            f" {', '.join(window)}; its causal forms are sliding and prefix"
        )
    return "yes: one prediction per window, nothing of a later one is used"


def attention(graph: Graph) -> list[str]:
    """Every gate: node, kind and form."""
    return [
        f"{node.name} {attrs['kind']} {attrs['form']}" for node in graph.nodes for _, attrs in gates_of(node)
    ]


def _registered() -> list[dict[str, Any]]:
    from spikeline.pipeline.engines import MissingExtraError

    if find_spec("torch") is None:
        raise MissingExtraError("--networks: torch is not installed; pip install 'spikeline[train]'")
    from spikeline.models.registry import networks

    return [{"name": e.name, "paper": e.paper, "about": e.about} for e in networks().values()]


def _untrained(name: str) -> Graph | None:
    """A registered network of this name, where there is no package of it."""
    if name in zoo() or Path(name).exists() or find_spec("torch") is None:
        return None
    from spikeline.models import registry

    return registry.build(name).eval().lower() if name in registry.networks() else None


def _text(fact: dict[str, Any]) -> str:
    return msgspec.json.encode(fact).decode()


def _size(sides: tuple[int, int]) -> str:
    return "x".join(map(str, sides))


def _tuned(tuned: dict[str, Any] | None) -> str:
    if tuned is None:
        return "not tuned"
    return (
        f"tuned: segment F1 {tuned['f1_macro']:.3f}, {tuned['false_per_hour']:.1f} false activations per hour"
        f" on {tuned['data']}"
    )


def _lines(fact: dict[str, Any]) -> list[str]:
    trained = "digest" in fact
    rest = fact.get("resting", {})
    lines = [f"{fact['name']}: {fact['note'] if trained else 'untrained, at its published size'}"]
    if trained:
        skip = fact["skip"]
        skipping = f"{skip['rule']}, up to {skip['max_ratio']:.0%}" if skip else "never"
        lines += [
            f"digest             {fact['digest']}",
            f"classes            {', '.join(fact['labels'])}",
            f"window             {fact['dt_us'] / 1000:g} ms",
            f"sensor             {_size(fact['sensor'])} to {_size(fact['grid'])} cells",
            f"skipped windows    {skipping}",
            f"measured           {fact['accuracy_text'] or '-'}",
            f"decision           threshold {fact['threshold']:g}, hold {fact['hold_us'] / 1e3:g} ms,"
            f" {_tuned(fact['tuned'])}",
        ]
        if fact["gate_thresholds"]:
            lines.append(f"frame gate         skips up to {max(map(float, fact['gate_thresholds'])):.0%}")
    lines += [
        f"steps a sample     {fact['steps']}, {fact['horizon']}",
        f"one-step latency   {fact['causal']}",
        f"attention          {', '.join(fact['attention']) or 'none'}",
        "layer                           shape             neurons"
        + ("  resting activity (spikes per neuron and step, no events)" if trained else ""),
    ]
    for name, layer in fact["layers"].items():
        shape = "x".join(map(str, layer["shape"]))
        lines.append(
            f"  {name:28s}  {shape:14s} {layer['neurons']:10,d}" + (f"  {rest[name]:.4f}" if trained else "")
        )
    lines.append(
        f"  {'all':43s}  {fact['neurons']:10,d}" + (f"  {fact['resting_nasar']:.4f}" if trained else "")
    )
    return [
        *lines,
        f"parameters         {fact['parameters']:,} (batch norm folded in)",
        f"MAC per step       {fact['mac_per_step']:,}",
        f"dense AC per step  {fact['dense_ac_per_step']:,}",
        f"state              {fact['state_bytes']:,} bytes a stream",
    ]
