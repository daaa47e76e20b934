"""Torch network -> lowered graph: batch norm folded, every tensor named, nothing left of torch."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from spikeline.models.attention import ChannelAttention, SpatialAttention
from spikeline.models.graph import Graph, GraphDocument, Node
from spikeline.models.layers import SpikingLayer, Weighted
from spikeline.models.masnn import ThreeLayer

Tensors = dict[str, NDArray[np.float32]]


def lower(network: ThreeLayer, *, horizon: str = "endless") -> Graph:
    """The graph of a trained network in evaluation mode (batch norm's running statistics)."""
    config = network.config
    nodes: list[Node] = []
    tensors: Tensors = {}
    attrs: dict[str, Any] = {"gain": float(config.gain)}
    if config.clip is not None:
        attrs["clip"] = float(config.clip)
    nodes.append(Node("input", "input", [], attrs))
    x = "input"
    for name in network.shapes:
        x = _lower_weighted(f"{name}.current", x, network.weights[name], nodes, tensors)
        x = _lower_neurons(name, x, network.neurons[name], nodes, tensors)
    if config.votes > 1:
        nodes.append(Node("vote", "vote", [x], {"size": config.votes}))
        x = "vote"
    nodes.append(Node("readout", "readout", [x], {"kind": "mean"}))
    document = GraphDocument("step", horizon, config.steps, (2, *config.grid), nodes)
    return Graph(document, tensors)


def _lower_weighted(name: str, x: str, module: Weighted, nodes: list[Node], tensors: Tensors) -> str:
    weights, norm = module.weights, module.norm
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    tensors[f"{name}.weight"] = _array(weights.weight * scale.view(-1, *(1,) * (weights.weight.ndim - 1)))
    tensors[f"{name}.bias"] = _array((weights.bias - norm.running_mean) * scale + norm.bias)
    if isinstance(weights, nn.Conv2d):
        attrs = {"stride": weights.stride[0], "padding": weights.padding[0], "groups": weights.groups}
        nodes.append(Node(name, "conv", [x], attrs))
    else:
        nodes.append(Node(name, "linear", [x], {}))
    if isinstance(module.pool, nn.AvgPool2d):
        size = module.pool.kernel_size
        nodes.append(Node(f"{name}.pool", "pool", [name], {"kind": "avg", "size": size, "stride": size}))
        return f"{name}.pool"
    return name


def _lower_neurons(name: str, x: str, layer: SpikingLayer, nodes: list[Node], tensors: Tensors) -> str:
    attrs: dict[str, Any] = {"kind": layer.neuron.kind, "constants": dict(layer.neuron.constants)}
    for gate, module in layer.gates.items():
        if isinstance(module, ChannelAttention):
            tensors[f"{name}.ca.w0"] = _array(module.w0)
            tensors[f"{name}.ca.w1"] = _array(module.w1)
        elif isinstance(module, SpatialAttention):
            tensors[f"{name}.sa.weight"] = _array(module.weight)
        attrs.setdefault("refine", []).append(gate)
    nodes.append(Node(name, "neuron", [x], attrs))
    return name


def _array(tensor: Tensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(tensor.detach().cpu().numpy(), dtype=np.float32)
