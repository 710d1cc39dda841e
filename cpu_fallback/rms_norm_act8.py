"""rms_norm_act8: rms_norm, and its result as int8 blocks beside it."""

from __future__ import annotations

from cpu_fallback.act8 import BLOCK, store_block
from cpu_fallback.jit import inlined, kernel, span
from cpu_fallback.lanes import shares, sum_of_squares
from cpu_fallback.rms_norm import PART, inverse_rms
from cpu_fallback.simd import load_f32, splat_f32, store_f32


def parts(*, rows: int, dim: int, **_: float) -> int:
    return shares(rows, rows * dim, PART)


@inlined
def scale_and_store_row(x, gain, inverse, out, codes, scales, sums, start, dim):
    """out = x · inverse · gain over the row that begins at flat position start, and its blocks."""
    factor = splat_f32(inverse)
    for at in range(0, dim, BLOCK):
        i = start + at
        low = load_f32(x, i) * factor * load_f32(gain, at)
        high = load_f32(x, i + 16) * factor * load_f32(gain, at + 16)
        store_f32(out, i, low)
        store_f32(out, i + 16, high)
        store_block(low, high, i // BLOCK, codes, scales, sums)


@kernel
def rms_norm_act8(x, gain, out, out8_codes, out8_scales, out8_sums, rows, dim, eps, part, parts, scratch):
    """x (rows, dim), gain (dim) -> out (rows, dim) and act8 (rows, dim), dim a multiple of 32."""
    first, last = span(rows, part, parts)
    for r in range(first, last):
        inverse = inverse_rms(sum_of_squares(x, r * dim, dim, scratch), dim, eps)
        scale_and_store_row(x, gain, inverse, out, out8_codes, out8_scales, out8_sums, r * dim, dim)
    return 0
