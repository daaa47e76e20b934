"""Neurons that are swept whole at every step: with attention on their membrane, or fed by a dense current.

Their line stands in the program for its spikes, and is not walked: a stage in Python calls one kernel per
stream. A temporal gate in front of them is a factor of their current, applied as they take it in.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeline.models.graph import Graph, Node, gates_of
from spikeline.pipeline.engines.sparse import kernels_attention, kernels_spikes
from spikeline.pipeline.engines.sparse.cells import Cell
from spikeline.pipeline.engines.sparse.counts_current import ListedCounts
from spikeline.pipeline.engines.sparse.geometry import Convolution
from spikeline.pipeline.engines.sparse.lines import ROOM, Line
from spikeline.pipeline.engines.sparse.program import lanes_of, padded
from spikeline.pipeline.engines.sparse.spikes import aligned
from spikeline.pipeline.engines.sparse.stages import Rooms, Stage, Step, last
from spikeline.pipeline.engines.state import States

Array = NDArray[Any]
ORDERS = (("ca",), ("eca",), ("sa",), ("ca", "sa"), ("eca", "sa"))  # of gates on a membrane
NONE, NO_PLACES = np.zeros(0, np.float32), np.zeros(0, np.int32)


def attended(node: Node, graph: Graph) -> bool:
    """Whether the kernel knows the gates on a layer's membrane, if it has any."""
    found = [(prefix, attrs) for prefix, attrs in gates_of(node)]
    kinds = tuple(attrs["kind"] for _, attrs in found)
    plain = all(prefix.startswith("refine") and not attrs.get("relu") for prefix, attrs in found)
    return not kinds or (plain and kinds in ORDERS and len(graph.shapes[node.name]) == 3)


class SweptLine(Line):
    """Neurons with gates on their membrane, or none; fed by weights of spikes or counts, or by a current."""

    def __init__(
        self,
        index: int,
        node: Node,
        graph: Graph,
        cell: Cell,
        source: Line | None = None,
        convolution: Convolution | None = None,
        bias: Array | None = None,
    ) -> None:
        """source, convolution, bias: of the weights in front of them; without these a current is."""
        shape = graph.shapes[node.name]
        super().__init__(node.name, index, shape, 1)
        C, H, W = (*shape, 1, 1)[:3]
        wide = padded(C)
        self.source, self._numbers, self._ratio = source, cell.numbers, np.float32(cell.ratio)
        self._drive = filled_row(cell.drive(np.zeros(C) if bias is None else bias), wide)
        self._weights = NONE
        self._sizes: tuple[int, ...] = (1, 1, H, W, 1, wide, 1, 1, 1, 0)
        if source is not None and convolution is not None:
            counts = isinstance(source, ListedCounts)
            rows = source.weights(convolution) if isinstance(source, ListedCounts) else convolution.weights()
            kinds = source.kinds if isinstance(source, ListedCounts) else 1
            self._weights = aligned((rows * cell.ratio).astype(np.float32).ravel())
            self._sizes = convolution.sizes(kinds)
            each = kinds if counts else source.most
            self.offsets = self.width * (convolution.reach * each + 4) + ROOM
            self.widest = max(self.width, convolution.before[2])
        self._w0, self._w1, self._kernel, self._side = NONE, NONE, NONE, 0
        for prefix, attrs in gates_of(node):
            self._attend(attrs["kind"], lambda role, at=prefix: graph.tensors[f"{node.name}.{at}{role}"])
        self._absent = filled_row(np.zeros(C, np.float32), wide, -np.inf)

    def _attend(self, kind: str, tensor: Any) -> None:
        wide = self._sizes[5]
        if kind == "sa":
            kernel = tensor("weight")
            self._side, self._kernel = kernel.shape[-1], aligned(kernel.ravel())
        elif kind == "eca":  # a correlation along the channels, as a matrix
            taps, C = tensor("weight"), self.shape[0]
            band = sum(tap * np.eye(C, k=i - len(taps) // 2) for i, tap in enumerate(taps))
            self._w1 = aligned(_rows(np.asarray(band).T, wide))
        else:
            self._w0, self._w1 = aligned(_rows(tensor("w0"), wide)), aligned(_rows(tensor("w1").T, wide))

    def enter(self, rooms: Rooms, lines: Array, states: States) -> None:
        super().enter(rooms, lines, states)
        _, _, H, W, _, wide, *_ = self._sizes
        B, C = len(lines), self.shape[0]
        h = aligned(np.zeros((B, H * W * wide), np.float32))
        name = f"{self.name}.h"
        view = h.reshape(B, *self.shape[1:], wide)[..., :C]
        view = view.transpose(0, 3, 1, 2) if view.ndim == 4 else view
        view[...] = states[name]
        states[name] = view
        spikes = rooms.spikes[self.name]
        plane = np.zeros(2 * (H + self._side - 1) * (W + self._side + 64) if self._side else 0, np.float32)
        sums, peak = aligned(np.zeros(wide, np.float32)), aligned(np.zeros(wide, np.float32))
        gate = aligned(np.ones(wide, np.float32))
        rest = (
            (C, self._absent, self._w0, self._w1, sums, peak), gate,
            (self._side, self._kernel, plane, np.ones(H * W + 64, np.float32)),
        )  # fmt: skip
        found = [
            (spikes.begin[b], spikes.end[b], spikes.entries[b], spikes.words[b], spikes.count[b], self.listed)
            for b in range(B)
        ]
        packed = np.zeros((B, H * W, wide), np.float32) if self.source is None else None
        room = tuple(rooms.scratch[name] for name in ("offsets", "reached", "columns_due"))
        rooms.own[self.name] = SweptRoom(h, rest, found, room, packed)

    def sweep(self, rooms: Rooms, b: int, feed: tuple[Any, ...]) -> None:
        """One step of a stream."""
        own: SweptRoom = rooms.own[self.name]
        cells = own.h[b], self._drive, self._numbers, self._ratio
        lanes = lanes_of(self.shape[0])
        rooms.program["total"][self.index, b] = kernels_attention.sweep(
            lanes, feed, self._sizes, cells, *own.rest, own.spikes[b], own.room
        )

    def weighed(self, rooms: Rooms, b: int) -> tuple[Any, ...]:
        """What a stream's spikes, or events, are to the kernel."""
        assert self.source is not None
        name = self.source.name
        lists = rooms.own[name] if isinstance(self.source, ListedCounts) else rooms.spikes[name]
        silent = bool(lists.total[b] == 0)
        if self.taps is not None:
            met = 0 if silent else kernels_spikes.taps_met(rooms.spikes[name].count[b], self.taps)
            rooms.program["synops"][self.index, b] = met
        factor, least = np.float32(1), np.float32(-np.inf)
        return lists.begin[b], lists.end[b], lists.entries[b], silent, self._weights, NONE, factor, least


@dataclass(frozen=True)
class SweptRoom:
    """A swept layer's arrays for one state: membranes (B, P C), what the kernel wants besides, and room for a
    current that is not held as kernels want it."""

    h: Array
    rest: tuple[Any, ...]
    spikes: list[tuple[Any, ...]]
    room: tuple[Array, ...]
    packed: Array | None


class Sweep(Stage):
    """Neurons behind their weights."""

    def __init__(self, line: SweptLine) -> None:
        self.name, self._line = line.name, line

    def run(self, step: Step) -> None:
        for b in step.streams:
            self._line.sweep(step.rooms, b, self._line.weighed(step.rooms, b))


class FedSweep(Stage):
    """Neurons fed by a dense current, or by what a temporal gate makes of one."""

    def __init__(self, source: str, line: SweptLine) -> None:
        self.name, self._source, self._line = line.name, source, line

    def run(self, step: Step) -> None:
        rooms, line = step.rooms, self._line
        own: SweptRoom = rooms.own[line.name]
        origin, factors, least = step.scaled.get(self._source, (self._source, None, -np.inf))
        target = held(rooms, origin)
        values = last(step.values(origin)) if target is None else None
        for i, b in enumerate(step.streams):
            if target is None:
                assert own.packed is not None and values is not None
                own.packed[b, :, : line.shape[0]] = values[i].reshape(-1, line.shape[0])
                current = own.packed[b].reshape(-1)
            else:
                current = target[b].reshape(-1)
            factor = np.float32(1 if factors is None else factors[i])
            line.sweep(
                rooms, b, (NO_PLACES, NO_PLACES, NO_PLACES, True, NONE, current, factor, np.float32(least))
            )


def held(rooms: Rooms, name: str) -> Array | None:
    """A current as a line of weights has left it, (B, H, W, C) filled up, or None."""
    target = rooms.targets.get(name)
    return target if target is not None and target.ndim == 4 else None


def filled_row(values: Array, wide: int, with_: float = 0.0) -> Array:
    """(C,) float32, filled up."""
    out = np.full(wide, with_, np.float32)
    out[: len(values)] = values
    return aligned(out)


def _rows(matrix: Array, wide: int) -> Array:
    """(n, C) as (n wide,) float32, filled up with zeros."""
    out = np.zeros((len(matrix), wide), np.float32)
    out[:, : matrix.shape[1]] = matrix
    return out.ravel()
