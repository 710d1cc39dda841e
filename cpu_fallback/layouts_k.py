"""Layouts of the formats with super-blocks of 256 columns: Q2_K to Q6_K and IQ4_XS. See layout.py.

A unit is a super-block: 16 float16 d, 16 float16 dmin where the format has minima; then, per group of 16 or 32 columns,
16 bytes of scales, one per row, and behind all of those the same of minima; then the 8 blocks of codes (code_bits.py).
scale = d · scale byte and minimum = dmin · minimum byte, each one float32 product as in ggml. Q2_K's bytes hold a scale
(low nibble) and a minimum, as in the file; those of the others are the file's int8 or 6-bit numbers (less 32 in Q3_K
and IQ4_XS).
"""

from __future__ import annotations

from cpu_fallback.code_bits import READ_CODES, WRITE_CODES, bits_of_row, with_high_bits
from cpu_fallback.isa import load_f16
from cpu_fallback.jit import device, inlined
from cpu_fallback.layout import Layout
from cpu_fallback.layouts_32 import IQ4_TABLE, NIBBLES, ONES, looked_up, put_half, put_nibbles
from cpu_fallback.simd import load_i8_i32, load_u8_i32, splat_i32, to_f32

PAIRS = 0x03030303  # two bits in each byte of a word of 4 columns
read_4 = READ_CODES[4]
write_2, write_3, write_4, write_5, write_6 = (WRITE_CODES[bits] for bits in (2, 3, 4, 5, 6))
D, DMIN = 0, 32  # places in a unit


# -- what kernels read


def codes_at(bits: int, place: int):
    """(w, at, j): block j of the codes that begin at `place`."""
    read, block_bytes = READ_CODES[bits], 64 * bits

    @inlined
    def codes(w, at, j):
        return read(w, at + place + block_bytes * j)

    return codes


def products(factor: int, place: int, groups: int, load):
    """(w, at, j, half): the 16 float16 at `factor` times block j's 16 bytes, `groups` of a block, from `place` on."""

    @inlined
    def product(w, at, j, half):
        return load_f16(w, at + factor) * to_f32(load(w, at + place + 16 * (groups * j + half)))

    return product


@inlined
def low_nibbles(w, at):
    return load_u8_i32(w, at) & splat_i32(15)


@inlined
def high_nibbles(w, at):
    return load_u8_i32(w, at) >> 4


@inlined
def iq4_xs_codes(w, at, j):
    return looked_up(IQ4_TABLE, read_4(w, at + 160 + 256 * j))


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
def q2_k_pack(raw, start, w, at, row):
    """Block: 16 bytes of scales and minima, 64 of codes, d, dmin."""
    put_half(raw, start + 80, w, at + D, row)
    put_half(raw, start + 82, w, at + DMIN, row)
    for g in range(16):
        w[at + 64 + 16 * g + row] = raw[start + g]
    for j in range(8):
        write_2(w, at + 320 + 128 * j, row, two_bits(raw, start + 16, j))


@device
def q3_k_pack(raw, start, w, at, row):
    """Block: 32 bytes of third bits (bit j of each for block j), 64 of codes, 12 of scales, d."""
    put_half(raw, start + 108, w, at + D, row)
    for g in range(16):
        w[at + 32 + 16 * g + row] = q3_k_scale(raw, start + 96, g)
    for j in range(8):
        third = bits_of_row(raw, start, j, ONES)
        write_3(w, at + 288 + 192 * j, row, with_high_bits(two_bits(raw, start + 32, j), third, 2))


@device
def q3_k_scale(raw, start, g):
    """Scale g of 16, less 32: four bits in bytes 0-7 (low nibbles first), two in bytes 8-11."""
    low = raw[start + g % 8] >> 4 * (g // 8) & 15
    return (low | (raw[start + 8 + g % 4] >> 2 * (g // 4) & 3) << 4) - 32


@device
def put_scales_k4(raw, start, w, at, row):
    """d, dmin and the 6-bit scales and minima of Q4_K and Q5_K, from the first 16 bytes of the block.

    Of the 12 bytes behind d and dmin, 0-3 hold scales 0-3 and 4-7 minima 0-3 in their lower six bits; 8-11 hold the
    lower four bits of scales 4-7 and of minima 4-7 (high nibbles), whose upper two are those of bytes 0-3 and 4-7.
    """
    put_half(raw, start, w, at + D, row)
    put_half(raw, start + 2, w, at + DMIN, row)
    for g in range(4):
        scale, minimum, low = raw[start + 4 + g], raw[start + 8 + g], raw[start + 12 + g]
        w[at + 64 + 16 * g + row], w[at + 128 + 16 * g + row] = scale & 63, low & 15 | scale >> 6 << 4
        w[at + 192 + 16 * g + row], w[at + 256 + 16 * g + row] = minimum & 63, low >> 4 | minimum >> 6 << 4


@device
def q4_k_pack(raw, start, w, at, row):
    """Block: d, dmin, 12 bytes of scales and minima, 128 of codes."""
    put_scales_k4(raw, start, w, at, row)
    for j in range(8):
        write_4(w, at + 320 + 256 * j, row, four_bits(raw, start + 16, j))


@device
def q5_k_pack(raw, start, w, at, row):
    """As Q4_K, with 32 bytes before the codes: bit j of each is the fifth bit of block j."""
    put_scales_k4(raw, start, w, at, row)
    for j in range(8):
        fifth = bits_of_row(raw, start + 16, j, ONES)
        write_5(w, at + 320 + 320 * j, row, with_high_bits(four_bits(raw, start + 48, j), fifth, 4))


@device
def q6_k_pack(raw, start, w, at, row):
    """Block: 128 bytes of lower four bits, 64 of upper two, 16 int8 scales, d.

    Of either half of the super-block, blocks 0 and 1 are the low nibbles of 64 bytes, 2 and 3 the high ones; the upper
    bits of all four share 32 bytes, lowest first.
    """
    put_half(raw, start + 208, w, at + D, row)
    for g in range(16):
        w[at + 32 + 16 * g + row] = raw[start + 192 + g]
    for j in range(8):
        lower = bits_of_row(raw, start + 64 * (j // 4) + 32 * (j % 2), 4 * (j % 4 // 2), NIBBLES)
        write_6(w, at + 288 + 384 * j, row, with_high_bits(lower, two_bits(raw, start + 128, j), 4))


@device
def iq4_xs_pack(raw, start, w, at, row):
    """Block: d, 16 bits and 4 bytes of scales (upper two and lower four bits), 8 blocks of 16 bytes."""
    put_half(raw, start, w, at + D, row)
    for j in range(8):
        upper = raw[start + 2 + j // 4] >> 2 * (j % 4) & 3
        w[at + 32 + 16 * j + row] = (raw[start + 4 + j // 2] >> 4 * (j % 2) & 15 | upper << 4) - 32
        put_nibbles(raw, start + 8 + 16 * j, w, at + 160 + 256 * j, row)


def layout(name: str, ggml_type: int, sizes: tuple[int, int], offset: int, *rest) -> Layout:
    unit_bytes, raw_bytes = sizes
    return Layout(name, ggml_type, 256, unit_bytes, raw_bytes, offset, *rest)


k4_scale, k4_minimum = products(D, 64, 1, load_u8_i32), products(DMIN, 192, 1, load_u8_i32)
q2_scale, q2_minimum = products(D, 64, 2, low_nibbles), products(DMIN, 64, 2, high_nibbles)
half_scale, whole_scale = products(D, 32, 2, load_i8_i32), products(D, 32, 1, load_i8_i32)

ALL = (
    layout("Q2_K", 10, (1344, 84), 0, True, codes_at(2, 320), q2_scale, q2_minimum, q2_k_pack),
    layout("Q3_K", 11, (1824, 110), 4, True, codes_at(3, 288), half_scale, None, q3_k_pack),
    layout("Q4_K", 12, (2368, 144), 0, False, codes_at(4, 320), k4_scale, k4_minimum, q4_k_pack),
    layout("Q5_K", 13, (2880, 176), 0, False, codes_at(5, 320), k4_scale, k4_minimum, q5_k_pack),
    layout("Q6_K", 14, (3360, 210), 32, True, codes_at(6, 288), half_scale, None, q6_k_pack),
    layout("IQ4_XS", 23, (2208, 136), 128, False, iq4_xs_codes, whole_scale, None, iq4_xs_pack),
)
