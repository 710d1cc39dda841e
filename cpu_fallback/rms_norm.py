"""rms_norm: each row divided by its root mean square, times a gain."""

from __future__ import annotations

import math

import numpy as np
from numba import prange

from cpu_fallback.jit import device, parallel_kernel
from cpu_fallback.sums import mean_square


@device
def normalise(x, gain, eps, out):
    """x, gain (dim) -> out (dim)."""
    inverse = np.float32(1.0 / math.sqrt(mean_square(x, 0.0) + eps))
    for i in range(x.size):
        out[i] = x[i] * inverse * gain[i]


@parallel_kernel
def rms_norm(x, gain, out, rows, dim, eps):
    """x (rows, dim), gain (dim) -> out (rows, dim)."""
    for r in prange(rows):
        normalise(x[r], gain, eps, out[r])
    return 0
