"""matmul: y = x·Wᵀ for many tokens. Four rows of the weight are unpacked once and every token is multiplied by them."""

from __future__ import annotations

import numpy as np
from numba import prange

from cpu_fallback.checks import BAD_PARAMETERS
from cpu_fallback.formats import per_format
from cpu_fallback.jit import parallel_kernel
from cpu_fallback.sums import four_dots

TILE = 4


@per_format
def matmul(dequantize_row):
    @parallel_kernel
    def matmul(x, w, w_format, out, tokens, rows, cols, row0, stride):
        """x (tokens, cols), w (rows, cols) -> out[:, row0:row0+rows] of (tokens, stride).

        The last tile's missing rows are zeros, so that all rows are summed by the same code.
        """
        if row0 < 0 or row0 + rows > stride:
            return BAD_PARAMETERS
        row_bytes = w.size // rows
        for tile in prange((rows + TILE - 1) // TILE):
            first, count = tile * TILE, min(TILE, rows - tile * TILE)
            values = np.zeros((TILE, cols), np.float32)
            for r in range(count):
                dequantize_row(w, (first + r) * row_bytes, cols, values[r])
            for t in range(tokens):
                results = four_dots(values, x[t])
                for r in range(count):
                    out[t, row0 + first + r] = results[r]
        return 0

    return matmul
