"""Sums of products of bytes, four a lane: the arithmetic of all products with int8 activations.

Weights are unsigned bytes w up to a format's `largest`, activations signed bytes x from -127 on, and what is wanted is
Σ (w - offset)·x. Where w takes all 8 bits (offset 128) AVX2 and plain LLVM multiply by w - 128 itself; everywhere else
the sum starts at factor · Σ x (`start_factor`), so that w goes in as it is. Integers are exact: all variants give
equal bits.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

from llvmlite import ir
from numba.core import types

from cpu_fallback import variant
from cpu_fallback.code_bits import Codes
from cpu_fallback.isa import by_halves, halves_of, join
from cpu_fallback.simd import I8, I16, I32, I64, call, constant, i32x16, load, named, pointer, pure, splat, u8x64

B32, W8, S16 = ir.VectorType(I8, 32), ir.VectorType(I32, 8), ir.VectorType(I16, 16)
SIGNED = 128  # the offset of weights that are signed bytes plus 128


# -- one step: acc + 4 products a lane ---------------------------------------------------------------------------------


def vpdpbusd_512(builder: Any, acc: Any, w: Any, x: Any) -> Any:
    return call(builder, "llvm.x86.avx512.vpdpbusd.512", acc.type, acc, w, x)


def vpdpbusd_256(builder: Any, acc: Any, w: Any, x: Any) -> Any:
    return call(builder, "llvm.x86.avx512.vpdpbusd.256", acc.type, acc, w, x)


def plain(widen: str) -> Callable:
    """In plain LLVM: byte j of every lane, j = 0..3."""

    def dot(builder: Any, acc: Any, w: Any, x: Any) -> Any:
        for j in range(4):
            lanes = ir.Constant(ir.VectorType(I32, 16), [4 * lane + j for lane in range(16)])
            undefined = ir.Constant(w.type, ir.Undefined)
            w_j = getattr(builder, widen)(builder.shuffle_vector(w, undefined, lanes), i32x16.llvm)
            x_j = builder.sext(builder.shuffle_vector(x, undefined, lanes), i32x16.llvm)
            acc = builder.add(acc, builder.mul(w_j, x_j))
        return acc

    return dot


def plain_signed(builder: Any, acc: Any, w: Any, x: Any) -> Any:
    return plain("sext")(builder, acc, builder.xor(w, constant(u8x64.llvm, 0x80)), x)


# -- AVX2: pairs of products in 16 bits, widened later -----------------------------------------------------------------


def pairs(builder: Any, w: Any, x: Any) -> Any:
    return call(builder, "llvm.x86.avx2.pmadd.ub.sw", S16, w, x)


def signed_pairs(builder: Any, w: Any, x: Any) -> Any:
    signed = builder.xor(w, constant(B32, 0x80))
    magnitude = call(builder, "llvm.abs.v32i8", B32, signed, ir.Constant(ir.IntType(1), 0))
    return pairs(builder, magnitude, call(builder, "llvm.x86.avx2.psign.b", B32, x, signed))


def widened(builder: Any, sums: Any) -> Any:
    return call(builder, "llvm.x86.avx2.pmadd.wd", W8, sums, constant(S16, 1))


def pairs_that_fit(largest: int) -> int:
    """How many pairs of products of weights up to `largest` a 16-bit sum holds."""
    return max(1, 0x7FFF // (2 * 127 * largest))


# -- sums --------------------------------------------------------------------------------------------------------------


DOTS = {"avx512vnni": vpdpbusd_512, "avxvnni": by_halves(vpdpbusd_256), "generic": plain("zext")}
SIGNED_DOTS = DOTS | {"generic": plain_signed}


class Sum:
    """A lane's growing sum: `add` steps, then `total`. Weights are bytes up to `largest`, or of those of SIGNED."""

    def __init__(self, start: Any, largest: int, is_signed: bool):
        self.value = start
        self.dot = (SIGNED_DOTS if is_signed else DOTS)[variant.ACTIVE]

    def add(self, builder: Any, w: Any, x: Any) -> None:
        self.value = self.dot(builder, self.value, w, x)

    def total(self, _builder: Any) -> Any:
        return self.value


class PairSum(Sum):
    """AVX2's, which has no four products a lane: as many pairs as fit are added in 16 bits before they are widened."""

    def __init__(self, start: Any, largest: int, is_signed: bool):
        self.value = start
        self.pairs = by_halves(signed_pairs if is_signed else pairs)
        self.room = pairs_that_fit(127 if is_signed else largest)
        self.waiting: Any = None
        self.count = 0

    def add(self, builder: Any, w: Any, x: Any) -> None:
        products = self.pairs(builder, w, x)
        self.waiting = builder.add(self.waiting, products) if self.count else products
        self.count += 1
        if self.count == self.room:
            self._widen(builder)

    def total(self, builder: Any) -> Any:
        if self.count:
            self._widen(builder)
        return self.value

    @property
    def newest(self) -> Any:
        """What the last step changed."""
        return self.waiting if self.count else self.value

    @newest.setter
    def newest(self, changed: Any) -> None:
        if self.count:
            self.waiting = changed
        else:
            self.value = changed

    def _widen(self, builder: Any) -> None:
        self.value = builder.add(self.value, by_halves(widened)(builder, self.waiting))
        self.count = 0


def finish_step(builder: Any, sums: list[Sum]) -> None:
    """Has the sums of a tile done up to here before what follows: left to itself LLVM takes one token after the other
    and runs out of AVX2's 16 registers. An empty piece of assembly that seems to change them all."""
    growing = [each for each in sums if isinstance(each, PairSum)]
    if not growing:
        return
    values = [half for each in growing for half in halves_of(builder, each.newest)]
    kinds = [value.type for value in values]
    constraints = ",".join(["=x"] * len(values) + [str(i) for i in range(len(values))])
    out = builder.asm(ir.FunctionType(ir.LiteralStructType(kinds), kinds), "", constraints, values, side_effect=True)
    for i, each in enumerate(growing):
        each.newest = join(builder, builder.extract_value(out, 2 * i), builder.extract_value(out, 2 * i + 1))


def new_sum(start: Any, offset: int, largest: int) -> Sum:
    return (PairSum if variant.ACTIVE == "avx2" else Sum)(start, largest, offset == SIGNED)


def start_factor(offset: int) -> int:
    """What Σ x is multiplied by to start a sum."""
    return 0 if offset == SIGNED and variant.ACTIVE in ("avx2", "generic") else -offset


def add_dots(codes: Codes, first: int, count: int, offset: int, largest: int) -> Any:
    """An intrinsic (Σ x, w, at, j, x, x_at): Σ (w - offset)·x per lane. Of block j of the unit at w[at], code vectors
    first.. are multiplied by the `count` words of 4 bytes from x[x_at] on; Σ x is those bytes' sum."""

    def lowering(_typing: Any, total: Any, w: Any, at: Any, j: Any, x: Any, x_at: Any) -> Any:
        def lowered(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
            start = context.cast(builder, arguments[0], sig.args[0], types.int32)
            start = builder.mul(start, ir.Constant(I32, start_factor(offset)))
            out = new_sum(splat(builder, start, 16), offset, largest)
            block = codes.address(context, builder, sig.args[1:4], *arguments[1:4])
            for c, vector in enumerate(islice(codes.vectors(builder, block), first, first + count)):
                word = load(builder, pointer(context, builder, x, arguments[4], word_at(builder, arguments[5], c)), I32)
                out.add(builder, vector, builder.bitcast(splat(builder, word, 16), u8x64.llvm))
                finish_step(builder, [out])
            return out.total(builder)

        return i32x16(total, w, at, j, x, types.int64), lowered

    return named(lowering, f"add_dots_{first}_{count}_{offset}_{largest}", add_dots.__doc__ or "")


def word_at(builder: Any, at: Any, word: int) -> Any:
    return builder.add(at, ir.Constant(I64, 4 * word))


def one_dot(builder: Any, acc: Any, w: Any, x: Any) -> Any:
    out = new_sum(acc, 0, 129)
    out.add(builder, w, x)
    return out.total(builder)


dot = pure(
    "dot",
    i32x16,
    (i32x16, u8x64, u8x64),
    one_dot,
    "(acc, w, x) -> acc + Σ of 4 products per lane: w unsigned, at most 129, x signed, at least -127.",
)
