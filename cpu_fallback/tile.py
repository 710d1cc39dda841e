"""Register tiles of matrix products: weight rows by tokens, all sums in vector registers.

A tile is some weight groups of 16 rows by some tokens; a lane is a row, so nothing is summed across lanes, and every
output is one chain of fused multiply-adds over the blocks in order: the same bits for any tile shape and vector width.
The operations are LLVM code written by Python loops, because a tile must be unrolled whole.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, models, register_model

from cpu_fallback import isa, variant
from cpu_fallback.byte_dots import Sum, finish_step, new_sum, start_factor
from cpu_fallback.layout import Layout
from cpu_fallback.simd import I32, I64, Vector, constant, f32x16, i32x16, load, splat, store, u8x64

# Of a tile: what fits the vector registers, and enough sums side by side that none waits for its own last addition.
SHAPES = {"avx512vnni": (2, 4)}
WIDE, TOKENS = SHAPES.get(variant.ACTIVE, (1, 4))


class Tile(types.Type):
    """WIDE · TOKENS float32 vectors of 16 rows; element (group, token) is at group · TOKENS + token."""

    def __init__(self) -> None:
        self.llvm = ir.ArrayType(f32x16.llvm, WIDE * TOKENS)
        super().__init__(f"tile{WIDE}x{TOKENS}")


tile = Tile()


@register_model(Tile)
class TileModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Tile):
        super().__init__(manager, kind, kind.llvm)


class Emitter:
    """What the operations below share: addresses in arrays, and the elements of a tile."""

    def __init__(self, context: Any, builder: Any, kinds: tuple, values: tuple):
        self.context, self.builder, self.kinds, self.values = context, builder, kinds, values

    def address(self, argument: int, index: Any) -> Any:
        data = self.context.make_array(self.kinds[argument])(self.context, self.builder, self.values[argument]).data
        return self.builder.gep(data, [index])

    def strided(self, argument: int, start: Any, stride: Any, count: int) -> list[Any]:
        """Addresses of elements start, start + stride, …"""
        b = self.builder
        return [self.address(argument, b.add(start, b.mul(stride, ir.Constant(I64, i)))) for i in range(count)]

    def tokens(self, first: Any, last: Any) -> list[Any]:
        """first, first + 1, …, none beyond last."""
        b, out = self.builder, []
        for t in range(TOKENS):
            token = b.add(first, ir.Constant(I64, t))
            out.append(b.select(b.icmp_signed("<", token, last), token, last))
        return out

    def vector(self, address: Any, offset: int, kind: Vector) -> Any:
        """A vector from `offset` bytes behind an address."""
        at = self.builder.gep(self.builder.bitcast(address, ir.IntType(8).as_pointer()), [ir.Constant(I64, offset)])
        return load(self.builder, at, kind.llvm)

    def word(self, address: Any, offset: int) -> Any:
        """4 bytes from `offset` bytes behind an address, 16 times."""
        at = self.builder.gep(address, [ir.Constant(I64, offset)])
        return self.builder.bitcast(splat(self.builder, load(self.builder, at, I32), 16), u8x64.llvm)

    def fma(self, total: Any, index: int, x: Any, y: Any) -> Any:
        """total with element `index` plus x·y."""
        b = self.builder
        return b.insert_value(total, isa.fused(b, x, y, b.extract_value(total, index)), index)


def typed(kinds: tuple, integers: tuple[int, ...]) -> tuple:
    """Argument types with those at `integers` as int64."""
    return tuple(types.int64 if i in integers else kind for i, kind in enumerate(kinds))


@intrinsic
def load_tile(_typing: Any, array: Any, _at: Any) -> Any:
    """(float32 array, i) -> the tile's vectors, side by side."""

    def lowered(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        emit = Emitter(context, builder, sig.args, values)
        out = ir.Constant(tile.llvm, ir.Undefined)
        for i in range(WIDE * TOKENS):
            out = builder.insert_value(out, emit.vector(emit.address(0, values[1]), 64 * i, f32x16), i)
        return out

    return tile(array, types.int64), lowered


@intrinsic
def store_tile(_typing: Any, array: Any, _at: Any, value: Any) -> Any:
    """(float32 array, i, tile): the opposite of load_tile."""

    def lowered(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        start = Emitter(context, builder, sig.args, values).address(0, values[1])
        for i in range(WIDE * TOKENS):
            store(builder, builder.extract_value(values[2], i), builder.gep(start, [ir.Constant(I64, 16 * i)]))
        return context.get_dummy_value()

    return types.void(array, types.int64, value), lowered


class Act8Tokens:
    """The tokens of a tile: addresses of their codes in one block of columns, their scales there, and their terms.

    x int8 (tokens, cols), x_scales float32 (tokens, cols / 32), both flat, terms, t_at, t_stride, token, last, cols,
    block are the arguments from number `first` on: the tile's tokens are token, token + 1, … up to `last`, which stands
    in for those after it; their terms (see add_unpacked) are at t_at, t_at + t_stride, …"""

    def __init__(self, emit: Emitter, first: int):
        b = emit.builder
        t_at, t_stride, token, last, cols, block = emit.values[first + 3 : first + 9]
        blocks = b.lshr(cols, ir.Constant(I64, 5))
        rows = emit.tokens(token, last)
        column = b.shl(block, ir.Constant(I64, 5))
        self.codes = [emit.address(first, flat(b, row, cols, column)) for row in rows]
        self.scales = [splat(b, b.load(emit.address(first + 1, flat(b, row, blocks, block))), 16) for row in rows]
        self._terms = emit.strided(first + 2, t_at, t_stride, TOKENS)

    def terms(self, builder: Any, half: int) -> list[Any]:
        """Of each token: its term of a half, in all lanes."""
        return [splat(builder, builder.load(builder.gep(p, [ir.Constant(I64, half)])), 16) for p in self._terms]


class Act8Block:
    """Adds one block of 32 columns of a format to a tile."""

    def __init__(self, layout: Layout):
        self.offset, self.largest, self.has_minimum = layout.offset, layout.largest, layout.has_minimum
        self.halves: tuple[int, ...] = (0, 1) if layout.halves else (0,)
        self.words = 8 // len(self.halves)

    def add(self, emit: Emitter, out: Any, tokens: Act8Tokens, codes: Any, scale: Any, minimum: Any) -> Any:
        """codes(c), scale(half), minimum(half): a list of vectors, one per group."""
        b = emit.builder
        for half in self.halves:
            terms = tokens.terms(b, half) if has_terms(self.offset, self.has_minimum) else []
            sums = self.sums(b, terms)
            for c in range(half * self.words, (half + 1) * self.words):
                weights = codes(c)
                for t in range(TOKENS):
                    word = emit.word(tokens.codes[t], 4 * c)
                    for r in range(WIDE):
                        sums[r][t].add(b, weights[r], word)
                finish_step(b, [each for group in sums for each in group])
            for r, scale_r in enumerate(scale(half)):
                for t in range(TOKENS):
                    product = b.fmul(scale_r, tokens.scales[t])
                    out = emit.fma(out, r * TOKENS + t, b.sitofp(sums[r][t].total(b), f32x16.llvm), product)
            for r, minimum_r in enumerate(minimum(half) if self.has_minimum else ()):
                for t in range(TOKENS):
                    out = emit.fma(out, r * TOKENS + t, b.fneg(minimum_r), terms[t])
        return out

    def sums(self, builder: Any, terms: list[Any]) -> list[list[Sum]]:
        """A sum for each group and token."""
        zero = constant(i32x16.llvm, 0)
        starts = [zero] * TOKENS if self.has_minimum or not terms else terms
        return [[new_sum(start, self.offset, self.largest) for start in starts] for _ in range(WIDE)]


def has_terms(offset: int, has_minimum: bool) -> bool:
    return has_minimum or start_factor(offset) != 0


def add_unpacked(layout: Layout, behind: int) -> Any:
    """The operation that adds a block, unpacked in memory, to a tile.

    (tile, codes, at, stride, scales, s_at, s_stride, x, x_scales, terms, t_at, t_stride, token, last, cols, block)
    codes: int8 array, 8 vectors of a group at `at`, those of the next group `stride` behind. scales: float32 array, a
    vector per scale of a block at s_at (next group: + s_stride), the minima `behind` it. terms: per token and half (or
    block) what depends on Σx alone: float32 x_scale · Σx that minima are multiplied by, or the int32 start of a sum.
    The rest: see Act8Tokens."""
    operation = Act8Block(layout)

    def add_unpacked_block(
        _typing: Any, total: Any, codes: Any, at: Any, stride: Any, scales: Any, s_at: Any, s_stride: Any, x: Any,
        x_scales: Any, terms: Any, t_at: Any, t_stride: Any, token: Any, last: Any, cols: Any, block: Any,
    ) -> Any:  # fmt: skip
        unpacked, tokens = (codes, at, stride, scales, s_at, s_stride), (token, last, cols, block)
        kinds = (total, *unpacked, x, x_scales, terms, t_at, t_stride, *tokens)

        def lowered(context: Any, builder: Any, sig: Any, v: Any) -> Any:
            emit = Emitter(context, builder, sig.args, v)
            group, scale = emit.strided(1, v[2], v[3], WIDE), emit.strided(4, v[5], v[6], WIDE)
            return operation.add(
                emit, v[0], Act8Tokens(emit, 7),
                codes=lambda c: [emit.vector(p, 64 * c, u8x64) for p in group],
                scale=lambda half: [emit.vector(p, 64 * half, f32x16) for p in scale],
                minimum=lambda half: [emit.vector(p, 4 * behind + 64 * half, f32x16) for p in scale],
            )  # fmt: skip

        return tile(*typed(kinds, (2, 3, 5, 6, 10, 11, 12, 13, 14, 15))), lowered

    return intrinsic(add_unpacked_block)


def flat(builder: Any, row: Any, width: Any, column: Any) -> Any:
    return builder.add(builder.mul(row, width), column)


@intrinsic
def add_column(
    _typing: Any, total: Any, w: Any, at: Any, stride: Any, x: Any, token: Any, last: Any, cols: Any, column: Any
) -> Any:
    """(tile, w, at, stride, x, token, last, cols, column): adds one column of float32 weights, 16 rows side by side
    in w, a group `stride` behind the one before; x float32 (tokens, cols), flat; tokens as in Act8Tokens."""
    kinds = (total, w, at, stride, x, token, last, cols, column)

    def lowered(context: Any, builder: Any, sig: Any, v: Any) -> Any:
        emit = Emitter(context, builder, sig.args, v)
        weights = [emit.vector(p, 0, f32x16) for p in emit.strided(1, v[2], v[3], WIDE)]
        out = v[0]
        for t, token in enumerate(emit.tokens(v[5], v[6])):
            value = splat(builder, builder.load(emit.address(4, flat(builder, token, v[7], v[8]))), 16)
            for r in range(WIDE):
                out = emit.fma(out, r * TOKENS + t, weights[r], value)
        return out

    return tile(*typed(kinds, (2, 3, 5, 6, 7, 8))), lowered
