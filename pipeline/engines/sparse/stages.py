"""What a plan's stages share: a state's arrays, and the way through a program's lines with what Python
does.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from spikeline.pipeline.engines.sparse import kernels_program
from spikeline.pipeline.engines.sparse.neurons import Membranes
from spikeline.pipeline.engines.sparse.program import LINE, Memory
from spikeline.pipeline.engines.sparse.spikes import Spikes
from spikeline.pipeline.engines.state import States

if TYPE_CHECKING:
    from spikeline.pipeline.engines.sparse.lines import Line

Array = NDArray[Any]


@dataclass(slots=True)
class Early:
    """Events that came before their step: frame (B, 2, H, W), sums (B, Ho Wo C) int32, hit (B, Ho Wo)
    uint8.
    """

    frame: NDArray[np.uint16]
    sums: NDArray[np.int32]
    hit: NDArray[np.uint8]

    def forget(self, b: int) -> None:
        """One stream's events, which no step has taken."""
        if self.frame[b].any():
            self.frame[b], self.sums[b], self.hit[b] = 0, 0, 0


class Rooms:
    """What a plan keeps for one state of B streams.

    program    (lines, B), see program.py
    now (B,)   steps of each stream since the state was made: what pixels left alone are behind of
    given      whether a stream's state is what it says: others may have looked at it, or changed it
    """

    def __init__(self, lines: "list[Line]", states: States, batch: int) -> None:
        self.program = np.zeros((len(lines), batch), LINE)
        self.now = np.zeros(batch, np.int64)
        self.given = [True] * batch
        self.every = list(range(batch))
        self.memory = Memory()
        self.spikes: dict[str, Spikes] = {}
        self.membranes: dict[str, Membranes] = {}
        self.targets: dict[str, Array] = {}
        self.own: dict[str, Any] = {}  # what else a line keeps, by its name
        self.early: Early | None = None
        self.found = np.zeros(3, np.int64)
        longest = max((line.offsets for line in lines), default=0)
        widest = max((line.widest for line in lines), default=0)
        n = 2 * (widest // 64 + 2)
        self._sizes = {
            "offsets": (longest, np.int32),
            "reached": (n, np.uint64),
            "columns_due": (64 * n, np.int64),
        }
        self._threads: list[dict[str, Array]] = []
        self.scratch = self._scratch()
        for name, array in self.scratch.items():
            self.program[name] = self.memory(array)
        self.program["offsets_size"], self.program["reached_size"] = longest, n
        for i, line in enumerate(lines):
            self.program["source"][i] = i
            line.enter(self, self.program[i], states)

    def _scratch(self) -> dict[str, Array]:
        """Room for what a kernel finds on its way, by the fields that say where it is."""
        return {name: np.zeros(n, kind) for name, (n, kind) in self._sizes.items()}

    def of_threads(self, n: int) -> list[dict[str, Array]]:
        """The same for each of n threads, made when it is first asked for."""
        while len(self._threads) < n:
            self._threads.append(self._scratch())
        return self._threads[:n]


@dataclass(slots=True)
class Step:
    """One step of some of a state's streams: frames of all, dense values (node -> array) of these.

    taken: the frames are those of events that were added before. scaled: of a current behind a temporal gate,
    the current, what it is multiplied by (streams,), and the least that it may be before.
    """

    frames: NDArray[np.uint16]
    states: States
    positions: NDArray[np.int64]
    rooms: Rooms
    streams: list[int]
    taken: bool
    dense: dict[str, Array] = field(default_factory=dict)
    scaled: dict[str, tuple[str, Array, float]] = field(default_factory=dict)

    @property
    def chosen(self) -> slice | list[int]:
        """Index of the step's streams: all of them without a copy."""
        return slice(None) if len(self.streams) == len(self.frames) else self.streams

    def values(self, name: str) -> Array:
        """A node's values as float32, (streams, C, H, W) or (streams, N)."""
        if name in self.scaled and name not in self.dense:
            source, factors, least = self.scaled[name]
            x = self.values(source)
            self.dense[name] = np.maximum(x, np.float32(least)) * factors.reshape(-1, *(1,) * (x.ndim - 1))
        elif name not in self.dense:
            self.dense[name] = self.rooms.spikes[name].dense(self.streams)
        return self.dense[name]


class Stage(Protocol):
    name: str

    def run(self, step: Step) -> None: ...


def last(array: Array) -> Array:
    """(B, C, H, W) as (B, H, W, C); vectors as they are."""
    return array.transpose(0, 2, 3, 1) if array.ndim == 4 else array


class Walk(Stage):
    """Lines one after another. form: 0 of the membranes' type, float32 where all are."""

    def __init__(self, form: Any, first: int) -> None:
        """first: the index of its first line"""
        self.name, self._form, self._first = "", form, first
        self.lines: list[Line] = []

    def run(self, step: Step) -> None:
        rooms, n = step.rooms, len(step.streams)
        streams = np.array(step.streams, np.int64)
        last, at = self._first + len(self.lines), 0
        while True:
            at = kernels_program.walk(
                self._form, rooms.program, self._first, last, streams, at, rooms.now, step.frames, step.taken,
                rooms.found,
            )  # fmt: skip
            if at < 0:
                break
            self.lines[at // n].by_hand(step, step.streams[at % n])
            at += 1
        for line in self.lines:
            line.give(step)
