"""The activations of glu and activate, by the codes of the op contract, on f32x16."""

from __future__ import annotations

import math

from cpu_fallback.jit import inlined
from cpu_fallback.simd import max_f32, splat_f32
from cpu_fallback.vector_math import erf_f32, exp_f32, tanh_f32

SILU, GELU, GELU_TANH = 0, 1, 2  # and 3: the square of max(x, 0)
SQRT_HALF = math.sqrt(0.5)
TANH_SCALE, TANH_CUBE = math.sqrt(2 / math.pi), 0.044715
PART = 2048  # elements, some microseconds with what is done to them


@inlined
def silu(x):
    return x / (splat_f32(1.0) + exp_f32(-x))


@inlined
def gelu(x):
    return splat_f32(0.5) * x * (splat_f32(1.0) + erf_f32(x * splat_f32(SQRT_HALF)))


@inlined
def gelu_tanh(x):
    inner = splat_f32(TANH_SCALE) * (x + splat_f32(TANH_CUBE) * x * x * x)
    return splat_f32(0.5) * x * (splat_f32(1.0) + tanh_f32(inner))


@inlined
def relu2(x):
    x = max_f32(splat_f32(0.0), x)  # in this order NaN stays NaN
    return x * x


@inlined
def activated(x, code):
    """NaN stays NaN; what the others make of an infinity is what their formulas say."""
    if code == SILU:
        return silu(x)
    if code == GELU:
        return gelu(x)
    if code == GELU_TANH:
        return gelu_tanh(x)
    return relu2(x)
