"""matmul_act8: y = x·Wᵀ for several tokens rounded to int8 blocks, on register tiles (tile.py).

A part takes groups of rows. Of a group's rows it unpacks up to COLUMNS columns at a time, once for all tokens: codes
as bytes, scales and minima as float32, into scratch that stays in the core's cache; then tiles of tokens walk them.
Sums wait in scratch between two runs of columns, so how columns are cut changes no result.
"""

from __future__ import annotations

import numpy as np

from cpu_fallback.checks import BAD_PARAMETERS
from cpu_fallback.jit import inlined, kernel, span
from cpu_fallback.layout import BLOCK, ROWS, Layout
from cpu_fallback.layouts import LAYOUTS
from cpu_fallback.per_layout import per_layout
from cpu_fallback.products import GROUP, put_tiles
from cpu_fallback.simd import store_f32, store_u8
from cpu_fallback.tile import TOKENS, WIDE, add_unpacked, load_tile, store_tile

COLUMNS = 1024  # that are unpacked at a time
CHUNK = 128  # tokens that share an unpacked group
BLOCKS = COLUMNS // BLOCK
CODES = WIDE * ROWS * COLUMNS // 4  # float32 elements of scratch that the codes take, then scales, minima and sums
SCALES = WIDE * ROWS * BLOCKS * 2
SUMS = CODES + 2 * SCALES + ROWS  # behind 16 spare floats


def parts(*, rows: int, **_: int) -> int:
    return -(-rows // GROUP)


def unpacker(layout: Layout):
    """(w, at, scratch, bytes, group, block): block of the unit at `at` to scratch, as add_unpacked reads it."""
    codes, scale, minimum, halves = layout.codes, layout.scale, layout.minimum, layout.halves
    has_minimum = layout.has_minimum

    @inlined
    def unpack(w, at, j, scratch, code_bytes, group, block):
        vectors = codes(w, at, j)
        start = group * (ROWS * COLUMNS) + block * (ROWS * BLOCK)
        for c in range(8):
            store_u8(code_bytes, start + 64 * c, vectors[c])
        target = CODES + group * (SCALES // WIDE) + block * (2 * ROWS)
        store_f32(scratch, target, scale(w, at, j, 0))
        if halves:
            store_f32(scratch, target + ROWS, scale(w, at, j, 1))
        if has_minimum:
            store_f32(scratch, target + SCALES, minimum(w, at, j, 0))
            if halves:
                store_f32(scratch, target + SCALES + ROWS, minimum(w, at, j, 1))

    return unpack


@per_layout(LAYOUTS)
def matmul_act8(layout: Layout):
    unpack = unpacker(layout)
    add_block = add_unpacked(layout.offset, layout.halves, layout.has_minimum, SCALES)
    unit, unit_bytes, unit_blocks = layout.unit, layout.unit_bytes, layout.unit // BLOCK

    @kernel
    def matmul_act8(x_codes, x_scales, x_sums, w, out, tokens, rows, cols, row0, stride, part, parts, scratch):
        """x (tokens, cols), w (rows, cols) -> out[:, row0:row0+rows] of (tokens, stride)."""
        if row0 < 0 or row0 + rows > stride:
            return BAD_PARAMETERS
        x, scales, sums, target = x_codes.reshape(-1), x_scales.reshape(-1), x_sums.reshape(-1), out.reshape(-1)
        code_bytes = scratch.view(np.uint8)
        codes8 = scratch.view(np.int8)
        blocks, units, tiles = cols // BLOCK, cols // unit, (rows + ROWS - 1) // ROWS
        first, last = span((rows + GROUP - 1) // GROUP, part, parts)
        for group in range(first, last):
            for token in range(0, tokens, CHUNK):
                count = min(CHUNK, tokens - token)
                padded = (count + TOKENS - 1) // TOKENS
                scratch[SUMS : SUMS + padded * (WIDE * TOKENS * ROWS)] = np.float32(0)
                for block in range(0, blocks, BLOCKS):
                    here = min(BLOCKS, blocks - block)
                    for r in range(WIDE):
                        tile = min(group * WIDE + r, tiles - 1)  # behind the last tile, its values again: not written
                        for u in range(here // unit_blocks):
                            at = (tile * units + block // unit_blocks + u) * unit_bytes
                            for j in range(unit_blocks):
                                unpack(w, at, j, scratch, code_bytes, r, u * unit_blocks + j)
                    for t in range(padded):
                        y = load_tile(scratch, SUMS + t * (WIDE * TOKENS * ROWS))
                        for b in range(here):
                            y = add_block(
                                y, codes8, b * (ROWS * BLOCK), ROWS * COLUMNS, scratch, CODES + b * (2 * ROWS),
                                SCALES // WIDE, x, scales, sums, token + t * TOKENS, tokens - 1, cols, block + b,
                            )  # fmt: skip
                        store_tile(scratch, SUMS + t * (WIDE * TOKENS * ROWS), y)
                put_tiles(scratch, SUMS, target, stride, token, count, row0, group * GROUP, rows)
        return 0

    return matmul_act8
