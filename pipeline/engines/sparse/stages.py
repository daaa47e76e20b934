"""What the stages of a plan have in common: one step, the arrays kept for a state, plain layers of neurons.

A stage gives the value of one node of the graph. `room` makes what it needs of memory for one state; `run`
computes the node for the streams of a step.
"""

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from spikeline.pipeline.engines.sparse import kernels_float, kernels_int16, kernels_neuron
from spikeline.pipeline.engines.sparse.int16 import Whole, rounded
from spikeline.pipeline.engines.sparse.spikes import Spikes, aligned
from spikeline.pipeline.engines.state import States

Array = NDArray[Any]
VECTORS = 128  # values that a loop should have at least
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


def repeated(drive: Array) -> Array:
    """Rows (..., C) as (..., R, C), long enough for vectors where channels are few."""
    return aligned(np.repeat(drive[..., None, :], max(1, VECTORS // drive.shape[-1]), axis=-2))


@dataclass(slots=True)
class Membranes:
    """One layer's arrays of a state, a list of flat ones by stream; see kernels_neuron.finish.

    seen     the membranes as every engine has them, float32: the same arrays as h, or where h is int16
             others, right once it is `given`
    behind   whether pixels have been left alone, so that due and awake are to be looked at
    """

    h: list[Array]
    seen: list[Array]
    given: list[bool]
    due: list[Array]
    awake: list[Array]
    behind: list[bool]
    wakeful: list[int]  # how many are awake
    clipped: list[int]  # membranes, since somebody asked
    found: Array
    extra: Any = None


@dataclass(frozen=True)
class Neurons:
    """A layer of neurons that need nothing but their own membrane.

    drive, numbers  what kernels_float.py wants to know of it, or with `whole` kernels_int16.py
    lazy            quiet pixels are left alone
    """

    name: str
    shape: tuple[int, ...]
    drive: Array
    numbers: Array
    ratio: float  # what a weight is in the membrane's measure
    lazy: bool
    whole: Whole | None = None

    @property
    def pixels(self) -> int:
        return int(np.prod(self.shape[1:]))

    @property
    def zero(self) -> Any:
        """The scale of sums that there are none of."""
        return np.float32(0) if self.whole is None else 0

    def weights(self, weights: Array) -> Array:
        """Weights (..., C) as the membranes want them."""
        own = weights * self.ratio
        return aligned(
            own.astype(np.float32) if self.whole is None else rounded(own, self.whole.worth.astype(float))
        )

    def add_planes(self, planes: Array, h: Array) -> int:
        """Sums of a layer that was computed densely, (C, P); returns how many membranes were clipped."""
        kernels = kernels_float if self.whole is None else kernels_int16
        return int(kernels.add_planes(planes, h, self.numbers))

    def room(self, batch: int, states: States) -> Membranes:
        P = self.pixels if self.lazy else 0
        seen = [last(states[f"{self.name}.h"])[b].reshape(-1) for b in range(batch)]
        return Membranes(
            seen if self.whole is None else [aligned(np.zeros(len(h), np.int16)) for h in seen],
            seen,
            [True] * batch,
            [np.zeros(P, np.int64) for _ in range(batch)],
            [np.ones(P, np.uint8) for _ in range(batch)],
            [False] * batch,
            [P] * batch,
            [0] * batch,
            np.zeros(3, np.int64),
        )

    def quiet(self, own: Membranes, b: int) -> bool:
        """Whether a step without input does nothing that cannot wait."""
        return self.lazy and own.wakeful[b] == 0

    def settle(self, own: Membranes, b: int, now: int) -> None:
        """Make up for what was left out: `seen` is right, and may then be changed by others."""
        self._catch_up(own, b, now)
        if self.whole is not None and not own.given[b]:
            kernels_int16.give_out(own.h[b], self.whole.worth, own.seen[b])
        own.given[b] = True

    def begin(self, own: Membranes, b: int, now: int, sweep: bool) -> bool:
        """Before a layer's step: returns whether pixels may be left alone. sweep: better not."""
        if self.whole is not None and own.given[b]:
            limit, worth = self.drive[3, 0], self.whole.worth
            own.clipped[b] += kernels_int16.take_in(own.seen[b], worth, limit, own.h[b])
        own.given[b] = False
        if not self.lazy:
            return False
        if sweep:
            self._catch_up(own, b, now - 1)
        elif not own.behind[b]:
            own.due[b].fill(now - 1)
            own.awake[b].fill(1)
            own.behind[b] = True
        return not sweep

    def end(self, own: Membranes, b: int, out: Spikes, found: list[int]) -> None:
        """Take over what a kernel found: spikes, pixels awake, membranes clipped."""
        spikes, awake, clipped = found
        out.total[b] = spikes
        own.clipped[b] += clipped
        own.wakeful[b] = awake if own.behind[b] else self.pixels

    def warm_up(self) -> None:
        """Run what a first step may leave out."""
        if self.lazy:
            one, due = np.zeros(self.shape[0], self.drive.dtype), np.zeros(1, np.int64)
            kernels_neuron.settle(one, self.drive, self.numbers, due, np.zeros(1, np.uint8), 1)

    def _catch_up(self, own: Membranes, b: int, now: int) -> None:
        """Every pixel has reached step `now`, and any may fire again."""
        if own.behind[b]:
            own.clipped[b] += kernels_neuron.settle(
                own.h[b], self.drive, self.numbers, own.due[b], own.awake[b], now
            )
            own.behind[b] = False
            own.wakeful[b] = self.pixels

    def finish(self, own: Membranes, b: int, out: Spikes, sums: Array, hit: Array, scale: Any) -> None:
        """A step of every pixel, all of whose input is in its membranes and sums."""
        kernels_neuron.finish_all(
            sums, hit, scale, own.h[b], self.drive, self.numbers, out.keep, out.values[b], out.words[b],
            out.listed, out.count[b], out.first[b], out.list[b], NONE_DUE, NONE_AWAKE, own.found,
        )  # fmt: skip
        self.end(own, b, out, own.found.tolist())
