"""What a state of float32 and one of int16 have under one name, chosen when a kernel is compiled."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from spikeline.pipeline.engines.sparse import kernels_float, kernels_int16


def update(g, at, pixels, drive, numbers, values, m):
    """One step of neurons; returns how many membranes were clipped."""
    return _room(g.dtype).update(g, at, pixels, drive, numbers, values, m)


def take_sums(sums, scale, h, numbers):
    """Add int32 sums, in units of `scale`, to membranes; returns how many were clipped."""
    return _room(h.dtype).take_sums(sums, scale, h, numbers)


def catch_up(h, drive, numbers, steps):
    """Steps without input and without a spike; returns how many membranes were clipped."""
    return _room(h.dtype).catch_up(h, drive, numbers, steps)


def fires_again(h, drive, numbers):
    """Whether any neuron of the pixel would fire at the next step without input."""
    return _room(h.dtype).fires_again(h, drive, numbers)


def _room(dtype: Any) -> Any:
    return kernels_int16 if dtype == np.int16 or dtype == types.int16 else kernels_float


def _python(kernel: Any) -> Callable[..., Any]:
    return getattr(kernel, "py_func", kernel)


@overload(update)
def _update(g, at, pixels, drive, numbers, values, m):
    return _python(_room(g.dtype).update)


@overload(take_sums)
def _take_sums(sums, scale, h, numbers):
    return _python(_room(h.dtype).take_sums)


@overload(catch_up)
def _catch_up(h, drive, numbers, steps):
    return _python(_room(h.dtype).catch_up)


@overload(fires_again)
def _fires_again(h, drive, numbers):
    return _python(_room(h.dtype).fires_again)
