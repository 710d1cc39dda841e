"""embedding: the rows of a weight that the tokens' ids name, from the file's blocks."""

from __future__ import annotations

import numpy as np

from cpu_fallback.checks import ID, first_outside
from cpu_fallback.formats import per_format
from cpu_fallback.jit import kernel, span
from cpu_fallback.lanes import shares

PART = 16384  # elements


def parts(*, tokens: int, cols: int, **_: int) -> int:
    return shares(tokens, tokens * cols, PART)


@per_format
def embedding(dequantize_row):
    @kernel
    def embedding(index, w, out, tokens, rows, cols, row0, part, parts, scratch):
        """index (tokens, 4), w (rows, cols) holding vocabulary rows row0..row0+rows-1 -> out (tokens, cols)."""
        first, last = span(tokens, part, parts)
        bad = first_outside(index, ID, last, row0, row0 + rows, first)
        if bad:
            return bad
        row_bytes = w.size // rows
        for t in range(first, last):
            dequantize_row(w, (np.int64(index[t, ID]) - row0) * row_bytes, cols, out[t])
        return 0

    return embedding
