"""Rows of formats with one scale per block of 32 values, to float32.

Every function: (data uint8, byte offset of the row, n values, out float32 (n)). A block of 4-bit codes has 16 bytes:
the lower halves are values 0-15, the upper halves values 16-31. Results equal ggml's: the same float32 operations,
none fused.
"""

from __future__ import annotations

import numpy as np

from cpu_fallback.isa import lookup
from cpu_fallback.jit import device, inlined
from cpu_fallback.layouts_32 import FP4_TABLE, IQ4_TABLE
from cpu_fallback.raw import byte, half, word
from cpu_fallback.simd import (
    as_bytes,
    load_i8_i32,
    load_i32,
    load_u8,
    load_u8_i32,
    select_i32,
    splat_f32,
    splat_i32,
    store_f32,
    to_f32,
    words,
)

EIGHT, SIXTEEN = np.float32(8), np.float32(16)  # subtracted from codes that are floats already
IQ4_BIAS, FP4_BIAS = np.float32(128), np.float32(12)  # of the tables' entries
NIBBLE, BYTE, FIFTH = 15, 255, 16
EVERY_BIT = np.uint32(1) << np.arange(32, dtype=np.uint32)


@inlined
def store_signed(out, at, codes, offset, d):
    """out[at:at+16] = d · (codes - offset)."""
    store_f32(out, at, splat_f32(d) * (to_f32(codes) - splat_f32(offset)))


@inlined
def store_affine(out, at, codes, d, m):
    """out[at:at+16] = d · codes + m, rounded twice."""
    store_f32(out, at, splat_f32(d) * to_f32(codes) + splat_f32(m))


@device
def dequantize_q4_0(data, offset, n, out):
    for b in range(n // 32):
        block = offset + 18 * b
        d, codes = half(data, block), load_u8_i32(data, block + 2)
        store_signed(out, 32 * b, codes & splat_i32(NIBBLE), EIGHT, d)
        store_signed(out, 32 * b + 16, codes >> 4, EIGHT, d)


@device
def dequantize_q4_1(data, offset, n, out):
    for b in range(n // 32):
        block = offset + 20 * b
        d, m, codes = half(data, block), half(data, block + 2), load_u8_i32(data, block + 4)
        store_affine(out, 32 * b, codes & splat_i32(NIBBLE), d, m)
        store_affine(out, 32 * b + 16, codes >> 4, d, m)


@inlined
def fifth_bits(high, first):
    """16 where bit first + i of the 32-bit word is set, else 0, for lanes i."""
    is_clear = (splat_i32(high) & load_i32(EVERY_BIT, first)) == splat_i32(0)
    return select_i32(is_clear, splat_i32(0), splat_i32(FIFTH))


@device
def dequantize_q5_0(data, offset, n, out):
    """Bit i of the 32-bit word behind the scale is the fifth bit of code i."""
    for b in range(n // 32):
        block = offset + 22 * b
        d, high, codes = half(data, block), word(data, block + 2), load_u8_i32(data, block + 6)
        store_signed(out, 32 * b, codes & splat_i32(NIBBLE) | fifth_bits(high, 0), SIXTEEN, d)
        store_signed(out, 32 * b + 16, codes >> 4 | fifth_bits(high, 16), SIXTEEN, d)


@device
def dequantize_q5_1(data, offset, n, out):
    for b in range(n // 32):
        block = offset + 24 * b
        d, m = half(data, block), half(data, block + 2)
        high, codes = word(data, block + 4), load_u8_i32(data, block + 8)
        store_affine(out, 32 * b, codes & splat_i32(NIBBLE) | fifth_bits(high, 0), d, m)
        store_affine(out, 32 * b + 16, codes >> 4 | fifth_bits(high, 16), d, m)


@device
def dequantize_q8_0(data, offset, n, out):
    for b in range(n // 32):
        block = offset + 34 * b
        d = splat_f32(half(data, block))
        store_f32(out, 32 * b, d * to_f32(load_i8_i32(data, block + 2)))
        store_f32(out, 32 * b + 16, d * to_f32(load_i8_i32(data, block + 18)))


@inlined
def store_looked_up(out, at, table, bias, codes, d):
    """out[at:at+16] = d · (entry - bias) of the codes; a lane's upper three bytes look up too, and are cut off."""
    entries = words(lookup(load_u8(table, 0), as_bytes(codes))) & splat_i32(BYTE)
    store_signed(out, at, entries, bias, d)


@inlined
def store_looked_up_nibbles(out, at, table, bias, data, first, d):
    """out[at:at+32], from the 16 bytes at `first`."""
    codes = load_u8_i32(data, first)
    store_looked_up(out, at, table, bias, codes & splat_i32(NIBBLE), d)
    store_looked_up(out, at + 16, table, bias, codes >> 4, d)


@device
def dequantize_iq4_nl(data, offset, n, out):
    for b in range(n // 32):
        block = offset + 18 * b
        store_looked_up_nibbles(out, 32 * b, IQ4_TABLE, IQ4_BIAS, data, block + 2, half(data, block))


@device
def dequantize_mxfp4(data, offset, n, out):
    for b in range(n // 32):
        block = offset + 17 * b
        store_looked_up_nibbles(out, 32 * b, FP4_TABLE, FP4_BIAS, data, block + 1, half_of_e8m0(byte(data, block)))


@inlined
def half_of_e8m0(exponent):
    """2 ** (exponent - 128): half the scale, because FP4_TABLE is doubled. 0 and 1 give float32 subnormals."""
    bits = 0x00200000 << exponent if exponent < 2 else (exponent - 1) << 23
    return np.uint32(bits).view(np.float32)
