"""The spike-driven engine: weights are added where spikes are, and quiet pixels are left alone.

States are those of every engine, held channels last; membranes of quiet pixels may lag behind and are brought
up to date before anyone else sees them. A network of form window, which looks at all its steps at once, runs
in ONNX Runtime.
"""

import sys
import time
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from spikeline.models.graph import Graph
from spikeline.pipeline.engines.activity import Activity
from spikeline.pipeline.engines.base import Engine
from spikeline.pipeline.engines.sparse import kernels_spikes
from spikeline.pipeline.engines.sparse.costs import Costs, load_costs
from spikeline.pipeline.engines.sparse.counts import CountsConv
from spikeline.pipeline.engines.sparse.plan import plan
from spikeline.pipeline.engines.sparse.spikes import Spikes
from spikeline.pipeline.engines.sparse.stages import Rooms, Step
from spikeline.pipeline.engines.state import Counts, EngineError, EngineState, StepResult
from spikeline.pipeline.events import EventPacket


class SparseEngine(Engine):
    name = "sparse"

    def __init__(self, graph: Graph, readout: str = "sliding", *, costs: Costs | None = None) -> None:
        """costs: by which paths are chosen; this machine's if not given."""
        super().__init__(graph, readout)
        self._window_engine: Engine | None = None
        if self.windowed:
            from spikeline.pipeline.engines.onnx_engine import OnnxEngine

            self._window_engine = OnnxEngine(graph, readout)
            return
        self.plan = plan(graph, costs or load_costs())
        self._output = graph.nodes[-1].name
        self._counts = next((stage for stage in self.plan.stages if isinstance(stage, CountsConv)), None)
        self.cells: NDArray[np.int32] | None = None  # for `add`: (H_sensor, W_sensor), a pixel's cell or -1
        self._taps = [(source, np.ascontiguousarray(taps.ravel())) for source, taps in self.meter.taps]
        self.warm_up()

    def warm_up(self) -> None:
        """Run every path once, so that all is compiled, or loaded, before the first window."""
        begun = time.monotonic()
        cache = Path(numba.config.CACHE_DIR or Path(__file__).parent / "__pycache__")
        compiled = numba.config.DISABLE_JIT or any(cache.rglob("*kernels_*.nbi"))
        if not compiled:
            print("spikeline: compiling the sparse engine, once for this installation", file=sys.stderr)
        state = self.init_state()
        frames = np.ones((1, *self.graph.document.input_shape), np.uint16)
        for frame in (frames, np.zeros_like(frames)):
            self.step(frame, state)
        for stage in self.plan.stages:
            stage.warm_up(state.extra.own[stage.name])
        if self._counts is not None:
            nothing = np.zeros(0, np.uint16)
            cells = np.zeros((1, 1), np.int32)
            own = state.extra.own[self._counts.name]
            self._counts.add(nothing, nothing, np.zeros(0, np.uint8), 0, 0, cells, own, 0)
        self._settle(state)
        if not compiled:
            print(f"spikeline: compiled in {time.monotonic() - begun:.0f} s", file=sys.stderr)

    def add(self, packet: EventPacket, start: int, stop: int, state: EngineState, stream: int = 0) -> None:
        """Take events start .. stop of the packet, of the next step's window, before it closes.

        `step(None, state)` then takes that step, with the same result to the bit as from the frame. A
        snapshot holds no events that no step has taken yet.
        """
        if self._counts is None:
            raise EngineError(
                "add: this network's first layer takes whole frames; wanted step(frames, state)"
            )
        if self.cells is None:
            _, H, W = self.graph.document.input_shape
            self.cells = np.arange(H * W, dtype=np.int32).reshape(H, W)
        own = self._rooms(state).own[self._counts.name]
        self._counts.add(packet.x, packet.y, packet.p, start, stop, self.cells, own, stream)

    def step(
        self,
        frames: NDArray[np.uint16] | None,
        state: EngineState,
        run: NDArray[np.bool_] | list[bool] | None = None,
    ) -> StepResult:
        """As every engine's; frames None: of the events that were added."""
        if frames is not None:
            return super().step(frames, state, run)
        if self._counts is None:
            raise EngineError("step: found no frames; this network's first layer takes whole frames")
        early = self._counts.early(self._rooms(state).own[self._counts.name])
        result = super().step(early.frame, state, run)
        early.clear()
        return result

    def init_state(self, batch: int = 1) -> EngineState:
        state = super().init_state(batch)
        state.arrays = {name: _channels_last(array) for name, array in state.arrays.items()}
        return state

    def _rooms(self, state: EngineState) -> Rooms:
        """A state's own arrays, made when they are first asked for."""
        if state.extra is None:
            state.arrays = {name: _channels_last(array) for name, array in state.arrays.items()}
            shapes, plan = self.graph.shapes, self.plan
            spikes = {
                name: Spikes(
                    state.batch, shapes[name], most=most, keep=name in plan.keep, listed=name in plan.listed
                )
                for name, most in plan.most.items()
            }
            own = {stage.name: stage.room(state.batch, state.arrays) for stage in plan.stages}
            state.extra = Rooms([0] * state.batch, spikes, own)
        return state.extra

    def _settle(self, state: EngineState) -> None:
        if state.extra is not None:
            rooms: Rooms = state.extra
            for neurons in self.plan.layers:
                for b, now in enumerate(rooms.now):
                    neurons.settle(rooms.own[neurons.name], b, now)

    def _advance(
        self, frames: NDArray[np.uint16], state: EngineState, run: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float32], Activity]:
        rooms = self._rooms(state)
        streams = np.flatnonzero(run).tolist()
        if len(streams) < state.batch:
            self._settle(state)
            idle = np.flatnonzero(~run)
            for name, own in self.graph.states.items():
                state.arrays[name][idle] = own.idle(state.arrays[name][idle])
        for b in streams:
            rooms.now[b] += 1
        step = Step(frames, state.arrays, state.steps, rooms, streams)
        for stage in self.plan.stages:
            stage.run(step, rooms.own[stage.name])
        output = np.zeros((state.batch, self.graph.classes), np.float32)
        output[streams] = step.values(self._output)
        self._check_finite(output)
        return output, self._measure(step, state.batch, run)

    def _measure(self, step: Step, batch: int, run: NDArray[np.bool_]) -> Activity:
        spikes = np.zeros((batch, len(self.meter.layers)), np.int64)
        synops = np.zeros((batch, len(self._taps)), np.int64)
        held = step.rooms.spikes
        for i, name in enumerate(self.meter.layers):
            if name in held:
                for b in step.streams:
                    spikes[b, i] = held[name].total[b]
            else:
                spikes[step.streams, i] = [np.count_nonzero(values) for values in step.dense[name]]
        for i, (source, taps) in enumerate(self._taps):
            if source in held:
                for b in step.streams:
                    if held[source].total[b]:
                        synops[b, i] = kernels_spikes.taps_met(held[source].count[b], taps)
            else:
                values = step.dense[source]
                for b, nonzero in zip(step.streams, (values != 0).sum(1), strict=True):
                    synops[b, i] = int(nonzero.ravel() @ taps)
        return Activity(spikes, synops, run * np.int64(self.meter.mac))

    def _window(self, frames: NDArray[np.uint16]) -> tuple[NDArray[np.float32], Counts]:
        assert self._window_engine is not None
        return self._window_engine._window(frames)


def _channels_last(array: NDArray[Any]) -> NDArray[Any]:
    """The same values (B, C, H, W), in memory (B, H, W, C); others as they are."""
    if array.ndim != 4:
        return array
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
