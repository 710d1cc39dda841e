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
def glu_act8(gate_up, out8_codes, out8_scales, out8_sums, tokens, cols, activation, part, parts, scratch):
    """gate_up (tokens, 2, cols) -> act8 (tokens, cols)."""
    first, last = span(tokens * cols // BLOCK, part, parts)
    for b in range(first, last):
        i = b * BLOCK + b * BLOCK // cols * cols  # behind the gates and ups of the tokens before
        low = activated(load_f32(gate_up, i), activation) * load_f32(gate_up, i + cols)
        high = activated(load_f32(gate_up, i + 16), activation) * load_f32(gate_up, i + cols + 16)
        store_block(low, high, b, out8_codes, out8_scales, out8_sums)
    return 0
