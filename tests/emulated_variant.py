"""Run as a program, `python emulated_variant.py NAME`: digests of test_cpu_variants for a variant whose byte dots and
look-ups this CPU lacks, with those instructions put together from plain LLVM. Everything else is the variant's own:
its order of sums, tile shapes, starts of sums and layouts. What it cannot show is LLVM's choice of instructions.
"""

from __future__ import annotations

import sys
from typing import Any

from llvmlite import ir

from cpu_fallback import simd, variant

I32 = ir.IntType(32)


def byte_of(builder: Any, words: Any, j: int, signed: bool) -> Any:
    """Byte j of every 32-bit lane."""
    up, down = (ir.Constant(words.type, [shift] * words.type.count) for shift in (24 - 8 * j, 24))
    return (builder.ashr if signed else builder.lshr)(builder.shl(words, up), down)


def dot(builder: Any, total: Any, w: Any, x: Any) -> Any:
    """VPDPBUSD: four products of unsigned and signed bytes a lane."""
    w, x = (builder.bitcast(each, total.type) for each in (w, x))
    for j in range(4):
        total = builder.add(total, builder.mul(byte_of(builder, w, j, False), byte_of(builder, x, j, True)))
    return total


def look_up(builder: Any, table: Any, index: Any) -> Any:
    """VPSHUFB on 64 bytes: in each 16 of them."""
    out = ir.Constant(index.type, ir.Undefined)
    for i in range(64):
        place = builder.zext(builder.extract_element(index, ir.Constant(I32, i)), I32)
        entry = builder.extract_element(table, builder.add(place, ir.Constant(I32, i // 16 * 16)))
        out = builder.insert_element(out, entry, ir.Constant(I32, i))
    return out


REPLACED = {
    "llvm.x86.avx512.vpdpbusd.512": dot,
    "llvm.x86.avx512.vpdpbusd.256": dot,
    "llvm.x86.avx512.pshuf.b.512": look_up,
}
as_it_is = simd.call


def call(builder: Any, name: str, result: Any, *values: Any) -> Any:
    replacement = REPLACED.get(name)
    return replacement(builder, *values) if replacement else as_it_is(builder, name, result, *values)


if __name__ == "__main__":
    variant.ACTIVE, simd.call = sys.argv[1], call  # before anything else of the package looks at them
    from test_cpu_variants import EMULATED_FORMATS, digests

    from wgpu_infer.backends.cpu import CPUBackend

    backend = CPUBackend(threads=1)
    print(backend.describe())
    for case, digest in digests(backend, EMULATED_FORMATS, tuple(EMULATED_FORMATS)):
        print(case, digest)
