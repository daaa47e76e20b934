"""Shapes of a lowered graph's nodes, and the check that its tensors fit them.

A shape leaves out the batch axis: (C, H, W) or (N,).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeline.models.operations import GraphError, Node, gates_of

Shape = tuple[int, ...]
Tensors = Mapping[str, NDArray[np.float32]]


def node_shape(node: Node, inputs: list[Shape], tensors: Tensors, steps: int) -> Shape:
    """The shape of a node's output at one step; raises GraphError where a tensor does not fit."""
    attrs, x = node.attrs, inputs[0]
    if node.op == "conv":
        weight = _shaped(tensors, f"{node.name}.weight", (None, None, None, None))
        _volume(node, x)
        out, per_group, k, k2 = weight
        if per_group * attrs["groups"] != x[0] or k != k2 or out % attrs["groups"]:
            raise GraphError(f"{node.name}.weight: found {weight}, wanted {x[0]} input channels, square")
        _shaped(tensors, f"{node.name}.bias", (out,))
        return (out, *(_slots(node, n + 2 * attrs["padding"], k, attrs["stride"]) for n in x[1:]))
    if node.op == "linear":
        out, _ = _shaped(tensors, f"{node.name}.weight", (None, int(np.prod(x))))
        _shaped(tensors, f"{node.name}.bias", (out,))
        return (out,)
    if node.op in ("affine", "layernorm"):
        _shaped(tensors, f"{node.name}.scale", (x[0],))
        _shaped(tensors, f"{node.name}.shift", (x[0],))
        return x
    if node.op == "pool":
        return _pool_shape(node, x)
    if node.op in ("neuron", "gate"):
        if len(inputs) == 2 and inputs[1] != x:
            raise GraphError(f"node {node.name}: features {x} and spikes {inputs[1]}; wanted equal shapes")
        for prefix, gate in gates_of(node):
            _check_gate(node, prefix, gate, x, tensors, steps)
        return x
    if node.op == "join" and inputs[1] != x:
        raise GraphError(f"node {node.name}: joins {inputs[0]} with {inputs[1]}; wanted equal shapes")
    if node.op == "vote":
        if len(x) != 1 or x[0] % attrs["size"]:
            raise GraphError(f"node {node.name}: found {x}, wanted a multiple of {attrs['size']} values")
        return (x[0] // attrs["size"],)
    if node.op == "readout" and len(x) != 1:
        raise GraphError(f"node {node.name}: found values of shape {x}, wanted one per class")
    return x


def _pool_shape(node: Node, x: Shape) -> Shape:
    _volume(node, x)
    attrs = node.attrs
    if attrs["kind"] == "global":
        return (x[0],)
    if attrs["kind"] == "adaptive":
        if any(attrs["size"] > n for n in x[1:]):
            raise GraphError(f"node {node.name}: {attrs['size']} averages of {x[1]} x {x[2]} values")
        return (x[0], attrs["size"], attrs["size"])
    padding = attrs.get("padding", 0)
    if padding and (attrs["kind"] != "max" or 2 * padding > attrs["size"]):
        raise GraphError(
            f"node {node.name}: padding {padding} of a {attrs['kind']} pool of {attrs['size']}; "
            "wanted a max pool and at most half its size"
        )
    return (x[0], *(_slots(node, n + 2 * padding, attrs["size"], attrs["stride"]) for n in x[1:]))


def _check_gate(
    node: Node, prefix: str, gate: Mapping[str, Any], x: Shape, tensors: Tensors, steps: int
) -> None:
    """Do the gate's tensors fit steps of shape x?"""

    def shaped(role: str, *wanted: int | None) -> Shape:
        return _shaped(tensors, f"{node.name}.{prefix}{role}", wanted)

    kind = gate["score"] if gate["kind"] == "ia" else gate["kind"]
    if kind not in ("ta", "affine"):
        _volume(node, x)
    C = x[0]
    if kind in ("ta", "gau"):
        hidden, _ = shaped("w0", None, steps)
        shaped("w1", steps, hidden)
        if gate.get("pools") == "avg":
            shaped("b0", hidden)
            shaped("b1", steps)
        if gate["form"] in ("sliding", "prefix"):
            shaped("mean_avg", steps)
            if gate.get("pools") != "avg":
                shaped("mean_max", steps)
    if kind == "gau":
        between, _, k, _ = shaped("sca0", None, C, None, None)
        shaped("sca0", between, C, k, k)
        shaped("sca1", C, between, k, k)
    elif kind == "ca":
        hidden, _ = shaped("w0", None, C)
        shaped("w1", C, hidden)
    elif kind == "sa":
        _, _, k, _ = shaped("weight", 1, 2, None, None)
        shaped("weight", 1, 2, k, k)
        _odd(node, prefix, k)
    elif kind == "eca":
        (k,) = shaped("weight", None)
        _odd(node, prefix, k)
    elif kind == "simam":
        if x[1] * x[2] < 2:
            raise GraphError(f"node {node.name}: simam found {x[1]} x {x[2]} values, wanted more than one")
    elif kind == "gc":
        shaped("k.weight", 1, C)
        shaped("k.bias", 1)
        hidden, _ = shaped("q.weight", None, C)
        for role in ("q.bias", "norm.scale", "norm.shift"):
            shaped(role, hidden)
        shaped("v.weight", C, hidden)
        shaped("v.bias", C)
    elif kind == "pe":
        shaped("pos", None, C)
    elif kind == "step":
        size = C if gate["scope"] == "channel" else 1
        hidden, _ = shaped("w0", None, size)
        shaped("b0", hidden)
        shaped("w1", size, hidden)
        shaped("b1", size)
    elif kind == "affine":
        shaped("scale", C)
        shaped("shift", C)


def _odd(node: Node, prefix: str, k: int) -> None:
    if k % 2 == 0:
        raise GraphError(f"{node.name}.{prefix}weight: found a kernel of {k}, wanted an odd size")


def _shaped(tensors: Tensors, name: str, wanted: tuple[int | None, ...]) -> Shape:
    shape = tensors[name].shape
    if len(shape) != len(wanted) or any(
        (w is not None and n != w) or n == 0 for n, w in zip(shape, wanted, strict=True)
    ):
        text = " x ".join("any" if w is None else str(w) for w in wanted)
        raise GraphError(f"tensor {name}: found shape {shape}, wanted {text}")
    return shape


def _volume(node: Node, x: Shape) -> None:
    if len(x) != 3:
        raise GraphError(f"node {node.name}: its input has shape {x}, wanted (C, H, W)")


def _slots(node: Node, n: int, size: int, stride: int) -> int:
    if size > n:
        raise GraphError(f"node {node.name}: a window of {size} does not fit into {n}")
    return (n - size) // stride + 1
