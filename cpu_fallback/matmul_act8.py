"""matmul_act8: y = x·Wᵀ for several tokens rounded to int8 blocks, on register tiles (tile.py).

A part takes groups of rows. Of a group's rows it unpacks up to COLUMNS columns at a time, once for all tokens: codes
as bytes, scales and minima as float32, into scratch that stays in the core's cache; then tiles of tokens walk them.
Sums wait in scratch between two runs of columns, so how columns are cut changes no result.
"""

from __future__ import annotations

import numpy as np

from cpu_fallback.byte_dots import start_factor
from cpu_fallback.checks import BAD_PARAMETERS
from cpu_fallback.code_bits import block_reader
from cpu_fallback.jit import inlined, kernel, span
from cpu_fallback.layout import BLOCK, ROWS, Layout
from cpu_fallback.layouts import LAYOUTS
from cpu_fallback.per_layout import per_layout
from cpu_fallback.products import GROUP, put_tiles
from cpu_fallback.simd import address, prefetch, store_f32, store_u8
from cpu_fallback.tile import TOKENS, WIDE, add_unpacked, has_terms, load_tile, store_tile

LINE = 64  # bytes of a cache line
TURNS = 4  # tiles of tokens over which the asking for the next columns is spread
COLUMNS = 1024  # that are unpacked at a time
CHUNK = 128  # tokens that share an unpacked group
BLOCKS = COLUMNS // BLOCK
CODES = WIDE * ROWS * COLUMNS // 4  # float32 elements of scratch that the codes take, then scales, minima and sums
SCALES = WIDE * ROWS * BLOCKS * 2
SUMS = CODES + 2 * SCALES + ROWS  # behind 16 spare floats
TERMS = SUMS + CHUNK * WIDE * ROWS  # a row of 2 · BLOCKS for each token


def parts(*, rows: int, **_: int) -> int:
    return -(-rows // GROUP)


def scales_of(layout: Layout) -> int:
    """Scales of a block."""
    return 2 if layout.halves else 1


def unpacker(layout: Layout):
    """(w, at, scratch, bytes, group, block): block of the unit at `at` to scratch, as add_unpacked reads it."""
    codes, scale, minimum, halves = block_reader(layout.codes), layout.scale, layout.minimum, layout.halves
    has_minimum, vectors_each = layout.has_minimum, scales_of(layout)

    @inlined
    def unpack(w, at, j, scratch, code_bytes, group, block):
        vectors = codes(w, at, j)
        start = group * (ROWS * COLUMNS) + block * (ROWS * BLOCK)
        for c in range(8):
            store_u8(code_bytes, start + 64 * c, vectors[c])
        target = CODES + group * (SCALES // WIDE) + block * (vectors_each * ROWS)
        store_f32(scratch, target, scale(w, at, j, 0))
        if halves:
            store_f32(scratch, target + ROWS, scale(w, at, j, 1))
        if has_minimum:
            store_f32(scratch, target + SCALES, minimum(w, at, j, 0))
            if halves:
                store_f32(scratch, target + SCALES + ROWS, minimum(w, at, j, 1))

    return unpack


def terms_maker(layout: Layout):
    """(x_scales, x_sums, token, last, count, blocks, block, here, scratch): what a tile adds of Σx alone, for `count`
    tokens from `token` on (`last` stands in for those after it) and `here` blocks from `block` on, to TERMS."""
    halves, has_minimum = layout.halves, layout.has_minimum
    each, factor, is_needed = scales_of(layout), start_factor(layout.offset), has_terms(layout.offset, has_minimum)

    @inlined
    def make_terms(x_scales, x_sums, token, last, count, blocks, block, here, scratch):
        starts = scratch.view(np.int32)
        for t in range(count if is_needed else 0):
            source, target = min(token + t, last) * blocks + block, TERMS + t * (2 * BLOCKS)
            for b in range(here):
                for half in range(each):
                    at, to = source + b, target + b * each + half
                    total = np.int32(x_sums[2 * at + half])
                    if not halves:
                        total += np.int32(x_sums[2 * at + 1])
                    if has_minimum:
                        scratch[to] = x_scales[at] * np.float32(total)
                    else:
                        starts[to] = total * np.int32(factor)

    return make_terms


def multiplier(layout: Layout):
    """The loop over tiles of tokens: what is unpacked times the tokens, while the next columns come from memory."""
    add_block = add_unpacked(layout, SCALES)
    each, has_minimum = scales_of(layout), layout.has_minimum
    block_bytes = layout.unit_bytes * BLOCK // layout.unit

    @inlined
    def multiply(x, x_scales, scratch, codes, token, tokens, tiles, cols, block, here, upcoming, apart):
        """Tokens from `token` on, `tiles` tiles of them, by columns of `here` blocks from `block` on, added to SUMS.

        upcoming: address of what will be unpacked next, `apart` bytes for each group of 16 rows. Its cache lines are
        asked for a few at a time: memory has time while this computes.
        """
        turns = min(tiles, TURNS)
        terms = scratch if has_minimum else scratch.view(np.int32)
        for t in range(tiles):
            y = load_tile(scratch, SUMS + t * (WIDE * TOKENS * ROWS))
            for b in range(here):
                if t < turns:
                    for r in range(WIDE):
                        for line in range(t * LINE, block_bytes, turns * LINE):
                            prefetch(upcoming + r * apart + b * block_bytes + line)
                y = add_block(
                    y, codes, b * (ROWS * BLOCK), ROWS * COLUMNS, scratch, CODES + b * (each * ROWS), SCALES // WIDE,
                    x, x_scales, terms, TERMS + t * (TOKENS * 2 * BLOCKS) + b * each, 2 * BLOCKS,
                    token + t * TOKENS, tokens - 1, cols, block + b,
                )  # fmt: skip
            store_tile(scratch, SUMS + t * (WIDE * TOKENS * ROWS), y)

    return multiply


@per_layout(LAYOUTS)
def matmul_act8(layout: Layout):
    unpack, make_terms, multiply = unpacker(layout), terms_maker(layout), multiplier(layout)
    unit, unit_bytes, unit_blocks = layout.unit, layout.unit_bytes, layout.unit // BLOCK

    @kernel
    def matmul_act8(x_codes, x_scales, x_sums, w, out, tokens, rows, cols, row0, stride, part, parts, scratch):
        """x (tokens, cols), w (rows, cols) -> out[:, row0:row0+rows] of (tokens, stride)."""
        if row0 < 0 or row0 + rows > stride:
            return BAD_PARAMETERS
        x, scales, sums, target = x_codes.reshape(-1), x_scales.reshape(-1), x_sums.reshape(-1), out.reshape(-1)
        code_bytes, codes = scratch.view(np.uint8), scratch.view(np.int8)
        blocks, tile_bytes = cols // BLOCK, cols // unit * unit_bytes
        last_tile = (rows + ROWS - 1) // ROWS - 1
        first, last = span((rows + GROUP - 1) // GROUP, part, parts)
        for group in range(first, last):
            for token in range(0, tokens, CHUNK):
                count = min(CHUNK, tokens - token)
                tiles = (count + TOKENS - 1) // TOKENS
                scratch[SUMS : SUMS + tiles * (WIDE * TOKENS * ROWS)] = np.float32(0)
                for block in range(0, blocks, BLOCKS):
                    here = min(BLOCKS, blocks - block)
                    make_terms(
                        scales, sums, token, tokens - 1, tiles * TOKENS, blocks, block, here, scratch,
                    )  # fmt: skip
                    for r in range(WIDE):
                        tile = min(group * WIDE + r, last_tile)  # behind the last, its values again: not written
                        for u in range(here // unit_blocks):
                            at = tile * tile_bytes + (block // unit_blocks + u) * unit_bytes
                            for j in range(unit_blocks):
                                unpack(w, at, j, scratch, code_bytes, r, u * unit_blocks + j)
                    behind = block + here
                    following = group * WIDE + (0 if behind < blocks else WIDE)
                    upcoming = following * tile_bytes + (behind % blocks) // unit_blocks * unit_bytes
                    multiply(
                        x, scales, scratch, codes, token, tokens, tiles, cols, block, here,
                        address(w, upcoming), tile_bytes,
                    )  # fmt: skip
                put_tiles(scratch, SUMS, target, stride, token, count, row0, group * GROUP, rows)
        return 0

    return matmul_act8
