"""F32, F16 and BF16 rows to float32.

Every function: (data uint8, byte offset of the row, n values, out float32 (n)).
"""

from __future__ import annotations

import numpy as np

from cpu_fallback.isa import load_f16
from cpu_fallback.jit import device
from cpu_fallback.lanes import LANES
from cpu_fallback.raw import byte, half, word
from cpu_fallback.simd import load_bf16, load_f32, store_f32


@device
def dequantize_f32(data, offset, n, out):
    whole = n // LANES * LANES
    for i in range(0, whole, LANES):
        store_f32(out, i, load_f32(data, offset + 4 * i))
    for i in range(whole, n):
        out[i] = np.uint32(word(data, offset + 4 * i)).view(np.float32)


@device
def dequantize_f16(data, offset, n, out):
    whole = n // LANES * LANES
    for i in range(0, whole, LANES):
        store_f32(out, i, load_f16(data, offset + 2 * i))
    for i in range(whole, n):
        out[i] = half(data, offset + 2 * i)


@device
def dequantize_bf16(data, offset, n, out):
    """A bfloat16 is the upper half of a float32."""
    whole = n // LANES * LANES
    for i in range(0, whole, LANES):
        store_f32(out, i, load_bf16(data, offset + 2 * i))
    for i in range(whole, n):
        bits = byte(data, offset + 2 * i) | byte(data, offset + 2 * i + 1) << 8
        out[i] = np.uint32(bits << 16).view(np.float32)
