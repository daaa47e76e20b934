"""The lowered graph in ONNX Runtime, one thread, with state in ping-pong buffers.

A state made by `init_state` owns two sets of membranes and one binding per direction: a step reads
one set and writes the other, so nothing is copied or allocated.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from spikeline.models.graph import Graph
from spikeline.pipeline.engines.base import Counts, Engine, EngineState, Membranes
from spikeline.pipeline.engines.onnx_builder import build


@dataclass(slots=True)
class _Buffers:
    """sets[i] is read and sets[1 - i] written by bindings[i]; the outputs are shared."""

    sets: list[Membranes]
    output: NDArray[np.float32]
    counts: Counts
    bindings: list[Any]


class OnnxEngine(Engine):
    name = "onnx"

    def __init__(self, graph: Graph, readout: str = "sliding") -> None:
        super().__init__(graph, readout)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            build(graph, self.meter.counted), options, providers=["CPUExecutionProvider"]
        )
        self._outputs = [output.name for output in self._session.get_outputs()]

    def init_state(self, batch: int = 1) -> EngineState:
        state = super().init_state(batch)
        other = {name: np.zeros_like(h) for name, h in state.membranes.items()}
        counts = {
            name: np.zeros((batch, *self.graph.shapes[name][1:]), np.float32) for name in self.meter.counted
        }
        buffers = _Buffers(
            [state.membranes, other], np.zeros((batch, self.graph.classes), np.float32), counts, []
        )
        for read, write in ((0, 1), (1, 0)):
            binding = self._session.io_binding()
            for name, h in buffers.sets[read].items():
                _bind(binding.bind_input, f"state_{name}", h)
            for name, h in buffers.sets[write].items():
                _bind(binding.bind_output, f"state_{name}_out", h)
            _bind(binding.bind_output, "output", buffers.output)
            for name, count in counts.items():
                _bind(binding.bind_output, f"count_{name}", count)
            buffers.bindings.append(binding)
        state.extra = buffers
        return state

    def _forward(
        self, frames: NDArray[np.uint16], state: EngineState
    ) -> tuple[NDArray[np.float32], Membranes, Counts]:
        frames = np.ascontiguousarray(frames)
        buffers: _Buffers | None = state.extra
        if buffers is None:  # a trial state of `peek`
            feeds = {f"state_{name}": h for name, h in state.membranes.items()} | {"frames": frames}
            results = dict(zip(self._outputs, self._session.run(None, feeds), strict=True))
            membranes = {name: results[f"state_{name}_out"] for name in state.membranes}
            return results["output"], membranes, {n: results[f"count_{n}"] for n in self.meter.counted}
        read = 0 if state.membranes is buffers.sets[0] else 1
        binding = buffers.bindings[read]
        _bind(binding.bind_input, "frames", frames)
        self._session.run_with_iobinding(binding)
        return buffers.output, buffers.sets[1 - read], buffers.counts


def _bind(bind: Any, name: str, array: NDArray[Any]) -> None:
    bind(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
