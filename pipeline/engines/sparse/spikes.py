"""The spikes of one layer at one step, as kernels read and write them, for each of B streams."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeline.pipeline.engines.sparse import kernels_spikes as kernels

LINE = 64  # bytes of a line of the cache


class Spikes:
    """Room for the spikes of a layer of shape (C, H, W) or (C,), no value above `most`.

    total (B,): values that are not 0; where it is 0 the other arrays hold what was there before.
    The rest as in kernels_spikes.py, a list of one array per stream. Without `keep` only lists are held (and
    the values of one row), without `listed` only values.
    """

    def __init__(
        self, batch: int, shape: tuple[int, ...], *, most: int = 1, keep: bool = True, listed: bool = True
    ) -> None:
        C, P = shape[0], int(np.prod(shape[1:]))
        self.shape, self.channels, self.pixels, self.most = shape, C, P, most
        self.keep, self.listed = keep, listed
        self.total = [0] * batch
        row = shape[-1] if len(shape) == 3 else 1
        room = -(-(P if keep else row) * C // 8) * 8
        self.values = [np.zeros(room, np.uint8) for _ in range(batch)]
        self.words = [values.view(np.uint64) for values in self.values]
        self.count = [np.zeros(P, np.int32) for _ in range(batch)]
        self.first = [np.zeros(P, np.int32) for _ in range(batch)]
        self.entries = self.count if most == 1 else [np.zeros(P, np.int32) for _ in range(batch)]
        places = (P * C * most if listed else 0) + 8
        self.list = [np.zeros(places, np.uint16) for _ in range(batch)]

    def dense(self, streams: list[int]) -> NDArray[np.float32]:
        """The values of these streams, (len(streams), *shape) float32, channels last in memory."""
        out = np.zeros((len(streams), self.pixels, self.channels), np.float32)
        for i, b in enumerate(streams):
            if self.total[b]:
                kernels.expand(self.values[b], self.count[b], self.channels, out[i].reshape(-1))
        if len(self.shape) == 1:
            return out[:, 0]
        return out.reshape(len(streams), *self.shape[1:], self.channels).transpose(0, 3, 1, 2)


def aligned(array: NDArray[Any]) -> NDArray[Any]:
    """A copy that begins with a line of the cache: loads of vectors that cross lines cost a fifth more."""
    room = np.zeros(array.nbytes + LINE, np.uint8)
    start = -room.ctypes.data % LINE
    copy = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy
