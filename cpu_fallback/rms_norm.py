"""rms_norm: each row divided by its root mean square, times a gain."""

from __future__ import annotations

import math

import numpy as np

from cpu_fallback.jit import inlined, kernel, span
from cpu_fallback.lanes import LANES, ZERO, load_up_to, shares, store_up_to, sum_of_squares
from cpu_fallback.simd import splat_f32

PART = 16384  # elements


def parts(*, rows: int, dim: int, **_: float) -> int:
    return shares(rows, rows * dim, PART)


@inlined
def inverse_rms(total, dim, eps):
    """1 / sqrt(total / dim + eps), rounded once to float32; total: the sum of a row's squares."""
    return np.float32(1.0 / math.sqrt(total / dim + eps))


@inlined
def scale_row(x, gain, inverse, out, start, dim, pad):
    """out = x · inverse · gain over the row that begins at flat position start."""
    factor, end = splat_f32(inverse), start + dim
    for i in range(start, end, LANES):
        value = load_up_to(x, i, end, ZERO, pad) * factor * load_up_to(gain, i - start, dim, ZERO, pad)
        store_up_to(out, i, end, value, pad)


@kernel
def rms_norm(x, gain, out, rows, dim, eps, part, parts, scratch):
    """x (rows, dim), gain (dim) -> out (rows, dim)."""
    first, last = span(rows, part, parts)
    for r in range(first, last):
        inverse = inverse_rms(sum_of_squares(x, r * dim, dim, scratch), dim, eps)
        scale_row(x, gain, inverse, out, r * dim, dim, scratch)
    return 0
