"""add_rms_norm_act8: x += delta, out = rms_norm(x), and that as int8 blocks beside it."""

from __future__ import annotations

from cpu_fallback.add_rms_norm import add_and_square
from cpu_fallback.jit import kernel, span
from cpu_fallback.lanes import shares
from cpu_fallback.rms_norm import PART, inverse_rms
from cpu_fallback.rms_norm_act8 import scale_and_store_row


def parts(*, rows: int, dim: int, **_: float) -> int:
    return shares(rows, rows * dim, PART)


@kernel
def add_rms_norm_act8(x, delta, gain, out, out8_codes, out8_scales, out8_sums, rows, dim, eps, part, parts, scratch):
    """x, delta (rows, dim), gain (dim) -> x, out (rows, dim) and act8 (rows, dim), dim a multiple of 32."""
    first, last = span(rows, part, parts)
    for r in range(first, last):
        inverse = inverse_rms(add_and_square(x, delta, r * dim, dim, scratch), dim, eps)
        scale_and_store_row(x, gain, inverse, out, out8_codes, out8_scales, out8_sums, r * dim, dim)
    return 0
