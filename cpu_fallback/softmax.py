"""softmax: exp(x·scale - max) over each row, divided by its sum.

The largest x is taken off before the scale, so that the likely elements lose nothing to rounding; sums of 256
elements are added up in float64, so that a row sums to 1 however long it is.
"""

from __future__ import annotations

import numpy as np

from cpu_fallback.jit import inlined, kernel, span
from cpu_fallback.lanes import LANES, ZERO, load_up_to, shares, store_up_to
from cpu_fallback.simd import highest, lane_numbers, max_f32, select, splat_f32, splat_i32, sum_f32
from cpu_fallback.vector_math import exp_f32

GROUP = 256  # elements that are summed in float32
PART = 4096  # elements
LOWEST = np.float32(-np.inf)


def parts(*, rows: int, cols: int, **_: float) -> int:
    return shares(rows, rows * cols, PART)


@inlined
def extreme_of(x, start, end, sign, pad):
    """The largest (sign 1) or smallest (sign -1) of the row, NaN left out."""
    top = splat_f32(LOWEST)
    for i in range(start, end, LANES):
        top = max_f32(load_up_to(x, i, end, sign * LOWEST, pad) * splat_f32(sign), top)
    return sign * highest(top)


@inlined
def exponentials(x, start, end, middle, scale, out, pad):
    """out = exp((x - middle) · scale); their sum as float64."""
    total, factor, zero = 0.0, splat_f32(scale), splat_f32(0.0)
    for group in range(start, end, GROUP):
        acc, stop = splat_f32(0.0), min(group + GROUP, end)
        for i in range(group, stop, LANES):
            value = exp_f32((load_up_to(x, i, stop, middle, pad) - splat_f32(middle)) * factor)
            store_up_to(out, i, stop, value, pad)
            acc += select(lane_numbers() < splat_i32(stop - i), value, zero)
        total += sum_f32(acc)
    return total


@kernel
def softmax(x, out, rows, cols, scale, part, parts, scratch):
    """x (rows, cols) -> out (rows, cols), each row summing to 1."""
    first, last = span(rows, part, parts)
    sign = np.float32(1 if scale >= 0 else -1)
    for r in range(first, last):
        start, end = r * cols, (r + 1) * cols
        middle = extreme_of(x, start, end, sign, scratch)
        share = splat_f32(1.0 / exponentials(x, start, end, middle, scale, out, scratch))
        for i in range(start, end, LANES):
            store_up_to(out, i, end, load_up_to(out, i, end, ZERO, scratch) * share, scratch)
    return 0
