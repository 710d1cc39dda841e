"""Layouts of the formats with one scale per block of 32 columns. See layout.py.

A unit is one block: the codes (code_bits.py; Q8_0 has 8 vectors of code + 128), then 16 scales, then 16 minima where
the format has them. In the file, 16 bytes of a row hold the lower four bits of columns 0-15 (low nibbles) and 16-31.
"""

from __future__ import annotations

import numpy as np

from cpu_fallback.code_bits import WRITE_CODES, Codes, with_high_bits
from cpu_fallback.isa import load_f16
from cpu_fallback.jit import device, inlined
from cpu_fallback.layout import Layout
from cpu_fallback.simd import (
    from_bits,
    load_u8_i32,
    load_u16,
    load_u32,
    select_i32,
    splat_i32,
    store_u16,
    store_u32,
)

NIBBLES, ONES, HIGH_BITS = 0x0F0F0F0F, 0x01010101, 0x80808080  # in each byte of a word of 4 columns
SPREAD = 0x00204081  # times a number of 4 bits: bit i comes to byte i, as its lowest
NIBBLE_CODES, FIFTH_BIT_CODES, write_5 = Codes(4), Codes(5), WRITE_CODES[5]


def table(values: list[int]) -> np.ndarray:
    """16 bytes, repeated 4 times, as isa.lookup reads them."""
    return np.tile(np.array(values, np.uint8), 4)


# The values of 4-bit codes: of IQ4_NL and IQ4_XS, plus 128; of MXFP4 (FP4 E2M1, doubled to integers), plus 12.
IQ4_TABLE = table([128 + v for v in (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)])
FP4_TABLE = table([12 + v for v in (0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12)])


# -- parts of units


def half_at(place: int):
    """(w, at, j, half): 16 float16 at `place` of the unit."""

    @inlined
    def half_scale(w, at, j, half):
        return load_f16(w, at + place)

    return half_scale


def negative_half_at(place: int):
    @inlined
    def half_minimum(w, at, j, half):
        return -load_f16(w, at + place)

    return half_minimum


@device
def put_half(raw, start, w, at, row):
    """A float16 of the file to lane `row` of 16 of them."""
    store_u16(w, at + 2 * row, load_u16(raw, start))


@device
def put_nibbles(raw, start, w, at, row):
    """The file's 16 bytes are, byte for byte, what a lane holds."""
    for c in range(4):
        store_u32(w, at + 64 * c + 4 * row, load_u32(raw, start + 4 * c))


@device
def put_fifth_bits(raw, start, w, at, row):
    """A word whose bit i is the highest bit of column i, then 16 bytes of nibbles."""
    high = load_u32(raw, start)
    write_5(w, at, row, with_high_bits(nibbles_of_row(raw, start + 4), spread_bits(high), 4))


@inlined
def nibbles_of_row(raw, start):
    a, b, c, d = load_u32(raw, start), load_u32(raw, start + 4), load_u32(raw, start + 8), load_u32(raw, start + 12)
    low = (a & NIBBLES, b & NIBBLES, c & NIBBLES, d & NIBBLES)
    return (*low, a >> 4 & NIBBLES, b >> 4 & NIBBLES, c >> 4 & NIBBLES, d >> 4 & NIBBLES)


@inlined
def spread_bits(bits):
    """The 32 bits of a word -> 8 words, a bit in each byte."""
    return (
        (bits & 15) * SPREAD & ONES, (bits >> 4 & 15) * SPREAD & ONES, (bits >> 8 & 15) * SPREAD & ONES,
        (bits >> 12 & 15) * SPREAD & ONES, (bits >> 16 & 15) * SPREAD & ONES, (bits >> 20 & 15) * SPREAD & ONES,
        (bits >> 24 & 15) * SPREAD & ONES, (bits >> 28 & 15) * SPREAD & ONES,
    )  # fmt: skip


# -- Q4_0, Q4_1: nibbles


@device
def q4_0_pack(raw, start, w, at, row):
    put_half(raw, start, w, at + 256, row)
    put_nibbles(raw, start + 2, w, at, row)


@device
def q4_1_pack(raw, start, w, at, row):
    put_half(raw, start, w, at + 256, row)
    put_half(raw, start + 2, w, at + 288, row)
    put_nibbles(raw, start + 4, w, at, row)


# -- Q5_0, Q5_1: five bits


@device
def q5_0_pack(raw, start, w, at, row):
    put_half(raw, start, w, at + 320, row)
    put_fifth_bits(raw, start + 2, w, at, row)


@device
def q5_1_pack(raw, start, w, at, row):
    put_half(raw, start, w, at + 320, row)
    put_half(raw, start + 2, w, at + 352, row)
    put_fifth_bits(raw, start + 4, w, at, row)


# -- Q8_0: bytes


@device
def q8_0_pack(raw, start, w, at, row):
    put_half(raw, start, w, at + 512, row)
    for c in range(8):
        store_u32(w, at + 64 * c + 4 * row, load_u32(raw, start + 2 + 4 * c) ^ HIGH_BITS)


# -- MXFP4: nibbles that stand for values of a table, with 16 bytes of exponents for scales


@inlined
def mxfp4_scale(w, at, j, half):
    """2 ** (e - 128), half the scale because the values are doubled; 0 and 1 give subnormal numbers."""
    e = load_u8_i32(w, at + 256)
    return from_bits(select_i32(e < splat_i32(2), (e + splat_i32(1)) << 21, (e - splat_i32(1)) << 23))


@device
def mxfp4_pack(raw, start, w, at, row):
    w[at + 256 + row] = raw[start]
    put_nibbles(raw, start + 1, w, at, row)


def layout(name: str, ggml_type: int, sizes: tuple[int, int], offset: int, largest: int, *functions) -> Layout:
    unit_bytes, raw_bytes = sizes
    return Layout(name, ggml_type, 32, unit_bytes, raw_bytes, offset, largest, False, *functions)


ALL = (
    layout("Q4_0", 2, (288, 18), 8, 15, NIBBLE_CODES, half_at(256), None, q4_0_pack),
    layout("Q4_1", 3, (320, 20), 0, 15, NIBBLE_CODES, half_at(256), negative_half_at(288), q4_1_pack),
    layout("Q5_0", 6, (352, 22), 16, 31, FIFTH_BIT_CODES, half_at(320), None, q5_0_pack),
    layout("Q5_1", 7, (384, 24), 0, 31, FIFTH_BIT_CODES, half_at(320), negative_half_at(352), q5_1_pack),
    layout("Q8_0", 8, (544, 34), 128, 255, Codes(8), half_at(512), None, q8_0_pack),
    layout("IQ4_NL", 20, (288, 18), 128, 255, Codes(4, table=IQ4_TABLE), half_at(256), None, q4_0_pack),
    layout("MXFP4", 39, (272, 17), 12, 24, Codes(4, table=FP4_TABLE), mxfp4_scale, None, mxfp4_pack),
)
