"""Where records begin again behind damage: every byte could be the first of one.

In noise a record looks right now and then, but not many of them in a row with times that follow each other.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

RUN_AT_END = 4  # records that must be right in a row where fewer than wanted are left
NO_TIME = -1  # of a record that carries none
AS_BEFORE = 64  # records: damage seldom shifts what follows, so another shift must begin this much earlier

Bytes = NDArray[np.uint8]
Good = Callable[[Bytes], tuple[NDArray[np.bool_], NDArray[np.int64]] | None]


def first_run(
    data: Bytes, good: Good, *, unit: int, run: int, step_us: int, wrap_us: int, final: bool
) -> int | None:
    """The offset in `data` from which `run` records are right, or None. The search begins at record 1.

    step_us  times follow each other within this; they wrap at wrap_us (0: never)
    final    the file ends with `data`
    """
    best, best_cost = None, 0
    for shift in range(unit):
        whole = (len(data) - shift) // unit * unit
        answer = good(data[shift : shift + whole])
        if answer is None:
            return None
        ok, t = answer
        start = _run(ok, _breaks(ok, t, step_us, wrap_us), run, final, first=0 if shift else 1)
        if start is None:
            continue
        cost = start * unit + shift + (AS_BEFORE * unit if shift else 0)
        if best is None or cost < best_cost:
            best, best_cost = start * unit + shift, cost
    return best


def _breaks(ok: NDArray[np.bool_], t: NDArray[np.int64], step_us: int, wrap_us: int) -> NDArray[np.int64]:
    """Records that no run goes over: behind the one, and at the other of two times that do not follow."""
    timed = np.flatnonzero(ok & (t != NO_TIME))
    step = np.diff(t[timed])
    if wrap_us:
        step %= wrap_us
    wrong = (step < 0) | (step > step_us)
    return np.concatenate((timed[:-1][wrong] + 1, timed[1:][wrong]))


def _run(
    ok: NDArray[np.bool_], breaks: NDArray[np.int64], run: int, final: bool, *, first: int
) -> int | None:
    """Index of the first record, from `first` on, that begins a run of right ones."""
    n = len(ok)
    edge = np.zeros(n + 1, np.bool_)
    edge[breaks] = True
    edge[:n] |= ~ok
    edge[1:n] |= ~ok[:-1]
    edge[[0, min(first, n), n]] = True
    starts = np.flatnonzero(edge)
    lengths = np.diff(starts)
    starts = starts[:-1]
    at_end = final & (starts + lengths == n) & (lengths >= RUN_AT_END)
    fitting = np.flatnonzero(((lengths >= run) | at_end) & (starts >= first))
    fitting = fitting[ok[starts[fitting]]]
    return int(starts[fitting[0]]) if len(fitting) else None
