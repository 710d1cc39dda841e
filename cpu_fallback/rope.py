"""rope: rotary position embedding in place, from a table of cosines and sines.

Products and sums are float64, rounded once to float32, as in the contract's reference: so keys that are rotated on
their way into a cache are stored as the reference stores them, to the bit, on every CPU. It is little work.
"""

from __future__ import annotations

import numpy as np

from cpu_fallback.checks import BAD_PARAMETERS, POSITION
from cpu_fallback.jit import internal, kernel, span
from cpu_fallback.lanes import shares
from cpu_fallback.simd import element, set_element

PART = 16384  # elements


def parts(*, tokens: int, heads: int, head_dim: int, **_: int) -> int:
    return shares(tokens * heads, tokens * heads * head_dim, PART)


@internal
def rotate(row, table, angles, rot, interleaved):
    """row[:rot], by the angles from flat position `angles` of the table on.

    Pair i is elements (2·i, 2·i + 1) if interleaved, else (i, i + rot / 2).
    """
    pairs = rot // 2
    step, apart = (2, 1) if interleaved else (1, pairs)
    for i in range(pairs):
        a, b = i * step, i * step + apart
        xa, xb = np.float64(element(row, a)), np.float64(element(row, b))
        cos, sin = np.float64(element(table, angles + 2 * i)), np.float64(element(table, angles + 2 * i + 1))
        set_element(row, a, xa * cos - xb * sin)
        set_element(row, b, xa * sin + xb * cos)


@internal
def rotate_head(x, at, table, angles, rot, interleaved, scratch):
    """The `rot` elements of x from flat position `at` on."""
    for i in range(rot):
        set_element(scratch, i, element(x, at + i))
    rotate(scratch, table, angles, rot, interleaved)
    for i in range(rot):
        set_element(x, at + i, element(scratch, i))


@kernel
def rope(x, index, table, tokens, heads, head_dim, rot, interleaved, positions, half, part, parts, scratch):
    """x (tokens, heads, head_dim), index (tokens, 4), table (positions, half, 2); the first `rot` of a head rotate."""
    if rot > head_dim or rot // 2 > half:
        return BAD_PARAMETERS
    first, last = span(tokens * heads, part, parts)
    for head in range(first, last):
        position = np.int64(index[head // heads, POSITION])
        if position >= positions:
            return head // heads + 1
        rotate_head(x, head * head_dim, table, position * half * 2, rot, interleaved, scratch)
    return 0
