"""The operations that depend on the instruction set: table look-ups, float16, fused multiply-add (and byte_dots.py).

All variants but `generic`, which multiplies and adds in two roundings, give equal bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir

from cpu_fallback import variant
from cpu_fallback.simd import (
    F16,
    HALVES16,
    I32,
    call,
    constant,
    f32x16,
    i32x16,
    loader,
    pure,
    storer,
    u8x64,
)

HAS_HALVES = variant.ACTIVE != "generic" or variant.target("generic") is None


def part(builder: Any, value: Any, start: int, count: int) -> Any:
    lanes = ir.Constant(ir.VectorType(I32, count), list(range(start, start + count)))
    return builder.shuffle_vector(value, ir.Constant(value.type, ir.Undefined), lanes)


def join(builder: Any, low: Any, high: Any) -> Any:
    return builder.shuffle_vector(
        low, high, ir.Constant(ir.VectorType(I32, 2 * low.type.count), list(range(2 * low.type.count)))
    )


def halves_of(builder: Any, value: Any) -> tuple[Any, Any]:
    half = value.type.count // 2
    return part(builder, value, 0, half), part(builder, value, half, half)


def by_halves(operation: Callable) -> Callable:
    """An operation on 256-bit vectors as one on 512-bit vectors."""

    def whole(builder: Any, *values: Any) -> Any:
        low, high = zip(*(halves_of(builder, value) for value in values), strict=True)
        return join(builder, operation(builder, *low), operation(builder, *high))

    return whole


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


def look_up(builder: Any, table: np.ndarray, index: Any) -> Any:
    """`lookup` in a table known beforehand."""
    return LOOKUP[variant.ACTIVE](builder, ir.Constant(u8x64.llvm, table.tolist()), index)


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
