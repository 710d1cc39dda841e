"""add_rms_norm: x += delta, then out = rms_norm(x)."""

from __future__ import annotations

from numba import prange

from cpu_fallback.jit import parallel_kernel
from cpu_fallback.rms_norm import normalise


@parallel_kernel
def add_rms_norm(x, delta, gain, out, rows, dim, eps):
    """x, delta (rows, dim), gain (dim) -> x and out (rows, dim)."""
    for r in prange(rows):
        for i in range(dim):
            x[r, i] += delta[r, i]
        normalise(x[r], gain, eps, out[r])
    return 0
