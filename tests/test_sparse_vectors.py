"""Vectors for Numba: what is compiled is what NumPy says, to the bit, for each length and type in use."""

import functools

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeline.pipeline.engines.sparse.vectors import (
    absolute,
    array_at,
    as_type,
    bits,
    full,
    get,
    lanes_16,
    lanes_32,
    lanes_64,
    load,
    load_as,
    lowest,
    ones,
    select,
    size,
    store,
)

pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="compares what is compiled with what is not")
LENGTHS = {16: lanes_16, 32: lanes_32, 64: lanes_64}
I8, I16, I32, F32 = np.int8, np.int16, np.int32, np.float32
TWO, FIVE, SIXTEEN = np.int16(2), np.int32(5), np.int32(16)
AWKWARD = [np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-38, 1e-45, -1e-45, 3.4e38, 1e-30, 1.0]
examples = settings(deadline=None, max_examples=40)
seeds = st.integers(0, 2**32 - 1)
lengths = pytest.mark.parametrize("n", LENGTHS)


@functools.cache
def compiled(body, n):
    """A function that takes its vectors' length last, of that length."""
    inner, like = numba.njit(body), LENGTHS[n]

    @numba.njit
    def run(*args):
        return inner(*args, like())

    return run


def both(body, n, args, out):
    """What a function stores in `out`, and returns, compiled and not, is the same; returns it."""
    other = out.copy()
    result = compiled(body, n)(*args, out)
    with np.errstate(all="ignore"):
        assert result == body(*args, other, LENGTHS[n]())
    found = out.copy()
    np.testing.assert_array_equal(np.isnan(out), np.isnan(other))
    for array in (out, other):
        array[array != array] = 0  # which of two NaN a sum is, nobody says
    np.testing.assert_array_equal(out.view(np.uint8), other.view(np.uint8))
    return found


def values_of(kind, seed, many):
    """Values of any size, the least and the largest among them; of floats also what is no number."""
    rng = np.random.default_rng(seed)
    if kind is F32:
        x = rng.normal(0, 10.0 ** rng.integers(-3, 4), many).astype(F32)
        return np.where(rng.random(many) < 0.3, rng.choice(np.array(AWKWARD, F32), many), x)
    least, most = np.iinfo(kind).min, np.iinfo(kind).max
    x = rng.integers(least, most, many, kind, endpoint=True)
    few = rng.integers(max(-3, least), 4, many).astype(kind)
    return np.where(
        rng.random(many) < 0.4, rng.choice(np.array([least, most, 0, 1], kind), many), np.where(x % 2, few, x)
    )


def arithmetic(a, b, s, i, j, out, like):
    """Of two vectors, and of one and a number on either side."""
    x, y, n = load(a, i, like), load(b, j, like), size(like)
    store(out, 0, x + y)
    store(out, n, x - y)
    store(out, 2 * n, x * y)
    store(out, 3 * n, s + x)
    store(out, 4 * n, s - x)
    store(out, 5 * n, x * s)
    store(out, 6 * n, s * x + y)
    store(out, 7 * n, absolute(x))
    store(out, 8 * n, select(x > y, x, y))
    store(out, 9 * n, select(x >= s, y, s))
    store(out, 10 * n, full(s, like))
    return n


@lengths
@pytest.mark.parametrize("kind", [F32, I16, I32])
@examples
@given(seeds, st.integers(0, 7), st.integers(0, 7))
def test_sums_products_and_choices(n, kind, seed, i, j):
    """Whole numbers wrap around, floats are rounded after each operation: none becomes part of the next."""
    a, b = values_of(kind, seed, n + i), values_of(kind, seed + 1, n + j)
    out = both(arithmetic, n, (a, b, a[-1], i, j), np.zeros(11 * n, kind))
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(out[:n], a[i:] + b[j:])
        np.testing.assert_array_equal(out[6 * n : 7 * n], (a[-1] * a[i:]) + b[j:])
        np.testing.assert_array_equal(out[7 * n : 8 * n], abs(a[i:]))


def whole(a, b, s, i, out, like):
    """Of whole numbers only."""
    x, y, n = load(a, i, like), load(b, 0, like), size(like)
    store(out, 0, x & y)
    store(out, n, x | y)
    store(out, 2 * n, x & s)
    store(out, 3 * n, s | x)
    store(out, 4 * n, x >> TWO)
    return n


@lengths
@pytest.mark.parametrize("kind", [I16, I32])
@examples
@given(seeds, st.integers(0, 7))
def test_bits_of_whole_numbers(n, kind, seed, i):
    a, b = values_of(kind, seed, n + i), values_of(kind, seed + 1, n)
    out = both(whole, n, (a, b, b[0], i), np.zeros(5 * n, kind))
    np.testing.assert_array_equal(out[4 * n :], a[i:] // 4)  # the sign is kept


def compared(a, b, s, i, out, like):
    """Conditions as words of bits, and what becomes of them together."""
    x, y = load(a, i, like), load(b, 0, like)
    out[0], out[1], out[2], out[3] = bits(x >= y), bits(x > y), bits(x < y), bits(x != y)
    out[4], out[5], out[6], out[7] = bits(x >= s), bits(s > x), bits(x < s), bits(s != x)
    out[8], out[9] = bits((x < y) | (x > s)), bits((x >= y) & (s >= x))
    return ones(out[0]) + 100 * lowest(out[1])


@lengths
@pytest.mark.parametrize("kind", [F32, I16, I32, np.uint8, np.uint16])
@examples
@given(seeds, st.integers(0, 7))
def test_comparisons_are_bits_the_first_the_lowest(n, kind, seed, i):
    """Numbers without a sign as such; what is no number is unequal to all, and neither larger nor smaller."""
    a, b = values_of(kind, seed, n + i), values_of(kind, seed + 1, n)
    b[::3] = a[i:][::3]
    words = both(compared, n, (a, b, b[1], i), np.zeros(10, np.uint64))
    with np.errstate(invalid="ignore"):
        for word, wanted in zip(words, (a[i:] >= b, a[i:] > b, a[i:] < b, a[i:] != b), strict=False):
            assert [int(word) >> k & 1 for k in range(64)] == [*wanted.tolist(), *[0] * (64 - n)]


def moved(a, i, k, out, like):
    """Loaded, of another type, and stored, with nothing else touched."""
    store(out, k, load_as(a, i, full(out[0], like)))
    return size(like)


@lengths
@pytest.mark.parametrize(
    ("before", "after"),
    [(I8, I8), (I8, I16), (I16, I16), (I8, I32), (I16, I32), (I32, I32), (I16, F32), (I32, F32), (F32, F32)],
)
@examples
@given(seeds, st.integers(0, 7), st.integers(0, 7))
def test_values_are_loaded_from_anywhere_as_another_type(n, before, after, seed, i, k):
    a, out = values_of(before, seed, n + i), np.full(n + k + 9, 5, after)
    out = both(moved, n, (a, i, k), out)
    np.testing.assert_array_equal(out[k : k + n], a[i : i + n].astype(after))
    assert (out[:k] == 5).all() and (out[k + n :] == 5).all()


def cast_to_int16(a, out, like):
    store(out, 0, as_type(load(a, 0, like), I16))
    return 0


def cast_to_int32(a, out, like):
    store(out, 0, as_type(load(a, 0, like), I32))
    return 0


def cast_to_float(a, out, like):
    store(out, 0, as_type(load(a, 0, like), F32))
    return 0


CASTS = {I16: cast_to_int16, I32: cast_to_int32, F32: cast_to_float}


@lengths
@pytest.mark.parametrize(
    ("before", "after"), [(I32, I16), (I16, I16), (I16, I32), (I8, I32), (I16, F32), (I32, F32), (F32, F32)]
)
@examples
@given(seeds)
def test_types_are_changed(n, before, after, seed):
    """Of whole numbers the low bits stay; whole numbers become the nearest floats."""
    a = values_of(before, seed, n)
    out = both(CASTS[after], n, (a,), np.zeros(n, after))
    np.testing.assert_array_equal(out, a.astype(after))


def decay(g, half, rate, out, like):
    """What kernels_int16.py does of these together: a product of two of int16 as one of int32."""
    x = load(g, 0, like)
    product = as_type(x + half, I32) * as_type(full(rate, x), I32)
    store(out, 0, (x & TWO) + as_type(product >> SIXTEEN, I16))
    return 0


@lengths
@examples
@given(seeds)
def test_a_product_of_short_numbers_is_a_long_one(n, seed):
    g, (half, rate) = values_of(I16, seed, n), values_of(I16, seed + 1, 2)
    out = both(decay, n, (g, half, rate), np.zeros(n, I16))
    with np.errstate(over="ignore"):
        wanted = (g & 2) + (((g + half).astype(np.int64) * int(rate)) >> 16)
    np.testing.assert_array_equal(out, wanted.astype(I16))


def one_by_one(words, a, i, out, like):
    """Of a word its ones and the lowest, of an array a value."""
    n = 0
    for k in range(words.shape[0]):
        out[2 * k], out[2 * k + 1] = ones(words[k]), lowest(words[k])
        n += ones(words[k])
    return n + get(a, i)


@examples
@given(st.lists(st.integers(0, 2**64 - 1), max_size=4), st.integers(0, 63), st.integers(0, 63))
def test_ones_of_a_word_and_the_lowest_of_them(some, low, i):
    words = np.array([0, 1, 1 << 63, 2**64 - 1, 1 << low, *some], np.uint64)
    a = np.arange(64, dtype=np.int64)
    out = both(one_by_one, 16, (words, a, i), np.zeros(2 * len(words), np.int64))
    assert out[::2].tolist() == [f"{w:b}".count("1") for w in words.tolist()]
    assert out[1::2].tolist() == [next((k for k in range(64) if w >> k & 1), 64) for w in words.tolist()]


@numba.njit
def at_address(address, n, kind):
    return array_at(address, n, kind)


@pytest.mark.parametrize("kind", [I8, I16, I32, F32, np.uint8, np.int64, np.uint64])
def test_an_array_is_where_its_address_says(kind):
    """Also one of no values, wherever that is; what is written there, is."""
    held = np.arange(7, dtype=kind)
    for function in (at_address, array_at):
        found = function(held.ctypes.data, 5, kind)
        assert found.dtype == kind and found.tolist() == held[:5].tolist() and found.flags.c_contiguous
        assert not found.flags.owndata
        held[2] = 9
        assert found[2] == 9
        found[2] = 2
        assert held[2] == 2
        assert len(function(0, 0, kind)) == 0


def test_sizes():
    for n, like in LENGTHS.items():
        assert size(like()) == len(like()) == n
        assert compiled(lambda out, like: size(like), n)(np.zeros(1)) == n
