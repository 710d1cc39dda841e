"""Rows of formats with super-blocks of 256 values, to float32: Q2_K to Q6_K and IQ4_XS.

Every function: (data uint8, byte offset of the row, n values, out float32 (n)). A super-block holds a float16 scale
(and for some a scale of the minima) and, per group of 16 or 32 values, a small integer that multiplies it. Results
equal ggml's: first the group's scale is rounded to float32, then its product with the code, then the difference from
the minimum.
"""

from __future__ import annotations

import numpy as np

from cpu_fallback.formats_32 import IQ4_VALUES, looked_up_nibbles
from cpu_fallback.jit import device
from cpu_fallback.raw import byte, half, steps

FOUR, THIRTY_TWO = np.float32(4), np.float32(32)


@device
def dequantize_q2_k(data, offset, n, out):
    """Block: 16 scales (low half scale, high half minimum), 64 bytes of 2-bit codes, d, dmin.

    Groups have 16 values. A byte holds a code each of groups g, g + 2, g + 4 and g + 6, lowest bits first.
    """
    run = steps(16, n)
    for b in range(n // 256):
        block = offset + 84 * b
        d, dmin = half(data, block + 80), half(data, block + 82)
        for quarter in range(4):
            g = quarter % 2 + 8 * (quarter // 2)
            s0, m0 = affine_q2_k(data, block + g, d, dmin)
            s1, m1 = affine_q2_k(data, block + g + 2, d, dmin)
            s2, m2 = affine_q2_k(data, block + g + 4, d, dmin)
            s3, m3 = affine_q2_k(data, block + g + 6, d, dmin)
            codes, at = block + 16 + 16 * quarter, 256 * b + 16 * g
            for j in range(run):
                q = byte(data, codes + j)
                out[np.uint64(at + j)] = s0 * np.float32(q & 3) - m0
                out[np.uint64(at + 32 + j)] = s1 * np.float32(q >> 2 & 3) - m1
                out[np.uint64(at + 64 + j)] = s2 * np.float32(q >> 4 & 3) - m2
                out[np.uint64(at + 96 + j)] = s3 * np.float32(q >> 6) - m3


@device
def affine_q2_k(data, at, d, dmin):
    packed = byte(data, at)
    return d * np.float32(packed & 15), dmin * np.float32(packed >> 4)


@device
def dequantize_q3_k(data, offset, n, out):
    """Block: 32 bytes of third bits (clear: subtract 4), 64 bytes of 2-bit codes, 12 bytes of 6-bit scales, d.

    Groups and lower bits lie as in Q2_K; bit 0-3 (second half of the block: 4-7) of a byte of third bits are of the
    same four.
    """
    run = steps(16, n)
    for b in range(n // 256):
        block = offset + 110 * b
        d = half(data, block + 108)
        for quarter in range(4):
            g = quarter % 2 + 8 * (quarter // 2)
            s0, s1 = scale_q3_k(data, block + 96, g, d), scale_q3_k(data, block + 96, g + 2, d)
            s2, s3 = scale_q3_k(data, block + 96, g + 4, d), scale_q3_k(data, block + 96, g + 6, d)
            codes, at = block + 32 + 16 * quarter, 256 * b + 16 * g
            third, up = block + 16 * (quarter % 2), 4 * (quarter // 2)
            for j in range(run):
                q, t = byte(data, codes + j), (byte(data, third + j) >> up & 15) << 2
                out[np.uint64(at + j)] = s0 * (np.float32(q & 3 | t & 4) - FOUR)
                out[np.uint64(at + 32 + j)] = s1 * (np.float32(q >> 2 & 3 | t >> 1 & 4) - FOUR)
                out[np.uint64(at + 64 + j)] = s2 * (np.float32(q >> 4 & 3 | t >> 2 & 4) - FOUR)
                out[np.uint64(at + 96 + j)] = s3 * (np.float32(q >> 6 | t >> 3 & 4) - FOUR)


@device
def scale_q3_k(data, packed, g, d):
    """d times scale g of 16, less 32: four bits in bytes 0-7 (low halves first), two in bytes 8-11."""
    low = byte(data, packed + g % 8) >> 4 * (g // 8) & 15
    return d * np.float32((low | (byte(data, packed + 8 + g % 4) >> 2 * (g // 4) & 3) << 4) - 32)


@device
def affine_k4(data, block, g, d, dmin):
    """(scale, minimum) of group g of 8 of Q4_K and Q5_K, from six bits each in 12 bytes.

    Bytes 0-3 hold scales 0-3 and bytes 4-7 minima 0-3 in their lower six bits; 8-11 hold the lower four bits of
    scales 4-7 and of minima 4-7 (upper half), whose upper two bits are the upper bits of bytes 0-3 and 4-7.
    """
    first, second, low = byte(data, block + 4 + g % 4), byte(data, block + 8 + g % 4), byte(data, block + 8 + g)
    s = first & 63 if g < 4 else low & 15 | first >> 6 << 4  # as a branch, this keeps LLVM from using vectors
    m = second & 63 if g < 4 else low >> 4 | second >> 6 << 4
    return d * np.float32(s), dmin * np.float32(m)


@device
def dequantize_q4_k(data, offset, n, out):
    """Block: d, dmin, 12 bytes of scales, 128 bytes: groups 2i (low halves) and 2i + 1 share 32 bytes."""
    run = steps(32, n)
    for b in range(n // 256):
        block = offset + 144 * b
        d, dmin = half(data, block), half(data, block + 2)
        for pair in range(4):
            s0, m0 = affine_k4(data, block, 2 * pair, d, dmin)
            s1, m1 = affine_k4(data, block, 2 * pair + 1, d, dmin)
            codes, at = block + 16 + 32 * pair, 256 * b + 64 * pair
            for j in range(run):
                q = byte(data, codes + j)
                out[np.uint64(at + j)] = s0 * np.float32(q & 15) - m0
                out[np.uint64(at + 32 + j)] = s1 * np.float32(q >> 4) - m1


@device
def dequantize_q5_k(data, offset, n, out):
    """As Q4_K, with 32 bytes before the codes: bit g of byte j is the fifth bit of value j of group g."""
    run = steps(32, n)
    for b in range(n // 256):
        block = offset + 176 * b
        d, dmin = half(data, block), half(data, block + 2)
        for pair in range(4):
            s0, m0 = affine_k4(data, block, 2 * pair, d, dmin)
            s1, m1 = affine_k4(data, block, 2 * pair + 1, d, dmin)
            codes, at, up = block + 48 + 32 * pair, 256 * b + 64 * pair, 2 * pair
            for j in range(run):
                q, fifth = byte(data, codes + j), (byte(data, block + 16 + j) >> up & 3) << 4
                out[np.uint64(at + j)] = s0 * np.float32(q & 15 | fifth & 16) - m0
                out[np.uint64(at + 32 + j)] = s1 * np.float32(q >> 4 | fifth >> 1 & 16) - m1


@device
def dequantize_q6_k(data, offset, n, out):
    """Block: 128 bytes of low four bits, 64 bytes of upper two, 16 int8 scales, d.

    Groups have 16 values. In either half of the block, bytes j and 32 + j hold the low bits of values j, 32 + j (low
    halves), 64 + j and 96 + j (upper halves), and byte j their upper bits, lowest first.
    """
    run = steps(16, n)
    for b in range(n // 256):
        block = offset + 210 * b
        d, scales = half(data, block + 208), block + 192
        for quarter in range(4):
            g = quarter % 2 + 8 * (quarter // 2)
            s0, s1 = signed_scale(data, scales + g, d), signed_scale(data, scales + g + 2, d)
            s2, s3 = signed_scale(data, scales + g + 4, d), signed_scale(data, scales + g + 6, d)
            low, high = block + 64 * (quarter // 2) + 16 * (quarter % 2), block + 128 + 16 * quarter
            at = 256 * b + 16 * g
            for j in range(run):
                first, second, upper = byte(data, low + j), byte(data, low + 32 + j), byte(data, high + j)
                out[np.uint64(at + j)] = s0 * (np.float32(first & 15 | (upper & 3) << 4) - THIRTY_TWO)
                out[np.uint64(at + 32 + j)] = s1 * (np.float32(second & 15 | (upper >> 2 & 3) << 4) - THIRTY_TWO)
                out[np.uint64(at + 64 + j)] = s2 * (np.float32(first >> 4 | (upper >> 4 & 3) << 4) - THIRTY_TWO)
                out[np.uint64(at + 96 + j)] = s3 * (np.float32(second >> 4 | upper >> 6 << 4) - THIRTY_TWO)


@device
def signed_scale(data, at, d):
    return d * np.float32(np.int8(data[np.uint64(at)]))


@device
def dequantize_iq4_xs(data, offset, n, out):
    """Block: d, 16 bits and 4 bytes of scales (upper two and lower four bits), 8 groups of 16 bytes."""
    for b in range(n // 256):
        block = offset + 136 * b
        d, high = half(data, block), byte(data, block + 2) | byte(data, block + 3) << 8
        for g in range(8):
            s = byte(data, block + 4 + g // 2) >> 4 * (g % 2) & 15 | (high >> 2 * g & 3) << 4
            scale = d * np.float32(s - 32)
            looked_up_nibbles(data, block + 8 + 16 * g, scale, IQ4_VALUES, out, 256 * b + 32 * g, steps(16, n))
