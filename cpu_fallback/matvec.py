"""matvec: y = x·Wᵀ for few tokens. Each row of the weight is unpacked once, into a scratch that stays in the cache."""

from __future__ import annotations

import numpy as np
from numba import prange

from cpu_fallback.checks import BAD_PARAMETERS
from cpu_fallback.formats import per_format
from cpu_fallback.jit import parallel_kernel
from cpu_fallback.sums import dot

CHUNK = 16  # rows that share one scratch


@per_format
def matvec(dequantize_row):
    @parallel_kernel
    def matvec(x, w, w_format, out, tokens, rows, cols, row0, stride):
        """x (tokens, cols), w (rows, cols) -> out[:, row0:row0+rows] of (tokens, stride)."""
        if row0 < 0 or row0 + rows > stride:
            return BAD_PARAMETERS
        row_bytes = w.size // rows
        for chunk in prange((rows + CHUNK - 1) // CHUNK):
            values = np.empty(cols, np.float32)
            for r in range(chunk * CHUNK, min(chunk * CHUNK + CHUNK, rows)):
                dequantize_row(w, r * row_bytes, cols, values)
                for t in range(tokens):
                    out[t, row0 + r] = dot(values, x[t])
        return 0

    return matvec
