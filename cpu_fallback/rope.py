"""rope: rotary position embedding in place, from a table of cosines and sines."""

from __future__ import annotations

from cpu_fallback.checks import BAD_PARAMETERS, POSITION, first_outside
from cpu_fallback.jit import inlined, kernel, span


TOKENS = 8  # of a part


@inlined
def rotate(x, angles, pairs, step, apart):
    """x (head_dim), angles (pairs, 2) of cos and sin: pair i is elements i·step and i·step + apart."""
    for i in range(pairs):
        a, b = i * step, i * step + apart
        xa, xb, cos, sin = x[a], x[b], angles[i, 0], angles[i, 1]
        x[a] = xa * cos - xb * sin
        x[b] = xa * sin + xb * cos


def parts(*, tokens: int, **_: float) -> int:
    return max(1, tokens // TOKENS)


@kernel
def rope(x, index, table, tokens, heads, head_dim, rot, interleaved, positions, half, part, parts, scratch):
    """x (tokens, heads, head_dim), index (tokens, 4), table (positions, half, 2); the first `rot` of a head rotate."""
    if rot > head_dim or rot // 2 > half:
        return BAD_PARAMETERS
    first, last = span(tokens, part, parts)
    bad = first_outside(index, POSITION, last, 0, positions, first)
    if bad:
        return bad
    pairs = rot // 2
    step, apart = (2, 1) if interleaved else (1, pairs)
    for t in range(first, last):
        for h in range(heads):
            rotate(x[t, h], table[index[t, POSITION]], pairs, step, apart)
    return 0
