"""Layouts of the formats with super-blocks of 256 columns: Q2_K to Q6_K and IQ4_XS. See layout.py.

A unit is a super-block: 16 float16 d, 16 float16 dmin where the format has minima, then 8 blocks, each its codes
(code_bits.py), 16 bytes of scales, one per row (twice in formats with scales per half), and the same of minima. This is
the order in which kernels want them: with all scales before all codes, the processor's prefetcher lost the thread, and
reading from memory took up to twice as long.

scale = d · scale byte and minimum = dmin · minimum byte, each one float32 product as in ggml. Q2_K's bytes hold a scale
(low nibble) and a minimum, as in the file; those of the others are the file's int8 or 6-bit numbers (less 32 in Q3_K
and IQ4_XS).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cpu_fallback.code_bits import WRITE_CODES, Codes, bits_of_row, with_high_bits
from cpu_fallback.isa import load_f16
from cpu_fallback.jit import device, inlined
from cpu_fallback.layout import Layout
from cpu_fallback.layouts_32 import IQ4_TABLE, NIBBLES, ONES, put_half, put_nibbles
from cpu_fallback.simd import load_i8_i32, load_u8_i32, splat_i32, to_f32


class Unit(NamedTuple):
    """Where things are: block j at first + size · j of the unit, its scales `scales` bytes behind that."""

    first: int
    size: int
    scales: int


D, DMIN = 0, 32  # places in a unit
Q2, Q3, Q4 = Unit(64, 160, 128), Unit(32, 224, 192), Unit(64, 288, 256)
Q5, Q6, IQ4 = Unit(64, 352, 320), Unit(32, 416, 384), Unit(32, 272, 256)
PAIRS = 0x03030303  # two bits in each byte of a word of 4 columns
write_2, write_3, write_4, write_5, write_6 = (WRITE_CODES[bits] for bits in (2, 3, 4, 5, 6))


# -- what kernels read


def codes_in(unit: Unit, bits: int, table: np.ndarray | None = None) -> Codes:
    return Codes(bits, unit.first, unit.size, table)


def product(unit: Unit, factor: int, load, place: int = 0):
    """(w, at, j, half): the 16 float16 at `factor` times 16 bytes of block j, `place` behind its first scales."""

    @inlined
    def product(w, at, j, half):
        numbers = load(w, at + unit.first + unit.scales + place + unit.size * j + 16 * half)
        return load_f16(w, at + factor) * to_f32(numbers)

    return product


@inlined
def low_nibbles(w, at):
    return load_u8_i32(w, at) & splat_i32(15)


@inlined
def high_nibbles(w, at):
    return load_u8_i32(w, at) >> 4


# -- packing


@inlined
def two_bits(raw, start, j):
    """Block j of 64 bytes of which each holds a code of blocks 0-3 (or 4-7), lowest bits first."""
    return bits_of_row(raw, start + 32 * (j // 4), 2 * (j % 4), PAIRS)


@inlined
def four_bits(raw, start, j):
    """Block j of 128 bytes: blocks 2i (low nibbles) and 2i + 1 share 32."""
    return bits_of_row(raw, start + 32 * (j // 2), 4 * (j % 2), NIBBLES)


@device
def put_two(raw, start, w, at, row):
    """Two bytes of the file to lane `row` of 16 bytes each."""
    w[at + row], w[at + 16 + row] = raw[start], raw[start + 1]


@device
def q2_k_pack(raw, start, w, at, row):
    """Block: 16 bytes of scales and minima, 64 of codes, d, dmin."""
    put_half(raw, start + 80, w, at + D, row)
    put_half(raw, start + 82, w, at + DMIN, row)
    for j in range(8):
        block = at + Q2.first + Q2.size * j
        write_2(w, block, row, two_bits(raw, start + 16, j))
        put_two(raw, start + 2 * j, w, block + Q2.scales, row)


@device
def q3_k_pack(raw, start, w, at, row):
    """Block: 32 bytes of third bits (bit j of each for block j), 64 of codes, 12 of scales, d."""
    put_half(raw, start + 108, w, at + D, row)
    for j in range(8):
        block, third = at + Q3.first + Q3.size * j, bits_of_row(raw, start, j, ONES)
        write_3(w, block, row, with_high_bits(two_bits(raw, start + 32, j), third, 2))
        w[block + Q3.scales + row] = q3_k_scale(raw, start + 96, 2 * j)
        w[block + Q3.scales + 16 + row] = q3_k_scale(raw, start + 96, 2 * j + 1)


@device
def q3_k_scale(raw, start, g):
    """Scale g of 16, less 32: four bits in bytes 0-7 (low nibbles first), two in bytes 8-11."""
    low = raw[start + g % 8] >> 4 * (g // 8) & 15
    return (low | (raw[start + 8 + g % 4] >> 2 * (g // 4) & 3) << 4) - 32


@device
def put_scales_k4(raw, start, w, at, row, unit):
    """d, dmin and the 6-bit scales and minima of Q4_K and Q5_K, from the first 16 bytes of the block.

    Of the 12 bytes behind d and dmin, 0-3 hold scales 0-3 and 4-7 minima 0-3 in their lower six bits; 8-11 hold the
    lower four bits of scales 4-7 and of minima 4-7 (high nibbles), whose upper two are those of bytes 0-3 and 4-7.
    """
    put_half(raw, start, w, at + D, row)
    put_half(raw, start + 2, w, at + DMIN, row)
    for g in range(4):
        scale, minimum, low = raw[start + 4 + g], raw[start + 8 + g], raw[start + 12 + g]
        lane = at + unit.first + unit.scales + unit.size * g + row
        w[lane], w[lane + 4 * unit.size] = scale & 63, low & 15 | scale >> 6 << 4
        w[lane + 16], w[lane + 4 * unit.size + 16] = minimum & 63, low >> 4 | minimum >> 6 << 4


@device
def q4_k_pack(raw, start, w, at, row):
    """Block: d, dmin, 12 bytes of scales and minima, 128 of codes."""
    put_scales_k4(raw, start, w, at, row, Q4)
    for j in range(8):
        write_4(w, at + Q4.first + Q4.size * j, row, four_bits(raw, start + 16, j))


@device
def q5_k_pack(raw, start, w, at, row):
    """As Q4_K, with 32 bytes before the codes: bit j of each is the fifth bit of block j."""
    put_scales_k4(raw, start, w, at, row, Q5)
    for j in range(8):
        fifth = bits_of_row(raw, start + 16, j, ONES)
        write_5(w, at + Q5.first + Q5.size * j, row, with_high_bits(four_bits(raw, start + 48, j), fifth, 4))


@device
def q6_k_pack(raw, start, w, at, row):
    """Block: 128 bytes of lower four bits, 64 of upper two, 16 int8 scales, d.

    Of either half of the super-block, blocks 0 and 1 are the low nibbles of 64 bytes, 2 and 3 the high ones; the upper
    bits of all four share 32 bytes, lowest first.
    """
    put_half(raw, start + 208, w, at + D, row)
    for j in range(8):
        block = at + Q6.first + Q6.size * j
        lower = bits_of_row(raw, start + 64 * (j // 4) + 32 * (j % 2), 4 * (j % 4 // 2), NIBBLES)
        write_6(w, block, row, with_high_bits(lower, two_bits(raw, start + 128, j), 4))
        put_two(raw, start + 192 + 2 * j, w, block + Q6.scales, row)


@device
def iq4_xs_pack(raw, start, w, at, row):
    """Block: d, 16 bits and 4 bytes of scales (upper two and lower four bits), 8 blocks of 16 bytes."""
    put_half(raw, start, w, at + D, row)
    for j in range(8):
        block, upper = at + IQ4.first + IQ4.size * j, raw[start + 2 + j // 4] >> 2 * (j % 4) & 3
        w[block + IQ4.scales + row] = (raw[start + 4 + j // 2] >> 4 * (j % 2) & 15 | upper << 4) - 32
        put_nibbles(raw, start + 8 + 16 * j, w, block, row)


def layout(name: str, ggml_type: int, unit: Unit, raw_bytes: int, *rest) -> Layout:
    return Layout(name, ggml_type, 256, unit.first + 8 * unit.size, raw_bytes, *rest)


iq4_xs_codes = codes_in(IQ4, 4, IQ4_TABLE)
q2_scale, q2_minimum = product(Q2, D, low_nibbles), product(Q2, DMIN, high_nibbles)
q4_scale, q4_minimum = product(Q4, D, load_u8_i32), product(Q4, DMIN, load_u8_i32, 16)
q5_scale, q5_minimum = product(Q5, D, load_u8_i32), product(Q5, DMIN, load_u8_i32, 16)

ALL = (
    layout("Q2_K", 10, Q2, 84, 0, 3, True, codes_in(Q2, 2), q2_scale, q2_minimum, q2_k_pack),
    layout("Q3_K", 11, Q3, 110, 4, 7, True, codes_in(Q3, 3), product(Q3, D, load_i8_i32), None, q3_k_pack),
    layout("Q4_K", 12, Q4, 144, 0, 15, False, codes_in(Q4, 4), q4_scale, q4_minimum, q4_k_pack),
    layout("Q5_K", 13, Q5, 176, 0, 31, False, codes_in(Q5, 5), q5_scale, q5_minimum, q5_k_pack),
    layout("Q6_K", 14, Q6, 210, 32, 63, True, codes_in(Q6, 6), product(Q6, D, load_i8_i32), None, q6_k_pack),
    layout(
        "IQ4_XS",
        23,
        IQ4,
        136,
        128,
        255,
        False,
        codes_in(IQ4, 4, IQ4_TABLE),
        product(IQ4, D, load_i8_i32),
        None,
        iq4_xs_pack,
    ),
)
