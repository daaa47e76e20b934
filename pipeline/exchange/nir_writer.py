"""Lowered graph -> NIR, the Neuromorphic Intermediate Representation, where NIR can express it.

NIR's neurons are continuous in time. They are written so that one forward Euler step of `dt_us`, as its
readers take it, is one step of ours:

    v <- v + dt / tau ((v_leak - v) + r I)      spike where v > v_threshold, then v <- v_reset

NIR fires strictly above the threshold. A neuron of ours that fires at it is written with the next smaller
float32 number, which is the same thing. What NIR has no word for is refused by name.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeline.models.graph import Graph, Node, gates_of
from spikeline.pipeline.exchange import ExchangeError

MEMBRANE_ONLY = ("add", "membrane")


def to_nir(graph: Graph, *, dt_us: int, metadata: dict[str, Any] | None = None) -> Any:
    """The graph as a `nir.NIRGraph`; raises ExchangeError naming every node that NIR cannot express."""
    import nir

    if unable := inexpressible(graph):
        raise ExchangeError(f"NIR cannot express {'; '.join(unable)}")
    nodes: dict[str, Any] = {"input": nir.Input({"input": np.array(graph.document.input_shape)})}
    edges: list[tuple[str, str]] = []
    ends: dict[str, str] = {}  # our node -> the NIR node that is its output
    neurons = {node.name: neuron for node, neuron in graph.neurons}

    def add(name: str, node: Any, *sources: str) -> str:
        nodes[name] = node
        edges.extend((source, name) for source in sources)
        return name

    for node in graph.nodes:
        sources = [ends[name] for name in node.inputs]
        if node.op == "input":
            gain = np.full(graph.document.input_shape, node.attrs["gain"])
            ends[node.name] = add("input_gain", nir.Scale(gain), "input")
        elif node.op == "neuron":
            part = _neuron(neurons[node.name], graph.shapes[node.name], dt_us * 1e-6)
            ends[node.name] = add(node.name, part, *sources)
        elif node.op == "readout":
            shape = np.array(graph.shapes[node.name])
            ends[node.name] = add("output", nir.Output({"output": shape}), *sources)
        else:
            ends[node.name] = _plain(graph, node, sources, add)
    facts = {"dt_us": dt_us, "steps": graph.steps, "horizon": graph.document.horizon} | (metadata or {})
    return nir.NIRGraph(nodes, edges, metadata=facts, type_check=False)


def write_nir(path: Path, graph: Graph, *, dt_us: int, metadata: dict[str, Any] | None = None) -> None:
    import nir

    nir.write(str(path), to_nir(graph, dt_us=dt_us, metadata=metadata))


def inexpressible(graph: Graph) -> list[str]:
    """What of the graph NIR has no word for: `name (what)`."""
    found = []
    if graph.document.form != "step":
        found.append("a network of form window")
    if graph.document.frame_gate is not None:
        found.append("frame_gate (temporal attention)")
    for node in graph.nodes:
        if why := _why_not(graph, node):
            found.append(f"{node.name} ({why})")
    return found


def _why_not(graph: Graph, node: Node) -> str:
    attrs = node.attrs
    if node.op == "input" and "clip" in attrs:
        return "counts that saturate"
    if node.op == "layernorm":
        return "layer norm"
    if node.op == "gate":
        return f"attention {attrs['kind']}"
    if node.op == "join" and attrs["kind"] not in MEMBRANE_ONLY:
        return f"join {attrs['kind']}"
    if node.op == "pool" and attrs["kind"] in ("max", "adaptive"):
        return f"{attrs['kind']} pool"
    if node.op == "pool" and attrs["kind"] == "global":
        _, H, W = graph.shapes[node.inputs[0]]
        return "" if H == W else f"an average over {H} x {W}"
    if node.op != "neuron":
        return ""
    kinds = [gate["kind"] for _, gate in gates_of(node)]
    if kinds:
        return f"attention {', '.join(kinds)} on the membrane"
    if attrs.get("output", "spikes") != "spikes":
        return f"analog output {attrs['output']}"
    kind, constants = attrs["kind"], attrs["constants"]
    if kind == "lif_ma":
        return "neuron lif_ma, whose membrane after a spike is decay x threshold"
    if kind == "lif_ma_paper" and constants["v_reset"] != 0:
        return "neuron lif_ma_paper with a reset that does not decay"
    if kind.endswith("_soft") or kind == "lif_subtract":
        return f"neuron {kind}, whose spike takes the threshold off the membrane"
    return ""


def _neuron(neuron: Any, shape: tuple[int, ...], dt_s: float) -> Any:
    import nir

    def all_of(value: float) -> NDArray[np.float64]:
        return np.full(shape, value, np.float64)

    threshold = float(neuron["threshold"])
    if not neuron.strict:
        threshold = float(np.nextafter(np.float32(threshold), np.float32(-np.inf)))
    if neuron.kind == "if":
        # IF has no time constant: dv = r I dt
        return nir.IF(all_of(1 / dt_s), all_of(threshold), all_of(neuron["v_reset"]))
    if neuron.kind in ("lif_sj", "lif_sj_full"):
        rate, reset = float(neuron["rate"]), float(neuron["v_reset"])
        r = 1.0 if neuron.kind == "lif_sj" else 1 / rate
    else:  # h = decay u without a spike, and 0 after one
        rate, reset = 1 - float(neuron["decay"]), 0.0
        r = 1 / rate
    return nir.LIF(all_of(dt_s / rate), all_of(r), all_of(reset), all_of(threshold), all_of(reset))


def _plain(graph: Graph, node: Node, sources: list[str], add: Any) -> str:
    import nir

    attrs, before = node.attrs, graph.shapes[node.inputs[0]]

    def tensor(role: str) -> NDArray[np.float32]:
        return graph.tensor(node, role)

    if node.op == "conv":
        k = attrs["stride"], attrs["padding"], attrs["groups"]
        conv = nir.Conv2d(before[1:], tensor("weight"), k[0], k[1], 1, k[2], tensor("bias"))
        return add(node.name, conv, *sources)
    if node.op == "linear":
        flat = _flattened(node, before, sources, add)
        return add(node.name, nir.Affine(tensor("weight"), tensor("bias")), *flat)
    if node.op == "affine":
        if len(before) == 1:
            return add(node.name, nir.Affine(np.diag(tensor("scale")), tensor("shift")), *sources)
        kernel = tensor("scale").reshape(-1, 1, 1, 1)
        return add(node.name, nir.Conv2d(before[1:], kernel, 1, 0, 1, before[0], tensor("shift")), *sources)
    if node.op == "vote":
        size, classes = attrs["size"], graph.shapes[node.name][0]
        weight = np.kron(np.eye(classes, dtype=np.float32), np.full((1, size), 1 / size, np.float32))
        return add(node.name, nir.Affine(weight, np.zeros(classes, np.float32)), *sources)
    if node.op == "join":  # edges that meet are summed
        return add(node.name, nir.Scale(np.ones(before)), *sources)
    size = before[1] if attrs["kind"] == "global" else attrs["size"]
    stride = size if attrs["kind"] == "global" else attrs["stride"]
    pool = nir.AvgPool2d(np.array([size] * 2), np.array([stride] * 2), np.array([0, 0]))
    name = add(node.name, pool, *sources)
    if attrs["kind"] == "global":
        return _flattened(node, (before[0], 1, 1), [name], add)[0]
    return name


def _flattened(node: Node, shape: tuple[int, ...], sources: list[str], add: Any) -> list[str]:
    import nir

    if len(shape) == 1:
        return sources
    return [add(f"{node.name}_flat", nir.Flatten({"input": np.array(shape)}, 0, -1), *sources)]
