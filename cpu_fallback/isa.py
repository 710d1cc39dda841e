"""The operations that depend on the instruction set: byte dots, table look-ups, float16, fused multiply-add.

`dot(acc, w, x)` adds, per lane, four products of unsigned bytes w and signed bytes x to an int32. AVX2 adds pairs of
products in 16 bits, which is exact for w <= 129 (x >= -127). Weights that need all 8 bits are stored plus 128:
`start_biased(sum of x)` and `dot_biased(acc, w, x)` then give Σ (w - 128)·x in whichever way suits the CPU. All
variants but `generic`, which multiplies and adds in two roundings, give equal bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import types

from cpu_fallback import variant
from cpu_fallback.simd import (
    F16,
    HALVES16,
    I8,
    I16,
    I32,
    call,
    constant,
    f32x16,
    i32x16,
    loader,
    pure,
    splat,
    storer,
    u8x64,
)

B32, W8, S16 = ir.VectorType(I8, 32), ir.VectorType(I32, 8), ir.VectorType(I16, 16)
HAS_HALVES = variant.ACTIVE != "generic" or variant.target("generic") is None


def part(builder: Any, value: Any, start: int, count: int) -> Any:
    lanes = ir.Constant(ir.VectorType(I32, count), list(range(start, start + count)))
    return builder.shuffle_vector(value, ir.Constant(value.type, ir.Undefined), lanes)


def join(builder: Any, low: Any, high: Any) -> Any:
    return builder.shuffle_vector(
        low, high, ir.Constant(ir.VectorType(I32, 2 * low.type.count), list(range(2 * low.type.count)))
    )


def by_halves(operation: Callable) -> Callable:
    """An operation on 256-bit vectors as one on 512-bit vectors."""

    def whole(builder: Any, *values: Any) -> Any:
        halves = [[part(builder, v, h * v.type.count // 2, v.type.count // 2) for v in values] for h in (0, 1)]
        return join(builder, operation(builder, *halves[0]), operation(builder, *halves[1]))

    return whole


# -- byte dots ---------------------------------------------------------------------------------------------------------


def vpdpbusd_512(builder: Any, acc: Any, w: Any, x: Any) -> Any:
    return call(builder, "llvm.x86.avx512.vpdpbusd.512", acc.type, acc, w, x)


def vpdpbusd_256(builder: Any, acc: Any, w: Any, x: Any) -> Any:
    return call(builder, "llvm.x86.avx512.vpdpbusd.256", acc.type, acc, w, x)


def maddubs(builder: Any, acc: Any, w: Any, x: Any) -> Any:
    pairs = call(builder, "llvm.x86.avx2.pmadd.ub.sw", S16, w, x)
    return builder.add(acc, call(builder, "llvm.x86.avx2.pmadd.wd", W8, pairs, constant(S16, 1)))


def maddubs_biased(builder: Any, acc: Any, w: Any, x: Any) -> Any:
    signed = builder.xor(w, constant(B32, 0x80))
    magnitude = call(builder, "llvm.abs.v32i8", B32, signed, ir.Constant(ir.IntType(1), 0))
    return maddubs(builder, acc, magnitude, call(builder, "llvm.x86.avx2.psign.b", B32, x, signed))


def plain_dot(widen: str) -> Callable:
    """acc + Σ of 4 products, in plain LLVM: byte j of every lane, j = 0..3."""

    def dot(builder: Any, acc: Any, w: Any, x: Any) -> Any:
        for j in range(4):
            lanes = ir.Constant(ir.VectorType(I32, 16), [4 * lane + j for lane in range(16)])
            undefined = ir.Constant(w.type, ir.Undefined)
            w_j = getattr(builder, widen)(builder.shuffle_vector(w, undefined, lanes), i32x16.llvm)
            x_j = builder.sext(builder.shuffle_vector(x, undefined, lanes), i32x16.llvm)
            acc = builder.add(acc, builder.mul(w_j, x_j))
        return acc

    return dot


def plain_biased(builder: Any, acc: Any, w: Any, x: Any) -> Any:
    return plain_dot("sext")(builder, acc, builder.xor(w, constant(u8x64.llvm, 0x80)), x)


def from_minus_128_sums(builder: Any, total: Any) -> Any:
    return builder.mul(splat(builder, total, 16), constant(i32x16.llvm, -128))


def from_zero(_builder: Any, _total: Any) -> Any:
    return constant(i32x16.llvm, 0)


DOT = {
    "avx512vnni": vpdpbusd_512,
    "avxvnni": by_halves(vpdpbusd_256),
    "avx2": by_halves(maddubs),
    "generic": plain_dot("zext"),
}
DOT_BIASED = DOT | {"avx2": by_halves(maddubs_biased), "generic": plain_biased}
START_BIASED = dict.fromkeys(DOT, from_minus_128_sums) | {"avx2": from_zero, "generic": from_zero}

dot = pure(
    "dot",
    i32x16,
    (i32x16, u8x64, u8x64),
    DOT[variant.ACTIVE],
    "(acc, w, x) -> acc + Σ of 4 products per lane: w unsigned, at most 129, x signed, at least -127.",
)
dot_biased = pure(
    "dot_biased",
    i32x16,
    (i32x16, u8x64, u8x64),
    DOT_BIASED[variant.ACTIVE],
    "(acc, w, x) -> Σ (w - 128)·x, if acc began as start_biased(Σ x).",
)
start_biased = pure(
    "start_biased", i32x16, (types.Integer,), START_BIASED[variant.ACTIVE], "(Σ x) -> the acc that dot_biased adds to."
)

# -- table look-up -----------------------------------------------------------------------------------------------------


def pshufb_512(builder: Any, table: Any, index: Any) -> Any:
    return call(builder, "llvm.x86.avx512.pshuf.b.512", table.type, table, index)


def pshufb_256(builder: Any, table: Any, index: Any) -> Any:
    return call(builder, "llvm.x86.avx2.pshuf.b", table.type, table, index)


def plain_lookup(builder: Any, table: Any, index: Any) -> Any:
    """Halves the table four times by the bits of the index."""
    kind = u8x64.llvm
    rows = []
    for i in range(16):
        entry = ir.Constant(ir.VectorType(I32, 64), [i] * 64)
        rows.append(builder.shuffle_vector(table, ir.Constant(kind, ir.Undefined), entry))
    for bit in range(4):
        is_set = builder.icmp_unsigned("!=", builder.and_(index, constant(kind, 1 << bit)), constant(kind, 0))
        rows = [builder.select(is_set, rows[i + 1], rows[i]) for i in range(0, len(rows), 2)]
    return rows[0]


LOOKUP = {
    "avx512vnni": pshufb_512,
    "avxvnni": by_halves(pshufb_256),
    "avx2": by_halves(pshufb_256),
    "generic": plain_lookup,
}
lookup = pure(
    "lookup",
    u8x64,
    (u8x64, u8x64),
    LOOKUP[variant.ACTIVE],
    "(table, index) -> table[index] per byte; the table's 16 bytes are repeated 4 times, indices are 0..15.",
)

# -- float16 and fma ---------------------------------------------------------------------------------------------------


def half_to_f32(builder: Any, bits: Any) -> Any:
    """<16 x i16> float16 bits -> <16 x float>."""
    if HAS_HALVES:
        return builder.fpext(builder.bitcast(bits, ir.VectorType(F16, 16)), f32x16.llvm)
    return plain_half_to_f32(builder, bits)


def plain_half_to_f32(builder: Any, bits: Any) -> Any:
    """In integers, where LLVM would call a helper function that is not there.

    Fabian Giesen's method: scale the exponent.
    """
    kind = i32x16.llvm
    wide = builder.zext(bits, kind)
    magnitude = builder.shl(builder.and_(wide, constant(kind, 0x7FFF)), constant(kind, 13))
    scaled = builder.fmul(builder.bitcast(magnitude, f32x16.llvm), constant(f32x16.llvm, 2.0**112))
    is_special = builder.icmp_unsigned(">=", magnitude, constant(kind, 0x7C00 << 13))
    special = builder.or_(builder.bitcast(scaled, kind), constant(kind, 0x7F800000))
    value = builder.select(is_special, special, builder.bitcast(scaled, kind))
    sign = builder.shl(builder.and_(wide, constant(kind, 0x8000)), constant(kind, 16))
    return builder.bitcast(builder.or_(value, sign), f32x16.llvm)


load_f16 = loader("load_f16", f32x16, HALVES16, half_to_f32, "(array, i) -> f32x16: 16 float16 from element i.")


def f32_to_half(builder: Any, value: Any) -> Any:
    """<16 x float> -> <16 x i16>: float16 bits, rounded half to even."""
    if HAS_HALVES:
        return builder.bitcast(builder.fptrunc(value, ir.VectorType(F16, 16)), HALVES16)
    return plain_f32_to_half(builder, value)


def plain_f32_to_half(builder: Any, value: Any) -> Any:
    """In integers, as half.py does it; the sum with 0.5 rounds a subnormal number to whole 2^-24, its unit."""
    kind = i32x16.llvm
    bits = builder.bitcast(value, kind)
    magnitude = builder.and_(bits, constant(kind, 0x7FFFFFFF))
    odd = builder.and_(builder.lshr(magnitude, constant(kind, 13)), constant(kind, 1))
    rounded = builder.add(builder.add(magnitude, odd), constant(kind, 0xFFF - (112 << 23)))
    out = builder.lshr(rounded, constant(kind, 13))
    shifted = builder.fadd(builder.bitcast(magnitude, f32x16.llvm), constant(f32x16.llvm, 0.5))
    subnormal = builder.sub(builder.bitcast(shifted, kind), constant(kind, 0x3F000000))
    out = builder.select(builder.icmp_signed("<", magnitude, constant(kind, 0x38800000)), subnormal, out)
    is_large = builder.icmp_signed(">=", magnitude, constant(kind, 0x477FF000))  # 65520, halfway beyond the largest
    out = builder.select(is_large, constant(kind, 0x7C00), out)
    upper = builder.and_(builder.lshr(magnitude, constant(kind, 13)), constant(kind, 0x3FF))
    is_nan = builder.icmp_signed(">", magnitude, constant(kind, 0x7F800000))
    out = builder.select(is_nan, builder.or_(upper, constant(kind, 0x7E00)), out)
    sign = builder.and_(builder.lshr(bits, constant(kind, 16)), constant(kind, 0x8000))
    return builder.trunc(builder.or_(out, sign), HALVES16)


store_f16 = storer("store_f16", f32x16, f32_to_half, "(array, i, f32x16): 16 float16 from element i, half to even.")


def fused(builder: Any, x: Any, y: Any, z: Any) -> Any:
    if variant.ACTIVE == "generic" and variant.target("generic") is not None:
        return builder.fadd(builder.fmul(x, y), z)  # without the instruction LLVM would call a function per lane
    return call(builder, "llvm.fma.v16f32", x.type, x, y, z)


fma = pure("fma", f32x16, (f32x16, f32x16, f32x16), fused, "(a, b, c) -> a·b + c, rounded once (twice in `generic`).")
