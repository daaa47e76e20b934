"""Compiled loops over samples, on as many threads as torch has: the loops hold no lock."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise

import torch


def over_samples(work: Callable[[int, int], None], samples: int) -> None:
    """work(first, end) over all samples, a stretch of them on each thread. Samples must not meet in memory:
    then the result is the same on any number of threads."""
    threads = min(torch.get_num_threads(), samples)
    if threads <= 1:
        work(0, samples)
        return
    edges = [samples * k // threads for k in range(threads + 1)]
    others = [_pool().submit(work, a, b) for a, b in pairwise(edges[1:])]
    work(edges[0], edges[1])
    for other in others:
        other.result()


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(thread_name_prefix="samples")
