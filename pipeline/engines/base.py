"""The engine contract, and everything about it that is the same in every engine.

    init_state(batch) -> state            owned by the caller, changed in place by `step` and `idle`
    step(frames, state, run) -> StepResult   frames (B, 2, H, W) uint16; run[b] False: stream b idles
    idle(state, n, streams)   reset(state, streams)   peek(frames, state) -> scores, state unchanged
    snapshot(state) -> {name: array (B, ...)}   restore(dict) -> state: the same names in every engine

An engine computes one step of the graph (`_forward`): membranes in, membranes and nonzero counts out.
Idling, the readout, tumbling, and what is counted are here, in NumPy, so that they are equal to the bit
in every engine.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeline.models.graph import Graph
from spikeline.pipeline.engines.activity import Activity, Meter

Membranes = dict[str, NDArray[np.float32]]
Counts = dict[str, NDArray[np.float32]]  # spiking node -> nonzero values per position (B, H, W) or (B,)


class EngineError(ValueError):
    """A state or frame that does not belong to the engine, or a result that is not a number."""


@dataclass(slots=True)
class EngineState:
    """One batch of streams. Opaque to callers; `snapshot` gives the canonical form."""

    membranes: Membranes  # "<layer>.h" -> (B, *shape) float32
    ring: NDArray[np.float32]  # (B, T, K): outputs of the last T steps, oldest first
    ran: NDArray[np.float32]  # (B, T): 1 where that step was run, 0 where idle or not yet
    ema: NDArray[np.float32]  # (B, K): running mean of the outputs, for the `ema` readout
    steps: NDArray[np.int64]  # (B,): steps since the reset, idle ones too
    extra: Any = None  # an engine's own buffers

    @property
    def batch(self) -> int:
        return len(self.steps)


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a step gives, for each of the B streams.

    scores     (B, K) float32: the readout after this step
    ready      (B,) bool: False while a window network fills its buffer
    activity   spikes, synaptic operations and MAC of this step alone
    steps      (B,) int64: steps since the reset; fewer than T: the score is warming up
    processed  (B,) int64: how many of the readout's steps were run, not idle
    """

    scores: NDArray[np.float32]
    ready: NDArray[np.bool_]
    activity: Activity
    steps: NDArray[np.int64]
    processed: NDArray[np.int64]


class Engine(ABC):
    """One graph, ready to run. `readout` is `window`, `sliding` or `ema` (rate 2 / (T + 1))."""

    name: str

    def __init__(self, graph: Graph, readout: str = "sliding") -> None:
        if readout not in ("window", "sliding", "ema"):
            raise EngineError(f"readout {readout!r}: wanted window, sliding or ema")
        self.graph = graph
        self.readout = readout
        self.meter = Meter(graph)
        self._tumbling = graph.tumbling or readout == "window"

    @abstractmethod
    def _forward(
        self, frames: NDArray[np.uint16], state: EngineState
    ) -> tuple[NDArray[np.float32], Membranes, Counts]:
        """One step from state.membranes, which stay as they are: output (B, K), new membranes, counts."""

    def _carry(self, state: EngineState, membranes: Membranes) -> None:
        """Make `membranes`, as given by `_forward`, the state's."""
        state.membranes = membranes

    def init_state(self, batch: int = 1) -> EngineState:
        """A state of zeros for `batch` streams."""
        T, K = self.graph.steps, self.graph.classes
        return EngineState(
            {name: np.zeros((batch, *shape), np.float32) for name, shape in self.graph.membranes.items()},
            np.zeros((batch, T, K), np.float32),
            np.zeros((batch, T), np.float32),
            np.zeros((batch, K), np.float32),
            np.zeros(batch, np.int64),
        )

    def step(
        self,
        frames: NDArray[np.uint16],
        state: EngineState,
        run: NDArray[np.bool_] | list[bool] | None = None,
    ) -> StepResult:
        """Advance every stream by one step; streams with run[b] False idle instead."""
        B = state.batch
        run_b = np.ones(B, bool) if run is None else np.asarray(run, bool)
        self._tumble(state)
        if run_b.any():
            self._check(frames, B)
            output, membranes, counts = self._forward(frames, state)
            if not np.isfinite(output).all():
                raise EngineError("the network's output is not finite: wanted finite weights and counts")
            idle = np.flatnonzero(~run_b)
            if len(idle):
                for (name, new), (_, neuron) in zip(membranes.items(), self.graph.neurons, strict=True):
                    new[idle] = neuron.idle(state.membranes[name][idle])
                output[idle] = 0
                for count in counts.values():
                    count[idle] = 0
            self._carry(state, membranes)
            activity = self.meter.measure(counts, run_b)
            self._read(state, output, run_b)
        else:
            self.idle(state)
            activity = self.meter.nothing(B)
        return StepResult(
            self._scores(state), np.ones(B, bool), activity, state.steps.copy(), self._processed(state)
        )

    def idle(self, state: EngineState, n: int = 1, streams: list[int] | None = None) -> None:
        """n skipped steps: no input, no spike, only the leak acts. idle(n) equals n times idle(1)."""
        chosen = np.arange(state.batch) if streams is None else np.asarray(streams, np.int64)
        silent = np.zeros((state.batch, self.graph.classes), np.float32)
        for _ in range(n):
            self._tumble(state, chosen)
            for (name, h), (_, neuron) in zip(state.membranes.items(), self.graph.neurons, strict=True):
                if streams is None:
                    h[...] = neuron.idle(h)
                else:
                    state.membranes[name][chosen] = neuron.idle(h[chosen])
            self._read(state, silent, np.zeros(state.batch, bool), chosen)

    def reset(self, state: EngineState, streams: list[int] | NDArray[np.int64] | None = None) -> None:
        """Back to `init_state`, in place."""
        chosen = np.arange(state.batch) if streams is None else np.asarray(streams, np.int64)
        for array in (*state.membranes.values(), state.ring, state.ran, state.ema):
            array[chosen] = 0
        state.steps[chosen] = 0

    def peek(self, frames: NDArray[np.uint16], state: EngineState) -> NDArray[np.float32]:
        """The scores (B, K) that a step would give; the state stays as it is."""
        self._check(frames, state.batch)
        trial = EngineState(
            {name: h.copy() for name, h in state.membranes.items()},
            state.ring.copy(),
            state.ran.copy(),
            state.ema.copy(),
            state.steps.copy(),
        )
        self._tumble(trial)
        output, _, _ = self._forward(frames, trial)
        self._read(trial, output, np.ones(trial.batch, bool))
        return self._scores(trial)

    def snapshot(self, state: EngineState) -> dict[str, NDArray[Any]]:
        """Copies of everything the next step depends on, by name."""
        return {name: h.copy() for name, h in state.membranes.items()} | {
            "readout.ring": state.ring.copy(),
            "readout.ran": state.ran.copy(),
            "readout.ema": state.ema.copy(),
            "steps": state.steps.copy(),
        }

    def restore(self, arrays: dict[str, NDArray[Any]]) -> EngineState:
        """A state from a snapshot, of this or another engine of the same graph."""
        if "steps" not in arrays:
            raise EngineError("snapshot: 'steps' is missing")
        state = self.init_state(len(arrays["steps"]))
        wanted = self.snapshot(state)
        for name, like in wanted.items():
            found = arrays.get(name)
            if found is None or found.shape != like.shape or found.dtype != like.dtype:
                raise EngineError(
                    f"snapshot: {name} is {'missing' if found is None else f'{found.dtype}{found.shape}'},"
                    f" wanted {like.dtype}{like.shape}"
                )
        if extra := sorted(set(arrays) - set(wanted)):
            raise EngineError(f"snapshot: {extra[0]} is not a state of this network")
        for name, h in state.membranes.items():
            h[...] = arrays[name]
        for name, array in (("ring", state.ring), ("ran", state.ran), ("ema", state.ema)):
            array[...] = arrays[f"readout.{name}"]
        state.steps[...] = arrays["steps"]
        return state

    def _tumble(self, state: EngineState, streams: NDArray[np.int64] | None = None) -> None:
        """A tumbling network starts anew after T steps."""
        if self._tumbling:
            full = np.flatnonzero(state.steps >= self.graph.steps)
            if streams is not None:
                full = np.intersect1d(full, streams)
            if len(full):
                self.reset(state, full)

    def _read(
        self,
        state: EngineState,
        output: NDArray[np.float32],
        run: NDArray[np.bool_],
        streams: NDArray[np.int64] | None = None,
    ) -> None:
        """Enter one step's outputs into the readout."""
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
        rate = np.float32(2 / (self.graph.steps + 1))
        state.ema[ran] += rate * (output[ran] - state.ema[ran])
        state.steps[every] += 1

    def _scores(self, state: EngineState) -> NDArray[np.float32]:
        """Mean of the outputs of the steps that were run among the last T (or their running mean)."""
        if self.readout == "ema":
            return state.ema.copy()
        processed = np.maximum(state.ran.sum(1, keepdims=True), 1)
        return (state.ring.sum(1) / processed).astype(np.float32)

    @staticmethod
    def _processed(state: EngineState) -> NDArray[np.int64]:
        return state.ran.sum(1).astype(np.int64)

    def _check(self, frames: NDArray[np.uint16], batch: int) -> None:
        wanted = (batch, *self.graph.document.input_shape)
        if frames.shape != wanted or frames.dtype != np.uint16:
            raise EngineError(f"frames: found {frames.dtype}{frames.shape}, wanted uint16{wanted}")
