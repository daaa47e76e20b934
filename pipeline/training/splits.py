"""Which clips train and which validate: no person in two parts, and every class in each where it can be.

Where persons are not known (-1), a clip stands for itself.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

Indices = NDArray[np.int64]


def folds(labels: ArrayLike, persons: ArrayLike, n: int, seed: int) -> list[Indices]:
    """`n` parts of the clips' indices, each to be tested once; every clip is in exactly one.

    Raises ValueError where there are fewer persons (or clips, where persons are unknown) than parts.
    """
    labels, persons = np.asarray(labels, np.int64), np.asarray(persons, np.int64)
    rng = np.random.default_rng([seed, n])
    known = np.unique(persons[persons >= 0])
    units = len(known) + int((persons < 0).sum())
    if n < 2 or units < n:
        raise ValueError(
            f"{n} folds of {_units(known, units)}: wanted 2 folds or more, and one or more in each"
        )
    parts: list[list[int]] = [[] for _ in range(n)]
    counts = np.zeros((n, int(labels.max(initial=0)) + 1), np.int64)
    for rows in _largest_first(persons, known, rng):
        own = np.bincount(labels[rows], minlength=counts.shape[1])
        # The part where these classes are rarest; of equal ones the smallest.
        k = int(np.lexsort((counts.sum(1), counts @ own))[0])
        counts[k] += own
        parts[k] += rows.tolist()
    loose = np.flatnonzero(persons < 0)
    order = loose[np.lexsort((rng.permutation(len(loose)), labels[loose]))]
    first = int(np.argmin(counts.sum(1)))
    for k, i in enumerate(order):
        parts[(first + k) % n].append(int(i))
    return [np.sort(np.array(part, np.int64)) for part in parts]


def hold_out(labels: ArrayLike, persons: ArrayLike, share: float, seed: int) -> tuple[Indices, Indices]:
    """(training, validation) indices, with about `share` of the clips in the second.

    Raises ValueError where one of the two would be empty.
    """
    labels, persons = np.asarray(labels, np.int64), np.asarray(persons, np.int64)
    known = np.unique(persons[persons >= 0])
    loose = np.flatnonzero(persons < 0)
    units = len(known) + len(loose)
    if units < 2:
        raise ValueError(
            f"hold out {share} of {_units(known, units)}: wanted two or more, so that none is in both parts"
        )
    rng = np.random.default_rng(seed)
    held = np.zeros(len(labels), bool)
    if len(known):
        order = rng.permutation(known)
        sizes = np.cumsum([np.count_nonzero(persons == person) for person in order])
        wanted = share * np.count_nonzero(persons >= 0)
        most = len(known) - (0 if len(loose) else 1)
        count = int(np.clip(np.argmin(np.abs(sizes - wanted)) + 1, 1, most))
        held |= np.isin(persons, order[:count])
    # Of every class its share; what is left of one class over counts for the next.
    order = loose[np.lexsort((rng.permutation(len(loose)), labels[loose]))]
    ends = np.floor(np.arange(len(order) + 1) * share + rng.random())
    held[order[np.diff(ends) > 0]] = True
    if not held.any():
        held[order[0]] = True
    if held.all():
        held[order[-1]] = False
    return np.flatnonzero(~held), np.flatnonzero(held)


def classes_in_turn(labels: ArrayLike, n: int) -> Indices:
    """At most `n` indices in order: the first of each class, then the second of each, and so on."""
    labels = np.asarray(labels, np.int64)
    rank = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        rows = labels == label
        rank[rows] = np.arange(np.count_nonzero(rows))
    return np.sort(np.lexsort((labels, rank))[:n])


def _largest_first(persons: Indices, known: Indices, rng: np.random.Generator) -> Iterator[Indices]:
    """The clips of each person; persons with as many clips in random order."""
    groups = [np.flatnonzero(persons == person) for person in rng.permutation(known)]
    yield from sorted(groups, key=len, reverse=True)


def _units(known: Indices, units: int) -> str:
    return (
        f"{units} persons"
        if len(known) == units
        else f"{units} clips or persons"
        if len(known)
        else f"{units} clips"
    )
