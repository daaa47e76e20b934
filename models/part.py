"""What every part of a torch network offers: spiking_layer.py, stateless.py and gate_layer.py have them.

A part takes steps x (B, ...) and is asked in three ways, which agree to the bit in evaluation mode:

    step(*inputs, state) -> output, state     one step; the state goes in and out, nothing is kept inside
    idle(state) -> state                      a skipped step: only the leak acts
    over_time(*inputs, run=None) -> output    all steps (T, B, ...) from a zero state, layer by layer:
                                              training's form, since batch norm takes its statistics over
                                              batch and time; run (T, B) bool: where False the stream idles

and says how it is written into the lowered graph (`lower`). A part that needs the whole window has no
`step`, and says so (`causal`).
"""

from typing import Any

import torch
from torch import Tensor, nn

from spikeline.models.lowering import Lowering
from spikeline.models.shapes import Shape

State = Any  # what a part carries from step to step: a tensor, a dictionary of them, or None


class Part(nn.Module):
    """Base: a part that runs one step at a time."""

    @property
    def spikes(self) -> bool:
        """Whether its output is spikes."""
        return False

    @property
    def causal(self) -> bool:
        """Whether it runs one step at a time; if not, it takes whole windows only."""
        return True

    def shape(self, *inputs: Shape) -> Shape:
        """The shape of a step's output, without the batch axis."""
        return inputs[0]

    def init_state(self, batch: int, shape: Shape, like: Tensor) -> State:
        """For steps of this input shape, of the dtype and device of `like`."""
        return None

    def step(self, *inputs_and_state: Any) -> tuple[Tensor, State]:
        raise NotImplementedError

    def idle(self, state: State) -> State:
        return state

    def over_time(self, *inputs: Tensor, run: Tensor | None = None) -> Tensor:
        """All steps from a zero state; outputs of steps that are not run are 0."""
        state = self.init_state(inputs[0].shape[1], tuple(inputs[0].shape[2:]), inputs[0])
        return self.stretch(*inputs, state=state, run=run)[0]

    def stretch(self, *inputs: Tensor, state: State, run: Tensor | None = None) -> tuple[Tensor, State]:
        """Some steps from a given state, a loop over `step`; the state behind them carries no gradient that
        is of use: it starts the next stretch of a truncated gradient."""
        outputs = []
        # unbind: indexing x[t] would fill a full gradient T times
        for t, xs in enumerate(zip(*(x.unbind() for x in inputs), strict=True)):
            y, after = self.step(*xs, state)
            if run is not None:
                y = y * column(run[t], y)
                after = _choose(run[t], after, self.idle(state))
            outputs.append(y)
            state = after
        return torch.stack(outputs), state

    def lower(self, name: str, inputs: list[str], into: Lowering) -> str:
        """Write the part into a graph; returns the name of the node that is its output."""
        raise NotImplementedError


class Stateless(Part):
    """A part whose `forward` takes steps (B, ...) and remembers nothing."""

    def step(self, *inputs_and_state: Any) -> tuple[Tensor, State]:
        *xs, state = inputs_and_state
        return self(*xs), state

    def over_time(self, *inputs: Tensor, run: Tensor | None = None) -> Tensor:
        y = self(*(x.flatten(0, 1) for x in inputs))
        return y.unflatten(0, inputs[0].shape[:2])

    def stretch(self, *inputs: Tensor, state: State, run: Tensor | None = None) -> tuple[Tensor, State]:
        return self.over_time(*inputs, run=run), state


def column(flags: Tensor, x: Tensor) -> Tensor:
    """(B,) shaped to multiply or choose x (B, ...)."""
    return flags.view(-1, *(1,) * (x.ndim - 1))


def detached(state: State) -> State:
    """A state without gradients."""
    if isinstance(state, dict):
        return {name: detached(value) for name, value in state.items()}
    return state.detach() if isinstance(state, Tensor) else state


def _choose(run: Tensor, ran: State, idled: State) -> State:
    """Of each stream the state of a step that ran or idled."""
    if ran is None:
        return None
    if isinstance(ran, dict):
        return {name: _choose(run, ran[name], idled[name]) for name in ran}
    return torch.where(column(run, ran), ran, idled)
