"""The reference engine: the lowered graph, operation by operation, in torch on the CPU.

Imports torch when an engine is made, not before. Runs in inference mode; batch of any size.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeline.models.graph import Graph, Node, gates_of, join
from spikeline.pipeline.engines.base import Counts, Engine, EngineState, Membranes


class TorchEngine(Engine):
    name = "torch"

    def __init__(self, graph: Graph, readout: str = "sliding") -> None:
        super().__init__(graph, readout)
        import torch

        self._torch = torch
        self._tensors = {name: torch.from_numpy(array.copy()) for name, array in graph.tensors.items()}
        self._neurons = {node.name: neuron for node, neuron in graph.neurons}
        self._operations: dict[str, Callable[[Node, list[Any]], Any]] = {
            "conv": self._conv,
            "linear": self._linear,
            "affine": self._affine,
            "layernorm": self._layernorm,
            "pool": self._pool,
            "gate": lambda node, inputs: self._gate(node, node.attrs["kind"], inputs[0]),
            "join": lambda node, inputs: join(node.attrs["kind"], *inputs),
            "vote": lambda node, inputs: inputs[0].unflatten(1, (-1, node.attrs["size"])).mean(2),
            "readout": lambda node, inputs: inputs[0],
        }

    def _forward(
        self, frames: NDArray[np.uint16], state: EngineState
    ) -> tuple[NDArray[np.float32], Membranes, Counts]:
        torch = self._torch
        values: dict[str, Any] = {}
        membranes: Membranes = {}
        with torch.inference_mode():
            for node in self.graph.nodes:
                inputs = [values[name] for name in node.inputs]
                if node.op == "input":
                    x = torch.from_numpy(frames.astype(np.float32)) * node.attrs["gain"]
                    values[node.name] = x.clamp(max=node.attrs["clip"]) if "clip" in node.attrs else x
                elif node.op == "neuron":
                    neuron = self._neurons[node.name]
                    h = torch.from_numpy(state.membranes[f"{node.name}.h"])
                    u = neuron.integrate(h, inputs[0])
                    for gate in gates_of(node):
                        u = self._gate(node, gate, u)
                    s = neuron.fires(u).to(u.dtype)
                    values[node.name] = s
                    membranes[f"{node.name}.h"] = neuron.carry(u, s).numpy()
                else:
                    values[node.name] = self._operations[node.op](node, inputs)
            counts = {name: (values[name] != 0).sum(1).float().numpy() for name in self.meter.counted}
            return values[self.graph.nodes[-1].name].numpy(), membranes, counts

    def _tensor(self, node: Node, role: str) -> Any:
        return self._tensors[f"{node.name}.{role}"]

    def _conv(self, node: Node, inputs: list[Any]) -> Any:
        attrs = node.attrs
        return self._torch.nn.functional.conv2d(
            inputs[0],
            self._tensor(node, "weight"),
            self._tensor(node, "bias"),
            stride=attrs["stride"],
            padding=attrs["padding"],
            groups=attrs["groups"],
        )

    def _linear(self, node: Node, inputs: list[Any]) -> Any:
        return self._torch.nn.functional.linear(
            inputs[0].flatten(1), self._tensor(node, "weight"), self._tensor(node, "bias")
        )

    def _affine(self, node: Node, inputs: list[Any]) -> Any:
        shape = (1, -1, *(1,) * (inputs[0].ndim - 2))
        return inputs[0] * self._tensor(node, "scale").view(shape) + self._tensor(node, "shift").view(shape)

    def _layernorm(self, node: Node, inputs: list[Any]) -> Any:
        x = inputs[0]
        axes = tuple(range(1, x.ndim))
        var, mean = self._torch.var_mean(x, axes, correction=0, keepdim=True)
        return self._affine(node, [(x - mean) / (var + node.attrs["eps"]).sqrt()])

    def _pool(self, node: Node, inputs: list[Any]) -> Any:
        F = self._torch.nn.functional
        kind, size, stride = node.attrs["kind"], node.attrs["size"], node.attrs["stride"]
        if kind == "global":
            return inputs[0].mean((2, 3))
        pool = F.max_pool2d if kind == "max" else F.avg_pool2d
        return pool(inputs[0], size, stride)

    def _gate(self, node: Node, gate: str, x: Any) -> Any:
        torch = self._torch
        if gate == "ca":
            w0, w1 = self._tensor(node, "ca.w0"), self._tensor(node, "ca.w1")
            hidden = torch.relu(x.mean((2, 3)) @ w0.T) + torch.relu(x.amax((2, 3)) @ w0.T)
            return x * torch.sigmoid(hidden @ w1.T)[:, :, None, None]
        weight = self._tensor(node, "sa.weight")
        planes = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
        return x * torch.sigmoid(torch.nn.functional.conv2d(planes, weight, padding=weight.shape[-1] // 2))
