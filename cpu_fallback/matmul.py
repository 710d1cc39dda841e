"""matmul: y = x·Wᵀ for several float32 tokens, on register tiles (tile.py), for weights of every format.

As matmul_act8, but a group's columns are made float32, COLUMNS at a time, and multiplied as such: exact to float32
rounding, for the formats that hold floats and wherever int8 activations are not wanted.
"""

from __future__ import annotations

import numpy as np

from cpu_fallback.checks import BAD_PARAMETERS
from cpu_fallback.code_bits import block_reader
from cpu_fallback.jit import inlined, kernel, span
from cpu_fallback.layout import BLOCK, ROWS, FloatLayout, Layout
from cpu_fallback.layouts import FLOAT_LAYOUTS, LAYOUTS
from cpu_fallback.per_layout import per_layout
from cpu_fallback.products import GROUP, put_tiles
from cpu_fallback.simd import splat_f32, splat_i32, store_f32, to_f32, words
from cpu_fallback.tile import TOKENS, WIDE, add_column, load_tile, store_tile

COLUMNS = 1024  # that are made float32 at a time
CHUNK = 128  # tokens that share them
SUMS = WIDE * ROWS * COLUMNS + ROWS  # behind 16 spare floats
EVERY_LAYOUT = FLOAT_LAYOUTS | LAYOUTS


def parts(*, rows: int, **_: int) -> int:
    return -(-rows // GROUP)


def quantised_columns(layout: Layout):
    """(w, tile's first byte, first column, count, scratch, to): columns of a tile as float32, 16 rows side by side."""
    codes, scale, minimum = block_reader(layout.codes), layout.scale, layout.minimum
    unit, unit_bytes, offset = layout.unit, layout.unit_bytes, layout.offset
    halves, has_minimum = layout.halves, layout.has_minimum

    @inlined
    def put_four(vector, factor, less, scratch, to):
        """Byte j of every lane is column j."""
        lanes = words(vector)
        for j in range(4):
            code = to_f32(((lanes >> (8 * j)) & splat_i32(255)) - splat_i32(offset))
            value = code * factor
            store_f32(scratch, to + ROWS * j, value - less if has_minimum else value)

    @inlined
    def columns(w, start, first, count, scratch, to):
        for block in range(first // BLOCK, (first + count) // BLOCK):
            at, j = start + block // (unit // BLOCK) * unit_bytes, block % (unit // BLOCK)
            c = codes(w, at, j)
            a, b = scale(w, at, j, 0), scale(w, at, j, 1 if halves else 0)
            m = minimum(w, at, j, 0) if has_minimum else splat_f32(0.0)
            n = minimum(w, at, j, 1) if has_minimum and halves else m
            target = to + (block * BLOCK - first) * ROWS
            put_four(c[0], a, m, scratch, target)
            put_four(c[1], a, m, scratch, target + 4 * ROWS)
            put_four(c[2], a, m, scratch, target + 8 * ROWS)
            put_four(c[3], a, m, scratch, target + 12 * ROWS)
            put_four(c[4], b, n, scratch, target + 16 * ROWS)
            put_four(c[5], b, n, scratch, target + 20 * ROWS)
            put_four(c[6], b, n, scratch, target + 24 * ROWS)
            put_four(c[7], b, n, scratch, target + 28 * ROWS)

    return columns


def float_columns(layout: FloatLayout):
    load, column_bytes = layout.load, ROWS * layout.item

    @inlined
    def columns(w, start, first, count, scratch, to):
        for k in range(count):
            store_f32(scratch, to + ROWS * k, load(w, start + (first + k) * column_bytes))

    return columns


@per_layout(EVERY_LAYOUT)
def matmul(layout: Layout | FloatLayout):
    columns = quantised_columns(layout) if isinstance(layout, Layout) else float_columns(layout)

    @kernel
    def matmul(x, w, out, tokens, rows, cols, row0, stride, part, parts, scratch):
        """x (tokens, cols), w (rows, cols) -> out[:, row0:row0+rows] of (tokens, stride)."""
        if row0 < 0 or row0 + rows > stride:
            return BAD_PARAMETERS
        values, target = x.reshape(-1), out.reshape(-1)
        tiles = (rows + ROWS - 1) // ROWS
        tile_bytes = w.size // tiles
        first, last = span((rows + GROUP - 1) // GROUP, part, parts)
        for group in range(first, last):
            for token in range(0, tokens, CHUNK):
                count = min(CHUNK, tokens - token)
                padded = (count + TOKENS - 1) // TOKENS
                scratch[SUMS : SUMS + padded * (WIDE * TOKENS * ROWS)] = np.float32(0)
                for column in range(0, cols, COLUMNS):
                    here = min(COLUMNS, cols - column)
                    for r in range(WIDE):
                        tile = min(group * WIDE + r, tiles - 1)  # behind the last tile, its values again: not written
                        columns(w, tile * tile_bytes, column, here, scratch, r * (ROWS * COLUMNS))
                    for t in range(padded):
                        y = load_tile(scratch, SUMS + t * (WIDE * TOKENS * ROWS))
                        for k in range(here):
                            y = add_column(
                                y, scratch, k * ROWS, ROWS * COLUMNS,
                                values, token + t * TOKENS, tokens - 1, cols, column + k,
                            )  # fmt: skip
                        store_tile(scratch, SUMS + t * (WIDE * TOKENS * ROWS), y)
                put_tiles(scratch, SUMS, target, stride, token, count, row0, group * GROUP, rows)
        return 0

    return matmul
