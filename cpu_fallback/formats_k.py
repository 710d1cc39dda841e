"""Rows of formats with super-blocks of 256 values, to float32: Q2_K to Q6_K and IQ4_XS.

Every function: (data uint8, byte offset of the row, n values, out float32 (n)). A super-block holds a float16 scale
(and for some a scale of the minima) and, per group of 16 or 32 values, a small integer that multiplies it. Results
equal ggml's: first the group's scale is rounded to float32, then its product with the code, then the difference from
the minimum.
"""

from __future__ import annotations

import numpy as np

from cpu_fallback.formats_32 import IQ4_BIAS, store_affine, store_looked_up_nibbles, store_signed
from cpu_fallback.jit import device, inlined
from cpu_fallback.layouts_32 import IQ4_TABLE
from cpu_fallback.raw import byte, half, word
from cpu_fallback.simd import element, load_u8_i32, splat_i32

FOUR, THIRTY_TWO = np.float32(4), np.float32(32)


@inlined
def two_bits(codes, k):
    """Bits 2k and 2k + 1 of every lane."""
    return codes >> 2 * k & splat_i32(3)


@inlined
def store_2_bits(data, block, k, codes, at, d, dmin, out):
    """Group g + 2k, whose scale is at `block` + 2k: values from `at` + 32 k on."""
    packed = byte(data, block + 2 * k)
    store_affine(out, at + 32 * k, two_bits(codes, k), d * np.float32(packed & 15), -(dmin * np.float32(packed >> 4)))


@device
def dequantize_q2_k(data, offset, n, out):
    """Block: 16 scales (low half scale, high half minimum), 64 bytes of 2-bit codes, d, dmin.

    Groups have 16 values. A byte holds a code each of groups g, g + 2, g + 4 and g + 6, lowest bits first.
    """
    for b in range(n // 256):
        block = offset + 84 * b
        d, dmin = half(data, block + 80), half(data, block + 82)
        for quarter in range(4):
            g = quarter % 2 + 8 * (quarter // 2)
            codes, at = load_u8_i32(data, block + 16 + 16 * quarter), 256 * b + 16 * g
            for k in range(4):
                store_2_bits(data, block + g, k, codes, at, d, dmin, out)


@device
def dequantize_q3_k(data, offset, n, out):
    """Block: 32 bytes of third bits (clear: subtract 4), 64 bytes of 2-bit codes, 12 bytes of 6-bit scales, d.

    Groups and lower bits lie as in Q2_K; bit 0-3 (second half of the block: 4-7) of a byte of third bits are of the
    same four.
    """
    for b in range(n // 256):
        block = offset + 110 * b
        d = half(data, block + 108)
        for quarter in range(4):
            g = quarter % 2 + 8 * (quarter // 2)
            codes, at = load_u8_i32(data, block + 32 + 16 * quarter), 256 * b + 16 * g
            third = load_u8_i32(data, block + 16 * (quarter % 2)) >> 4 * (quarter // 2)
            for k in range(4):
                code = two_bits(codes, k) | (third >> k & splat_i32(1)) << 2
                store_signed(out, at + 32 * k, code, FOUR, scale_q3_k(data, block + 96, g + 2 * k, d))


@inlined
def scale_q3_k(data, packed, g, d):
    """d times scale g of 16, less 32: four bits in bytes 0-7 (low halves first), two in bytes 8-11."""
    low = byte(data, packed + g % 8) >> 4 * (g // 8) & 15
    return d * np.float32((low | (byte(data, packed + 8 + g % 4) >> 2 * (g // 4) & 3) << 4) - 32)


@inlined
def six_bits_k4(data, block):
    """(scales, minima) of the 8 groups of Q4_K and Q5_K as the bytes of two 64-bit words.

    Of 12, bytes 0-3 hold scales 0-3 and bytes 4-7 minima 0-3 in their lower six bits; 8-11 hold the lower four bits of
    scales 4-7 and of minima 4-7 (upper half), whose upper two bits are the upper bits of bytes 0-3 and 4-7.
    """
    first, second, low = word(data, block + 4), word(data, block + 8), word(data, block + 12)
    scales = low & 0x0F0F0F0F | first >> 2 & 0x30303030
    minima = low >> 4 & 0x0F0F0F0F | second >> 2 & 0x30303030
    return first & 0x3F3F3F3F | scales << 32, second & 0x3F3F3F3F | minima << 32


@inlined
def affine_k4(scales, minima, g, d, dmin):
    """(scale, minimum with its sign turned) of group g."""
    return d * np.float32(scales >> 8 * g & 63), -(dmin * np.float32(minima >> 8 * g & 63))


@device
def dequantize_q4_k(data, offset, n, out):
    """Block: d, dmin, 12 bytes of scales, 128 bytes: groups 2i (low halves) and 2i + 1 share 32 bytes."""
    nibble = splat_i32(15)
    for b in range(n // 256):
        block = offset + 144 * b
        d, dmin = half(data, block), half(data, block + 2)
        scales, minima = six_bits_k4(data, block)
        for pair in range(4):
            s0, m0 = affine_k4(scales, minima, 2 * pair, d, dmin)
            s1, m1 = affine_k4(scales, minima, 2 * pair + 1, d, dmin)
            codes, at = block + 16 + 32 * pair, 256 * b + 64 * pair
            first, second = load_u8_i32(data, codes), load_u8_i32(data, codes + 16)
            store_affine(out, at, first & nibble, s0, m0)
            store_affine(out, at + 16, second & nibble, s0, m0)
            store_affine(out, at + 32, first >> 4, s1, m1)
            store_affine(out, at + 48, second >> 4, s1, m1)


@inlined
def fifth_bit(high, g):
    """Bit g of every lane, as 16."""
    return (high >> g & splat_i32(1)) << 4


@device
def dequantize_q5_k(data, offset, n, out):
    """As Q4_K, with 32 bytes before the codes: bit g of byte j is the fifth bit of value j of group g."""
    nibble = splat_i32(15)
    for b in range(n // 256):
        block = offset + 176 * b
        d, dmin = half(data, block), half(data, block + 2)
        scales, minima = six_bits_k4(data, block)
        low_half, high_half = load_u8_i32(data, block + 16), load_u8_i32(data, block + 32)
        for pair in range(4):
            g = 2 * pair
            s0, m0 = affine_k4(scales, minima, g, d, dmin)
            s1, m1 = affine_k4(scales, minima, g + 1, d, dmin)
            codes, at = block + 48 + 32 * pair, 256 * b + 64 * pair
            first, second = load_u8_i32(data, codes), load_u8_i32(data, codes + 16)
            store_affine(out, at, first & nibble | fifth_bit(low_half, g), s0, m0)
            store_affine(out, at + 16, second & nibble | fifth_bit(high_half, g), s0, m0)
            store_affine(out, at + 32, first >> 4 | fifth_bit(low_half, g + 1), s1, m1)
            store_affine(out, at + 48, second >> 4 | fifth_bit(high_half, g + 1), s1, m1)


@device
def dequantize_q6_k(data, offset, n, out):
    """Block: 128 bytes of low four bits, 64 bytes of upper two, 16 int8 scales, d.

    Groups have 16 values. In either half of the block, bytes j and 32 + j hold the low bits of values j, 32 + j (low
    halves), 64 + j and 96 + j (upper halves), and byte j their upper bits, lowest first.
    """
    nibble = splat_i32(15)
    for b in range(n // 256):
        block = offset + 210 * b
        d, scales = half(data, block + 208), block + 192
        for quarter in range(4):
            g = quarter % 2 + 8 * (quarter // 2)
            low, at = block + 64 * (quarter // 2) + 16 * (quarter % 2), 256 * b + 16 * g
            first, second = load_u8_i32(data, low), load_u8_i32(data, low + 32)
            upper = load_u8_i32(data, block + 128 + 16 * quarter)
            for k in range(4):
                four = (second if k % 2 else first) >> 4 * (k // 2) & nibble
                scale = d * np.float32(np.int8(element(data, scales + g + 2 * k)))
                store_signed(out, at + 32 * k, four | two_bits(upper, k) << 4, THIRTY_TWO, scale)


@device
def dequantize_iq4_xs(data, offset, n, out):
    """Block: d, 16 bits and 4 bytes of scales (upper two and lower four bits), 8 groups of 16 bytes."""
    for b in range(n // 256):
        block = offset + 136 * b
        d, high = half(data, block), byte(data, block + 2) | byte(data, block + 3) << 8
        for g in range(8):
            s = byte(data, block + 4 + g // 2) >> 4 * (g % 2) & 15 | (high >> 2 * g & 3) << 4
            scale = d * np.float32(s - 32)
            codes = block + 8 + 16 * g
            store_looked_up_nibbles(out, 256 * b + 32 * g, IQ4_TABLE, IQ4_BIAS, data, codes, scale)
