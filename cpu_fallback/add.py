"""add: x += y in place; y repeats, or is as long as x."""

from __future__ import annotations

from numba import prange

from cpu_fallback.checks import BAD_PARAMETERS
from cpu_fallback.jit import device, parallel_kernel

CHUNK = 4096  # elements that one thread takes at a time


@device
def add_to(x, y):
    for i in range(x.size):
        x[i] += y[i]


@parallel_kernel
def add(x, y, n, period):
    """x (n), y (period), n a multiple of period."""
    if period < 1 or n % period:
        return BAD_PARAMETERS
    chunks = (period + CHUNK - 1) // CHUNK  # of one repetition
    for task in prange(n // period * chunks):
        start, low = task // chunks * period, task % chunks * CHUNK
        high = min(low + CHUNK, period)
        add_to(x[start + low : start + high], y[low:high])
    return 0
