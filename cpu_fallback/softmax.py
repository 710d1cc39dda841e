"""softmax: exp(x·scale - max) over each row, divided by its sum; in float64, because probabilities are sampled from."""

from __future__ import annotations

import math

import numpy as np
from numba import prange

from cpu_fallback.jit import device, parallel_kernel


@device
def softmax_row(x, scale, out):
    highest = -np.inf
    for i in range(x.size):
        highest = max(highest, x[i] * scale)
    total = 0.0
    for i in range(x.size):
        total += math.exp(x[i] * scale - highest)
    for i in range(x.size):
        out[i] = math.exp(x[i] * scale - highest) / total


@parallel_kernel
def softmax(x, out, rows, cols, scale):
    """x (rows, cols) -> out (rows, cols), each row summing to 1."""
    for r in prange(rows):
        softmax_row(x[r], scale, out[r])
    return 0
