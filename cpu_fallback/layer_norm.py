"""layer_norm: each row minus its mean, divided by its standard deviation, times gain plus bias.

The mean of float32 lanes is off by some 1e-7 of itself, which counts where it is large against the deviation; so what
is left of it is measured on the differences and taken off too.
"""

from __future__ import annotations

import math

import numpy as np

from cpu_fallback.isa import fma
from cpu_fallback.jit import inlined, kernel, span
from cpu_fallback.lanes import (
    LANES,
    STRIDE,
    ZERO,
    load_up_to,
    shares,
    square_and_add,
    store_up_to,
    sum_of,
    sum_of_four,
)
from cpu_fallback.rms_norm import PART
from cpu_fallback.simd import load_f32, splat_f32, sum_f32


def parts(*, rows: int, dim: int, **_: float) -> int:
    return shares(rows, rows * dim, PART)


@inlined
def moments(x, centre, start, n, pad):
    """(Σ (x - centre), Σ (x - centre)²) over n elements from flat position start on."""
    a, b, c, d = splat_f32(0.0), splat_f32(0.0), splat_f32(0.0), splat_f32(0.0)
    s, t, middle = splat_f32(0.0), splat_f32(0.0), splat_f32(centre)
    whole, end = start + n // STRIDE * STRIDE, start + n
    for i in range(start, whole, STRIDE):
        p, q = load_f32(x, i) - middle, load_f32(x, i + 16) - middle
        u, v = load_f32(x, i + 32) - middle, load_f32(x, i + 48) - middle
        s, t = s + (p + q), t + (u + v)
        a, b, c, d = square_and_add(p, a), square_and_add(q, b), square_and_add(u, c), square_and_add(v, d)
    for i in range(whole, end, LANES):
        p = load_up_to(x, i, end, centre, pad) - middle
        s, a = s + p, square_and_add(p, a)
    return sum_f32(s + t), sum_of_four(a, b, c, d)


@inlined
def normalise_row(x, gain, bias, eps, out, start, dim, pad):
    """One row, which begins at flat position start."""
    centre = sum_of(x, start, dim, pad) / np.float32(dim)
    left, squares = moments(x, centre, start, dim, pad)
    left /= np.float32(dim)
    inverse = splat_f32(1.0 / math.sqrt(max(squares / dim - float(left) * left, 0.0) + eps))
    middle, rest, end = splat_f32(centre), splat_f32(left), start + dim
    for i in range(start, end, LANES):
        value = (load_up_to(x, i, end, ZERO, pad) - middle - rest) * inverse
        scale = load_up_to(gain, i - start, dim, ZERO, pad)
        store_up_to(out, i, end, fma(value, scale, load_up_to(bias, i - start, dim, ZERO, pad)), pad)


@kernel
def layer_norm(x, gain, bias, out, rows, dim, eps, part, parts, scratch):
    """x (rows, dim), gain and bias (dim) -> out (rows, dim)."""
    first, last = span(rows, part, parts)
    for r in range(first, last):
        normalise_row(x, gain, bias, eps, out, r * dim, dim, scratch)
    return 0
