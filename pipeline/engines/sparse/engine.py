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
from spikeline.pipeline.engines.sparse import kernels_program, kernels_spikes
from spikeline.pipeline.engines.sparse.compiling import compiling_said
from spikeline.pipeline.engines.sparse.costs import Costs, load_costs
from spikeline.pipeline.engines.sparse.counts import CountsLine
from spikeline.pipeline.engines.sparse.plan import plan
from spikeline.pipeline.engines.sparse.spikes import aligned
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
        self._counts: CountsLine | None = None  # the first layer, where it takes events
        if self.windowed:
            from spikeline.pipeline.engines.onnx_engine import OnnxEngine

            self._window_engine = OnnxEngine(graph, readout)
            return
        self.plan = plan(graph, costs or load_costs(), form, threads)
        whole = (line.neurons for line in self.plan.layers if line.neurons.whole is not None)
        self._units = {f"{neurons.name}.h": neurons.whole for neurons in whole}
        self._output = self.plan.output
        self._counts = next((line for line in self.plan.lines if isinstance(line, CountsLine)), None)
        self._metering()
        self.warm_up()

    def _metering(self) -> None:
        """Which lines count what: a layer's spikes, what they meet; the rest is counted from dense values."""
        taps = dict(zip(self.meter.fed, self.meter.taps, strict=True))
        found = {line.name: line.index for line in self.plan.lines if line.most}
        met = {line.fed: line for line in self.plan.lines if line.fed in taps}
        for name, line in met.items():
            line.taps = np.ascontiguousarray(taps[name][1].ravel())
        layers, fed = self.meter.layers, self.meter.fed
        self._counted_by = (
            np.array([found[name] for name in layers if name in found], np.int64),
            np.array([i for i, name in enumerate(layers) if name in found], np.int64),
            np.array([met[name].index for name in fed if name in met], np.int64),
            np.array([i for i, name in enumerate(fed) if name in met], np.int64),
        )
        self._other_layers = [(i, name) for i, name in enumerate(layers) if name not in found]
        self._other_taps = [
            (i, taps[name][0], taps[name][1].ravel()) for i, name in enumerate(fed) if name not in met
        ]

    def warm_up(self) -> None:
        """Run every path once, so that all is compiled, or loaded, before the first window."""
        with compiling_said():
            state = self.init_state()
            frames = np.ones((1, *self.graph.document.input_shape), np.uint16)
            rooms = self._rooms(state)
            for frame in (frames, np.zeros_like(frames)):
                self.step(frame, state)
            for line in self.plan.layers:
                line.settle(rooms, 0, int(rooms.now[0]))
                line.finish(rooms, 0)
                line.neurons.take_in(rooms.membranes[line.name], 0)
                C, P = line.shape[0], line.neurons.pixels
                line.add_planes(np.zeros((C, P), np.float32), rooms, 0)
            for spikes in rooms.spikes.values():
                if spikes.listed:
                    planes = np.zeros((spikes.channels, spikes.pixels), np.float32)
                    lists = (spikes.begin[0], 0 * spikes.end[0], spikes.entries[0])
                    kernels_spikes.expand_planes(*lists, spikes.width, planes)
            if self._counts is not None:
                nothing = np.zeros(0, np.uint16)
                cells = np.zeros((1, 1), np.int32)
                self._counts.add(nothing, nothing, np.zeros(0, np.uint8), 0, 0, cells, rooms, 0)
                self.step(None, state)
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
        rooms = self._rooms(state)
        self._counts.add(packet.x, packet.y, packet.p, start, stop, self.cells, rooms, stream)

    def step(
        self,
        frames: NDArray[np.uint16] | None,
        state: EngineState,
        run: NDArray[np.bool_] | list[bool] | None = None,
    ) -> StepResult:
        if frames is not None or self._counts is None:
            return super().step(frames, state, run)
        early = self._counts.early(self._rooms(state))
        result = super().step(early.frame, state, run)
        for b in range(state.batch):
            if run is None or run[b]:
                early.frame[b] = 0  # the step has taken the sums
            else:
                early.forget(b)  # a stream that idled loses its events
        return result

    def reset(self, state: EngineState, streams: list[int] | NDArray[np.int64] | None = None) -> None:
        super().reset(state, streams)
        if state.extra is not None and state.extra.early is not None:
            for b in range(state.batch) if streams is None else streams:
                state.extra.early.forget(b)

    def init_state(self, batch: int = 1) -> EngineState:
        state = super().init_state(batch)
        state.arrays = {name: _channels_last(array) for name, array in state.arrays.items()}
        return state

    def _rooms(self, state: EngineState) -> Rooms:
        """A state's own arrays, made when they are first asked for."""
        if state.extra is None:
            state.arrays = {name: _channels_last(array) for name, array in state.arrays.items()}
            state.extra = Rooms(self.plan.lines, state.arrays, state.batch)
        return state.extra

    def _settle(self, state: EngineState, streams: list[int] | None = None) -> None:
        if state.extra is None:
            return
        rooms: Rooms = state.extra
        for b in range(state.batch) if streams is None else streams:
            if not rooms.given[b]:
                for line in self.plan.layers:
                    line.settle(rooms, b, int(rooms.now[b]))
                    line.neurons.give_out(rooms.membranes[line.name], b)
                rooms.given[b] = True

    def _advance(
        self, frames: NDArray[np.uint16], state: EngineState, run: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float32], Activity]:
        rooms = self._rooms(state)
        streams = rooms.every if run.all() else np.flatnonzero(run).tolist()
        if len(streams) < state.batch:
            idle = np.flatnonzero(~run)
            self._settle(state, idle.tolist())
            for name, own in self.graph.states.items():
                state.arrays[name][idle] = self._held(name, own.idle(state.arrays[name][idle]))
        for b in streams:
            if rooms.given[b]:
                for line in self.plan.layers:
                    lost = line.neurons.take_in(rooms.membranes[line.name], b)
                    rooms.program["clipped"][line.index, b] += lost
                rooms.given[b] = False
            rooms.now[b] += 1
        taken = rooms.early is not None and frames is rooms.early.frame
        step = Step(np.ascontiguousarray(frames), state.arrays, state.steps, rooms, streams, taken)
        for stage in self.plan.stages:
            stage.run(step)
        output = step.values(self._output)
        if len(streams) < state.batch:
            values, output = output, np.zeros((state.batch, self.graph.classes), np.float32)
            output[streams] = values
        self._check_finite(output)
        return output, self._measure(step, state.batch, run)

    def _measure(self, step: Step, batch: int, run: NDArray[np.bool_]) -> Activity:
        spikes = np.zeros((batch, len(self.meter.layers)), np.int64)
        synops = np.zeros((batch, len(self.meter.fed)), np.int64)
        clipped = np.zeros(batch, np.int64)
        kernels_program.measure(step.rooms.program, run, *self._counted_by, spikes, synops, clipped)
        for i, name in self._other_layers:
            spikes[step.streams, i] = [np.count_nonzero(values) for values in step.dense[name]]
        for i, source, taps in self._other_taps:
            for b, nonzero in zip(step.streams, (step.values(source) != 0).sum(1), strict=True):
                synops[b, i] = int(nonzero.ravel() @ taps)
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
