"""few_tokens: matvec_act8 for several tokens: sequences that are generated together.

Each block of a weight is unpacked once, into registers, and multiplied by all tokens, FEW at a time; the sums of 16
rows by all tokens wait in scratch, which stays in the core's L1 cache.
"""

from __future__ import annotations

import numpy as np

from cpu_fallback.checks import BAD_PARAMETERS
from cpu_fallback.jit import inlined, kernel, span
from cpu_fallback.layout import BLOCK, ROWS, Layout
from cpu_fallback.layouts import LAYOUTS
from cpu_fallback.per_layout import per_layout
from cpu_fallback.products import PART_BYTES, put_tiles
from cpu_fallback.simd import splat_f32
from cpu_fallback.tile import FEW, add_in_registers, load_narrow, store_narrow

TILE = FEW * ROWS  # floats of a tile's sums
SUMS = ROWS  # where they begin, behind 16 spare floats


def parts(*, rows: int, weight_bytes: int, **_: int) -> int:
    return max(1, min(-(-rows // ROWS), weight_bytes // PART_BYTES))


def factors(layout: Layout):
    """(w, at, j): the scales and minima of a block's two halves; a block without halves has them once."""
    scale, minimum, halves = layout.scale, layout.minimum, layout.halves

    @inlined
    def scales_only(w, at, j):
        a = scale(w, at, j, 0)
        none = splat_f32(0.0)
        return (a, scale(w, at, j, 1) if halves else a), (none, none)

    @inlined
    def scales_and_minima(w, at, j):
        a, m = scale(w, at, j, 0), minimum(w, at, j, 0)
        return (a, scale(w, at, j, 1) if halves else a), (m, minimum(w, at, j, 1) if halves else m)

    return scales_and_minima if layout.has_minimum else scales_only


@per_layout(LAYOUTS)
def few_tokens(layout: Layout):
    codes, scales_and_minima = layout.codes, factors(layout)
    add_block = add_in_registers(layout.offset, layout.halves, layout.has_minimum)
    unit, unit_bytes, unit_blocks = layout.unit, layout.unit_bytes, layout.unit // BLOCK

    @kernel
    def few_tokens(x_codes, x_scales, x_sums, w, out, tokens, rows, cols, row0, stride, part, parts, scratch):
        """x (tokens, cols), w (rows, cols) -> out[:, row0:row0+rows] of (tokens, stride)."""
        if row0 < 0 or row0 + rows > stride:
            return BAD_PARAMETERS
        x, x_scale, x_sum, target = x_codes.reshape(-1), x_scales.reshape(-1), x_sums.reshape(-1), out.reshape(-1)
        units, tiles = cols // unit, (tokens + FEW - 1) // FEW
        first, last = span((rows + ROWS - 1) // ROWS, part, parts)
        for group in range(first, last):
            scratch[SUMS : SUMS + tiles * TILE] = np.float32(0)
            for u in range(units):
                at = (group * units + u) * unit_bytes
                for j in range(unit_blocks):
                    block_codes, (scales, minima) = codes(w, at, j), scales_and_minima(w, at, j)
                    for t in range(tiles):
                        y = load_narrow(scratch, SUMS + t * TILE)
                        y = add_block(
                            y, block_codes, scales, minima,
                            x, x_scale, x_sum, t * FEW, tokens - 1, cols, u * unit_blocks + j,
                        )  # fmt: skip
                        store_narrow(scratch, SUMS + t * TILE, y)
            put_tiles(scratch, SUMS, 1, FEW, target, stride, 0, tokens, row0, group * ROWS, rows)
        return 0

    return few_tokens
