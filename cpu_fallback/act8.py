"""Activations rounded to int8: blocks of 32 codes, a float32 scale max|x| / 127, sums of the two halves' codes.

The float32 operations are those of the contract's HostAct8: scale = max|x| / 127, inverse = 1 / scale, code = x ·
inverse rounded half to even; so for the same x the codes are the same. A block of zeros, or whose scale would be
subnormal, has scale and codes 0. A block with an infinity or a NaN has such a scale, and codes 0.
"""

from __future__ import annotations

import numpy as np

from cpu_fallback.jit import inlined
from cpu_fallback.simd import (
    bits_of,
    highest_i32,
    max_f32,
    max_i32,
    min_f32,
    round_f32,
    select,
    set_element,
    splat_f32,
    splat_i32,
    store_i32_u8,
    sum_i32,
    to_i32,
)

BLOCK = 32
LARGEST = np.float32(127)
ONE, ZERO = np.float32(1), np.float32(0)
SMALLEST = np.float32(2.0**-126)  # the smallest normal number; GPUs may take those below for 0
MAGNITUDE = 0x7FFFFFFF  # all bits of a float32 but its sign; as integers they are in the order of the values, NaN last


@inlined
def scale_of(low, high):
    """max|x| / 127 of 32 values, 0 for a subnormal one, NaN if one of them is."""
    magnitude = splat_i32(MAGNITUDE)
    bits = highest_i32(max_i32(bits_of(low) & magnitude, bits_of(high) & magnitude))
    scale = np.uint32(bits).view(np.float32) / LARGEST
    return ZERO if scale < SMALLEST else scale


@inlined
def codes_of(x, inverse):
    """f32x16 -> i32x16; 0 for a NaN."""
    code = round_f32(x * inverse)
    code = select(code == code, code, splat_f32(ZERO))
    return to_i32(min_f32(max_f32(code, splat_f32(-LARGEST)), splat_f32(LARGEST)))


@inlined
def store_block(low, high, block, codes, scales, sums):
    """32 values in two f32x16 -> block `block` (counted from the arrays' beginnings) of codes, scales and sums."""
    scale = scale_of(low, high)
    inverse = splat_f32(ONE / scale if scale > ZERO else ZERO)
    first, second = codes_of(low, inverse), codes_of(high, inverse)
    store_i32_u8(codes, BLOCK * block, first)
    store_i32_u8(codes, BLOCK * block + 16, second)
    set_element(scales, block, scale)
    set_element(sums, 2 * block, sum_i32(first))
    set_element(sums, 2 * block + 1, sum_i32(second))
