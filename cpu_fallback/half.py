"""float16 as its bits: conversion from and to float32 in integer arithmetic.

numba has no float16 arrays on the CPU, and LLVM's own conversion calls a helper that does not exist on baseline
x86-64. Both directions equal IEEE 754 (and numpy) for every value; a NaN stays a NaN with its sign and upper bits.
"""

from __future__ import annotations

import numpy as np

from cpu_fallback.jit import device

SMALLEST = np.float32(2.0**-24)  # the unit of float16's subnormal numbers
EXPONENT_SHIFT = 112 << 23  # float32's exponent bias less float16's

u32 = np.uint32  # numba computes in 64 bits unless every result is cut; vectors of 32 bits are twice as fast


@device
def half_to_float(half):
    """uint16 bits -> float32. Free of branches, so that a loop of it becomes vector code."""
    half = u32(half)
    exponent = u32(half & u32(0x7C00))
    bits = u32(u32(u32(half & u32(0x7FFF)) << u32(13)) + u32(EXPONENT_SHIFT))
    bits = u32(bits + u32(EXPONENT_SHIFT)) if exponent == u32(0x7C00) else bits  # infinity, NaN
    subnormal = np.float32(np.float32(u32(half & u32(0x03FF))) * SMALLEST)
    bits = subnormal.view(np.uint32) if exponent == u32(0) else bits
    return u32(bits | u32(u32(half & u32(0x8000)) << u32(16))).view(np.float32)


@device
def float_to_half(value):
    """float32 -> int64 bits of the nearest float16, ties to even; beyond 65504 (by half a step) infinity."""
    bits = np.int64(np.float32(value).view(np.uint32))
    sign, magnitude = (bits >> 16) & 0x8000, bits & 0x7FFFFFFF
    if magnitude > 0x7F800000:  # NaN: keep it one when its upper bits are all zero
        upper = magnitude >> 13 & 0x3FF
        return sign | 0x7C00 | (upper if upper else 1)
    if magnitude >= 0x477FF000:  # 65520, halfway to the next power of two
        return sign | 0x7C00
    if magnitude < 0x38800000:  # below 2**-14: subnormal
        return sign | subnormal_bits(magnitude)
    return sign | (magnitude + 0xFFF + (magnitude >> 13 & 1) - EXPONENT_SHIFT) >> 13


@device
def subnormal_bits(magnitude):
    """Bits of a positive float32 below 2**-14 -> how many 2**-24 it is, rounded half to even."""
    shift = 126 - (magnitude >> 23)
    if shift > 24:
        return 0
    mantissa = magnitude & 0x7FFFFF | 0x800000
    whole, rest, half = mantissa >> shift, mantissa & (1 << shift) - 1, 1 << (shift - 1)
    return whole + 1 if rest > half or (rest == half and whole & 1) else whole
