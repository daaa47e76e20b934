"""More of vectors.py, for what is computed with real values: sums and maxima over a vector, and sigmoids.

Sums over a vector have one order, of halves of halves, compiled or not.
"""

import math
import operator
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types

from spikeline.pipeline.engines.sparse.lanes import Lanes, compiled, operates
from spikeline.pipeline.engines.sparse.vectors import Vector, absolute, full, select

ZERO, ONE = np.float32(0), np.float32(1)
LOG2_E = np.float32(1 / math.log(2))
LN2_HIGH, LN2_LOW = np.float32(355 / 512), np.float32(math.log(2) - 355 / 512)  # the first times n is exact
TO_WHOLE = np.float32(
    1.5 * 2**23
)  # a number that has this added is rounded, and its low bits are a whole one
LEAST = np.float32(-87)  # exp of less is nearly subnormal
EXPONENT, BIAS = np.int32(23), np.int32(127)  # of a float32: where it stands, and what it has too much
C2, C3, C4, C5, C6, C7 = (np.float32(1 / math.factorial(k)) for k in range(2, 8))

operates(operator.truediv, of_floats="fdiv")
operates(operator.lshift, of_ints="shl")


def as_bits(x: Vector) -> Vector:
    """The bits of float32 as int32."""
    return x.view(np.int32)


def as_real(x: Vector) -> Vector:
    """The float32 that have these bits."""
    return x.view(np.float32)


def _same_bits(before: Any, after: Any, one: Any, function: Any) -> None:
    @compiled(lambda x: Lanes(after, x.n) if isinstance(x, Lanes) and x.dtype == before else None, function)
    def _cast(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.VectorType(one, sig.args[0].n))


_same_bits(types.float32, types.int32, ir.IntType(32), as_bits)
_same_bits(types.int32, types.float32, ir.FloatType(), as_real)


def _halved(combine: Any) -> Any:
    """Of a vector: combine(left half, right half), until one value is left."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        value, n = args[0], sig.args[0].n
        while n > 1:
            n //= 2
            nothing = ir.Constant(value.type, ir.Undefined)
            left, right = (
                builder.shuffle_vector(
                    value, nothing, ir.Constant(ir.VectorType(ir.IntType(32), n), list(range(at, at + n)))
                )
                for at in (0, n)
            )
            value = combine(builder, left, right)
        return builder.extract_element(value, ir.IntType(32)(0))

    return code


def total(x: Vector) -> Any:
    """The sum of a vector's values."""
    while len(x) > 1:
        half = len(x) // 2
        x = x[:half] + x[half:]
    return x[0]


def largest(x: Vector) -> Any:
    """The largest of them."""
    return x.max()


def _the_larger(builder: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


def _real(x: Any) -> Any:
    return x.dtype if isinstance(x, Lanes) and isinstance(x.dtype, types.Float) else None


compiled(_real, total)(_halved(lambda builder, a, b: builder.fadd(a, b)))
compiled(_real, largest)(_halved(lambda builder, a, b: _the_larger(builder, a, b)))


def larger(x: Vector, y: Vector) -> Vector:
    """The larger of two vectors' values; y's where they cannot be compared."""
    return np.where(x > y, x, y)


@compiled(lambda x, y: x if _real(x) is not None and x == y else None, larger)
def _larger(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return _the_larger(builder, *args)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def sigmoid(x):
    """1 / (1 + exp(-x)): exp(-|x|) as 2^n exp(f), and that by its series up to f^7 / 7!."""
    z = larger(ZERO - absolute(x), full(LEAST, x))
    shifted = z * LOG2_E + TO_WHOLE
    n = shifted - TO_WHOLE
    f = (z - n * LN2_HIGH) - n * LN2_LOW
    series = ((((C7 * f + C6) * f + C5) * f + C4) * f + C3) * f + C2
    e = (series * (f * f) + f + ONE) * as_real((as_bits(shifted) + BIAS) << EXPONENT)
    return select(x >= ZERO, full(ONE, x), e) / (e + ONE)
