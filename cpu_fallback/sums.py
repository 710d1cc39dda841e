"""Sums of many terms, in an order that LLVM picks when it compiles them; threads and batches do not change it."""

from __future__ import annotations

import numpy as np

from cpu_fallback.jit import sums


@sums
def dot(a, b):
    """float32 (n), (n) -> float32."""
    total = np.float32(0)
    for i in range(a.size):
        total += a[i] * b[i]
    return total


@sums
def four_dots(rows, x):
    """float32 (4, n), (n) -> four float32: x is read once for four rows."""
    a, b, c, d = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
    for i in range(x.size):
        value = x[i]
        a += rows[0, i] * value
        b += rows[1, i] * value
        c += rows[2, i] * value
        d += rows[3, i] * value
    return a, b, c, d


@sums
def mean(x):
    """float32 (n) -> float64."""
    total = 0.0
    for i in range(x.size):
        total += x[i]
    return total / x.size


@sums
def mean_square(x, centre):
    """float32 (n) -> float64: the mean of (x - centre)²."""
    total = 0.0
    for i in range(x.size):
        total += (x[i] - centre) * (x[i] - centre)
    return total / x.size
