"""Counts as entries that a layer of weights is fed by, where no plain neurons stand behind it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeline.models.graph import Node
from spikeline.pipeline.engines.sparse import kernels_counts
from spikeline.pipeline.engines.sparse.geometry import Convolution
from spikeline.pipeline.engines.sparse.lines import ROOM, CurrentLine, Line, enter_sizes
from spikeline.pipeline.engines.sparse.program import BESIDE, NEVER
from spikeline.pipeline.engines.sparse.spikes import aligned
from spikeline.pipeline.engines.sparse.stages import Rooms, Stage, Step
from spikeline.pipeline.engines.state import States

Array = NDArray[Any]
COUNT_BITS = 16  # of the largest count a frame can have


class ListedCounts(Line):
    """The input's cells with events, as entries that a layer of weights may be fed by."""

    def __init__(self, name: str, index: int, node: Node, shape: tuple[int, int, int]) -> None:
        super().__init__(name, index, shape)
        gain, clip = node.attrs["gain"], node.attrs.get("clip")
        self._top = NEVER if clip is None else max(1, int(np.ceil(clip / gain)))  # the first count clipped
        bits = COUNT_BITS if clip is None else max(1, (self._top - 1).bit_length())
        self.kinds = bits + 1
        self._worth = [gain * 2.0**b for b in range(bits)] + [0.0 if clip is None else clip]

    def enter(self, rooms: Rooms, lines: Array, states: States) -> None:
        super().enter(rooms, lines, states)
        C, H, W = self.shape
        B, P, n = len(lines), H * W, H * W * C * self.kinds + BESIDE
        begin, end = (np.zeros((B, P + BESIDE), np.int32) for _ in range(2))
        listed = Listed(begin, end, np.zeros((B, n), np.int32), lines["total"])
        rooms.own[self.name] = listed
        lines["entries_size"] = n
        for name in ("begin", "end", "entries"):
            for b in range(B):
                lines[name][b] = rooms.memory(getattr(listed, name)[b])

    def weights(self, convolution: Convolution) -> Array:
        """(taps channels kinds + 1, C): a convolution's weights by a count's bits, and of a clipped one."""
        rows = convolution.weights()
        table = np.zeros(((len(rows) - 1) * self.kinds + 1, rows.shape[1]))
        for b, worth in enumerate(self._worth):
            table[b : -1 : self.kinds] = worth * rows[:-1]
        return table

    def run(self, step: Step) -> None:
        """List the cells of a step's frames."""
        listed = step.rooms.own[self.name]
        for b in step.streams:
            cells, _ = kernels_counts.look(step.frames[b], NEVER)
            listed.total[b] = cells
            if cells:
                kernels_counts.list_counts(
                    step.frames[b], self._top, NEVER, self.kinds, listed.begin[b], listed.end[b],
                    listed.entries[b],
                )  # fmt: skip


@dataclass(frozen=True)
class Listed:
    """Entries of B streams, (B, ...) each; total (B,): cells with events."""

    begin: Array
    end: Array
    entries: Array
    total: Array


class CountsCurrentLine(CurrentLine):
    """Counts and a layer of weights without neurons of its own: dense values."""

    def __init__(
        self, name: str, index: int, source: ListedCounts, convolution: Convolution, bias: Array
    ) -> None:
        super().__init__(name, index, source, convolution, bias)
        self._kinds = source.kinds
        self.weights = aligned(source.weights(convolution).astype(np.float32).ravel())
        self.offsets = self.width * (convolution.reach * source.kinds + 4) + ROOM

    def enter(self, rooms: Rooms, lines: Array, states: States) -> None:
        super().enter(rooms, lines, states)
        enter_sizes(lines, self.convolution, self._kinds)


class ListCounts(Stage):
    """The input's cells with events, before what they feed."""

    def __init__(self, line: ListedCounts) -> None:
        self.name, self._line = line.name, line

    def run(self, step: Step) -> None:
        self._line.run(step)
