"""activate: x = act(x) in place."""

from __future__ import annotations

from numba import prange

from cpu_fallback.activations import CHUNK, activated
from cpu_fallback.jit import parallel_kernel


@parallel_kernel
def activate(x, n, activation):
    """x (n)."""
    for chunk in prange((n + CHUNK - 1) // CHUNK):
        for i in range(chunk * CHUNK, min(chunk * CHUNK + CHUNK, n)):
            x[i] = activated(x[i], activation)
    return 0
