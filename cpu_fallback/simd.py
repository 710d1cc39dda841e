"""SIMD values for numba: vectors that live in registers inside nopython code, and the operations on them.

    from cpu_fallback.simd import fma, load_f32, splat_f32, store_f32

    @njit
    def axpy(a, x, y):                       # y += a · x, len(x) a multiple of 16
        factor = splat_f32(a)
        for i in range(0, x.size, 16):
            store_f32(y, i, fma(factor, load_f32(x, i), load_f32(y, i)))

There are four types, all 512 bits of data (or 16 flags) whatever the CPU has: `f32x16`, `i32x16`, `u8x64` (bytes,
signed or not as an operation says) and `mask16`. LLVM cuts them into the registers of its target, so code written
once gives the same results, bit for bit, with 512-bit, 256-bit or 128-bit registers. `+ - * / & | ^ << >>`,
comparisons and unary minus work between equal types; shifts take a whole number. Loads and stores take a C-contiguous
array and the flat position of their first element, and check nothing. What depends on the instruction set (byte dots,
table look-ups) is in isa.py.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import AbstractTemplate, ConcreteTemplate, infer_global, signature
from numba.extending import intrinsic, models, register_model

I1, I8, I16, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))
F16, F32 = ir.HalfType(), ir.FloatType()


class Vector(types.Type):
    """The type of a SIMD value: `lanes` elements of an LLVM type."""

    def __init__(self, name: str, element: ir.Type, lanes: int):
        self.llvm = ir.VectorType(element, lanes)
        super().__init__(name)

    @property
    def is_float(self) -> bool:
        return self.llvm.element == F32


@register_model(Vector)
class VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, vector: Vector):
        super().__init__(manager, vector, vector.llvm)


f32x16 = Vector("f32x16", F32, 16)
i32x16 = Vector("i32x16", I32, 16)
u8x64 = Vector("u8x64", I8, 64)
mask16 = Vector("mask16", I1, 16)
NUMBERS = (f32x16, i32x16, u8x64)


# -- LLVM building blocks ----------------------------------------------------------------------------------------------


def call(builder: ir.IRBuilder, name: str, result: ir.Type, *arguments: ir.Value) -> ir.Value:
    """Calls an LLVM intrinsic by its full name."""
    kind = ir.FunctionType(result, [a.type for a in arguments])
    return builder.call(builder.module.declare_intrinsic(name, fnty=kind), arguments)


def splat(builder: ir.IRBuilder, scalar: ir.Value, lanes: int) -> ir.Value:
    start = ir.Constant(ir.VectorType(scalar.type, lanes), ir.Undefined)
    one = builder.insert_element(start, scalar, ir.Constant(I32, 0))
    return builder.shuffle_vector(one, start, ir.Constant(ir.VectorType(I32, lanes), None))


def constant(kind: ir.VectorType, value: float | int) -> ir.Constant:
    return ir.Constant(kind, [value] * kind.count)


def pointer(context: Any, builder: ir.IRBuilder, array_type: Any, array: ir.Value, index: ir.Value) -> ir.Value:
    """The address of an array's flat element."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [index])


def load(builder: ir.IRBuilder, address: ir.Value, kind: ir.Type) -> ir.Value:
    return builder.load(builder.bitcast(address, kind.as_pointer()), align=1)


def store(builder: ir.IRBuilder, value: ir.Value, address: ir.Value) -> None:
    builder.store(value, builder.bitcast(address, value.type.as_pointer()), align=1)


def as_index(context: Any, builder: ir.IRBuilder, kind: types.Type, value: ir.Value) -> ir.Value:
    return context.cast(builder, value, kind, types.int64)


def widths(kind: ir.VectorType) -> str:
    """The suffix of an overloaded LLVM intrinsic: v16f32."""
    element = {F32: "f32", F16: "f16"}.get(kind.element) or f"i{kind.element.width}"
    return f"v{kind.count}{element}"


# -- operators ---------------------------------------------------------------------------------------------------------

ARITHMETIC: dict[Callable, tuple[str, str | None]] = {  # operator -> the builder's method for integers, for floats
    operator.add: ("add", "fadd"),
    operator.sub: ("sub", "fsub"),
    operator.mul: ("mul", "fmul"),
    operator.truediv: ("", "fdiv"),
    operator.and_: ("and_", None),
    operator.or_: ("or_", None),
    operator.xor: ("xor", None),
}
COMPARISONS = {operator.lt: "<", operator.le: "<=", operator.gt: ">", operator.ge: ">=", operator.eq: "=="}
SHIFTS = {operator.lshift: "shl", operator.rshift: "lshr"}  # >> fills with zeros
IN_PLACE = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.iand: operator.and_,
    operator.ior: operator.or_,
}


def allow(symbol: Callable, *cases: Any) -> None:
    """Tells numba which vector types an operator takes."""

    infer_global(symbol)(type("Template", (ConcreteTemplate,), {"key": symbol, "cases": list(cases)}))


def add_arithmetic(symbol: Callable, methods: tuple[str, str | None]) -> None:
    kinds = [v for v in (*NUMBERS, mask16) if methods[v.is_float]]
    allow(symbol, *(signature(v, v, v) for v in kinds))

    @lower_builtin(symbol, Vector, Vector)
    def lowered(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        return getattr(builder, str(methods[sig.return_type.is_float]))(*arguments)


def add_comparison(symbol: Callable, sign: str) -> None:
    allow(symbol, *(signature(mask16, v, v) for v in (f32x16, i32x16)))

    @lower_builtin(symbol, Vector, Vector)
    def lowered(_context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        compare = builder.fcmp_ordered if sig.args[0].is_float else builder.icmp_signed
        return compare(sign, *arguments)


class Shift(AbstractTemplate):
    def generic(self, args: Any, _kws: Any) -> Any:
        if len(args) == 2 and args[0] in (i32x16, u8x64) and isinstance(args[1], types.Integer):
            return signature(args[0], args[0], types.int64)
        return None


def add_shift(symbol: Callable, method: str) -> None:
    infer_global(symbol)(type("Template", (Shift,), {"key": symbol}))

    @lower_builtin(symbol, Vector, types.int64)
    def lowered(_context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        value, count = arguments
        kind = sig.args[0].llvm
        return getattr(builder, method)(value, splat(builder, builder.trunc(count, kind.element), kind.count))


for _symbol, _methods in ARITHMETIC.items():
    add_arithmetic(_symbol, _methods)
for _in_place, _plain in IN_PLACE.items():
    add_arithmetic(_in_place, ARITHMETIC[_plain])
for _symbol, _sign in COMPARISONS.items():
    add_comparison(_symbol, _sign)
for _symbol, _method in SHIFTS.items():
    add_shift(_symbol, _method)

allow(operator.neg, signature(f32x16, f32x16), signature(i32x16, i32x16))


@lower_builtin(operator.neg, Vector)
def negate(_context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
    return builder.fneg(arguments[0]) if sig.args[0].is_float else builder.neg(arguments[0])


# -- from and to memory ------------------------------------------------------------------------------------------------


def loader(name: str, result: Vector | types.Type, stored: ir.Type, convert: Callable, doc: str) -> Any:
    """An intrinsic (array, flat position) -> vector: `stored` is what lies in memory, `convert` makes it the result."""

    def typer(_typing: Any, array: Any, index: Any) -> Any:
        if not isinstance(array, types.Array) or not isinstance(index, types.Integer):
            return None

        def lowered(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
            at = as_index(context, builder, sig.args[1], arguments[1])
            return convert(builder, load(builder, pointer(context, builder, sig.args[0], arguments[0], at), stored))

        return result(array, index), lowered

    return named(typer, name, doc)


def named(typer: Callable, name: str, doc: str) -> Any:
    typer.__name__ = typer.__qualname__ = name
    typer.__doc__ = doc
    return intrinsic(typer)


def same(_builder: Any, value: Any) -> Any:
    return value


def broadcast_word(builder: Any, word: Any) -> Any:
    return builder.bitcast(splat(builder, word, 16), u8x64.llvm)


def bf16_to_f32(builder: Any, half: Any) -> Any:
    wide = builder.zext(half, i32x16.llvm)
    return builder.bitcast(builder.shl(wide, constant(i32x16.llvm, 16)), f32x16.llvm)


BYTES16, HALVES16 = ir.VectorType(I8, 16), ir.VectorType(I16, 16)
load_f32 = loader("load_f32", f32x16, f32x16.llvm, same, "(float32 array, i) -> f32x16: elements i..i+15.")
load_i32 = loader("load_i32", i32x16, i32x16.llvm, same, "(array, i) -> i32x16: 64 bytes from element i.")
load_u8 = loader("load_u8", u8x64, u8x64.llvm, same, "(array, i) -> u8x64: 64 bytes from element i.")
load_word = loader("load_word", u8x64, I32, broadcast_word, "(array, i) -> u8x64: 4 bytes from element i, 16 times.")
load_bf16 = loader("load_bf16", f32x16, HALVES16, bf16_to_f32, "(array, i) -> f32x16: 16 bfloat16 from element i.")
load_u8_i32 = loader(
    "load_u8_i32", i32x16, BYTES16, lambda b, v: b.zext(v, i32x16.llvm), "(array, i) -> i32x16: 16 unsigned bytes."
)
load_i8_i32 = loader(
    "load_i8_i32", i32x16, BYTES16, lambda b, v: b.sext(v, i32x16.llvm), "(array, i) -> i32x16: 16 signed bytes."
)
load_u16 = loader("load_u16", types.int64, I16, lambda b, v: b.zext(v, I64), "(array, i) -> int64: 2 bytes from i.")
load_u32 = loader("load_u32", types.int64, I32, lambda b, v: b.zext(v, I64), "(array, i) -> int64: 4 bytes from i.")


def storer(name: str, kind: Vector | types.Type, convert: Callable, doc: str) -> Any:
    def typer(_typing: Any, array: Any, index: Any, value: Any) -> Any:
        if not isinstance(array, types.Array) or not isinstance(index, types.Integer) or value != kind:
            return None

        def lowered(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
            at = as_index(context, builder, sig.args[1], arguments[1])
            address = pointer(context, builder, sig.args[0], arguments[0], at)
            store(builder, convert(builder, arguments[2]), address)
            return context.get_dummy_value()

        return types.void(array, index, value), lowered

    return named(typer, name, doc)


store_f32 = storer("store_f32", f32x16, same, "(float32 array, i, f32x16): elements i..i+15.")
store_i32 = storer("store_i32", i32x16, same, "(array, i, i32x16): 64 bytes from element i.")
store_u8 = storer("store_u8", u8x64, same, "(array, i, u8x64): 64 bytes from element i.")
store_i32_u8 = storer(
    "store_i32_u8", i32x16, lambda b, v: b.trunc(v, BYTES16), "(array, i, i32x16): the lanes' low bytes, 16 bytes."
)
store_u16 = storer("store_u16", types.int64, lambda b, v: b.trunc(v, I16), "(array, i, int64): 2 bytes from element i.")
store_u32 = storer("store_u32", types.int64, lambda b, v: b.trunc(v, I32), "(array, i, int64): 4 bytes from element i.")


# -- making, converting, combining -------------------------------------------------------------------------------------


def pure(name: str, result: Vector | types.Type, parameters: tuple, emit: Callable, doc: str) -> Any:
    """An intrinsic of values only: emit(builder, *values) -> value. `parameters` are types, or classes of types."""

    def matches(given: Any, wanted: Any) -> bool:
        return isinstance(given, wanted) if isinstance(wanted, type) else given == wanted

    def lowering(given: tuple) -> Any:
        if len(given) != len(parameters) or not all(map(matches, given, parameters)):
            return None

        def lowered(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
            values = [scalar(context, builder, k, v) for k, v in zip(sig.args, arguments, strict=True)]
            return emit(builder, *values)

        return result(*given), lowered

    typers: dict[int, Callable] = {
        1: lambda _typing, a: lowering((a,)),
        2: lambda _typing, a, b: lowering((a, b)),
        3: lambda _typing, a, b, c: lowering((a, b, c)),
    }
    return named(typers[len(parameters)], name, doc)


def scalar(context: Any, builder: Any, kind: types.Type, value: Any) -> Any:
    """Numbers become int32 or float32, vectors stay."""
    if isinstance(kind, types.Integer):
        return context.cast(builder, value, kind, types.int32)
    if isinstance(kind, types.Float):
        return context.cast(builder, value, kind, types.float32)
    return value


splat_f32 = pure("splat_f32", f32x16, (types.Float,), lambda b, x: splat(b, x, 16), "(float) -> f32x16, all lanes.")
splat_i32 = pure("splat_i32", i32x16, (types.Integer,), lambda b, x: splat(b, x, 16), "(int) -> i32x16, all lanes.")
splat_u8 = pure(
    "splat_u8", u8x64, (types.Integer,), lambda b, x: splat(b, b.trunc(x, I8), 64), "(int) -> u8x64, all bytes."
)
to_f32 = pure("to_f32", f32x16, (i32x16,), lambda b, v: b.sitofp(v, f32x16.llvm), "(i32x16) -> f32x16.")
to_i32 = pure("to_i32", i32x16, (f32x16,), lambda b, v: b.fptosi(v, i32x16.llvm), "(f32x16) -> i32x16, towards zero.")
bits_of = pure("bits_of", i32x16, (f32x16,), lambda b, v: b.bitcast(v, i32x16.llvm), "(f32x16) -> i32x16: its bits.")
from_bits = pure("from_bits", f32x16, (i32x16,), lambda b, v: b.bitcast(v, f32x16.llvm), "(i32x16) -> f32x16.")
words = pure("words", i32x16, (u8x64,), lambda b, v: b.bitcast(v, i32x16.llvm), "(u8x64) -> i32x16: 4 bytes a lane.")
as_bytes = pure("as_bytes", u8x64, (i32x16,), lambda b, v: b.bitcast(v, u8x64.llvm), "(i32x16) -> u8x64: the bytes.")
round_f32 = pure(
    "round_f32",
    f32x16,
    (f32x16,),
    lambda b, v: call(b, "llvm.rint.v16f32", v.type, v),
    "(f32x16) -> f32x16, half to even.",
)
abs_f32 = pure(
    "abs_f32", f32x16, (f32x16,), lambda b, v: call(b, "llvm.fabs.v16f32", v.type, v), "(f32x16) -> f32x16, absolute."
)
sqrt_f32 = pure(
    "sqrt_f32", f32x16, (f32x16,), lambda b, v: call(b, "llvm.sqrt.v16f32", v.type, v), "(f32x16) -> f32x16."
)
max_f32 = pure(
    "max_f32",
    f32x16,
    (f32x16, f32x16),
    lambda b, x, y: b.select(b.fcmp_ordered(">", x, y), x, y),
    "(a, b) -> the larger of each lane; b where either is NaN.",
)
min_f32 = pure(
    "min_f32",
    f32x16,
    (f32x16, f32x16),
    lambda b, x, y: b.select(b.fcmp_ordered("<", x, y), x, y),
    "(a, b) -> the smaller of each lane; b where either is NaN.",
)
select = pure(
    "select", f32x16, (mask16, f32x16, f32x16), lambda b, m, x, y: b.select(m, x, y), "(mask, a, b) -> a or b per lane."
)
select_i32 = pure(
    "select_i32", i32x16, (mask16, i32x16, i32x16), lambda b, m, x, y: b.select(m, x, y), "(mask, a, b), per lane."
)


@intrinsic
def lane_numbers(_typing: Any) -> Any:
    """() -> i32x16: 0, 1, … 15."""
    return i32x16(), lambda _context, _builder, _sig, _values: ir.Constant(i32x16.llvm, list(range(16)))


def ordered_sum(builder: Any, v: Any) -> Any:
    """Halves added to halves: the same order on every CPU."""
    for width in (8, 4, 2, 1):
        undefined = ir.Constant(v.type, ir.Undefined)
        low = builder.shuffle_vector(v, undefined, ir.Constant(ir.VectorType(I32, width), list(range(width))))
        high = builder.shuffle_vector(
            v, undefined, ir.Constant(ir.VectorType(I32, width), list(range(width, 2 * width)))
        )
        v = (builder.fadd if v.type.element == F32 else builder.add)(low, high)
    return builder.extract_element(v, ir.Constant(I32, 0))


sum_f32 = pure("sum_f32", types.float32, (f32x16,), ordered_sum, "(f32x16) -> float32, the same order on every CPU.")
sum_i32 = pure("sum_i32", types.int32, (i32x16,), ordered_sum, "(i32x16) -> int32.")
highest = pure(
    "highest",
    types.float32,
    (f32x16,),
    lambda b, v: call(b, "llvm.vector.reduce.fmax.v16f32", F32, v),
    "(f32x16) -> float32: the largest lane that is not NaN.",
)
max_i32 = pure(
    "max_i32",
    i32x16,
    (i32x16, i32x16),
    lambda b, x, y: b.select(b.icmp_signed(">", x, y), x, y),
    "(a, b) -> the larger of each lane.",
)
highest_i32 = pure(
    "highest_i32",
    types.int32,
    (i32x16,),
    lambda b, v: call(b, "llvm.vector.reduce.smax.v16i32", I32, v),
    "(i32x16) -> int32: the largest lane.",
)
all_lanes = pure(
    "all_lanes",
    types.boolean,
    (mask16,),
    lambda b, m: call(b, "llvm.vector.reduce.and.v16i1", I1, m),
    "(mask16) -> bool: whether all lanes are set.",
)

# -- single elements by flat position, whatever the array's shape ------------------------------------------------------


@intrinsic
def element(_typing: Any, array: Any, index: Any) -> Any:
    """(array, i) -> the element at flat position i."""
    if not isinstance(array, types.Array) or not isinstance(index, types.Integer):
        return None

    def lowered(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        at = as_index(context, builder, sig.args[1], arguments[1])
        address = pointer(context, builder, sig.args[0], arguments[0], at)
        return context.unpack_value(builder, array.dtype, address)

    return array.dtype(array, index), lowered


@intrinsic
def address(_typing: Any, array: Any, index: Any) -> Any:
    """(array, i) -> int64: where in memory the element at flat position i lies."""
    if not isinstance(array, types.Array) or not isinstance(index, types.Integer):
        return None

    def lowered(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        at = as_index(context, builder, sig.args[1], arguments[1])
        return builder.ptrtoint(pointer(context, builder, sig.args[0], arguments[0], at), I64)

    return types.int64(array, index), lowered


@intrinsic
def prefetch(_typing: Any, place: Any) -> Any:
    """(address): asks for the cache line there; any address is allowed."""
    if not isinstance(place, types.Integer):
        return None

    def lowered(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        byte = builder.inttoptr(as_index(context, builder, sig.args[0], arguments[0]), I8.as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [byte.type, I32, I32, I32])
        read, keep, data = (ir.Constant(I32, value) for value in (0, 3, 1))
        builder.call(builder.module.declare_intrinsic("llvm.prefetch.p0", fnty=kind), [byte, read, keep, data])
        return context.get_dummy_value()

    return types.void(place), lowered


@intrinsic
def set_element(_typing: Any, array: Any, index: Any, value: Any) -> Any:
    """(array, i, number): the element at flat position i becomes the number, converted to the array's type."""
    if not isinstance(array, types.Array) or not isinstance(index, types.Integer):
        return None

    def lowered(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        at = as_index(context, builder, sig.args[1], arguments[1])
        address = pointer(context, builder, sig.args[0], arguments[0], at)
        context.pack_value(builder, array.dtype, context.cast(builder, arguments[2], value, array.dtype), address)
        return context.get_dummy_value()

    return types.void(array, index, value), lowered
