"""The lowered form of a network: a flat list of plain operations with named state.

Written once from a torch module (models/lowering.py), read by every engine, by the ONNX builder and
by the package loader. Nothing here imports torch. A graph is checked whole when it is made: an
operation that is not in the closed list of models/operations.py, a tensor missing, left over or of the
wrong shape is a `GraphError` that names it.

Axes: a step's input is a count frame (B, 2, H, W); shapes below leave out the batch axis B.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray

from spikeline.models.gates import gate_states, rest
from spikeline.models.neurons import Neuron, neuron
from spikeline.models.operations import (
    GraphError,
    Node,
    check_choice,
    check_node,
    gates_of,
    join,
    tensor_roles,
)
from spikeline.models.shapes import Shape, node_shape

__all__ = ["Graph", "GraphDocument", "GraphError", "Node", "Shape", "State", "gates_of", "join"]

if TYPE_CHECKING:
    from spikeline.models.reference import FrameGateRun

FORMS = ("step", "window")
HORIZONS = ("endless", "tumbling")
FRAME_GATE = "frame_gate"


@dataclass(frozen=True, slots=True)
class State:
    """An array carried from step to step: float32, zero at the start, shape without the batch axis.

    idle: what a skipped step makes of it, (B, *shape) -> (B, *shape)
    """

    shape: Shape
    idle: Callable[[NDArray[np.float32]], NDArray[np.float32]]


class GraphDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The graph without its tensors, as it stands in a package's manifest.

    form        step: one frame at a time; window: run layer by layer once `steps` frames are there
    horizon     endless: nothing restarts; tumbling: everything starts anew after `steps` steps
    steps       T
    frame_gate  temporal attention on the frames themselves, which decides whether a frame is run at all
    """

    form: str
    horizon: str
    steps: int
    input_shape: tuple[int, int, int]
    nodes: list[Node]
    frame_gate: Node | None = None


@dataclass(frozen=True)
class Graph:
    """A network. `steps` is T, the steps that make one sample; float32 tensors by name."""

    document: GraphDocument
    tensors: Mapping[str, NDArray[np.float32]]

    def __post_init__(self) -> None:
        doc = self.document
        check_choice("form", doc.form, FORMS)
        check_choice("horizon", doc.horizon, HORIZONS)
        if doc.steps < 1:
            raise GraphError(f"steps must be at least 1, found {doc.steps}")
        if not doc.nodes or doc.nodes[0].op != "input" or doc.nodes[-1].op != "readout":
            raise GraphError("a graph starts with an input node and ends with a readout node")
        for name, tensor in self.tensors.items():
            if tensor.dtype != np.float32:
                raise GraphError(f"tensor {name}: found {tensor.dtype}, wanted float32")
            if not np.isfinite(tensor).all():
                raise GraphError(f"tensor {name}: found a value that is not finite")
        used: set[str] = set()
        for node in self._all_nodes:
            check_node(node)
            used.update(f"{node.name}.{role}" for role in tensor_roles(node))
        if extra := sorted(set(self.tensors) - used):
            raise GraphError(f"tensor {extra[0]}: no node uses it")
        if missing := sorted(used - set(self.tensors)):
            raise GraphError(f"tensor {missing[0]}: missing")
        _ = self.shapes
        self._check_forms()

    def _check_forms(self) -> None:
        """A gate over a window needs a network that waits for it; a prefix starts anew with the window."""
        doc = self.document
        forms = [(node, attrs["form"]) for node in self._all_nodes for _, attrs in gates_of(node)]
        for node, form in forms:
            windowed = doc.form == "window" and node is not doc.frame_gate
            if form == "window" and not windowed:
                raise GraphError(f"node {node.name}: a gate over the window cannot run one step at a time")
            if form not in ("window", "per-step") and windowed:
                raise GraphError(f"node {node.name}: gate of form {form} in a network of form window")
            if form == "prefix" and doc.horizon != "tumbling":
                raise GraphError(f"node {node.name}: gate of form prefix; wanted the horizon tumbling")
        if doc.form == "window" and doc.horizon != "tumbling":
            raise GraphError(f"horizon {doc.horizon}: a network of form window is tumbling")
        gate = doc.frame_gate
        if gate is not None and (gate.name != FRAME_GATE or gate.attrs.get("kind") != "ta"):
            raise GraphError(
                f"frame_gate: found {gate.name}, {gate.attrs.get('kind')}; wanted {FRAME_GATE}, ta"
            )

    @property
    def _all_nodes(self) -> list[Node]:
        gate = self.document.frame_gate
        return self.nodes if gate is None else [*self.nodes, gate]

    @property
    def nodes(self) -> list[Node]:
        return self.document.nodes

    @property
    def steps(self) -> int:
        return self.document.steps

    @property
    def tumbling(self) -> bool:
        return self.document.horizon == "tumbling"

    def tensor(self, node: Node, role: str) -> NDArray[np.float32]:
        return self.tensors[f"{node.name}.{role}"]

    def with_horizon(self, horizon: str) -> "Graph":
        return Graph(msgspec.structs.replace(self.document, horizon=horizon), self.tensors)

    def with_input(self, *, gain: float) -> "Graph":
        """The same network with its counts scaled by a further `gain` (another sensor's cell area)."""
        first, *rest = self.nodes
        scaled = msgspec.structs.replace(
            first, attrs=first.attrs | {"gain": float(first.attrs["gain"]) * gain}
        )
        return Graph(msgspec.structs.replace(self.document, nodes=[scaled, *rest]), self.tensors)

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """Shape of every node's output at one step, without the batch axis."""
        doc = self.document
        shapes: dict[str, Shape] = {}
        for node in self._all_nodes:
            for name in node.inputs:
                if name not in shapes:
                    raise GraphError(f"node {node.name}: input {name!r} is not an earlier node")
            if node.name in shapes:
                raise GraphError(f"node {node.name}: the name stands twice")
            if node.op == "input":
                shapes[node.name] = doc.input_shape
            else:
                inputs = [shapes[name] for name in node.inputs]
                shapes[node.name] = node_shape(node, inputs, self.tensors, doc.steps)
        return shapes

    @cached_property
    def neurons(self) -> list[tuple[Node, Neuron]]:
        """The layers of spiking neurons in graph order: the order of every list of spikes."""
        return [
            (node, neuron(node.attrs["kind"], **node.attrs["constants"]))
            for node in self.nodes
            if node.op == "neuron"
        ]

    @property
    def layers(self) -> list[str]:
        return [node.name for node, _ in self.neurons]

    @property
    def classes(self) -> int:
        return self.shapes[self.nodes[-1].name][0]

    @cached_property
    def states(self) -> dict[str, State]:
        """What a step needs of the one before: membranes `<node>.h`, statistics of gates.

        A network of form window keeps nothing between windows, and has none.
        """
        if self.document.form == "window":
            return {}
        neurons = {node.name: kind for node, kind in self.neurons}
        states: dict[str, State] = {}
        for node in self.nodes:
            if node.op == "neuron":
                states[f"{node.name}.h"] = State(
                    self.shapes[node.name], self._membrane_idle(node, neurons[node.name])
                )
            if node.op == "gate":
                states |= self._gate_states(node)
        return states

    def _membrane_idle(
        self, node: Node, neuron: Neuron
    ) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
        if node.attrs.get("idle", "leak") == "leak":
            return neuron.idle
        from spikeline.models.reference import membrane_idle  # which needs this module

        return membrane_idle(self, node, neuron)

    @cached_property
    def frame_gate_states(self) -> dict[str, State]:
        """What the frame gate carries from frame to frame."""
        gate = self.document.frame_gate
        return {} if gate is None else self._gate_states(gate)

    def frame_gate_run(self) -> "FrameGateRun":
        """The frame gate over one stream, in NumPy; call it with each frame."""
        from spikeline.models.reference import FrameGateRun  # which needs this module

        return FrameGateRun(self)

    def _gate_states(self, node: Node) -> dict[str, State]:
        tensors = {role: self.tensors[f"{node.name}.{role}"] for role in tensor_roles(node)}
        shapes = gate_states(node.attrs, self.shapes[node.inputs[0]], tensors, self.steps)
        return {
            f"{node.name}.{role}": State(shape, rest(node.attrs, role, tensors))
            for role, shape in shapes.items()
        }

    @cached_property
    def dense_macs(self) -> dict[str, int]:
        """Convolution or linear layer -> multiply-accumulates of a step at full input, taps on padding
        included."""
        return {
            node.name: math.prod(self.tensor(node, "weight").shape[1:]) * math.prod(self.shapes[node.name])
            for node in self.nodes
            if node.op in ("conv", "linear")
        }

    @cached_property
    def spiking(self) -> set[str]:
        """Names of the nodes whose output is spikes (small whole numbers), not real values."""
        names: set[str] = set()
        for node in self.nodes:
            from_spikes = bool(node.inputs) and all(name in names for name in node.inputs)
            if (
                (node.op == "neuron" and node.attrs.get("output", "spikes") == "spikes")
                or (node.op == "pool" and node.attrs["kind"] == "max" and from_spikes)
                or (node.op == "join" and node.attrs["kind"] != "membrane" and from_spikes)
            ):
                names.add(node.name)
        return names
