"""How vectors.py's functions and operators become instructions: a type for Numba, and two decorators."""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import lower_builtin, models, register_model


class Lanes(types.Type):
    """n values of a dtype, as a compiled kernel has them."""

    def __init__(self, dtype: Any, n: int) -> None:
        self.dtype, self.n = dtype, n
        super().__init__(f"Lanes({dtype}, {n})")


@register_model(Lanes)
class _Model(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Lanes) -> None:
        one = ir.IntType(1) if fe_type.dtype == types.boolean else dmm.lookup(fe_type.dtype).get_value_type()
        super().__init__(dmm, fe_type, ir.VectorType(one, fe_type.n))


def compiled(typed: Callable[..., Any], *names: Any) -> Callable[[Any], Any]:
    """Of a function: typed(*types) -> its result's type, or None; the decorated code(context, builder,
    signature, values) -> its value."""

    def decorate(code: Any) -> Any:
        for function in names:

            class Template(AbstractTemplate):
                def generic(self, args: Any, kws: Any) -> Any:
                    found = typed(*args)
                    return None if found is None else signature(found, *args)

            infer_global(function)(Template)
            lower_builtin(function, types.VarArg(types.Any))(code)
        return code

    return decorate


def splat(builder: Any, value: Any, n: int) -> Any:
    kind = ir.VectorType(value.type, n)
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.IntType(32)(0))
    nowhere = ir.Constant(ir.VectorType(ir.IntType(32), n), None)
    return builder.shuffle_vector(first, ir.Constant(kind, ir.Undefined), nowhere)


def all_lanes(context: Any, builder: Any, t: Lanes, kind: Any, value: Any) -> Any:
    """A number as the vector of which each value is it, vectors as they are."""
    if isinstance(kind, Lanes):
        return value
    return splat(builder, context.cast(builder, value, kind, t.dtype), t.n)


def operates(*names: Any, of_floats: str = "", of_ints: str = "", compares: str = "") -> None:
    """An operator of two vectors, or a vector and a number, which takes the vector's type."""

    def vector(a: Any, b: Any) -> Lanes | None:
        if isinstance(a, Lanes) and (a == b or isinstance(b, types.Number)):
            return a
        return b if isinstance(b, Lanes) and isinstance(a, types.Number) else None

    def typed(a: Any, b: Any) -> Lanes | None:
        t = vector(a, b)
        return Lanes(types.boolean, t.n) if t and compares else t

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        t = vector(*sig.args)
        assert t is not None
        x, y = (all_lanes(context, builder, t, k, v) for k, v in zip(sig.args, args, strict=True))
        if compares:
            if isinstance(t.dtype, types.Float):
                no_number = builder.fcmp_unordered if compares == "!=" else builder.fcmp_ordered
                return no_number(compares, x, y)
            return (builder.icmp_signed if t.dtype.signed else builder.icmp_unsigned)(compares, x, y)
        return getattr(builder, of_floats if isinstance(t.dtype, types.Float) else of_ints)(x, y)

    for name in names:
        infer_global(name)(
            type(
                "Template",
                (AbstractTemplate,),
                {"generic": lambda self, args, kws: (t := typed(*args)) and signature(t, *args)},
            )
        )
        for kinds in ((Lanes, Lanes), (Lanes, types.Number), (types.Number, Lanes)):
            lower_builtin(name, *kinds)(code)
