"""What the stages of a plan have in common: one step, the arrays kept for a state, plain layers of neurons.

A stage gives the value of one node of the graph. `room` makes what it needs of memory for one state; `run`
computes the node for the streams of a step.
"""

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from spikeline.pipeline.engines.sparse import kernels_neuron
from spikeline.pipeline.engines.sparse.cells import Cell
from spikeline.pipeline.engines.sparse.spikes import Spikes
from spikeline.pipeline.engines.state import States

Array = NDArray[Any]
NONE, NONE_DUE, NONE_AWAKE = np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0, np.uint8)


@dataclass(slots=True)
class Rooms:
    """What a plan keeps for one state of B streams.

    now     steps of each stream since the state was made: what pixels left alone are behind of
    spikes  node -> its spikes at the newest step
    own     stage -> its own arrays
    """

    now: list[int]
    spikes: dict[str, Spikes]
    own: dict[str, Any]


@dataclass(slots=True)
class Step:
    """One step of some of a state's streams: frames of all, dense values (node -> array) of these."""

    frames: NDArray[np.uint16]
    states: States
    positions: NDArray[np.int64]
    rooms: Rooms
    streams: list[int]
    dense: dict[str, Array] = field(default_factory=dict)

    @property
    def chosen(self) -> slice | list[int]:
        """Index of the step's streams: all of them without a copy."""
        return slice(None) if len(self.streams) == len(self.frames) else self.streams

    def values(self, name: str) -> Array:
        """A node's values as float32, (streams, C, H, W) or (streams, N)."""
        if name not in self.dense:
            self.dense[name] = self.rooms.spikes[name].dense(self.streams)
        return self.dense[name]


class Stage(Protocol):
    name: str

    def room(self, batch: int, states: States) -> Any: ...
    def run(self, step: Step, own: Any) -> None: ...

    def warm_up(self, own: Any) -> None:
        """Run what a first step may leave out."""
        return None


def last(array: Array) -> Array:
    """(B, C, H, W) as (B, H, W, C); vectors as they are."""
    return array.transpose(0, 2, 3, 1) if array.ndim == 4 else array


@dataclass(slots=True)
class Membranes:
    """One layer's arrays of a state, a list of flat ones by stream; see kernels_neuron.finish."""

    h: list[Array]
    due: list[Array]
    awake: list[Array]
    wakeful: list[int]  # how many are awake
    found: Array
    extra: Any = None


@dataclass(frozen=True)
class Neurons:
    """A layer of neurons that need nothing but their own membrane. lazy: quiet pixels are left alone."""

    name: str
    cell: Cell
    drive: NDArray[np.float32]  # (C,)
    shape: tuple[int, ...]
    lazy: bool

    @property
    def pixels(self) -> int:
        return int(np.prod(self.shape[1:]))

    def room(self, batch: int, states: States) -> Membranes:
        P = self.pixels if self.lazy else 0
        membranes = last(states[f"{self.name}.h"])
        return Membranes(
            [membranes[b].reshape(-1) for b in range(batch)],
            [np.zeros(P, np.int64) for _ in range(batch)],
            [np.ones(P, np.uint8) for _ in range(batch)],
            [P] * batch,
            np.zeros(2, np.int64),
        )

    def quiet(self, own: Membranes, b: int) -> bool:
        """Whether a step without input does nothing that cannot wait."""
        return self.lazy and own.wakeful[b] == 0

    def settle(self, own: Membranes, b: int, now: int) -> None:
        """Make up for what was left out: h is what every engine has, and may then be changed by others."""
        if self.lazy:
            own.wakeful[b] = self.pixels
            kernels_neuron.settle(own.h[b], self.drive, self.cell.numbers, own.due[b], own.awake[b], now)

    def catch_up(self, own: Membranes, b: int, now: int) -> None:
        """Before a step in which all pixels take part: what was left out is made up for, all stay awake."""
        self.settle(own, b, now - 1)
        if self.lazy:
            own.due[b].fill(now)

    def fed(self, own: Membranes, b: int, x: Array, scale: float, out: Spikes) -> None:
        """A step fed by a dense current x (flat); all pixels are updated. scale 0: by none."""
        out.total[b] = kernels_neuron.finish_all(
            x, np.float32(scale), own.h[b], self.drive, self.cell.numbers, out.keep, out.values[b],
            out.words[b], out.listed, out.count[b], out.first[b], out.list[b], NONE, NONE_DUE, NONE_AWAKE,
        )  # fmt: skip
