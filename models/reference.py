"""Every operation of the lowered graph in plain NumPy: slow, obvious, the judge of the engines.

Arrays have a leading batch axis: images (B, C, H, W), vectors (B, N). `run_step` walks a graph once.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from spikeline.models.graph import Graph, Node, gates_of, join

Array = NDArray[Any]


def run_step(
    graph: Graph, frames: NDArray[np.uint16], membranes: Mapping[str, Array]
) -> tuple[dict[str, Array], dict[str, Array]]:
    """One step of counts (B, 2, H, W) -> the output of every node, and the membranes to carry.

    Computed in the dtype of the membranes (float32 as served, float64 to judge rounding).
    """
    dtype = next(iter(membranes.values())).dtype
    neurons = {node.name: kind for node, kind in graph.neurons}
    values: dict[str, Array] = {}
    after: dict[str, Array] = {}
    for node in graph.nodes:
        inputs = [values[name] for name in node.inputs]

        def tensor(role: str, node: Node = node) -> Array:
            return graph.tensor(node, role).astype(dtype)

        if node.op == "input":
            x = frames.astype(dtype) * dtype.type(node.attrs["gain"])
            values[node.name] = np.minimum(x, node.attrs["clip"]) if "clip" in node.attrs else x
        elif node.op == "neuron":
            kind = neurons[node.name]
            u = kind.integrate(membranes[f"{node.name}.h"], inputs[0])
            for gate in gates_of(node):
                u = GATES[gate](u, tensor)
            s = kind.fires(u).astype(dtype)
            values[node.name] = s
            after[f"{node.name}.h"] = kind.carry(u, s)
        else:
            values[node.name] = OPERATIONS[node.op](node, inputs, tensor)
    return values, after


def convolve(x: Array, weight: Array, stride: int, padding: int, groups: int = 1) -> Array:
    """Cross-correlation of x (B, C, H, W) with weight (Cout, C / groups, k, k), zero padded."""
    k = weight.shape[-1]
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    patches = sliding_window_view(x, (k, k), axis=(2, 3))[:, :, ::stride, ::stride]
    parts = [
        np.einsum("bchwij,ocij->bohw", patch, part, optimize=True)
        for patch, part in zip(
            np.split(patches, groups, axis=1), np.split(weight, groups, axis=0), strict=True
        )
    ]
    return np.concatenate(parts, axis=1)


def channel_attention(x: Array, tensor: Callable[[str], Array]) -> Array:
    """x * sigmoid(W1 (relu(W0 avg) + relu(W0 max))), avg and max over (H, W); MA-SNN Eq. 11."""
    w0, w1 = tensor("ca.w0"), tensor("ca.w1")
    hidden = np.maximum(x.mean((2, 3)) @ w0.T, 0) + np.maximum(x.max((2, 3)) @ w0.T, 0)
    return x * sigmoid(hidden @ w1.T)[:, :, None, None]


def spatial_attention(x: Array, tensor: Callable[[str], Array]) -> Array:
    """x * sigmoid(conv_k([avg, max])), avg and max over C, in that order; MA-SNN Eq. 12."""
    weight = tensor("sa.weight")
    planes = np.concatenate([x.mean(1, keepdims=True), x.max(1, keepdims=True)], axis=1)
    return x * sigmoid(convolve(planes, weight, 1, weight.shape[-1] // 2))


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def _pool(node: Node, inputs: list[Array], tensor: Callable[[str], Array]) -> Array:
    (x,) = inputs
    if node.attrs["kind"] == "global":
        return x.mean((2, 3))
    size, stride = node.attrs["size"], node.attrs["stride"]
    patches = sliding_window_view(x, (size, size), axis=(2, 3))[:, :, ::stride, ::stride]
    return patches.max((4, 5)) if node.attrs["kind"] == "max" else patches.mean((4, 5))


def _layernorm(node: Node, inputs: list[Array], tensor: Callable[[str], Array]) -> Array:
    (x,) = inputs
    axes = tuple(range(1, x.ndim))
    mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    return _affine(node, [(x - mean) / np.sqrt(var + node.attrs["eps"])], tensor)


def _affine(node: Node, inputs: list[Array], tensor: Callable[[str], Array]) -> Array:
    (x,) = inputs
    return x * per_channel(tensor("scale"), x) + per_channel(tensor("shift"), x)


def per_channel(values: Array, x: Array) -> Array:
    """(C,) shaped to multiply x (B, C, ...)."""
    return values.reshape(1, -1, *(1,) * (x.ndim - 2))


def _conv(node: Node, inputs: list[Array], tensor: Callable[[str], Array]) -> Array:
    attrs = node.attrs
    y = convolve(inputs[0], tensor("weight"), attrs["stride"], attrs["padding"], attrs["groups"])
    return y + per_channel(tensor("bias"), y)


def _linear(node: Node, inputs: list[Array], tensor: Callable[[str], Array]) -> Array:
    return inputs[0].reshape(len(inputs[0]), -1) @ tensor("weight").T + tensor("bias")


def _vote(node: Node, inputs: list[Array], tensor: Callable[[str], Array]) -> Array:
    return inputs[0].reshape(len(inputs[0]), -1, node.attrs["size"]).mean(2)


GATES = {"ca": channel_attention, "sa": spatial_attention}
OPERATIONS: dict[str, Callable[[Node, list[Array], Callable[[str], Array]], Array]] = {
    "conv": _conv,
    "linear": _linear,
    "affine": _affine,
    "layernorm": _layernorm,
    "pool": _pool,
    "gate": lambda node, inputs, tensor: GATES[node.attrs["kind"]](inputs[0], tensor),
    "join": lambda node, inputs, tensor: join(node.attrs["kind"], *inputs),
    "vote": _vote,
    "readout": lambda node, inputs, tensor: inputs[0],
}
