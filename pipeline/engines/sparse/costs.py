"""What operations cost on this machine: numbers by which the cheaper path of a layer, or engine, is chosen.

The defaults are those of docs/sparse.md's machine; `spikeline bench calibrate` measures this one's and keeps
them in the user's cache. A choice follows from these numbers and the spikes alone, never from a clock while
it runs: the same spikes on the same machine take the same paths.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np

from spikeline.models.graph import Graph, gates_of
from spikeline.pipeline.engines.state import EngineError


class Costs(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Nanoseconds, but for step_us.

    add      a spike's weight added to what it reaches
    mac      a multiply-accumulate of a layer that is computed densely instead
    move     a value of that layer, in or out, laid out densely and taken back
    neuron   a membrane read, thresholded and written
    sweep    a membrane with attention, or a value that temporal attention looks at
    gate     a value that other attention looks at and multiplies, in NumPy
    step_us  a step, whatever it does
    onnx_mac, onnx_neuron   the same of the whole network in ONNX Runtime
    """

    add: float = 0.026
    mac: float = 0.011
    move: float = 0.54
    neuron: float = 0.21
    sweep: float = 0.5
    gate: float = 20.0
    step_us: float = 23.0
    onnx_mac: float = 0.011
    onnx_neuron: float = 6.3
    machine: str = ""

    def __post_init__(self) -> None:
        for name in ("add", "mac", "move", "neuron", "sweep", "gate", "step_us", "onnx_mac", "onnx_neuron"):
            if not 0 < getattr(self, name) < 1e6:
                raise ValueError(f"{name} must be positive and below 1e6, found {getattr(self, name)}")

    def dense_ns(self, macs: float, values: float) -> float:
        """What a layer costs computed densely, with so many values in and out."""
        return macs * self.mac + values * self.move

    def add_ns(self, item: int) -> float:
        """What adding a weight of so many bytes costs."""
        return self.add * max(0.5, item / 4)  # to widen a byte costs what reading another would


def costs_file() -> Path:
    """Where this machine's numbers are kept."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "spikeline" / "costs.json"


def load_costs(path: Path | None = None) -> Costs:
    """This machine's numbers, or the defaults where none were measured."""
    path = path or costs_file()
    try:
        data = path.read_bytes()
    except OSError:
        return Costs()
    try:
        return msgspec.json.decode(data, type=Costs)
    except (msgspec.DecodeError, ValueError) as error:
        raise EngineError(f"{path}: {error}; wanted what `spikeline bench calibrate` writes") from error


def save_costs(costs: Costs, path: Path | None = None) -> Path:
    path = path or costs_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(costs)) + b"\n")
    return path


def predicted_us(graph: Graph, spikes: Mapping[str, float], costs: Costs) -> tuple[float, float]:
    """What a step costs here and in ONNX Runtime, at so many spikes of each layer.

    A layer behind a max pool or a join is taken to get every spike in front of it: an upper bound.
    """
    from spikeline.pipeline.engines.sparse.attention import attended  # which stand on this file
    from spikeline.pipeline.engines.sparse.time_gate import times_only

    own = onnx = 0.0
    for node in graph.nodes:
        size = float(np.prod(graph.shapes[node.name]))
        if node.op in ("conv", "linear"):
            source, macs = node.inputs[0], graph.dense_macs[node.name]
            onnx += macs * costs.onnx_mac
            if source in graph.spiking:
                share = min(1.0, _spikes_into(graph, source, spikes) / float(np.prod(graph.shapes[source])))
                own += min(share * macs * costs.add, macs * costs.mac + 2 * size * costs.move)
            elif source != graph.nodes[0].name:  # events are few, and no more than a frame
                own += macs * costs.mac
        elif node.op == "neuron":
            own, onnx = own + size * costs.neuron, onnx + size * costs.onnx_neuron
        elif node.op in ("pool", "join") and node.name not in graph.spiking:
            own += size * costs.neuron
        gates = len(gates_of(node))
        swept = attended(node, graph) if node.op == "neuron" else gates and times_only(node)
        own += size * costs.sweep * (gates > 0) if swept else gates * size * costs.gate
        onnx += gates * size * costs.onnx_neuron
    return own / 1e3 + costs.step_us, onnx / 1e3


def _spikes_into(graph: Graph, name: str, spikes: Mapping[str, float]) -> float:
    if name in spikes:
        return spikes[name]
    node = next(node for node in graph.nodes if node.name == name)
    return sum(_spikes_into(graph, source, spikes) for source in node.inputs)
