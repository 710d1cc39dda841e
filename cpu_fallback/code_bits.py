"""Codes of 2 to 6 bits in as many vectors, arranged so that few operations unpack them; bytes as they are.

A block is 8 vectors of codes (layout.py). Codes of b bits take b vectors of memory: the lower b bits of each byte of
stored vector i are code vector i. The bits above them, vector after vector and from the lowest up, are one stream, from
which code vectors b..7 take b bits each, one after the other. Of 4 bits that makes plain nibbles (code vectors 0-3
below, 4-7 above), of 2 bits four codes a byte; of 5 bits, code vectors 0-4 cost one operation each and the other three
are put together from seven pieces.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba.core import types

from cpu_fallback.isa import look_up
from cpu_fallback.jit import inlined
from cpu_fallback.simd import I32, I64, as_index, constant, i32x16, load, load_u32, named, pointer, store, u8x64

VECTORS, VECTOR_BYTES = 8, 64  # of a block of 32 columns and 16 rows


class Piece(NamedTuple):
    """Bits `place`.. of code vector `code`, `width` of them, which are bits `stored`.. of stored vector `vector`."""

    code: int
    place: int
    vector: int
    stored: int
    width: int

    @property
    def mask(self) -> int:
        """The bits in the four bytes of a code word."""
        return ((1 << self.width) - 1 << self.place) * 0x01010101


def pieces(bits: int) -> list[Piece]:
    """All pieces, by code vector."""
    found = [Piece(c, 0, c, 0, bits) for c in range(bits)]
    free = 8 - bits
    for code in range(bits, VECTORS):
        place = 0
        while place < bits:
            vector, used = divmod((code - bits) * bits + place, free)
            width = min(bits - place, free - used)
            found.append(Piece(code, place, vector, bits + used, width))
            place += width
    return found


@dataclass(frozen=True, eq=False)
class Codes:
    """Where a format keeps its codes: those of a unit's block j begin at byte first + size · j, each of `bits` bits (8
    are bytes as they are). table: what 4-bit codes stand for, as isa.lookup reads it."""

    bits: int
    first: int = 0
    size: int = 0
    table: np.ndarray | None = None

    def address(self, context: Any, builder: Any, kinds: tuple, array: Any, at: Any, j: Any) -> Any:
        """Of block j of the unit at `at`."""
        at, j = (as_index(context, builder, kind, value) for kind, value in zip(kinds[1:], (at, j), strict=True))
        offset = builder.add(builder.mul(j, ir.Constant(I64, self.size)), ir.Constant(I64, self.first))
        return pointer(context, builder, kinds[0], array, builder.add(at, offset))

    def vectors(self, builder: Any, start: Any) -> Iterator[Any]:
        """The block's 8 u8x64, one after the other, each read when it is asked for: few registers wait."""
        for code in range(VECTORS):
            vector = None
            for piece in (piece for piece in pieces(self.bits) if piece.code == code):
                stored = load(builder, builder.gep(start, [ir.Constant(I64, VECTOR_BYTES * piece.vector)]), i32x16.llvm)
                part = moved(builder, stored, piece.place - piece.stored, piece.mask)  # there are no shifts of bytes
                vector = joined(builder, vector, part)
            vector = builder.bitcast(vector, u8x64.llvm)
            yield vector if self.table is None else look_up(builder, self.table, vector)


def block_reader(codes: Codes) -> Any:
    """An intrinsic (w, at, j) -> 8 u8x64: the codes of block j of the unit at w[at]."""

    def read_block(_typing: Any, array: Any, at: Any, j: Any) -> Any:
        def lowered(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
            start = codes.address(context, builder, sig.args, *arguments)
            return context.make_tuple(builder, sig.return_type, list(codes.vectors(builder, start)))

        return types.UniTuple(u8x64, VECTORS)(array, at, j), lowered

    return named(read_block, f"read_block_{codes.bits}", "(w, at, j) -> the 8 u8x64 of a block.")


def code_writer(bits: int) -> Any:
    """An intrinsic (w, at, row, words): a row's codes into the block at w[at]. Word c of the 8 (int64) holds columns
    4c..4c+3, a byte each."""

    def write_codes(_typing: Any, array: Any, at: Any, row: Any, words: Any) -> Any:
        def lowered(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
            codes = [builder.extract_value(arguments[3], c) for c in range(VECTORS)]
            lane = builder.add(arguments[1], builder.mul(arguments[2], ir.Constant(I64, 4)))
            start = pointer(context, builder, sig.args[0], arguments[0], lane)
            stored: list[Any] = [None] * bits
            for piece in pieces(bits):
                up = piece.stored - piece.place
                part = moved(builder, codes[piece.code], up, piece.mask << up if up > 0 else piece.mask >> -up)
                stored[piece.vector] = joined(builder, stored[piece.vector], part)
            for i, word in enumerate(stored):
                store(builder, builder.trunc(word, I32), builder.gep(start, [ir.Constant(I64, VECTOR_BYTES * i)]))
            return context.get_dummy_value()

        return types.void(array, types.int64, types.int64, words), lowered

    return named(write_codes, f"write_codes_{bits}", f"(w, at, row, 8 words) of {bits}-bit codes.")


def moved(builder: Any, value: Any, up: int, mask: int) -> Any:
    """(value << up) & mask, of a word or of a vector of them; shifts down where `up` is negative."""

    def all_lanes(number: int) -> Any:
        kind = value.type
        return constant(kind, number) if isinstance(kind, ir.VectorType) else ir.Constant(kind, number)

    if up:
        value = (builder.shl if up > 0 else builder.lshr)(value, all_lanes(abs(up)))
    return builder.and_(value, all_lanes(mask))


def joined(builder: Any, before: Any, part: Any) -> Any:
    return part if before is None else builder.or_(before, part)


WRITE_CODES = {bits: code_writer(bits) for bits in (2, 3, 4, 5, 6)}


@inlined
def bits_of_row(raw, start, shift, mask):
    """8 words of a row's 32 columns: `mask`ed bits, from bit `shift` on, of the 32 bytes at raw[start]."""
    return (
        load_u32(raw, start) >> shift & mask, load_u32(raw, start + 4) >> shift & mask,
        load_u32(raw, start + 8) >> shift & mask, load_u32(raw, start + 12) >> shift & mask,
        load_u32(raw, start + 16) >> shift & mask, load_u32(raw, start + 20) >> shift & mask,
        load_u32(raw, start + 24) >> shift & mask, load_u32(raw, start + 28) >> shift & mask,
    )  # fmt: skip


@inlined
def with_high_bits(low, high, shift):
    """8 words of codes from their lower `shift` bits and those above."""
    return (
        low[0] | high[0] << shift, low[1] | high[1] << shift, low[2] | high[2] << shift, low[3] | high[3] << shift,
        low[4] | high[4] << shift, low[5] | high[5] << shift, low[6] | high[6] << shift, low[7] | high[7] << shift,
    )  # fmt: skip
