"""Rows of a layer shared out among threads, where a layer is large enough to pay for waking one.

Each block of output rows is computed by one thread: what reaches an output is added in the same order, so the
bits do not depend on how many there are.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeline.pipeline.engines.sparse.spikes import Spikes

PAYS_US = 300.0  # a layer's time from which on a second thread is woken for it


@dataclass(frozen=True, slots=True)
class Block:
    """Output rows from .. to, what a kernel finds there, and room for spikes of one row that are not kept."""

    rows: NDArray[np.int64]
    found: NDArray[np.int64]
    values: NDArray[np.uint8]
    words: NDArray[np.uint64]
    extra: Any = None

    def room(self, out: Spikes, b: int) -> tuple[NDArray[np.uint8], NDArray[np.uint64]]:
        """Where this block's spikes go, of stream b."""
        return (out.values[b], out.words[b]) if out.keep else (self.values, self.words)


class Threads:
    """So many threads for one engine; the first is whoever calls."""

    def __init__(self, n: int) -> None:
        self.n = n
        self._pool = ThreadPoolExecutor(n - 1, thread_name_prefix="spikeline-sparse") if n > 1 else None

    def blocks(self, rows: int, width: int, extra: Callable[[], Any] = lambda: None) -> list[list[Block]]:
        """A layer of so many rows, of `width` values each: whole, and shared out."""
        return [self._split(n, rows, width, extra) for n in {1: 1, min(self.n, rows): 0}]

    def _split(self, n: int, rows: int, width: int, extra: Callable[[], Any]) -> list[Block]:
        edges = np.linspace(0, rows, n + 1).astype(np.int64)
        made = []
        for i in range(n):
            values = np.zeros(-(-width // 8) * 8, np.uint8)
            made.append(
                Block(edges[i : i + 2], np.zeros(3, np.int64), values, values.view(np.uint64), extra())
            )
        return made

    def run(self, work: Callable[[Block], None], blocks: list[list[Block]], expected_us: float) -> list[int]:
        """Do the work, on one thread or all; what was found, summed."""
        chosen = blocks[-1] if expected_us >= PAYS_US else blocks[0]
        if len(chosen) == 1 or self._pool is None:
            work(blocks[0][0])
            return blocks[0][0].found.tolist()
        others = [self._pool.submit(work, block) for block in chosen[1:]]
        work(chosen[0])
        for other in others:
            other.result()
        return np.sum([block.found for block in chosen], 0).tolist()
