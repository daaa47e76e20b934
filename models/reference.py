"""The lowered graph in plain NumPy: slow, obvious, the judge of the engines.

Computed in a dtype of choice: float32 as served, float64 to judge rounding.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import DTypeLike, NDArray

from spikeline.models import evaluate
from spikeline.models.arithmetic import adaptive_parts
from spikeline.models.gate_scores import Setting
from spikeline.models.gates import temporal_gate
from spikeline.models.graph import Graph, Node
from spikeline.models.neurons import Neuron

Array = NDArray[Any]


def initial_states(graph: Graph, batch: int, dtype: DTypeLike = np.float32) -> dict[str, Array]:
    """Zeros for `batch` streams."""
    return {name: np.zeros((batch, *state.shape), dtype) for name, state in graph.states.items()}


def run_step(
    graph: Graph,
    frames: NDArray[np.uint16],
    states: Mapping[str, Array],
    position: NDArray[np.int64] | int = 0,
) -> tuple[dict[str, Array], dict[str, Array]]:
    """One step of counts (B, 2, H, W) -> the output of every node, and the states to carry.

    position: steps since the reset, of each stream (B,) or of all. Computed in the dtype of the states,
    float32 where there are none.
    """
    dtype = next((array.dtype for array in states.values()), np.dtype(np.float32))
    every = np.broadcast_to(np.asarray(position, np.int64), len(frames))
    return evaluate.run_step(NumPy(dtype), graph, _tensors(graph, dtype), frames.astype(dtype), states, every)


def run_window(graph: Graph, frames: NDArray[np.uint16], dtype: DTypeLike = np.float32) -> dict[str, Array]:
    """A window of counts (T, B, 2, H, W) -> the output (T, B, ...) of every node."""
    T, B = frames.shape[:2]
    counts = frames.reshape(T * B, *frames.shape[2:]).astype(dtype)
    values = evaluate.run_window(NumPy(dtype), graph, _tensors(graph, dtype), counts)
    return {name: value.reshape(T, B, *value.shape[1:]) for name, value in values.items()}


def membrane_idle(graph: Graph, node: Node, neuron: Neuron) -> Callable[[Array], Array]:
    """A skipped step of a layer whose gates act in it too, on its membrane (B, *shape)."""

    def idle(h: Array) -> Array:
        return evaluate.idle_membrane(NumPy(h.dtype), graph, _tensors(graph, h.dtype), node, neuron, h)

    return idle


def _tensors(graph: Graph, dtype: DTypeLike) -> evaluate.Tensors:
    return evaluate.Tensors(graph, lambda array: array.astype(dtype))


class NumPy:
    """models/arithmetic.py on NumPy arrays of one dtype."""

    def __init__(self, dtype: DTypeLike) -> None:
        self._dtype = np.dtype(dtype)

    def mean(self, x: Array, axes: tuple[int, ...], keep: bool = False) -> Array:
        return x.mean(axes, keepdims=keep)

    def sum(self, x: Array, axes: tuple[int, ...]) -> Array:
        return x.sum(axes)

    def amax(self, x: Array, axes: tuple[int, ...]) -> Array:
        return x.max(axes)

    def relu(self, x: Array) -> Array:
        return np.maximum(x, 0)

    def sigmoid(self, x: Array) -> Array:
        e = np.exp(-np.abs(x))  # of the smaller exponent, which cannot overflow
        return np.where(x >= 0, 1 / (1 + e), e / (1 + e))

    def sqrt(self, x: Array) -> Array:
        return np.sqrt(x)

    def maximum(self, a: Array, b: Array) -> Array:
        return np.maximum(a, b)

    def minimum(self, x: Array, most: float) -> Array:
        return np.minimum(x, np.asarray(most, self._dtype))

    def number(self, condition: Array) -> Array:
        return condition.astype(self._dtype)

    def at_least(self, x: Array, least: Array | float) -> Array:
        return (x >= least).astype(self._dtype)

    def linear(self, x: Array, weight: Array, bias: Array | None = None) -> Array:
        y = x @ weight.T
        return y if bias is None else y + bias

    def conv(
        self,
        x: Array,
        weight: Array,
        bias: Array | None = None,
        *,
        stride: int = 1,
        pads: tuple[int, int] = (0, 0),
        groups: int = 1,
    ) -> Array:
        k = weight.shape[-1]
        x = np.pad(x, ((0, 0), (0, 0), pads, pads))
        patches = sliding_window_view(x, (k, k), axis=(2, 3))[:, :, ::stride, ::stride]
        parts = [
            np.einsum("bchwij,ocij->bohw", patch, part, optimize=True)
            for patch, part in zip(
                np.split(patches, groups, axis=1), np.split(weight, groups, axis=0), strict=True
            )
        ]
        y = np.concatenate(parts, axis=1)
        return y if bias is None else y + bias[:, None, None]

    def pool(
        self, x: Array, kind: str, size: int, stride: int, padding: int, shape: tuple[int, ...]
    ) -> Array:
        if kind == "adaptive":
            rows, columns = (adaptive_parts(n, size) for n in shape[1:])
            return np.stack(
                [np.stack([x[:, :, a:b, c:d].mean((2, 3)) for c, d in columns], -1) for a, b in rows], 2
            )
        if padding:
            side = ((padding, padding),) * 2
            x = np.pad(x, ((0, 0), (0, 0), *side), constant_values=-np.inf)
        patches = sliding_window_view(x, (size, size), axis=(2, 3))[:, :, ::stride, ::stride]
        return patches.max((4, 5)) if kind == "max" else patches.mean((4, 5))

    def flatten(self, x: Array) -> Array:
        return x.reshape(len(x), -1)

    def groups(self, x: Array, size: int, count: int) -> Array:
        return x.reshape(len(x), count, size).mean(2)

    def unsqueeze(self, x: Array, axes: tuple[int, ...]) -> Array:
        return np.expand_dims(x, axes)

    def transpose(self, x: Array) -> Array:
        return x.T

    def concat(self, values: list[Array], axis: int = 1) -> Array:
        return np.concatenate(values, axis)

    def parts(self, x: Array, n: int) -> list[Array]:
        return np.split(x, n)

    def tail(self, x: Array) -> Array:
        return x[:, 1:]

    def rows(self, table: Array, position: NDArray[np.int64]) -> Array:
        return table[np.minimum(position, len(table) - 1)]

    def smallest(self, x: Array, k: int) -> Array:
        return np.sort(x, 1)[:, k : k + 1]

    def split(self, x: Array, steps: int, shape: tuple[int, ...]) -> Array:
        return x.reshape(steps, -1, *shape)

    def merge(self, x: Array, shape: tuple[int, ...]) -> Array:
        return x.reshape(-1, *shape)


class FrameGateRun:
    """A graph's frame gate over one stream, in float64: its weight of each frame, in (0, 1).

    It starts anew with the network: after T frames where that is tumbling.
    """

    def __init__(self, graph: Graph) -> None:
        node = graph.document.frame_gate
        assert node is not None
        self._graph = graph
        tensors = evaluate.Tensors(graph, lambda array: array.astype(np.float64))
        shape = graph.document.input_shape
        self._setting = Setting(NumPy(np.float64), node.attrs, tensors.of(node), shape, graph.steps)
        self._input = graph.nodes[0].attrs
        self.reset()

    def reset(self) -> None:
        prefix = "frame_gate."
        states = self._graph.frame_gate_states
        self._states = {k.removeprefix(prefix): np.zeros((1, *s.shape)) for k, s in states.items()}
        self._position = np.zeros(1, np.int64)

    def __call__(self, frame: NDArray[np.uint16]) -> float:
        """The weight of the next frame (2, H, W)."""
        if self._graph.tumbling and self._position[0] == self._graph.steps:
            self.reset()
        x = np.minimum(frame[None] * self._input["gain"], self._input.get("clip", np.inf))
        gate, self._states = temporal_gate(self._setting, x, self._states, self._position)
        self._position = self._position + 1
        return float(gate[0])
