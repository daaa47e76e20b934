"""What a state of float32 and one of int16 have under one name, chosen when a kernel is compiled."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from spikeline.pipeline.engines.sparse import kernels_float, kernels_int16


def update(g, drive, c, cell):
    """One step of the channels from c on: membranes to carry, which fired, how many were clipped."""
    return _room(g.dtype).update(g, drive, c, cell)


def take_sums(g, sums, scale, cell):
    """Membranes with int32 sums in units of `scale`, and how many were clipped."""
    return _room(g.dtype).take_sums(g, sums, scale, cell)


def catch_up(g, drive, c, cell, steps):
    """Membranes after steps without input and without a spike, and how many were clipped."""
    return _room(g.dtype).catch_up(g, drive, c, cell, steps)


def fires_again(g, drive, c, cell):
    """Which neurons would fire at the next step without input."""
    return _room(g.dtype).fires_again(g, drive, c, cell)


def cell_of(numbers):
    """A layer's numbers one by one, as many as its form has."""
    return tuple(numbers)


def _room(dtype: Any) -> Any:
    return kernels_int16 if dtype == np.int16 or dtype == types.int16 else kernels_float


def _python(kernel: Any) -> Callable[..., Any]:
    return getattr(kernel, "py_func", kernel)


@overload(update)
def _update(g, drive, c, cell):
    return _python(_room(g.dtype).update)


@overload(take_sums)
def _take_sums(g, sums, scale, cell):
    return _python(_room(g.dtype).take_sums)


@overload(catch_up)
def _catch_up(g, drive, c, cell, steps):
    return _python(_room(g.dtype).catch_up)


@overload(fires_again)
def _fires_again(g, drive, c, cell):
    return _python(_room(g.dtype).fires_again)


@overload(cell_of)
def _cell_of(numbers):
    if numbers.dtype == types.int16:
        return lambda numbers: (numbers[0], numbers[1], numbers[2], numbers[3], numbers[4])
    return lambda numbers: (numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5])
