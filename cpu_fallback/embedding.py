"""embedding: the rows of a weight that the tokens' ids name."""

from __future__ import annotations

import numpy as np
from numba import prange

from cpu_fallback.checks import ID, first_outside
from cpu_fallback.formats import per_format
from cpu_fallback.jit import parallel_kernel


@per_format
def embedding(dequantize_row):
    @parallel_kernel
    def embedding(index, w, w_format, out, tokens, rows, cols, row0):
        """index (tokens, 4), w (rows, cols) holding vocabulary rows row0..row0+rows-1 -> out (tokens, cols)."""
        bad = first_outside(index, ID, tokens, row0, row0 + rows)
        if bad:
            return bad
        row_bytes = w.size // rows
        for t in prange(tokens):
            dequantize_row(w, (np.int64(index[t, ID]) - row0) * row_bytes, cols, out[t])
        return 0

    return embedding
