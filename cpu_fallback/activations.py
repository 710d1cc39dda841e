"""The activations of glu and activate, by the codes of the op contract, in float32."""

from __future__ import annotations

import math

import numpy as np

from cpu_fallback.jit import device

SILU, GELU, GELU_TANH = 0, 1, 2  # and 3: the square of max(x, 0)
HALF, ONE, ZERO = np.float32(0.5), np.float32(1), np.float32(0)
SQRT_HALF = np.float32(math.sqrt(0.5))
TANH_SCALE, TANH_CUBE = np.float32(math.sqrt(2 / math.pi)), np.float32(0.044715)
CHUNK = 2048  # elements that one thread takes at a time


@device
def activated(x, code):
    """float32 -> float32. NaN stays NaN."""
    if code == SILU:
        return x / (ONE + math.exp(-x))
    if code == GELU:
        return HALF * x * (ONE + math.erf(x * SQRT_HALF))
    if code == GELU_TANH:
        return HALF * x * (ONE + math.tanh(TANH_SCALE * (x + TANH_CUBE * x * x * x)))
    return ZERO if x < ZERO else x * x
