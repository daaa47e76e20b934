"""What the papers count, by the formulas they print: neurons, operations, spikes, energy.

Functions over a lowered graph and numbers measured elsewhere; nothing here runs a network. They are the
papers' arithmetic on 45 nm figures and no measurement: what an engine executed, and the joules that a
machine drew, are counted where they arise. Sizes are a step's unless a name says `_per_sample` (T steps).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spikeline.models.graph import Graph, Node, gates_of

# picojoules of a 32-bit operation in 45 nm (Horowitz, ISSCC 2014)
MULTIPLY_PJ, ADD_PJ = 3.7, 0.9
MAC_PJ, AC_PJ = MULTIPLY_PJ + ADD_PJ, ADD_PJ


@dataclass(frozen=True, slots=True)
class Cost:
    """Multiply-accumulates and accumulates of a sample, and their energy, E = 4.6 pJ MAC + 0.9 pJ AC."""

    mac: float
    ac: float

    @property
    def picojoules(self) -> float:
        return MAC_PJ * self.mac + AC_PJ * self.ac


def parameters(network: Any) -> int:
    """Learned numbers of a torch network."""
    return sum(p.numel() for p in network.parameters())


def neurons(graph: Graph) -> dict[str, int]:
    """Layer -> number of neurons."""
    return {name: math.prod(graph.shapes[name]) for name in graph.layers}


# Activity (MA-SNN): spikes of the whole network over its neurons.


def nsar(spikes: int, total_neurons: int) -> float:
    """Network spiking activity rate of a step."""
    return spikes / total_neurons


def nasar(spikes: Sequence[int], total_neurons: int, steps: int) -> float:
    """Network average spiking activity rate, the mean NSAR over `steps`; spikes of each step that ran.

    With `steps` = T a skipped step counts as 0; with `steps` = len(spikes) only those that ran count.
    """
    return sum(spikes) / (total_neurons * steps)


def spikes_per_sample(average_rate: float, total_neurons: int, steps: int) -> float:
    """Spikes from a NASAR, as MA-SNN's Table 1 has them."""
    return average_rate * total_neurons * steps


# Energy


def masnn_cost(graph: Graph, rates: Mapping[str, float]) -> Cost:
    """MA-SNN's: the first convolution multiplies at every step, every other layer accumulates at its input's
    firing rate. So does whatever else real values feed, which in MS-ResNet is every shortcut.

    rates: mean value of each node that feeds a layer, of the neurons' layer where an average lies between.
    """
    return _cost(graph, rates, first=graph.steps)


def gac_cost(graph: Graph, rates: Mapping[str, float]) -> Cost:
    """GAC's: the same, but that the image goes through the first convolution once. It leaves out the gate."""
    return _cost(graph, rates, first=1)


def _cost(graph: Graph, rates: Mapping[str, float], *, first: int) -> Cost:
    nodes = {node.name: node for node in graph.nodes}
    mac = ac = 0.0
    for i, (name, macs) in enumerate(graph.dense_macs.items()):
        source = _averaged(nodes, nodes[name].inputs[0])
        if i == 0:
            mac += macs * first
        elif source not in graph.spiking:
            mac += macs * graph.steps
        elif source in rates:
            ac += macs * rates[source] * graph.steps
        else:
            raise ValueError(f"rates: found {', '.join(rates) or 'none'}, wanted that of {source} too")
    return Cost(mac, ac)


def _averaged(nodes: Mapping[str, Node], name: str) -> str:
    """What an average is taken of: it has the same mean."""
    while nodes[name].op == "pool" and nodes[name].attrs["kind"] != "max":
        name = nodes[name].inputs[0]
    return name


@dataclass(frozen=True, slots=True)
class GateCost:
    """Multiply-accumulates of a gate over a sample: making its weights, and multiplying by them."""

    generate: int
    multiply: int


def attention_macs(graph: Graph) -> dict[str, GateCost]:
    """Gate -> cost. MA-SNN's Table 5 prints what making the weights costs (CA 276,480, SimAM 25,559,043),
    with the shared MLP counted once for averages and maxima."""
    return {
        f"{node.name}.{prefix}".rstrip("."): _gate_cost(graph, node, prefix, attrs)
        for node in graph.nodes
        for prefix, attrs in gates_of(node)
    }


def _gate_cost(graph: Graph, node: Node, prefix: str, attrs: Mapping[str, Any]) -> GateCost:
    shape = graph.shapes[node.name]
    kind = attrs.get("score", attrs["kind"])
    times = 1 if attrs["form"] in ("window", "static") else graph.steps
    multiply = math.prod(shape) * graph.steps

    def size(*roles: str) -> int:
        return sum(graph.tensor(node, prefix + role).size for role in roles)

    if kind in ("ta", "ca"):
        return GateCost(size("w0", "w1") * times, multiply)
    if kind == "sa":
        return GateCost(size("weight") * math.prod(shape[1:]) * times, multiply)
    if kind == "eca":
        return GateCost(size("weight") * shape[0] * times, multiply)
    if kind == "simam":  # four operations a value and a step, and one for H W - 1
        return GateCost(4 * multiply + 1, multiply)
    if kind == "gau":
        steps = 1 if attrs["form"] == "static" else graph.steps
        return GateCost(
            size("w0", "w1") * times + size("sca0", "sca1") * math.prod(shape[1:]) * steps, multiply
        )
    raise ValueError(f"gate {kind} of {node.name}: its paper prints no count of operations")


def with_attention(base: Cost, more_mac: float, fewer_ac: float) -> Cost:
    """MA-SNN's E_att = E_base + E_MAC dMAC - E_AC dAC: attention multiplies more and fires less."""
    return Cost(base.mac + more_mac, base.ac - fewer_ac)


def energy_gain(base: Cost, attended: Cost) -> float:
    """MA-SNN's r_EE, the energy of the network without attention over that with it."""
    return base.picojoules / attended.picojoules
