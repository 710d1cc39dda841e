"""glu: act(gate) · up."""

from __future__ import annotations

from numba import prange

from cpu_fallback.activations import CHUNK, activated
from cpu_fallback.jit import parallel_kernel


@parallel_kernel
def glu(gate, up, out, n, activation):
    """gate, up (n) -> out (n)."""
    for chunk in prange((n + CHUNK - 1) // CHUNK):
        for i in range(chunk * CHUNK, min(chunk * CHUNK + CHUNK, n)):
            out[i] = activated(gate[i], activation) * up[i]
    return 0
