"""Vectors for Numba: 16, 32 or 64 values of one type at a time, in formulas that read as NumPy's.

Numba compiles loops and leaves it to LLVM to find vectors in them; what arrays may overlap, and where a row
ends, is then asked again at every row. Here a kernel says itself what it loads, adds, compares and stores.
Each function has its meaning in NumPy, which is what runs with the compiler switched off, and the
instruction it becomes. A vector longer than the processor's takes several of its registers: 64 float32 are
four of AVX-512, eight of AVX2. Nothing is checked: an index is never negative, and so many values stand
behind it."""

import ctypes
import operator
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.np.arrayobj import make_array, populate_array

from spikeline.pipeline.engines.sparse.lanes import Lanes, all_lanes, compiled, operates, splat

LANES = (16, 32, 64)
Vector = Any  # a NumPy array where nothing is compiled


operates(operator.add, of_floats="fadd", of_ints="add")
operates(operator.sub, of_floats="fsub", of_ints="sub")
operates(operator.mul, of_floats="fmul", of_ints="mul")
operates(operator.and_, of_ints="and_")
operates(operator.or_, of_ints="or_")
operates(operator.rshift, of_ints="ashr")
operates(operator.ge, compares=">=")
operates(operator.gt, compares=">")
operates(operator.lt, compares="<")
operates(operator.ne, compares="!=")


def lanes_16() -> Vector:
    """Any vector of 16 values, to say how many are meant."""
    return np.zeros(16, np.int8)


def lanes_32() -> Vector:
    """The same of 32."""
    return np.zeros(32, np.int8)


def lanes_64() -> Vector:
    """The same of 64."""
    return np.zeros(64, np.int8)


for _function, _n in ((lanes_16, 16), (lanes_32, 32), (lanes_64, 64)):

    @compiled(lambda n=_n: Lanes(types.int8, n), _function)
    def _lanes(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return ir.Constant(context.get_value_type(sig.return_type), None)


def size(like: Vector) -> int:
    """How many values a vector has."""
    return len(like)


@compiled(lambda like: types.intp if isinstance(like, Lanes) else None, size)
def _size(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return context.get_constant(types.intp, sig.args[0].n)


def load(array: Any, i: Any, like: Vector) -> Vector:
    """As many values as `like` has, from array[i] on."""
    return array[i : i + len(like)].copy()


def load_as(array: Any, i: Any, like: Vector) -> Vector:
    """The same as values of like's type, which is no shorter."""
    return array[i : i + len(like)].astype(like.dtype)


def store(array: Any, i: Any, x: Vector) -> None:
    """array[i] and so on become the values of x."""
    array[i : i + len(x)] = x


def get(array: Any, i: Any) -> Any:
    """array[i]."""
    return array[i]


def _place(context: Any, builder: Any, array_type: Any, array: Any, i: Any) -> Any:
    return builder.gep(make_array(array_type)(context, builder, array).data, [i])


def _bytes(array_type: Any) -> int:
    return array_type.dtype.bitwidth // 8


def _loaded(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    array_type, like = sig.args[0], sig.args[2]
    one = context.get_data_type(array_type.dtype)
    place = _place(context, builder, array_type, args[0], args[1])
    place = builder.bitcast(place, ir.VectorType(one, like.n).as_pointer())
    return builder.load(place, align=_bytes(array_type))


def _index(i: Any) -> bool:
    return isinstance(i, types.Integer) and i.bitwidth == 64


@compiled(lambda array, i, like: Lanes(array.dtype, like.n) if _index(i) else None, load)
def _load(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return _loaded(context, builder, sig, args)


@compiled(lambda array, i, like: like if _index(i) else None, load_as)
def _load_as(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return _cast(builder, sig.args[0].dtype, sig.args[2], _loaded(context, builder, sig, args))


@compiled(lambda array, i, x: types.void if _index(i) and array.dtype == x.dtype else None, store)
def _store(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    place = _place(context, builder, sig.args[0], args[0], args[1])
    builder.store(args[2], builder.bitcast(place, args[2].type.as_pointer()), align=_bytes(sig.args[0]))
    return context.get_dummy_value()


@compiled(lambda array, i: array.dtype if _index(i) else None, get)
def _get(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.load(_place(context, builder, sig.args[0], args[0], args[1]))


def full(value: Any, like: Vector) -> Vector:
    """A vector of as many values as `like` has, each of them `value`, of its type."""
    return np.full(len(like), value)


@compiled(lambda value, like: Lanes(value, like.n) if isinstance(like, Lanes) else None, full)
def _full(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return splat(builder, args[0], sig.return_type.n)


def as_type(x: Vector, kind: Any) -> Vector:
    """The values as others of NumPy's type `kind`; of whole numbers the low bits."""
    return x.astype(kind)


def _cast(builder: Any, before: Any, t: Lanes, value: Any) -> Any:
    if before == t.dtype:
        return value
    one = {types.float32: ir.FloatType(), types.int32: ir.IntType(32), types.int16: ir.IntType(16)}[t.dtype]
    kind = ir.VectorType(one, t.n)
    if t.dtype == types.float32:
        return builder.sitofp(value, kind)
    return (builder.sext if before.bitwidth < t.dtype.bitwidth else builder.trunc)(value, kind)


@compiled(lambda x, kind: Lanes(kind.dtype, x.n) if isinstance(x, Lanes) else None, as_type)
def _as_type(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return _cast(builder, sig.args[0].dtype, sig.return_type, args[0])


def select(condition: Vector, x: Vector, y: Any) -> Vector:
    """x where the condition holds, else y, which may be a number."""
    return np.where(condition, x, np.asarray(y, x.dtype))


@compiled(lambda condition, x, y: x if isinstance(x, Lanes) else None, select)
def _select(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.select(
        args[0], args[1], all_lanes(context, builder, sig.return_type, sig.args[2], args[2])
    )


def absolute(x: Vector) -> Vector:
    """|x|."""
    return abs(x)


@compiled(lambda x: x if isinstance(x, Lanes) else None, absolute)
def _absolute(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    (t,), (value,) = sig.args, args
    if isinstance(t.dtype, types.Float):
        whole = ir.VectorType(ir.IntType(32), t.n)
        signless = builder.and_(
            builder.bitcast(value, whole), splat(builder, ir.IntType(32)(0x7FFFFFFF), t.n)
        )
        return builder.bitcast(signless, value.type)
    zero = ir.Constant(value.type, None)
    return builder.select(builder.icmp_signed("<", value, zero), builder.sub(zero, value), value)


def bits(condition: Vector) -> np.uint64:
    """The conditions as bits of a number, the first as the lowest."""
    packed = np.packbits(condition, bitorder="little")
    return np.uint64(int.from_bytes(packed.tobytes(), "little"))


@compiled(lambda condition: types.uint64 if isinstance(condition, Lanes) else None, bits)
def _bits(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    n = sig.args[0].n
    word = builder.bitcast(args[0], ir.IntType(n))
    return word if n == 64 else builder.zext(word, ir.IntType(64))


def ones(word: np.uint64) -> int:
    """How many bits of a word are 1."""
    return int(word).bit_count()


@compiled(lambda word: types.intp if word == types.uint64 else None, ones)
def _ones(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.ctpop(args[0])


def lowest(word: np.uint64) -> int:
    """Which is the lowest bit that is 1; 64 where none is."""
    return (int(word) & -int(word)).bit_length() - 1 if word else 64


@compiled(lambda word: types.intp if word == types.uint64 else None, lowest)
def _lowest(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.cttz(args[0], ir.IntType(1)(0))


def array_at(address: int, n: int, kind: Any) -> Any:
    """The n values of NumPy's type `kind` at an address of memory that somebody else holds."""
    room = (ctypes.c_char * (int(n) * np.dtype(kind).itemsize)).from_address(int(address))
    return np.frombuffer(room, kind)


@compiled(lambda address, n, kind: types.Array(kind.dtype, 1, "C"), array_at)
def _array_at(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    kind = sig.return_type
    array = make_array(kind)(context, builder)
    item = context.get_constant(types.intp, _bytes(kind))
    populate_array(
        array,
        data=builder.inttoptr(args[0], context.get_data_type(kind.dtype).as_pointer()),
        shape=[args[1]],
        strides=[item],
        itemsize=item,
        meminfo=None,
    )
    return array._getvalue()
