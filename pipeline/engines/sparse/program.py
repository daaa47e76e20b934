"""A step as a table: one line for each layer and stream, with the addresses of all it reads and writes.

A call from Python that hands two dozen arrays to a kernel costs more than many a layer's spikes. So the
arrays are handed over once, when a state is made, and `kernels_program.walk` goes through the lines.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeline.pipeline.engines.sparse.vectors import LANES

# kinds of lines; HELD: spikes made elsewhere
HELD, COUNTS, CONV, CURRENT, POOL, JOIN, AVERAGE, VALUES, VOTE = range(9)
# kinds of membranes and weights; WIDE: int16 whose sums are int32
FLOAT32, INT16, INT8, INT32, WIDE = range(5)
KINDS = (np.float32, np.int16, np.int8, np.int32)
NEVER = 1 << 60
AT_ONCE = 3  # entries of a word that are written without asking whether there are so many
BESIDE = 128  # places behind the last pixel's, which vectors may read or write

FIELDS = (  # noqa: SIM905
    "kind source other "  # what it does, and the lines whose spikes it reads
    "pixels width channels padded lanes "  # of its own layer
    "begin end entries entries_size words count listed many total "  # its spikes (kernels_spikes.py)
    "taps synops "  # of its input's pixels the taps they meet, operations that its spikes ask for
    "height in_width in_channels rows columns stride padding out_height "
    "weights weights_size weights_kind shift "
    "h form drive numbers numbers_size lazy due awake wakeful clipped "  # its neurons (kernels_layer.py)
    "used offsets offsets_size reached reached_size columns_due "
    "in_begin in_end in_entries in_size clipped_from most kinds sums hit "  # of counts
    "bias target join "
    "dense_from threads_from"  # from so many spikes or cells on others do it: densely, or on threads
).split()
LINE = np.dtype((np.record, [*((name, np.int64) for name in FIELDS), ("scale", np.float64)]))


def lanes_of(channels: int) -> int:
    """How long vectors are of a layer of so many channels."""
    return next((n for n in LANES if n >= channels), LANES[-1])


def padded(channels: int) -> int:
    """Channels filled up to whole vectors."""
    n = lanes_of(channels)
    return -(-channels // n) * n


class Memory:
    """Arrays that lines have the addresses of, kept for as long as their program."""

    def __init__(self) -> None:
        self._held: list[Any] = []

    def __call__(self, array: NDArray[Any]) -> int:
        """Keep an array; its address."""
        assert array.flags.c_contiguous
        self._held.append(array)
        return int(array.ctypes.data)


def kind_of(array: NDArray[Any]) -> int:
    return [np.dtype(kind) for kind in KINDS].index(array.dtype)
