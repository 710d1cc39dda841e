"""quantize: activations to int8 blocks (act8.py)."""

from __future__ import annotations

from cpu_fallback.act8 import BLOCK, store_block
from cpu_fallback.jit import kernel, span
from cpu_fallback.lanes import shares
from cpu_fallback.simd import load_f32

PART = 16384  # elements


def parts(*, tokens: int, cols: int, **_: int) -> int:
    return shares(tokens * cols // BLOCK, tokens * cols, PART)


@kernel
def quantize(x, out8_codes, out8_scales, out8_sums, tokens, cols, part, parts, scratch):
    """x (tokens, cols) -> act8 (tokens, cols)."""
    first, last = span(tokens * cols // BLOCK, part, parts)
    for b in range(first, last):
        store_block(load_f32(x, BLOCK * b), load_f32(x, BLOCK * b + 16), b, out8_codes, out8_scales, out8_sums)
    return 0
