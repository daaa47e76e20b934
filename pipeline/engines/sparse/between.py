"""The lines of a program between layers of weights: pools, joins and averages of spikes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeline.pipeline.engines.sparse.lines import Line
from spikeline.pipeline.engines.sparse.program import AVERAGE, JOIN, POOL, VALUES, VOTE
from spikeline.pipeline.engines.sparse.stages import Rooms, Step
from spikeline.pipeline.engines.state import States

Array = NDArray[Any]


class PoolLine(Line):
    """A max pool of spikes, none above 1."""

    kind = POOL

    def __init__(
        self, name: str, index: int, source: Line, shape: tuple[int, ...], attrs: dict[str, Any]
    ) -> None:
        super().__init__(name, index, shape, 1)
        self.source, self._attrs = source, attrs

    def enter(self, rooms: Rooms, lines: Array, states: States) -> None:
        super().enter(rooms, lines, states)
        lines["source"], lines["height"] = self.source.index, self.source.shape[1]
        lines["out_height"] = self.shape[1]
        lines["rows"], lines["stride"] = self._attrs["size"], self._attrs["stride"]
        lines["padding"] = self._attrs.get("padding", 0)


class JoinLine(Line):
    """OR, AND, IAND or ADD of two layers' spikes."""

    kind = JOIN

    def __init__(
        self, name: str, index: int, sources: tuple[Line, Line], shape: tuple[int, ...], kind: str, most: int
    ) -> None:
        super().__init__(name, index, shape, most)
        self.sources, self._join = sources, ("or", "and", "iand", "add").index(kind)

    def enter(self, rooms: Rooms, lines: Array, states: States) -> None:
        super().enter(rooms, lines, states)
        lines["source"], lines["other"] = (source.index for source in self.sources)
        lines["join"] = self._join


class AverageLine(Line):
    """The average of spikes over all pixels: dense (B, C)."""

    kind = AVERAGE

    def __init__(self, name: str, index: int, source: Line) -> None:
        super().__init__(name, index, (source.shape[0],))
        self.source = source

    def enter(self, rooms: Rooms, lines: Array, states: States) -> None:
        super().enter(rooms, lines, states)
        lines["source"] = self.source.index
        rooms.targets[self.name] = target = np.zeros((len(lines), self.shape[0]), np.float32)
        for b in range(len(lines)):
            lines["target"][b] = rooms.memory(target[b])

    def give(self, step: Step) -> None:
        step.dense[self.name] = step.rooms.targets[self.name][step.chosen]


class ValuesLine(AverageLine):
    """Spikes of a layer without pixels as dense values (B, C)."""

    kind = VALUES


class VoteLine(AverageLine):
    """The average of spikes over so many neurons at a time, of a layer without pixels: dense (B, N)."""

    kind = VOTE

    def __init__(self, name: str, index: int, source: Line, size: int) -> None:
        super().__init__(name, index, source)
        self.shape, self._size = (source.shape[0] // size,), size

    def enter(self, rooms: Rooms, lines: Array, states: States) -> None:
        super().enter(rooms, lines, states)
        lines["rows"] = self._size
