"""What a step did: spikes per layer, synaptic operations (AC), multiply-accumulates (MAC).

    synops   sum over layers fed by spikes of nonzero inputs x weight taps that land inside the output
    mac      the dense multiply-accumulates of layers fed by real values, and of attention gates
             (making the weights and multiplying by them), for each step that is run

Both are exact whole numbers: engines return, per spiking node, how many values at each position are
not zero, and the taps are counted here.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spikeline.models.graph import Graph, Node, Shape, gates_of


@dataclass(frozen=True, slots=True)
class Activity:
    """spikes (B, layers) int64 in graph order, synops (B,) int64, mac (B,) int64, of one step."""

    spikes: NDArray[np.int64]
    synops: NDArray[np.int64]
    mac: NDArray[np.int64]


class Meter:
    """Turns nonzero counts of a graph's spiking nodes into activity.

    counted: the nodes whose counts `measure` wants: every neuron, and what else feeds weights.
    """

    def __init__(self, graph: Graph) -> None:
        self.layers = graph.layers
        self._taps: list[tuple[str, NDArray[np.int64]]] = []
        mac = 0
        for node in graph.nodes:
            source = node.inputs[0] if node.inputs else ""
            if node.op in ("conv", "linear"):
                if source in graph.spiking:
                    self._taps.append((source, _taps(graph, node)))
                else:
                    mac += _dense(graph, node)
            mac += sum(_gate_mac(graph, node, gate) for gate in gates_of(node))
        self.mac = mac
        self.counted = list(dict.fromkeys([*self.layers, *(source for source, _ in self._taps)]))

    def measure(self, counts: dict[str, NDArray[np.float32]], run: NDArray[np.bool_]) -> Activity:
        """counts: node -> nonzero values over channels, (B, H, W) or for vectors (B,)."""
        B = len(run)
        spikes = np.stack([counts[name].reshape(B, -1).sum(1, dtype=np.float64) for name in self.layers], 1)
        synops = np.zeros(B, np.float64)
        for source, taps in self._taps:
            synops += counts[source].reshape(B, -1).astype(np.float64) @ taps.ravel().astype(np.float64)
        return Activity(spikes.astype(np.int64), synops.astype(np.int64), run * np.int64(self.mac))

    def nothing(self, batch: int) -> Activity:
        """The activity of an idle step."""
        return Activity(
            np.zeros((batch, len(self.layers)), np.int64),
            np.zeros(batch, np.int64),
            np.zeros(batch, np.int64),
        )


def dense_macs(graph: Graph) -> dict[str, int]:
    """Multiply-accumulates of one dense step per conv and linear node, whatever feeds it."""
    return {node.name: _dense(graph, node) for node in graph.nodes if node.op in ("conv", "linear")}


def _dense(graph: Graph, node: Node) -> int:
    weights = int(graph.tensor(node, "weight").size)
    return weights * (int(np.prod(graph.shapes[node.name][1:])) if node.op == "conv" else 1)


def _taps(graph: Graph, node: Node) -> NDArray[np.int64]:
    """Weights that a nonzero input at each position meets, of those inside the output."""
    shape = graph.shapes[node.inputs[0]]
    if node.op == "linear":
        return np.full(shape[1:] or (1,), len(graph.tensor(node, "weight")), np.int64)
    out, _, k, _ = graph.tensor(node, "weight").shape
    stride, padding = node.attrs["stride"], node.attrs["padding"]
    _, H, W = shape
    _, Ho, Wo = graph.shapes[node.name]
    rows, columns = _hits(H, Ho, k, stride, padding), _hits(W, Wo, k, stride, padding)
    return rows[:, None] * columns[None, :] * (out // node.attrs["groups"])


def _hits(n: int, outputs: int, k: int, stride: int, padding: int) -> NDArray[np.int64]:
    """How many output positions along one axis each input position takes part in."""
    hits = np.zeros(n + 2 * padding, np.int64)
    for i in range(outputs):
        hits[i * stride : i * stride + k] += 1
    return hits[padding : padding + n]


def _gate_mac(graph: Graph, node: Node, gate: str) -> int:
    """Multiply-accumulates of a gate: making its weights, then multiplying (MA-SNN, energy section)."""
    shape: Shape = graph.shapes[node.name]
    values = int(np.prod(shape))
    if gate == "ca":
        return int(graph.tensor(node, "ca.w0").size + graph.tensor(node, "ca.w1").size) + values
    return int(graph.tensor(node, "sa.weight").size) * shape[1] * shape[2] + values
