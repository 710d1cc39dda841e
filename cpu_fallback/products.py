"""What the matrix products share: how rows are dealt out, how results are written."""

from __future__ import annotations

from cpu_fallback.jit import inlined
from cpu_fallback.layout import ROWS
from cpu_fallback.simd import load_f32, store_f32
from cpu_fallback.tile import TOKENS, WIDE

GROUP = WIDE * ROWS  # rows of a register tile
PART_BYTES = 48 << 10  # of weights that a part reads: some microseconds, small against the op, large against its call


@inlined
def put_rows(y, out, row0, first, rows, scratch, spare):
    """A vector of 16 rows' results to out, without those behind the last row. 16 floats of scratch are spare."""
    if first + ROWS <= rows:
        store_f32(out, row0 + first, y)
    else:
        store_f32(scratch, spare, y)
        for r in range(rows - first):
            out[row0 + first + r] = scratch[spare + r]


@inlined
def put_tiles(scratch, at, out, stride, first_token, tokens, row0, first, rows):
    """Sums in scratch, tiles side by side, to out (tokens, stride), flat."""
    for t in range(tokens):
        source = at + t // TOKENS * (WIDE * TOKENS * ROWS) + t % TOKENS * ROWS
        for group in range(min(WIDE, (rows - first + ROWS - 1) // ROWS)):
            values = load_f32(scratch, source + group * (TOKENS * ROWS))
            put_rows(values, out, (first_token + t) * stride + row0, first + group * ROWS, rows, scratch, at - ROWS)
