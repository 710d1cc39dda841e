"""layer_norm: each row minus its mean, divided by its standard deviation, times gain plus bias."""

from __future__ import annotations

import math

import numpy as np
from numba import prange

from cpu_fallback.jit import parallel_kernel
from cpu_fallback.sums import mean, mean_square


@parallel_kernel
def layer_norm(x, gain, bias, out, rows, dim, eps):
    """x (rows, dim), gain and bias (dim) -> out (rows, dim)."""
    for r in prange(rows):
        centre = mean(x[r])
        inverse = 1.0 / math.sqrt(mean_square(x[r], centre) + eps)
        for i in range(dim):
            out[r, i] = np.float32((x[r, i] - centre) * inverse) * gain[i] + bias[i]
    return 0
