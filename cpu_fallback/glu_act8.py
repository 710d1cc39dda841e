"""glu_act8: act(gate) · up straight to int8 blocks (act8.py)."""

from __future__ import annotations

from cpu_fallback.act8 import BLOCK, store_block
from cpu_fallback.activations import PART, activated
from cpu_fallback.jit import kernel, span
from cpu_fallback.lanes import shares
from cpu_fallback.simd import load_f32


def parts(*, tokens: int, cols: int, **_: int) -> int:
    return shares(tokens * cols // BLOCK, tokens * cols, PART)


@kernel
def glu_act8(gate, up, out8_codes, out8_scales, out8_sums, tokens, cols, activation, part, parts, scratch):
    """gate, up (tokens, cols) -> act8 (tokens, cols)."""
    first, last = span(tokens * cols // BLOCK, part, parts)
    for b in range(first, last):
        i = b * BLOCK
        low = activated(load_f32(gate, i), activation) * load_f32(up, i)
        high = activated(load_f32(gate, i + 16), activation) * load_f32(up, i + 16)
        store_block(low, high, b, out8_codes, out8_scales, out8_sums)
    return 0
