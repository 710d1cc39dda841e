"""argmax: the position of each row's largest value, the first of several equal ones; a NaN counts as the largest."""

from __future__ import annotations

import math

from cpu_fallback.jit import device, kernel


@device
def argmax_row(x):
    best = 0
    for i in range(x.size):
        if math.isnan(x[i]):
            return i
        if x[i] > x[best]:
            best = i
    return best


@kernel
def argmax(x, out, rows, cols):
    """x (rows, cols) -> out uint32 (rows)."""
    for r in range(rows):
        out[r] = argmax_row(x[r])
    return 0
