"""The engine contract, and everything about it that is the same in every engine.

    init_state(batch) -> state            owned by the caller, changed in place by `step` and `idle`
    step(frames, state, run) -> StepResult   frames (B, 2, H, W) uint16; run[b] False: stream b idles
    idle(state, n, streams)   reset(state, streams)   peek(frames, state) -> scores, state unchanged
    snapshot(state) -> {name: array (B, ...)}   restore(dict) -> state: the same names in every engine

An engine computes one step of the graph in place (`_advance`; or as a `WholeStep`, from states to states and
nonzero counts), or the T steps of a window at once (`_window`). Idling, the readout, tumbling and the buffer
of a window are here, in NumPy, so that they are equal to the bit in every engine.

A network of form window takes T frames before it runs: until then a stream is not `ready` and its scores
are 0. It cannot idle; a skipped frame (run[b] False) enters its window as a frame without events, and its
output is left out of the scores.
"""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeline.models.graph import Graph
from spikeline.pipeline.energy import Ran, dense_step
from spikeline.pipeline.engines.activity import Activity, Meter
from spikeline.pipeline.engines.state import Counts, EngineError, EngineState, States, StepResult
from spikeline.pipeline.events import EventPacket

READOUTS = ("window", "sliding", "ema")


class Engine(ABC):
    """One graph, ready to run. `readout` is `window`, `sliding` or `ema` (rate 2 / (T + 1)); a network of
    form window has its mean over the window, whichever of the first two is asked for."""

    name: str
    takes_events = False  # whether `add` takes events as they arrive
    cells: NDArray[np.int32] | None = None  # for `add`: (H_sensor, W_sensor), a pixel's cell or -1

    def __init__(self, graph: Graph, readout: str = "sliding") -> None:
        if readout not in READOUTS:
            raise EngineError(f"readout {readout!r}: wanted window, sliding or ema")
        self.graph = graph
        self.readout = readout
        self.meter = Meter(graph)
        self.windowed = graph.document.form == "window"
        if self.windowed and readout == "ema":
            raise EngineError("readout ema: found a network of form window; wanted readout window")
        self._tumbling = graph.tumbling or readout == "window"

    @abstractmethod
    def _advance(
        self, frames: NDArray[np.uint16], state: EngineState, run: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float32], Activity]:
        """One step, in place: output (B, K), 0 where run (B,) is False and the stream idles."""

    @abstractmethod
    def _window(self, frames: NDArray[np.uint16]) -> tuple[NDArray[np.float32], Counts]:
        """The T frames (T, 2, H, W) of one stream, from a fresh state: outputs (T, K), counts (T, ...)."""

    def add(self, packet: EventPacket, start: int, stop: int, state: EngineState, stream: int = 0) -> None:
        """Take events start .. stop of the packet, of the next step's window, before it closes.

        `step(None, state)` then takes that step, with the same result to the bit as from the frame. A
        snapshot holds no events that no step has taken yet.
        """
        raise EngineError(
            f"add: engine {self.name} on this network takes whole frames; wanted step(frames, state)"
        )

    def _held(self, name: str, array: NDArray[np.float32]) -> NDArray[np.float32]:
        """What a state of that name, set to `array`, is held as."""
        return array

    def _settle(self, state: EngineState) -> None:
        """Make state.arrays what they say they are; they are about to be read or changed from outside."""
        return

    def init_state(self, batch: int = 1) -> EngineState:
        """A state of zeros for `batch` streams."""
        T, K = self.graph.steps, self.graph.classes
        return EngineState(
            {name: np.zeros((batch, *own.shape), np.float32) for name, own in self.graph.states.items()},
            np.zeros((batch, T, K), np.float32),
            np.zeros((batch, T), np.float32),
            np.zeros((batch, K), np.float32),
            np.zeros(batch, np.int64),
            np.zeros((batch, T if self.windowed else 0, *self.graph.document.input_shape), np.uint16),
        )

    def step(
        self,
        frames: NDArray[np.uint16] | None,
        state: EngineState,
        run: NDArray[np.bool_] | list[bool] | None = None,
    ) -> StepResult:
        """Advance every stream by one step; streams with run[b] False idle instead. frames None: those of the
        events that were added."""
        if frames is None:
            raise EngineError(f"step: found no frames; engine {self.name} on this network takes whole ones")
        B = state.batch
        run_b = np.ones(B, bool) if run is None else np.asarray(run, bool)
        self._tumble(state)
        ready = np.ones(B, bool)
        if self.windowed:
            ready, activity = self._fill(frames, state, run_b)
        elif run_b.any():
            self._check(frames, B)
            output, activity = self._advance(frames, state, run_b)
            self._read(state, output, run_b)
        else:
            self.idle(state)
            activity = self.meter.nothing(B)
        processed = state.ran.sum(1)
        scores = self._scores(state, processed)
        return StepResult(scores, ready, activity, state.steps.copy(), processed.astype(np.int64))

    def _fill(
        self, frames: NDArray[np.uint16], state: EngineState, run: NDArray[np.bool_]
    ) -> tuple[NDArray[np.bool_], Activity]:
        """Put a frame into each stream's window, and run the windows that it fills."""
        every = np.arange(state.batch)
        if run.any():
            self._check(frames, state.batch)
            state.window[every, state.steps] = np.where(run[:, None, None, None], frames, np.uint16(0))
        else:
            state.window[every, state.steps] = 0
        state.ran[every, state.steps] = run
        state.steps += 1
        ready = state.steps == self.graph.steps
        activity = self.meter.nothing(state.batch)
        for b in np.flatnonzero(ready).tolist():  # one at a time: T steps are batch enough, and hold much
            outputs, counts = self._window(state.window[b])
            self._check_finite(outputs)
            state.ring[b] = outputs * state.ran[b][:, None]
            activity.put(b, self.meter.measure_window(counts))
        return ready, activity

    def idle(self, state: EngineState, n: int = 1, streams: list[int] | None = None) -> None:
        """n skipped steps: no input, no spike, only the leak acts. idle(n) equals n times idle(1)."""
        if self.windowed:
            raise EngineError(
                "idle: a network of form window cannot leave out a step; wanted skip rule zero, or run False"
            )
        chosen = np.arange(state.batch) if streams is None else np.asarray(streams, np.int64)
        silent = np.zeros((state.batch, self.graph.classes), np.float32)
        self._settle(state)
        for _ in range(n):
            self._tumble(state, chosen)
            for name, own in self.graph.states.items():
                array = state.arrays[name]
                if streams is None:
                    array[...] = self._held(name, own.idle(array))
                else:
                    array[chosen] = self._held(name, own.idle(array[chosen]))
            self._read(state, silent, np.zeros(state.batch, bool), chosen)

    def reset(self, state: EngineState, streams: list[int] | NDArray[np.int64] | None = None) -> None:
        """Back to `init_state`, in place."""
        self._restart(state, streams)

    def _restart(self, state: EngineState, streams: list[int] | NDArray[np.int64] | None = None) -> None:
        chosen = np.arange(state.batch) if streams is None else np.asarray(streams, np.int64)
        self._settle(state)
        for array in self._named(state).values():
            array[chosen] = 0

    def ran(self, processed: float, mac: float, synops: float) -> Ran:
        """What this engine executes in a step on average, of which the share `processed` is run and the rest
        idles; mac and synops are what the activity says. This one computes everything, spikes or not."""
        steps = self.graph.steps if self.windowed else 1
        step = dense_step(self.graph, self.meter.mac // steps - sum(self.meter.layer_mac.values()))
        idle = Ran(updates=step.updates, bytes=2.0 * 4 * step.updates)
        a, b = step.scaled(processed), idle.scaled(1 - processed)
        return Ran(a.mac, a.ac, a.updates + b.updates, a.bytes + b.bytes)

    def peek(self, frames: NDArray[np.uint16], state: EngineState) -> NDArray[np.float32]:
        """The scores (B, K) that a step would give; the state stays as it is."""
        self._settle(state)
        return self.step(frames, state.copy()).scores

    def snapshot(self, state: EngineState) -> dict[str, NDArray[Any]]:
        """Copies of everything the next step depends on, by name."""
        self._settle(state)
        return {name: array.copy() for name, array in self._named(state).items()}

    def restore(self, arrays: dict[str, NDArray[Any]]) -> EngineState:
        """A state from a snapshot, of this or another engine of the same graph."""
        if "steps" not in arrays:
            raise EngineError("snapshot: 'steps' is missing")
        state = self.init_state(len(arrays["steps"]))
        named = self._named(state)
        for name, own in named.items():
            found = arrays.get(name)
            if found is None or found.shape != own.shape or found.dtype != own.dtype:
                raise EngineError(
                    f"snapshot: {name} is {'missing' if found is None else f'{found.dtype}{found.shape}'},"
                    f" wanted {own.dtype}{own.shape}"
                )
        if extra := sorted(set(arrays) - set(named)):
            raise EngineError(f"snapshot: {extra[0]} is not a state of this network")
        for name, own in named.items():
            own[...] = arrays[name]
        return state

    def _named(self, state: EngineState) -> dict[str, NDArray[Any]]:
        """The state's arrays under their canonical names."""
        named: dict[str, NDArray[Any]] = dict(state.arrays)
        if self.windowed:
            named["window.frames"] = state.window
        named |= {"readout.ring": state.ring, "readout.ran": state.ran, "readout.ema": state.ema}
        return named | {"steps": state.steps}

    def _tumble(self, state: EngineState, streams: NDArray[np.int64] | None = None) -> None:
        """A tumbling network starts anew after T steps."""
        if self._tumbling:
            full = np.flatnonzero(state.steps >= self.graph.steps)
            if streams is not None:
                full = np.intersect1d(full, streams)
            if len(full):
                self._restart(state, full)  # events that were added early belong to the step to come

    def _read(
        self,
        state: EngineState,
        output: NDArray[np.float32],
        run: NDArray[np.bool_],
        streams: NDArray[np.int64] | None = None,
    ) -> None:
        """Enter one step's outputs into the readout."""
        rate = np.float32(2 / (self.graph.steps + 1))
        if streams is None and run.all():  # as below, without indices
            state.ring[:, :-1] = state.ring[:, 1:]
            state.ran[:, :-1] = state.ran[:, 1:]
            state.ring[:, -1] = output
            state.ran[:, -1] = 1
            state.ema += rate * (output - state.ema)
            state.steps += 1
            return
        every = np.arange(state.batch) if streams is None else streams
        if streams is None or len(every) == state.batch:
            state.ring[:, :-1] = state.ring[:, 1:]
            state.ran[:, :-1] = state.ran[:, 1:]
        else:
            state.ring[every, :-1] = state.ring[every, 1:]
            state.ran[every, :-1] = state.ran[every, 1:]
        state.ring[every, -1] = output[every]
        state.ran[every, -1] = run[every]
        ran = every[run[every]]
        state.ema[ran] += rate * (output[ran] - state.ema[ran])
        state.steps[every] += 1

    def _scores(self, state: EngineState, processed: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mean of the outputs of the steps that were run among the last T, `processed` (B,) of them, or their
        running mean."""
        if self.readout == "ema":
            return state.ema.copy()
        return (state.ring.sum(1) / np.maximum(processed, 1)[:, None]).astype(np.float32)

    def _check(self, frames: NDArray[np.uint16], batch: int) -> None:
        wanted = (batch, *self.graph.document.input_shape)
        if frames.shape != wanted or frames.dtype != np.uint16:
            raise EngineError(f"frames: found {frames.dtype}{frames.shape}, wanted uint16{wanted}")

    @staticmethod
    def _check_finite(output: NDArray[np.float32]) -> None:
        if not np.isfinite(output).all():
            raise EngineError("the network's output is not finite: wanted finite weights and counts")


class WholeStep(Engine):
    """An engine that computes every stream of a step at once, from states to other states."""

    @abstractmethod
    def _forward(
        self, frames: NDArray[np.uint16], state: EngineState
    ) -> tuple[NDArray[np.float32], States, Counts]:
        """One step from state.arrays, which stay as they are: output (B, K), new arrays, counts."""

    def _advance(
        self, frames: NDArray[np.uint16], state: EngineState, run: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float32], Activity]:
        output, arrays, counts = self._forward(frames, state)
        self._check_finite(output)
        idle = np.flatnonzero(~run)
        if len(idle):
            for name, own in self.graph.states.items():
                arrays[name][idle] = own.idle(state.arrays[name][idle])
            output[idle] = 0
            for count in counts.values():
                count[idle] = 0
        state.arrays = arrays
        return output, self.meter.measure(counts, run)
