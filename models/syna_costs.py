"""What SynA-ResNet's Tables III and IV count, a sample of T steps at a time, by the paper's own script.

    MAC    C H W of every batch norm, and (Cin k k - 1) Hout Wout Cout of convolutions of what is no spikes
    AC     the other convolutions, times the firing rate of what feeds them; a max pool's Hout Wout C k k
    E      4.6 pJ MAC + 0.9 pJ AC + the linear layer, Cin Cout multiplications and Cin Cin additions (sic)

The printed MAC and AC columns leave the linear layer out. Firing rates are spikes per neuron and step. Graphs
are those of models/syna.py, also without the side paths that never fire (models/pruning.py); a pruned one has
fewer convolutions and batch norms to count.

`printed` repeats three slips of the tables. For Gesture the last block's second main convolution is counted
at 8 x 8 in place of 4 x 4 (MAC 840.43 M; by its true size 839.65 M). A side path's convolution has the rate
of main2, and not of the block's input. The vanilla row counts as MAC what its neurons feed with spikes: the
network's second convolution and every one of stride 2 (4,055.89 M on Gesture).
"""

import math
from collections.abc import Mapping

from spikeline.models.graph import Graph, Node
from spikeline.models.paper_costs import AC_PJ, MULTIPLY_PJ, Cost

GESTURE = (8, 8)  # its second block, whose size one layer of the third is counted at
Rates = Mapping[str, float]  # layer of neurons, or join of two -> spikes per neuron and step


def syna_mac(graph: Graph, *, printed: bool = False) -> int:
    """The MAC column (SynA-ResNet Tables III and IV)."""
    convs = _convs(graph)
    dense = _multiplied(graph, printed)
    each = (
        _outputs(graph, conv, printed) + (_operations(graph, conv, printed) if conv.name in dense else 0)
        for conv in convs
    )
    return graph.steps * sum(each)


def syna_ac(graph: Graph, rates: Rates, *, printed: bool = False) -> float:
    """The AC column (SynA-ResNet Tables III and IV)."""
    dense = _multiplied(graph, printed)
    total = 0.0
    for node in graph.nodes:
        if node.op == "conv" and node.name not in dense:
            total += _operations(graph, node, printed) * rates[_rate_of(graph, node, printed)]
        elif node.op == "pool" and node.attrs["kind"] == "max":
            total += math.prod(graph.shapes[node.name]) * node.attrs["size"] ** 2
    return graph.steps * total


def syna_linear_picojoules(graph: Graph) -> float:
    """Of the linear layer: Cin Cout multiplications and, as the script has it, Cin Cin additions a step."""
    (linear,) = (node for node in graph.nodes if node.op == "linear")
    outputs, inputs = graph.tensor(linear, "weight").shape
    return graph.steps * (MULTIPLY_PJ * inputs * outputs + AC_PJ * inputs * inputs)


def syna_energy_mj(graph: Graph, cost: Cost) -> float:
    """Millijoules of a sample whose MAC and AC columns are `cost`."""
    return (cost.picojoules + syna_linear_picojoules(graph)) * 1e-9


def syna_spikes(graph: Graph, rates: Rates) -> float:
    """Spikes of a sample: rate x neurons x T over all layers of neurons."""
    return graph.steps * sum(rates[name] * math.prod(graph.shapes[name]) for name in graph.layers)


def _convs(graph: Graph) -> list[Node]:
    return [node for node in graph.nodes if node.op == "conv"]


def _multiplied(graph: Graph, printed: bool) -> set[str]:
    """Convolutions whose input is no spikes: values, or the sums 0, 1 and 2 of an ADD."""
    nodes = {node.name: node for node in graph.nodes}
    convs = _convs(graph)
    names = set()
    for conv in convs:
        source = nodes[conv.inputs[0]]
        sums = source.op == "join" and source.attrs["kind"] == "add"
        if sums or source.name not in graph.spiking:
            names.add(conv.name)
    if printed and names == {convs[0].name} and any(_is_vanilla(node) for node in graph.nodes):
        names |= {convs[1].name} | {conv.name for conv in convs if conv.attrs["stride"] == 2}
    return names


def _is_vanilla(node: Node) -> bool:
    return node.op == "join" and node.attrs["kind"] == "membrane"


def _outputs(graph: Graph, conv: Node, printed: bool) -> int:
    """Values of the convolution's output, which its batch norm multiplies."""
    shape, before = graph.shapes[conv.name], graph.shapes.get("block2_main2_current", ())
    if printed and conv.name == "block3_main2_current" and before[1:] == GESTURE:
        shape = (shape[0], *GESTURE)
    return math.prod(shape)


def _operations(graph: Graph, conv: Node, printed: bool) -> int:
    taps = math.prod(graph.tensor(conv, "weight").shape[1:])
    return (taps - 1) * _outputs(graph, conv, printed)


def _rate_of(graph: Graph, conv: Node, printed: bool) -> str:
    """The layer or join whose firing rate a convolution's operations are multiplied by."""
    if printed and conv.name.endswith("_side_current"):
        return f"{conv.name.removesuffix('_side_current')}_main2"
    nodes = {node.name: node for node in graph.nodes}
    source = nodes[conv.inputs[0]]
    while source.op == "pool":  # a max pool's spikes count at the rate of the neurons before it
        source = nodes[source.inputs[0]]
    return source.name
