"""Layouts of the formats with one scale per block of 32 columns. See layout.py.

A unit is one block. Codes of 4 bits: 4 vectors, the low nibbles of vector c being columns 4c..4c+3, the high ones columns
16+4c..16+4c+3.
"""

from __future__ import annotations

from cpu_fallback.isa import load_f16
from cpu_fallback.jit import device, inlined
from cpu_fallback.layout import Layout
from cpu_fallback.simd import as_bytes, load_u8, splat_u8, words


@inlined
def nibbles(w, at):
    """256 bytes -> 8 vectors of 4-bit codes."""
    mask = splat_u8(15)
    a, b, c, d = load_u8(w, at), load_u8(w, at + 64), load_u8(w, at + 128), load_u8(w, at + 192)
    return a & mask, b & mask, c & mask, d & mask, upper(a), upper(b), upper(c), upper(d)


@inlined
def upper(v):
    return as_bytes(words(v) >> 4) & splat_u8(15)


@device
def copy_half(raw, start, w, at, row):
    """A float16 of the file to lane `row` of 16 of them."""
    w[at + 2 * row], w[at + 2 * row + 1] = raw[start], raw[start + 1]


@device
def pack_nibbles(raw, start, w, at, row):
    """16 bytes as ggml has them (low nibbles columns 0-15, high ones 16-31), which is byte for byte what a lane holds."""
    for c in range(4):
        for j in range(4):
            w[at + 64 * c + 4 * row + j] = raw[start + 4 * c + j]


# -- Q4_0: 4 vectors of nibbles, 16 float16 scales


@inlined
def q4_0_codes(w, at, j):
    return nibbles(w, at)


@inlined
def q4_0_scale(w, at, j, half):
    return load_f16(w, at + 256)


@device
def q4_0_pack(raw, start, w, at, row):
    copy_half(raw, start, w, at + 256, row)
    pack_nibbles(raw, start + 2, w, at, row)


Q4_0 = Layout("Q4_0", 2, 32, 288, 18, 8, False, q4_0_codes, q4_0_scale, None, q4_0_pack)
