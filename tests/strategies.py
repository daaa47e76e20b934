"""Random event streams and ways to cut them, for hypothesis."""

from itertools import pairwise

import numpy as np
from hypothesis import strategies as st

from spikeline.pipeline.events import EventPacket


@st.composite
def event_streams(draw, *, width=8, height=6, most=60, gap_us=400):
    """(t, x, y, p) in order, at times from 0 with gaps of 0 to gap_us."""
    n = draw(st.integers(0, most))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    t = np.cumsum(rng.integers(0, gap_us + 1, n)).astype(np.int64)
    x = rng.integers(0, width, n).astype(np.uint16)
    y = rng.integers(0, height, n).astype(np.uint16)
    return t, x, y, rng.integers(0, 2, n).astype(np.uint8)


@st.composite
def cuts(draw, n):
    """Sorted cut positions within 0..n."""
    return sorted(draw(st.lists(st.integers(0, n), max_size=8)))


def packets_of(t, x, y, p, cut, until_us, origin_us=None, epoch=0):
    """The stream as packets cut at these positions, with a last clock mark at until_us."""
    edges = [0, *cut, len(t)]
    for a, b in pairwise(edges):
        if b > a:
            yield EventPacket(t[a:b], x[a:b], y[a:b], p[a:b], int(t[b - 1]), epoch, origin_us)
    none = [np.empty(0, a.dtype) for a in (t, x, y, p)]
    if len(t) or origin_us is not None:
        yield EventPacket(*none, until_us, epoch, origin_us)
