"""Torch network -> lowered graph: batch norm folded, every tensor named, nothing left of torch."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from spikeline.models.operations import Node


class Lowering:
    """Nodes and tensors in the making; parts write themselves into it."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.arrays: dict[str, NDArray[np.float32]] = {}

    def node(self, name: str, op: str, inputs: list[str], attrs: Mapping[str, Any]) -> str:
        self.nodes.append(Node(name, op, inputs, dict(attrs)))
        return name

    def tensors(self, name: str, roles: Mapping[str, Tensor]) -> None:
        for role, tensor in roles.items():
            self.arrays[f"{name}.{role}"] = array(tensor)

    def pool(
        self, name: str, inputs: list[str], kind: str, size: int, stride: int | None = None, padding: int = 0
    ) -> str:
        attrs: dict[str, Any] = {"kind": kind, "size": size, "stride": size if stride is None else stride}
        return self.node(name, "pool", inputs, attrs | ({"padding": padding} if padding else {}))

    def weighted(self, name: str, inputs: list[str], weights: nn.Module, norm: nn.Module) -> str:
        """A convolution or linear layer with the batch norm behind it folded in."""
        weight, bias = folded(weights, norm)
        self.tensors(name, {"weight": weight, "bias": bias})
        if isinstance(weights, nn.Linear):
            return self.node(name, "linear", inputs, {})
        attrs = {"stride": weights.stride[0], "padding": weights.padding[0], "groups": weights.groups}
        return self.node(name, "conv", inputs, attrs)


def folded(weights: Any, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight and bias of a layer with its batch norm's running statistics in them, in float64."""
    weight = weights.weight.detach().double()
    bias = weight.new_zeros(len(weight)) if weights.bias is None else weights.bias.detach().double()
    if isinstance(norm, nn.Identity):
        return weight, bias
    scale = norm.weight.detach().double() / (norm.running_var.double() + norm.eps).sqrt()
    shift = norm.bias.detach().double() - norm.running_mean.double() * scale
    return weight * scale.view(-1, *(1,) * (weight.ndim - 1)), bias * scale + shift


def array(tensor: Tensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(tensor.detach().cpu().numpy(), dtype=np.float32)
