"""Rows of formats with one scale per block of 32 values, to float32.

Every function: (data uint8, byte offset of the row, n values, out float32 (n)). A block of 4-bit codes has 16 bytes:
the lower halves are values 0-15, the upper halves values 16-31. Results equal ggml's: the same float32 operations,
none fused.
"""

from __future__ import annotations

import numpy as np

from cpu_fallback.jit import device
from cpu_fallback.raw import byte, half, steps, word

# Offsets of signed codes, subtracted as floats: int to float is fastest for the unsigned codes as they are.
EIGHT, SIXTEEN = np.float32(8), np.float32(16)

# Values of the 4-bit codes of IQ4_NL and IQ4_XS, and of MXFP4 (FP4 E2M1, doubled to integers).
IQ4_VALUES = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.float32)
FP4_VALUES = np.array([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12], np.float32)


@device
def dequantize_q4_0(data, offset, n, out):
    run = steps(16, n)
    for b in range(n // 32):
        block, at = offset + 18 * b, 32 * b
        d = half(data, block)
        for j in range(run):
            q = byte(data, block + 2 + j)
            out[np.uint64(at + j)] = d * (np.float32(q & 15) - EIGHT)
            out[np.uint64(at + 16 + j)] = d * (np.float32(q >> 4) - EIGHT)


@device
def dequantize_q4_1(data, offset, n, out):
    run = steps(16, n)
    for b in range(n // 32):
        block, at = offset + 20 * b, 32 * b
        d, m = half(data, block), half(data, block + 2)
        for j in range(run):
            q = byte(data, block + 4 + j)
            out[np.uint64(at + j)] = d * np.float32(q & 15) + m
            out[np.uint64(at + 16 + j)] = d * np.float32(q >> 4) + m


@device
def dequantize_q5_0(data, offset, n, out):
    """Bit i of the 32-bit word behind the scale is the fifth bit of code i."""
    run = steps(16, n)
    for b in range(n // 32):
        block, at = offset + 22 * b, 32 * b
        d, high = half(data, block), word(data, block + 2)
        for j in range(run):
            q = byte(data, block + 6 + j)
            out[np.uint64(at + j)] = d * (np.float32(q & 15 | (high >> j & 1) << 4) - SIXTEEN)
            out[np.uint64(at + 16 + j)] = d * (np.float32(q >> 4 | (high >> (j + 16) & 1) << 4) - SIXTEEN)


@device
def dequantize_q5_1(data, offset, n, out):
    run = steps(16, n)
    for b in range(n // 32):
        block, at = offset + 24 * b, 32 * b
        d, m, high = half(data, block), half(data, block + 2), word(data, block + 4)
        for j in range(run):
            q = byte(data, block + 8 + j)
            out[np.uint64(at + j)] = d * np.float32(q & 15 | (high >> j & 1) << 4) + m
            out[np.uint64(at + 16 + j)] = d * np.float32(q >> 4 | (high >> (j + 16) & 1) << 4) + m


@device
def dequantize_q8_0(data, offset, n, out):
    run = steps(32, n)
    for b in range(n // 32):
        block, at = offset + 34 * b, 32 * b
        d = half(data, block)
        for j in range(run):
            out[np.uint64(at + j)] = d * np.float32(np.int8(data[np.uint64(block + 2 + j)]))


@device
def looked_up_nibbles(data, codes, d, table, out, at, run):
    """out[at:at+32] = d · table[code], for the 16 bytes at `codes`."""
    for j in range(run):
        q = byte(data, codes + j)
        out[np.uint64(at + j)] = d * table[np.uint64(q & 15)]
        out[np.uint64(at + 16 + j)] = d * table[np.uint64(q >> 4)]


@device
def dequantize_iq4_nl(data, offset, n, out):
    for b in range(n // 32):
        block = offset + 18 * b
        looked_up_nibbles(data, block + 2, half(data, block), IQ4_VALUES, out, 32 * b, steps(16, n))


@device
def dequantize_mxfp4(data, offset, n, out):
    for b in range(n // 32):
        block = offset + 17 * b
        d = half_of_e8m0(byte(data, block))
        looked_up_nibbles(data, block + 1, d, FP4_VALUES, out, 32 * b, steps(16, n))


@device
def half_of_e8m0(exponent):
    """2 ** (exponent - 128): half the scale, because FP4_VALUES are doubled. 0 and 1 give float32 subnormals."""
    bits = 0x00200000 << exponent if exponent < 2 else (exponent - 1) << 23
    return np.uint32(bits).view(np.float32)
