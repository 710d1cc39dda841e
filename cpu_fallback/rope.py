"""rope: rotary position embedding in place, from a table of cosines and sines."""

from __future__ import annotations

from numba import prange

from cpu_fallback.checks import BAD_PARAMETERS, POSITION, first_outside
from cpu_fallback.jit import device, parallel_kernel


@device
def rotate(x, angles, pairs, step, apart):
    """x (head_dim), angles (pairs, 2) of cos and sin: pair i is elements i·step and i·step + apart."""
    for i in range(pairs):
        a, b = i * step, i * step + apart
        xa, xb, cos, sin = x[a], x[b], angles[i, 0], angles[i, 1]
        x[a] = xa * cos - xb * sin
        x[b] = xa * sin + xb * cos


@parallel_kernel
def rope(x, index, table, tokens, heads, head_dim, rot, interleaved, positions, half):
    """x (tokens, heads, head_dim), index (tokens, 4), table (positions, half, 2); the first `rot` of a head rotate."""
    if rot > head_dim or rot // 2 > half:
        return BAD_PARAMETERS
    bad = first_outside(index, POSITION, tokens, 0, positions)
    if bad:
        return bad
    pairs = rot // 2
    step, apart = (2, 1) if interleaved else (1, pairs)
    for t in prange(tokens):
        for h in range(heads):
            rotate(x[t, h], table[index[t, POSITION]], pairs, step, apart)
    return 0
