"""What a step did: spikes per layer, synaptic operations (AC), multiply-accumulates (MAC).

    spikes   neurons that fired; of analog neurons (LIAF), outputs that are not zero
    synops   sum over layers fed by spikes of nonzero inputs x weight taps that land inside the output
             (a spike of SEW's ADD counts once, whatever its value)
    mac      the dense multiply-accumulates of layers fed by real values (frames, averages, gated or analog
             outputs), of normalisations that are not folded into weights, and of attention gates
             (gate_macs.py), for each step that is run

All are exact whole numbers: engines return, per spiking node, how many values at each position are not
zero, and the taps are counted here. A window's activity is that of its T steps.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeline.models.graph import Graph, Node, gates_of
from spikeline.pipeline.engines.gate_macs import gate_macs


@dataclass(frozen=True, slots=True)
class Activity:
    """Of each stream: spikes (B, layers), synaptic operations (B, Meter.fed), mac (B,), all int64.

    clipped (B,): membranes that a form of whole numbers had to keep within its range; 0 in float32
    """

    spikes: NDArray[np.int64]
    layer_synops: NDArray[np.int64]
    mac: NDArray[np.int64]
    clipped: NDArray[np.int64]

    @property
    def synops(self) -> NDArray[np.int64]:
        """Of all layers, (B,)."""
        return self.layer_synops.sum(1)

    def put(self, stream: int, other: "Activity") -> None:
        """Enter `other`, of this stream alone, in place."""
        self.spikes[stream] = other.spikes[0]
        self.layer_synops[stream] = other.layer_synops[0]
        self.mac[stream] = other.mac[0]
        self.clipped[stream] = other.clipped[0]


class Meter:
    """Turns nonzero counts of a graph's spiking nodes into activity.

    fed       the convolutions and linear layers that spikes feed, in graph order
    counted   the nodes whose counts `measure` wants: every neuron, and what else feeds weights
    taps      of each layer of weights fed by spikes: its source, and the weights met at each position of it
    mac       of one run: a step, or of a network of form window its T steps
    """

    def __init__(self, graph: Graph) -> None:
        self.layers = graph.layers
        self.fed: list[str] = []
        self.taps: list[tuple[str, NDArray[np.int64]]] = []
        self.layer_mac: dict[str, int] = {}  # of a step, of each layer that real values feed
        once = each = 0
        for node in graph.nodes:
            source = node.inputs[0] if node.inputs else ""
            if node.op in ("conv", "linear") and source in graph.spiking:
                self.fed.append(node.name)
                self.taps.append((source, _taps(graph, node)))
            elif node.op in ("conv", "linear"):
                self.layer_mac[node.name] = graph.dense_macs[node.name]
                each += graph.dense_macs[node.name]
            elif node.op in ("affine", "layernorm"):
                each += int(np.prod(graph.shapes[node.name])) * (1 if node.op == "affine" else 2)
            for prefix, gate in gates_of(node):
                a_window, a_step = gate_macs(graph, node.name, prefix, gate)
                once, each = once + a_window, each + a_step
        self._steps = graph.steps if graph.document.form == "window" else 1
        self.mac = once + each * self._steps
        self.counted = list(dict.fromkeys([*self.layers, *(source for source, _ in self.taps)]))

    @property
    def mac_per_step(self) -> int:
        return round(self.mac / self._steps)

    def measure(self, counts: dict[str, NDArray[Any]], run: NDArray[np.bool_]) -> Activity:
        """counts: node -> nonzero values over channels, (B, H, W) or for vectors (B,)."""
        B = len(run)
        spikes = np.stack([counts[name].reshape(B, -1).sum(1, dtype=np.float64) for name in self.layers], 1)
        synops = np.zeros((B, len(self.fed)), np.float64)
        for i, (source, taps) in enumerate(self.taps):
            synops[:, i] = counts[source].reshape(B, -1).astype(np.float64) @ taps.ravel().astype(np.float64)
        counted = spikes.astype(np.int64), synops.astype(np.int64)
        return Activity(*counted, run * np.int64(self.mac), np.zeros(B, np.int64))

    def measure_window(self, counts: dict[str, NDArray[np.float32]]) -> Activity:
        """The same of one stream's T steps together, counts (T, ...)."""
        summed = {name: count.sum(0, dtype=np.float64, keepdims=True) for name, count in counts.items()}
        return self.measure(summed, np.ones(1, bool))

    def nothing(self, batch: int) -> Activity:
        """The activity of an idle step."""
        return Activity(
            np.zeros((batch, len(self.layers)), np.int64),
            np.zeros((batch, len(self.fed)), np.int64),
            np.zeros(batch, np.int64),
            np.zeros(batch, np.int64),
        )


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
