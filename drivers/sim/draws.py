"""Random numbers as pure functions of a seed and a counter, the same on every machine and NumPy.

SplitMix64 is the only generator. `Draws` serves the few hundred numbers that describe a clip; `bits_at` and
the tables serve the pixels, whose draws must not depend on the order in which tiles are visited.
Drawn numbers are rounded to six decimals: a manifest line then holds exactly what was simulated, and
the last bit of a machine's exp or log cannot matter.
"""

import math
from collections.abc import Sequence
from functools import cache
from statistics import NormalDist

import numba
import numpy as np
from numpy.typing import NDArray

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15
TABLE_BITS = 12
TABLE_SIZE = 1 << TABLE_BITS

_GOLDEN = np.uint64(GOLDEN)
_M1 = np.uint64(0xBF58476D1CE4E5B9)
_M2 = np.uint64(0x94D049BB133111EB)
_S27, _S30, _S31 = np.uint64(27), np.uint64(30), np.uint64(31)
_INDEX_SHIFT = np.uint64(64 - TABLE_BITS)


class Draws:
    """A stream of draws named by a path of integers and words, independent of every other path."""

    def __init__(self, *path: int | str) -> None:
        self._state = 0
        for part in path:
            number = int.from_bytes(part.encode(), "big") if isinstance(part, str) else part
            self._state = _mix_int(self._state ^ _mix_int((number * GOLDEN + len(path)) & MASK))

    def bits(self) -> int:
        self._state = (self._state + GOLDEN) & MASK
        return _mix_int(self._state)

    def below(self, n: int) -> int:
        """An integer from 0 to n - 1."""
        return (self.bits() >> 11) * n >> 53

    def uniform(self, low: float, high: float) -> float:
        return round(low + (high - low) * ((self.bits() >> 11) / (1 << 53)), 6)

    def log_uniform(self, low: float, high: float) -> float:
        return round(math.exp(self.uniform(math.log(low), math.log(high))), 6)

    def chance(self, probability: float) -> bool:
        return (self.bits() >> 11) / (1 << 53) < probability

    def normal(self, sigma: float) -> float:
        return round(float(normal_table()[self.below(TABLE_SIZE)]) * sigma, 6)

    def pick(self, weights: Sequence[float]) -> int:
        """An index, with probability in proportion to its weight."""
        left = (self.bits() >> 11) / (1 << 53) * sum(weights)
        for index, weight in enumerate(weights):
            left -= weight
            if left < 0:
                return index
        return len(weights) - 1


def _mix_int(z: int) -> int:
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


@cache
def normal_table() -> NDArray[np.float64]:
    """Quantiles of the normal distribution at the middles of TABLE_SIZE equal parts."""
    gauss = NormalDist()
    return np.array([round(gauss.inv_cdf((i + 0.5) / TABLE_SIZE), 6) for i in range(TABLE_SIZE)])


@cache
def wait_table() -> NDArray[np.float64]:
    """Quantiles of the exponential distribution with mean 1."""
    return np.array([round(-math.log((i + 0.5) / TABLE_SIZE), 6) for i in range(TABLE_SIZE)])


@cache
def delay_table(spread: float = 0.55) -> NDArray[np.float64]:
    """Quantiles of exp(spread * n), n normal: how rebound delays spread around their median."""
    return np.array([round(math.exp(spread * n), 6) for n in normal_table().tolist()])


@numba.njit(cache=True, nogil=True, forceinline=True)
def bits_at(seed, stream, counter):
    """64 hashed bits of three uint64: mix(mix(seed + G stream) + G counter)."""
    z = seed + _GOLDEN * stream
    z = (z ^ (z >> _S30)) * _M1
    z = (z ^ (z >> _S27)) * _M2
    z = (z ^ (z >> _S31)) + _GOLDEN * counter
    z = (z ^ (z >> _S30)) * _M1
    z = (z ^ (z >> _S27)) * _M2
    return z ^ (z >> _S31)


@numba.njit(cache=True, nogil=True)
def _table_map(table, seed, stream, out):
    for i in range(out.shape[0]):
        out[i] = table[bits_at(seed, stream, np.uint64(i)) >> _INDEX_SHIFT]


def normal_map(seed: int, stream: int, n: int) -> NDArray[np.float64]:
    """n normal draws, one per pixel."""
    out = np.empty(n, np.float64)
    _table_map(normal_table(), np.uint64(seed & MASK), np.uint64(stream), out)
    return out


def uniform_map(seed: int, stream: int, n: int) -> NDArray[np.float64]:
    """n uniform draws in (0, 1), one per pixel."""
    out = np.empty(n, np.float64)
    table = (np.arange(TABLE_SIZE) + 0.5) / TABLE_SIZE
    _table_map(table, np.uint64(seed & MASK), np.uint64(stream), out)
    return out
