"""add_rms_norm: x += delta, then out = rms_norm(x)."""

from __future__ import annotations

from cpu_fallback.jit import inlined, kernel, span
from cpu_fallback.lanes import (
    LANES,
    STRIDE,
    ZERO,
    load_up_to,
    shares,
    square_and_add,
    store_up_to,
    sum_of_four,
)
from cpu_fallback.rms_norm import PART, inverse_rms, scale_row
from cpu_fallback.simd import load_f32, splat_f32, store_f32


def parts(*, rows: int, dim: int, **_: float) -> int:
    return shares(rows, rows * dim, PART)


@inlined
def add_step(x, delta, i, total):
    """16 sums stored, their squares added to total."""
    value = load_f32(x, i) + load_f32(delta, i)
    store_f32(x, i, value)
    return square_and_add(value, total)


@inlined
def add_and_square(x, delta, start, n, pad):
    """x += delta over n elements from flat position start on; the sum of the squares, in the order of lanes.py."""
    a, b, c, d = splat_f32(0.0), splat_f32(0.0), splat_f32(0.0), splat_f32(0.0)
    whole, end = start + n // STRIDE * STRIDE, start + n
    for i in range(start, whole, STRIDE):
        a = add_step(x, delta, i, a)
        b = add_step(x, delta, i + 16, b)
        c = add_step(x, delta, i + 32, c)
        d = add_step(x, delta, i + 48, d)
    for i in range(whole, end, LANES):
        value = load_up_to(x, i, end, ZERO, pad) + load_up_to(delta, i, end, ZERO, pad)
        store_up_to(x, i, end, value, pad)
        a = square_and_add(value, a)
    return sum_of_four(a, b, c, d)


@kernel
def add_rms_norm(x, delta, gain, out, rows, dim, eps, part, parts, scratch):
    """x, delta (rows, dim), gain (dim) -> x and out (rows, dim)."""
    first, last = span(rows, part, parts)
    for r in range(first, last):
        inverse = inverse_rms(add_and_square(x, delta, r * dim, dim, scratch), dim, eps)
        scale_row(x, gain, inverse, out, r * dim, dim, scratch)
    return 0
