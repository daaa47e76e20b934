"""The stages between layers: max pools, joins and averages of spikes."""

from typing import Any

import numpy as np

from spikeline.pipeline.engines.sparse import kernels_spikes
from spikeline.pipeline.engines.sparse.stages import Stage, Step
from spikeline.pipeline.engines.state import States


class SpikeMaxPool(Stage):
    def __init__(
        self, name: str, source: str, before: tuple[int, ...], after: tuple[int, ...], attrs: dict[str, Any]
    ) -> None:
        self.name, self.source = name, source
        sizes = (*before[1:], *after[1:], before[0], attrs["size"], attrs["stride"], attrs.get("padding", 0))
        self._geometry = np.array(sizes, np.int64)
        self._rows = np.array([0, after[1]], np.int64)

    def room(self, batch: int, states: States) -> None:
        return None

    def run(self, step: Step, own: None) -> None:
        source, out = step.rooms.spikes[self.source], step.rooms.spikes[self.name]
        for b in step.streams:
            out.total[b] = source.total[b] and kernels_spikes.max_pool(
                source.values[b], source.words[b], source.count[b], self._geometry, out.most, self._rows,
                out.values[b], out.words[b], out.keep, out.count[b], out.first[b], out.entries[b],
                out.list[b],
            )  # fmt: skip


class SpikeJoin(Stage):
    def __init__(self, name: str, sources: tuple[str, str], kind: str) -> None:
        self.name, self.sources = name, sources
        self._kind = ("or", "and", "iand", "add").index(kind)

    def room(self, batch: int, states: States) -> None:
        return None

    def run(self, step: Step, own: None) -> None:
        x, y = (step.rooms.spikes[name] for name in self.sources)
        out = step.rooms.spikes[self.name]
        for b in step.streams:
            if x.total[b] == 0:
                x.count[b].fill(0)
            if y.total[b] == 0:
                y.count[b].fill(0)
            out.total[b] = kernels_spikes.join(
                self._kind, x.values[b], x.words[b], x.count[b], y.values[b], y.words[b], y.count[b],
                x.channels, out.most == 1, out.values[b], out.words[b], out.count[b], out.first[b],
                out.entries[b], out.list[b],
            )  # fmt: skip


class SpikeAverage(Stage):
    """The average of spikes over all pixels: dense (B, C)."""

    def __init__(self, name: str, source: str) -> None:
        self.name, self.source = name, source

    def room(self, batch: int, states: States) -> None:
        return None

    def run(self, step: Step, own: None) -> None:
        source = step.rooms.spikes[self.source]
        values = np.zeros((len(step.streams), source.channels), np.float32)
        for i, b in enumerate(step.streams):
            if source.total[b]:
                kernels_spikes.channel_totals(source.entries[b], source.first[b], source.list[b], values[i])
        step.dense[self.name] = values * np.float32(1 / source.pixels)
