"""The spikes of one layer at one step, as kernels read and write them, for each of B streams."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeline.pipeline.engines.sparse import kernels_spikes as kernels
from spikeline.pipeline.engines.sparse.program import AT_ONCE, BESIDE, Memory, lanes_of, padded

LINE = 64  # bytes of a line of the cache


class Spikes:
    """Room for the spikes of a layer of shape (C, H, W) or (C,), no value above `most`.

    total (B,): values that are not 0; where it is 0 the other arrays hold what was there before.
    The rest as in kernels_spikes.py, a row of each per stream. Without `listed` there are no entries.
    """

    def __init__(
        self, batch: int, shape: tuple[int, ...], *, most: int = 1, listed: bool = True, total: Any = None
    ) -> None:
        C, P = shape[0], int(np.prod(shape[1:]))
        self.shape, self.channels, self.pixels, self.most, self.listed = shape, C, P, most, listed
        self.lanes, self.width = lanes_of(C), shape[2] if len(shape) == 3 else 1
        self.total = np.zeros(batch, np.int64) if total is None else total
        self.words = np.zeros((batch, P * (padded(C) // self.lanes)), np.uint64)
        self.count = np.zeros((batch, P), np.int32)
        self.begin, self.end = (np.zeros((batch, P + BESIDE), np.int32) for _ in range(2))
        rows = (
            shape[1] if len(shape) == 3 else 1
        )  # each may be a thread's first: what it writes too much is its own
        places = P * C * most + AT_ONCE * rows if listed else 0
        self.entries = np.zeros((batch, places + BESIDE), np.int32)

    def enter(self, lines: NDArray[Any], memory: Memory) -> None:
        """Say in the lines of a program, one for each stream, where all this is, and keep the total there."""
        lines["pixels"], lines["width"], lines["channels"] = self.pixels, self.width, self.channels
        lines["lanes"], lines["padded"] = self.lanes, padded(self.channels)
        lines["listed"], lines["many"], lines["entries_size"] = (
            self.listed,
            self.most > 1,
            self.entries.shape[1],
        )
        for name in ("words", "count", "begin", "end", "entries"):
            for b, array in enumerate(getattr(self, name)):
                lines[name][b] = memory(array)
        self.total = lines["total"]

    def dense(self, streams: list[int]) -> NDArray[np.float32]:
        """The values of these streams, (len(streams), *shape) float32, channels last in memory."""
        out = np.zeros((len(streams), self.pixels, self.channels), np.float32)
        J = self.words.shape[1] // self.pixels
        for i, b in enumerate(streams):
            if self.total[b]:
                kernels.expand(
                    self.words[b], self.count[b], self.begin[b], self.end[b], self.entries[b], self.width, J,
                    self.lanes, self.channels, self.most > 1, out[i].reshape(-1),
                )  # fmt: skip
        if len(self.shape) == 1:
            return out[:, 0]
        return out.reshape(len(streams), *self.shape[1:], self.channels).transpose(0, 3, 1, 2)

    def collect(self, b: int, values: NDArray[np.float32]) -> None:
        """Take stream b's values, (P C,) of whole numbers."""
        self.total[b] = kernels.collect(
            values, self.width, self.channels, self.lanes, self.begin[b], self.end[b], self.entries[b],
            self.words[b], self.count[b],
        )  # fmt: skip


def aligned(array: NDArray[Any]) -> NDArray[Any]:
    """A copy that begins with a line of the cache: loads of vectors that cross lines cost a fifth more."""
    room = np.zeros(array.nbytes + LINE, np.uint8)
    start = -room.ctypes.data % LINE
    copy = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy
