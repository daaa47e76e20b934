"""The lowered graph in ONNX Runtime, one thread, with state in ping-pong buffers.

A state made by `init_state` owns two sets of arrays and one binding per direction: a step reads one set
and writes the other, so nothing is copied or allocated. A window has no state, and runs without them.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from spikeline.models.graph import Graph
from spikeline.pipeline.engines.base import WholeStep
from spikeline.pipeline.engines.onnx_builder import build
from spikeline.pipeline.engines.state import Counts, EngineState, States


@dataclass(slots=True)
class _Buffers:
    """sets[i] is read and sets[1 - i] written by bindings[i]; the outputs are shared."""

    sets: list[States]
    output: NDArray[np.float32]
    counts: Counts
    bindings: list[Any]


class OnnxEngine(WholeStep):
    name = "onnx"

    def __init__(self, graph: Graph, readout: str = "sliding", *, model: bytes | None = None) -> None:
        """model: an ONNX model of this graph from elsewhere, in place of one built here."""
        super().__init__(graph, readout)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        if model is None:
            model = build(graph, self.meter.counted)
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._outputs = [output.name for output in self._session.get_outputs()]
        self._positioned = any(entry.name == "position" for entry in self._session.get_inputs())

    def init_state(self, batch: int = 1) -> EngineState:
        state = super().init_state(batch)
        if self.windowed:
            return state
        other = {name: np.zeros_like(array) for name, array in state.arrays.items()}
        counts = {
            name: np.zeros((batch, *self.graph.shapes[name][1:]), np.float32) for name in self.meter.counted
        }
        buffers = _Buffers(
            [state.arrays, other], np.zeros((batch, self.graph.classes), np.float32), counts, []
        )
        for read, write in ((0, 1), (1, 0)):
            binding = self._session.io_binding()
            for name, array in buffers.sets[read].items():
                _bind(binding.bind_input, f"state_{name}", array)
            for name, array in buffers.sets[write].items():
                _bind(binding.bind_output, f"state_{name}_out", array)
            if self._positioned:
                _bind(binding.bind_input, "position", state.steps)  # counted on in place
            _bind(binding.bind_output, "output", buffers.output)
            for name, count in counts.items():
                _bind(binding.bind_output, f"count_{name}", count)
            buffers.bindings.append(binding)
        state.extra = buffers
        return state

    def _forward(
        self, frames: NDArray[np.uint16], state: EngineState
    ) -> tuple[NDArray[np.float32], States, Counts]:
        frames = np.ascontiguousarray(frames)
        buffers: _Buffers | None = state.extra
        if buffers is None:  # a trial state of `peek`
            feeds: dict[str, Any] = {f"state_{name}": array for name, array in state.arrays.items()}
            if self._positioned:
                feeds["position"] = state.steps
            found = self._run(feeds | {"frames": frames})
            arrays = {name: found[f"state_{name}_out"] for name in state.arrays}
            return found["output"], arrays, self._counts(found)
        read = 0 if state.arrays is buffers.sets[0] else 1
        binding = buffers.bindings[read]
        _bind(binding.bind_input, "frames", frames)
        self._session.run_with_iobinding(binding)
        return buffers.output, buffers.sets[1 - read], buffers.counts

    def _window(self, frames: NDArray[np.uint16]) -> tuple[NDArray[np.float32], Counts]:
        found = self._run({"frames": frames})
        return found["output"], self._counts(found)

    def _run(self, feeds: dict[str, Any]) -> dict[str, NDArray[np.float32]]:
        return dict(zip(self._outputs, self._session.run(None, feeds), strict=True))

    def _counts(self, found: dict[str, NDArray[np.float32]]) -> Counts:
        return {name: found[f"count_{name}"] for name in self.meter.counted}


def _bind(bind: Any, name: str, array: NDArray[Any]) -> None:
    bind(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
