"""Register tiles of matrix products: weight rows by tokens, all sums in vector registers.

A tile is WIDE weight groups of 16 rows by TOKENS tokens; a lane is a row, so nothing is summed across lanes, and every
output is one chain of fused multiply-adds over the blocks in order: the same bits for any tile shape and vector width.
The operations are LLVM code written by Python loops, because a tile must be unrolled whole.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, models, register_model

from cpu_fallback import isa, variant
from cpu_fallback.simd import F32, I32, I64, Vector, f32x16, i32x16, load, splat, store, u8x64

SHAPES = {"avx512vnni": (2, 4)}
WIDE, TOKENS = SHAPES.get(variant.ACTIVE, (1, 4))  # of a tile: what fits the vector registers


class Tile(types.Type):
    """WIDE · TOKENS float32 vectors; element (r, t) is at r · TOKENS + t."""

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
def empty_tile(_typing: Any) -> Any:
    return tile(), lambda _context, _builder, _sig, _values: ir.Constant(tile.llvm, None)


@intrinsic
def load_tile(_typing: Any, array: Any, _at: Any) -> Any:
    """(float32 array, i): WIDE · TOKENS vectors, side by side."""

    def lowered(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        emit = Emitter(context, builder, sig.args, values)
        total = ir.Constant(tile.llvm, ir.Undefined)
        for i in range(WIDE * TOKENS):
            total = builder.insert_value(total, emit.vector(emit.address(0, values[1]), 64 * i, f32x16), i)
        return total

    return tile(array, types.int64), lowered


@intrinsic
def store_tile(_typing: Any, array: Any, _at: Any, value: Any) -> Any:
    """The opposite of load_tile."""

    def lowered(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        start = Emitter(context, builder, sig.args, values).address(0, values[1])
        for i in range(WIDE * TOKENS):
            at = builder.gep(start, [ir.Constant(I64, 16 * i)])
            store(builder, builder.extract_value(values[2], i), at)
        return context.get_dummy_value()

    return types.void(array, types.int64, value), lowered


def act8_block(offset: int, halves: bool, has_minimum: bool, behind: int) -> Any:
    """The operation that adds one block of 32 columns of a format to a tile.

    (tile, codes, at, stride, scales, s_at, s_stride, x, x_scales, x_sums, token, last, cols, block)
    codes: int8 array, 8 vectors of a group at `at`, those of the next group `stride` behind. scales: float32 array, a vector
    per half block at s_at (next group: + s_stride), the minima `behind` it. x int8 (tokens, cols), x_scales float32 (tokens,
    cols / 32), x_sums int16 (tokens, cols / 32, 2), all flat: the tile's tokens are token, token + 1, … up to `last`, which
    stands in for those after it.
    """

    def add_act8_block(
        _typing: Any, total: Any, codes: Any, at: Any, stride: Any, scales: Any, s_at: Any, s_stride: Any,
        x: Any, x_scales: Any, x_sums: Any, token: Any, last: Any, cols: Any, block: Any,
    ) -> Any:  # fmt: skip
        kinds = (total, codes, at, stride, scales, s_at, s_stride, x, x_scales, x_sums, token, last, cols, block)

        def lowered(context: Any, builder: Any, sig: Any, v: Any) -> Any:
            emit = Emitter(context, builder, sig.args, v)
            group, scale = emit.strided(1, v[2], v[3], WIDE), emit.strided(4, v[5], v[6], WIDE)
            tokens, cols, block = emit.tokens(v[10], v[11]), v[12], v[13]
            blocks = builder.lshr(cols, ir.Constant(I64, 5))
            token = [emit.address(7, flat(builder, t, cols, builder.shl(block, ir.Constant(I64, 5)))) for t in tokens]
            at = [flat(builder, t, blocks, block) for t in tokens]
            factor = [splat(builder, builder.load(emit.address(8, i)), 16) for i in at]
            sums = [half_sums(builder, emit.address(9, builder.shl(i, ir.Constant(I64, 1)))) for i in at]
            out = v[0]
            for half in range(2) if halves else (None,):
                total_of = [builder.add(*s) if half is None else s[half] for s in sums]
                out = add_half(emit, out, half, group, token, scale, factor, total_of)
            return out

        return tile(*typed(kinds, (2, 3, 5, 6, 10, 11, 12, 13))), lowered

    def add_half(
        emit: Emitter, out: Any, half: int | None, group: list, token: list, scale: list, factor: list, total_of: list
    ) -> Any:
        b = emit.builder
        acc = [[start(b, s) for s in total_of] for _ in range(WIDE)]
        for c in range(8) if half is None else range(4 * half, 4 * half + 4):
            weights = [emit.vector(p, 64 * c, u8x64) for p in group]
            for t in range(TOKENS):
                x_word = emit.word(token[t], 4 * c)
                for r in range(WIDE):
                    acc[r][t] = byte_dot(b, acc[r][t], weights[r], x_word)
        for r in range(WIDE):
            scale_r = emit.vector(scale[r], 64 * (half or 0), f32x16)
            for t in range(TOKENS):
                product = b.fmul(scale_r, factor[t])
                out = emit.fma(out, r * TOKENS + t, b.sitofp(acc[r][t], f32x16.llvm), product)
        return subtract_minima(emit, out, half, scale, factor, total_of) if has_minimum else out

    def start(b: Any, total: Any) -> Any:
        """Σ -offset·x, so that unsigned codes can be multiplied."""
        if offset == 128:
            return isa.START_BIASED[variant.ACTIVE](b, total)
        return splat(b, b.mul(total, ir.Constant(I32, -offset)), 16)

    def subtract_minima(emit: Emitter, out: Any, half: int | None, scale: list, factor: list, total_of: list) -> Any:
        b = emit.builder
        for r in range(WIDE):
            minimum = b.fneg(emit.vector(scale[r], 4 * behind + 64 * (half or 0), f32x16))
            for t in range(TOKENS):
                weight = b.fmul(factor[t], splat(b, b.sitofp(total_of[t], F32), 16))
                out = emit.fma(out, r * TOKENS + t, minimum, weight)
        return out

    byte_dot = (isa.DOT_BIASED if offset == 128 else isa.DOT)[variant.ACTIVE]
    return intrinsic(add_act8_block)


def flat(builder: Any, row: Any, width: Any, column: Any) -> Any:
    return builder.add(builder.mul(row, width), column)


def half_sums(builder: Any, address: Any) -> list[Any]:
    """The two int16 sums at an address, as int32."""
    return [builder.sext(builder.load(builder.gep(address, [ir.Constant(I64, i)])), I32) for i in range(2)]


@intrinsic
def add_column(
    _typing: Any, total: Any, w: Any, at: Any, stride: Any, x: Any, token: Any, last: Any, cols: Any, column: Any
) -> Any:
    """(tile, w, at, stride, x, token, last, cols, column): adds one column of float32 weights, 16 rows side by side in w,
    a group `stride` behind the one before; x float32 (tokens, cols), flat; tokens as in act8_block."""
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
