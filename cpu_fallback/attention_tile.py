"""C += A·B for the two products of attention, with all sums of a tile of C in vector registers.

A is (queries, n) numbers, B is (n, vectors) of 16 lanes: keys of one element when scoring, elements of one slot's value
when adding values up. Every element of C is one chain of fused multiply-adds in the order of n, so neither the shape of
a tile nor how n is cut changes a bit. A tile is an LLVM loop written by Python, because it must be unrolled whole.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from cpu_fallback import isa, variant
from cpu_fallback.jit import internal
from cpu_fallback.simd import F32, I8, I64, constant, f32x16, load, splat, store

# Queries and vectors of a tile, and vectors of a single query's: what fits the vector registers.
SHAPES = {"avx512vnni": (4, 4, 4), "generic": (2, 1, 2)}
QUERIES, WIDE, ALONE = SHAPES.get(variant.ACTIVE, (2, 2, 4))
VECTOR = np.int64(64)  # bytes; of a type that is not compiled for once more, as a literal is


def product(queries: int, wide: int) -> Any:
    """One tile of C: (a, a_stride, last, b, b_stride, b_apart, count, c, c_stride, fresh).

    a, b, c: addresses of float32. n runs from 0 to count - 1; number n of A's row q is at a + q · a_stride + 4 · n,
    vector r of B's row n at b + n · b_stride + r · b_apart, vector r of C's row q at c + q · c_stride + 64 · r. last:
    number of C's last row, which stands in for those behind it. fresh: C counts as 0.
    """

    def multiply_tile(
        _typing: Any, _a: Any, _a_stride: Any, _last: Any, _b: Any, _b_stride: Any, _b_apart: Any, _count: Any, _c: Any,
        _c_stride: Any, _fresh: Any,
    ) -> Any:  # fmt: skip
        def lowered(context: Any, builder: Any, _sig: Any, v: Any) -> Any:
            a, a_stride, last, b, b_stride, b_apart, count, c, c_stride, fresh = v
            to_c = [
                builder.gep(p, [ir.Constant(I64, int(VECTOR) * r)])
                for p in rows(builder, c, c_stride, last, queries)
                for r in range(wide)
            ]
            zero = constant(f32x16.llvm, 0.0)
            start = [builder.select(fresh, zero, load(builder, p, f32x16.llvm)) for p in to_c]
            from_a = rows(builder, a, a_stride, last, queries)
            from_b = rows(builder, b, b_apart, ir.Constant(I64, wide), wide)
            sums = add_products(builder, start, from_a, from_b, b_stride, count)
            for value, p in zip(sums, to_c, strict=True):
                store(builder, value, p)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 9, types.boolean), lowered

    return intrinsic(multiply_tile)


def rows(builder: Any, address: Any, stride: Any, last: Any, count: int) -> list[Any]:
    """Pointers to address, address + stride, …; the one of number `last` stands in for those after it."""
    start, out = builder.inttoptr(address, I8.as_pointer()), []
    for i in range(count):
        number = ir.Constant(I64, i)
        number = builder.select(builder.icmp_signed("<", number, last), number, last)
        out.append(builder.gep(start, [builder.mul(number, stride)]))
    return out


def add_products(builder: Any, start: list, from_a: list, from_b: list, stride: Any, count: Any) -> list[Any]:
    """The loop over n: sums of a tile, from pointers to its first numbers and vectors."""
    one, zero = ir.Constant(I64, 1), ir.Constant(I64, 0)
    before, body, after = builder.block, builder.append_basic_block("products"), builder.append_basic_block("summed")
    builder.cbranch(builder.icmp_signed(">", count, zero), body, after)
    builder.position_at_end(body)
    entering = [count, *from_a, *from_b, *start]
    current = [builder.phi(value.type) for value in entering]
    left, at_a = current[0], current[1 : 1 + len(from_a)]
    at_b, sums = current[1 + len(from_a) : -len(start)], current[-len(start) :]
    vectors = [load(builder, p, f32x16.llvm) for p in at_b]
    factors = [splat(builder, load(builder, p, F32), 16) for p in at_a]
    pairs = [(f, v) for f in factors for v in vectors]
    totals = [isa.fused(builder, f, v, total) for (f, v), total in zip(pairs, sums, strict=True)]
    following = [builder.sub(left, one), *(builder.gep(p, [ir.Constant(I64, 4)]) for p in at_a)]
    following += [*(builder.gep(p, [stride]) for p in at_b), *totals]
    branch = builder.cbranch(builder.icmp_signed(">", following[0], zero), body, after)
    branch.set_metadata("llvm.loop", not_unrolled(builder.module))
    for phi, first, value in zip(current, entering, following, strict=True):
        join(phi, before, first, body, value)
    builder.position_at_end(after)
    results = [builder.phi(value.type) for value in totals]
    for phi, first, value in zip(results, start, totals, strict=True):
        join(phi, before, first, body, value)
    return results


def join(phi: Any, before: Any, first: Any, body: Any, value: Any) -> None:
    phi.add_incoming(first, before)
    phi.add_incoming(value, body)


def not_unrolled(module: Any) -> Any:
    """Loop metadata: unrolled further, every step would get pointers of its own, more than there are registers."""
    disable = module.add_metadata([ir.MetaDataString(module, "llvm.loop.unroll.disable")])
    loop = module.add_metadata([disable, ir.MetaDataString(module, f"loop {len(module.metadata)}")])
    loop.operands = (loop, disable)  # a loop's metadata begins with itself
    return loop


tile, narrow = product(QUERIES, WIDE), product(QUERIES, 1)
alone, alone_narrow = product(1, ALONE), product(1, 1)


@internal
def multiply(a, a_stride, queries, b, b_stride, b_apart, vectors, count, c, c_stride, fresh):
    """C += A·B for any number of queries and vectors, the rest as in `product`."""
    for q in range(0, queries - 1, QUERIES):
        last, x, y, z = min(QUERIES, queries - q) - 1, a + q * a_stride, b, c + q * c_stride
        for _ in range(vectors // WIDE):
            tile(x, a_stride, last, y, b_stride, b_apart, count, z, c_stride, fresh != 0)
            y, z = y + WIDE * b_apart, z + WIDE * VECTOR
        for _ in range(vectors % WIDE):
            narrow(x, a_stride, last, y, b_stride, b_apart, count, z, c_stride, fresh != 0)
            y, z = y + b_apart, z + VECTOR
    if queries % QUERIES == 1:
        x, y, z = a + (queries - 1) * a_stride, b, c + (queries - 1) * c_stride
        for _ in range(vectors // ALONE):
            alone(x, 0, 0, y, b_stride, b_apart, count, z, 0, fresh != 0)
            y, z = y + ALONE * b_apart, z + ALONE * VECTOR
        for _ in range(vectors % ALONE):
            alone_narrow(x, 0, 0, y, b_stride, b_apart, count, z, 0, fresh != 0)
            y, z = y + b_apart, z + VECTOR
