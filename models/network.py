"""A torch network and how it runs: named parts (wiring.py), each fed by frames or by parts before it.

    net = Network(grid=(32, 32), steps=60)
    x = net.add("conv1_current", Weighted.conv(2, 64, 3), net.frames)
    ...

`step` in a loop, `forward`, and where every part is causal also the layer-by-layer `over_time` give the
same outputs. `lower` writes the same network as a graph. Frames are counts (B, 2, H, W) a step.
"""

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from spikeline.models.gate_layer import GateLayer
from spikeline.models.operations import GATES
from spikeline.models.part import Part, detached
from spikeline.models.recompute import again, groups
from spikeline.models.wiring import Wiring

State = dict[str, Any]  # part -> its state, and "steps", the number of steps since the network began


class Network(Wiring):
    """Its last part gives (B, K) a step, and a sample's score is the mean over its T steps."""

    def init_state(self, batch: int = 1) -> State:
        like = next(self.parameters())
        state: State = {"steps": 0}
        for name, inputs in self.inputs.items():
            state[name] = self.part(name).init_state(batch, self.shapes[inputs[0]], like)
        return state

    def scale(self, frames: Tensor) -> Tensor:
        """Counts to network input: min(gain * counts, clip)."""
        x = frames.to(next(self.parameters()).dtype) * self.gain
        return x if self.clip is None else x.clamp(max=self.clip)

    def step(self, frame: Tensor, state: State) -> tuple[Tensor, State]:
        """One frame of counts (B, 2, H, W) -> output (B, K) and the next state."""
        if window := self.window_parts:
            raise ValueError(why_window(self.part(window[0]), window[0], self.steps))
        if self.tumbling and state["steps"] == self.steps:
            state = self.init_state(len(frame))
        values = {self.frames: self.scale(frame)}
        after: State = {"steps": state["steps"] + 1}
        for name, inputs in self.inputs.items():
            values[name], after[name] = self.part(name).step(*(values[x] for x in inputs), state[name])
        return values[name], after

    def idle(self, state: State) -> State:
        """A skipped step."""
        if self.tumbling and state["steps"] == self.steps:
            batch = next(s for s in _tensors(state)).shape[0]
            state = self.init_state(batch)
        after = {name: self.part(name).idle(state[name]) for name in self.inputs}
        return after | {"steps": state["steps"] + 1}

    def forward(self, frames: Tensor) -> Tensor:
        """Frames (T, B, 2, H, W) -> outputs (T, B, K), from a zero state: one step after another, or where
        a part needs the whole window layer by layer."""
        if not self.causal:
            return self.over_time(frames)[0]
        state = self.init_state(frames.shape[1])
        outputs = []
        for frame in frames:
            output, state = self.step(frame, state)
            outputs.append(output)
        return torch.stack(outputs)

    def choose(self, frames: Tensor, discard: Tensor) -> tuple[Tensor, Tensor]:
        """Training's form of the frame gate: run (T, B), and weights (T, B), 1 and with its gradient.

        discard (B,): the share of each sample's frames to skip, those with the smallest gates. The best
        frame of a sample is always kept. Weights are straight-through: 1 forward, the gate backward.
        """
        assert self.frame_gate is not None
        windows = self.scale(frames).split(self.steps if self.tumbling else len(frames))
        gates = torch.cat([self.frame_gate.gates_over_time(window) for window in windows])
        rank = gates.detach().argsort(0).argsort(0)
        run = rank >= (discard * len(frames)).floor().clamp(max=len(frames) - 1)
        return run, (gates - gates.detach()) + 1  # in this order exactly 1

    def over_time(
        self,
        frames: Tensor,
        run: Tensor | None = None,
        *,
        bf16: bool = False,
        weights: Tensor | None = None,
        recompute: bool = False,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Layer by layer over all steps; also the spikes of each layer of neurons, (T, B, ...).

        run (T, B) bool: where False the stream idles that step, or if a part needs the whole window takes a
        frame without events, and its output is 0. In evaluation mode it equals `forward`.
        bf16: weights' products and batch norm in bfloat16; membranes stay float32.
        weights (T, B): the frame gate's, from `choose`.
        recompute: memory for work; see models/recompute.py.
        """
        settings: dict[str, Any] = {"bf16": bf16, "recompute": recompute}
        if self.tumbling and len(frames) > self.steps:
            return self._in_windows(frames, run, weights, settings)
        if not self.causal and len(frames) != self.steps:
            raise ValueError(f"found {len(frames)} steps; a network of form window takes {self.steps}")
        if not self.causal and run is not None:
            frames = frames * run.view(*run.shape, 1, 1, 1)
            output, spikes = self.over_time(frames, weights=weights, **settings)
            return output * run[:, :, None], spikes
        values = self.values(frames, run, keep=self.layers, weights=weights, **settings)
        return values[next(reversed(self.inputs))], {name: values[name] for name in self.layers}

    def stretch(
        self,
        frames: Tensor,
        state: State | None = None,
        run: Tensor | None = None,
        *,
        weights: Tensor | None = None,
        **settings: bool,
    ) -> tuple[Tensor, dict[str, Tensor], State]:
        """`over_time` of a few steps of a longer sample, of an endless network whose parts all run one step
        at a time: from the state that the stretch before left (None: zero); gradients end at its border."""
        state = {name: detached(s) for name, s in (state or self.init_state(frames.shape[1])).items()}
        values = self.values(frames, run, keep=self.layers, weights=weights, state=state, **settings)
        return values[next(reversed(self.inputs))], {name: values[name] for name in self.layers}, state

    def values(
        self,
        frames: Tensor,
        run: Tensor | None = None,
        *,
        bf16: bool = False,
        keep: Collection[str] | None = None,
        weights: Tensor | None = None,
        state: State | None = None,
        recompute: bool = False,
    ) -> dict[str, Tensor]:
        """The output (T, B, ...) of every part, or of those to keep and the last.

        state: where the first step begins, changed in place to that behind the last; None: a zero state.
        """
        x = self.scale(frames)
        values = {self.frames: x if weights is None else x * weights.view(*weights.shape, 1, 1, 1)}
        last_use = {x: name for name, inputs in self.inputs.items() for x in inputs}

        def run_parts(names: list[str], *xs: Tensor) -> Tensor:
            for name in names:
                with torch.autocast(frames.device.type, torch.bfloat16, enabled=bf16):
                    if state is None:
                        y = self.part(name).over_time(*xs, run=run)
                    else:
                        y, after[name] = self.part(name).stretch(*xs, state=before[name], run=run)
                xs = (y.to(xs[0].dtype),)
            return xs[0]

        # not `state` itself: run_parts may run again when it has changed
        before, after = dict(state or {}), dict[str, Any]()
        for names in groups(self.inputs, self.layers) if recompute else [[name] for name in self.inputs]:
            xs = [values[x] for x in self.inputs[names[0]]]
            if recompute:
                values[names[-1]] = again(run_parts, [self.part(name) for name in names], names, *xs)
            else:
                values[names[-1]] = run_parts(names, *xs)
            for x in () if keep is None else set(self.inputs[names[0]]):
                # a deep network holds few of its windows at a time
                if last_use[x] == names[0] and x not in (keep or ()):
                    del values[x]
        if state is not None:
            state.update(after)
        return values

    def _in_windows(
        self, frames: Tensor, run: Tensor | None, weights: Tensor | None, settings: dict[str, Any]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        outputs, spikes = [], []
        for start in range(0, len(frames), self.steps):
            s = slice(start, start + self.steps)
            part_run, part_weights = (None if x is None else x[s] for x in (run, weights))
            y, fired = self.over_time(frames[s], part_run, weights=part_weights, **settings)
            outputs.append(y)
            spikes.append(fired)
        return torch.cat(outputs), {name: torch.cat([s[name] for s in spikes]) for name in spikes[0]}


def why_window(part: Part, name: str, steps: int) -> str:
    """One line: why a network with this part cannot predict at every step, and what can."""
    assert isinstance(part, GateLayer)
    kind = part.attrs["kind"]
    forms = ", ".join(form for form in GATES[kind].forms if form != "window")
    return (
        f"{name}: attention {kind} over the window needs all {steps} steps before the first output;"
        f" its causal forms are {forms}"
    )


def _tensors(state: Any) -> Any:
    for value in state.values():
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, dict):
            yield from _tensors(value)
