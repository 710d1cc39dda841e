"""What the matrix products share: how rows are dealt out, how results are written."""

from __future__ import annotations

from cpu_fallback.jit import inlined
from cpu_fallback.layout import ROWS
from cpu_fallback.simd import store_f32
from cpu_fallback.tile import TOKENS, WIDE

GROUP = WIDE * ROWS  # rows of a register tile
PART_BYTES = 48 << 10  # of weights that a part reads: some microseconds, small against the op, large against its call


@inlined
def put(scratch, at, stride, out, first_token, tokens, first_row, rows):
    """Sums in scratch, (tiles of TOKENS tokens, WIDE groups, TOKENS, 16 rows), to out (…, stride) from row first_row on."""
    for t in range(tokens):
        target = (first_token + t) * stride + first_row
        source = at + t // TOKENS * (WIDE * TOKENS * ROWS) + t % TOKENS * ROWS
        for r in range(rows):
            out[target + r] = scratch[source + r // ROWS * (TOKENS * ROWS) + r % ROWS]


@inlined
def put_rows(y, out, row0, first, rows, scratch):
    """A vector of 16 rows' results to out, without those behind the last row."""
    if first + ROWS <= rows:
        store_f32(out, row0 + first, y)
    else:
        store_f32(scratch, 0, y)
        for r in range(rows - first):
            out[row0 + first + r] = scratch[r]
