"""Natural pruning (SynA-ResNet): shortcuts that never fire, taken out of a lowered graph.

A shortcut is a layer of neurons that only feeds a join, as its second input. Where it is silent, s = 0, the
join m + s - m s (or) and m + s (add) are m to the bit: without the shortcut, and all that only feeds it,
the network's outputs are the same as long as it would have stayed silent. and, m s, and iand, (1 - m) s,
would be 0: nothing can be taken out there.
"""

from collections.abc import Iterable

import msgspec

from spikeline.models.graph import Graph, GraphError, Node
from spikeline.models.operations import tensor_roles

PRUNABLE = ("or", "add")


def shortcuts(graph: Graph) -> dict[str, Node]:
    """Layer of neurons -> the join of spikes that it feeds as second input, and nothing else."""
    consumers: dict[str, list[Node]] = {}
    for node in graph.nodes:
        for name in node.inputs:
            consumers.setdefault(name, []).append(node)
    found = {}
    for layer in graph.layers:
        fed = consumers.get(layer, [])
        if len(fed) == 1 and fed[0].op == "join" and fed[0].name in graph.spiking:
            (join,) = fed
            if join.inputs[1] == layer:
                found[layer] = join
    return found


def prune(graph: Graph, silent: Iterable[str]) -> Graph:
    """The graph without these shortcuts and what only feeds them; their joins' first inputs take their
    place. Raises GraphError for a layer that is no shortcut, or whose join would be 0 without it."""
    known = shortcuts(graph)
    instead: dict[str, str] = {}
    for layer in silent:
        if layer not in known:
            raise GraphError(f"layer {layer}: is no shortcut; found {', '.join(known) or 'none'}")
        join = known[layer]
        if (kind := join.attrs["kind"]) not in PRUNABLE:
            raise GraphError(
                f"layer {layer}: join {join.name} is {kind}, 0 without it; wanted {', '.join(PRUNABLE)}"
            )
        instead[join.name] = join.inputs[0]

    def source(name: str) -> str:
        while name in instead:
            name = instead[name]
        return name

    nodes = {
        node.name: msgspec.structs.replace(node, inputs=[source(name) for name in node.inputs])
        for node in graph.nodes
    }
    kept = _needed(nodes, [graph.nodes[0].name, graph.nodes[-1].name])
    document = msgspec.structs.replace(
        graph.document, nodes=[node for node in nodes.values() if node.name in kept]
    )
    all_nodes = [*document.nodes, *([document.frame_gate] if document.frame_gate else [])]
    wanted = {f"{node.name}.{role}" for node in all_nodes for role in tensor_roles(node)}
    return Graph(document, {name: graph.tensors[name] for name in graph.tensors if name in wanted})


def _needed(nodes: dict[str, Node], ends: list[str]) -> set[str]:
    """These nodes and all that feeds them."""
    needed: set[str] = set()
    waiting = list(ends)
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting += nodes[name].inputs
    return needed
