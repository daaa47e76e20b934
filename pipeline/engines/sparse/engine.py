"""The spike-driven engine: weights are added where spikes are, and quiet pixels are left alone.

States are those of every engine, held channels last; membranes of quiet pixels may lag behind and are brought
up to date before anyone else sees them. A network of form window, which looks at all its steps at once, runs
in ONNX Runtime.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeline.models.graph import Graph
from spikeline.pipeline.engines.activity import Activity
from spikeline.pipeline.engines.base import Engine
from spikeline.pipeline.engines.sparse import kernels_spikes
from spikeline.pipeline.engines.sparse.compiling import compiling_said
from spikeline.pipeline.engines.sparse.costs import Costs, load_costs
from spikeline.pipeline.engines.sparse.counts import CountsConv
from spikeline.pipeline.engines.sparse.plan import plan
from spikeline.pipeline.engines.sparse.spikes import Spikes, aligned
from spikeline.pipeline.engines.sparse.stages import Rooms, Step
from spikeline.pipeline.engines.state import Counts, EngineState, StepResult
from spikeline.pipeline.events import EventPacket


class SparseEngine(Engine):
    def __init__(
        self,
        graph: Graph,
        readout: str = "sliding",
        *,
        costs: Costs | None = None,
        form: str = "float32",
        threads: int = 1,
    ) -> None:
        """costs: by which paths are chosen; this machine's if not given. form: of membranes, or int16.
        threads: at most so many, for layers that are large enough; the bits are the same."""
        super().__init__(graph, readout)
        self.name = "sparse" if form == "float32" else "sparse-int16"
        self._window_engine: Engine | None = None
        self._counts: CountsConv | None = None  # the first layer, where it takes events
        if self.windowed:
            from spikeline.pipeline.engines.onnx_engine import OnnxEngine

            self._window_engine = OnnxEngine(graph, readout)
            return
        self.plan = plan(graph, costs or load_costs(), form, threads)
        self._units = {f"{n.name}.h": n.whole for n in self.plan.layers if n.whole is not None}
        self._output = graph.nodes[-1].name
        self._counts = next((stage for stage in self.plan.stages if isinstance(stage, CountsConv)), None)
        self._taps = [(source, np.ascontiguousarray(taps.ravel())) for source, taps in self.meter.taps]
        self.warm_up()

    def warm_up(self) -> None:
        """Run every path once, so that all is compiled, or loaded, before the first window."""
        with compiling_said():
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
            for neurons in self.plan.layers:
                neurons.warm_up()
            self._settle(state)
            self.step(frames, state)

    @property
    def takes_events(self) -> bool:  # type: ignore[override]
        return self._counts is not None

    def add(self, packet: EventPacket, start: int, stop: int, state: EngineState, stream: int = 0) -> None:
        if self._counts is None:
            super().add(packet, start, stop, state, stream)
            return
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
        if frames is not None or self._counts is None:
            return super().step(frames, state, run)
        early = self._counts.early(self._rooms(state).own[self._counts.name])
        result = super().step(early.frame, state, run)
        early.clear()
        return result

    def reset(self, state: EngineState, streams: list[int] | NDArray[np.int64] | None = None) -> None:
        super().reset(state, streams)
        if self._counts is not None and state.extra is not None:
            self._counts.forget(state.extra.own[self._counts.name], streams)

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

    def _settle(self, state: EngineState, streams: list[int] | None = None) -> None:
        if state.extra is not None:
            rooms: Rooms = state.extra
            for neurons in self.plan.layers:
                own = rooms.own[neurons.name]
                for b in range(state.batch) if streams is None else streams:
                    neurons.settle(getattr(own, "membranes", own), b, rooms.now[b])

    def _advance(
        self, frames: NDArray[np.uint16], state: EngineState, run: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float32], Activity]:
        rooms = self._rooms(state)
        streams = np.flatnonzero(run).tolist()
        if len(streams) < state.batch:
            idle = np.flatnonzero(~run)
            self._settle(state, idle.tolist())
            for name, own in self.graph.states.items():
                state.arrays[name][idle] = self._held(name, own.idle(state.arrays[name][idle]))
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
        clipped = np.zeros(batch, np.int64)
        if self._units:
            for neurons in self.plan.layers:
                own = step.rooms.own[neurons.name]
                own = getattr(own, "membranes", own)
                for b in step.streams:
                    clipped[b] += own.clipped[b]
                    own.clipped[b] = 0
        return Activity(spikes, synops, run * np.int64(self.meter.mac), clipped)

    def _held(self, name: str, array: NDArray[np.float32]) -> NDArray[np.float32]:
        units = self._units.get(name)
        if units is None:
            return array
        limit, worth = units.drive[3].astype(np.float32), units.worth
        if array.ndim == 4:
            limit, worth = limit[:, None, None], worth[:, None, None]
        return np.clip(np.rint(array / worth), -limit, limit) * worth

    def _window(self, frames: NDArray[np.uint16]) -> tuple[NDArray[np.float32], Counts]:
        assert self._window_engine is not None
        return self._window_engine._window(frames)


def _channels_last(array: NDArray[Any]) -> NDArray[Any]:
    """The same values (B, C, H, W), in memory (B, H, W, C); others as they are."""
    if array.ndim != 4:
        return array
    return aligned(array.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
