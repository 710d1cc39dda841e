"""F32, F16 and BF16 rows to float32.

Every function: (data uint8, byte offset of the row, n values, out float32 (n)).
"""

from __future__ import annotations

import numpy as np

from cpu_fallback.half import half_to_float
from cpu_fallback.jit import device


@device
def dequantize_f32(data, offset, n, out):
    values = data[offset : offset + 4 * n].view(np.float32)
    for i in range(n):
        out[i] = values[i]


@device
def dequantize_f16(data, offset, n, out):
    bits = data[offset : offset + 2 * n].view(np.uint16)
    for i in range(n):
        out[i] = half_to_float(bits[i])


@device
def dequantize_bf16(data, offset, n, out):
    """A bfloat16 is the upper half of a float32."""
    bits = data[offset : offset + 2 * n].view(np.uint16)
    for i in range(n):
        out[i] = np.uint32(np.int64(bits[i]) << 16).view(np.float32)
