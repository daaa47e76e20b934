"""The reference engine: the lowered graph in torch on the CPU.

Imports torch when an engine is made, not before. Runs in inference mode; batch of any size.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeline.models import evaluate
from spikeline.models.graph import Graph
from spikeline.pipeline.engines.base import WholeStep
from spikeline.pipeline.engines.state import Counts, EngineState, States


class TorchEngine(WholeStep):
    name = "torch"

    def __init__(self, graph: Graph, readout: str = "sliding") -> None:
        super().__init__(graph, readout)
        import torch

        from spikeline.models.torch_arithmetic import Torch

        self._torch = torch
        self._ops = Torch()
        self._tensors = evaluate.Tensors(graph, lambda array: torch.from_numpy(array.astype(np.float32)))

    def _forward(
        self, frames: NDArray[np.uint16], state: EngineState
    ) -> tuple[NDArray[np.float32], States, Counts]:
        torch = self._torch
        with torch.inference_mode():
            counts = torch.from_numpy(frames.astype(np.float32))
            states = {name: torch.from_numpy(array) for name, array in state.arrays.items()}
            position = torch.from_numpy(state.steps)
            values, after = evaluate.run_step(self._ops, self.graph, self._tensors, counts, states, position)
            output, spikes = self._found(values)
            return output, {name: after[name].numpy() for name in states}, spikes

    def _window(self, frames: NDArray[np.uint16]) -> tuple[NDArray[np.float32], Counts]:
        torch = self._torch
        with torch.inference_mode():
            counts = torch.from_numpy(frames.astype(np.float32))
            return self._found(evaluate.run_window(self._ops, self.graph, self._tensors, counts))

    def _found(self, values: dict[str, Any]) -> tuple[NDArray[np.float32], Counts]:
        counts = {name: (values[name] != 0).sum(1).float().numpy() for name in self.meter.counted}
        return values[self.graph.nodes[-1].name].numpy(), counts
