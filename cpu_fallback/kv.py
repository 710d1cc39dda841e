"""Rows of KV pages: one head's key or value of one token, stored as float32, float16 bits or Q8_0 blocks.

Pages are (pages, kv heads, 64, row), the row being head_dim float32 or uint16, or head_dim / 32 blocks of 34 bytes. A
kernel is compiled for the pages' item type and calls the functions of that type. Q8_0 rows equal those of
formats/quants.py bit for bit; a row that is not finite, which that refuses, is stored as NaN.
"""

from __future__ import annotations

import math

import numpy as np
from numba.extending import overload
from numba.np.numpy_support import as_dtype

from cpu_fallback.formats_32 import dequantize_q8_0
from cpu_fallback.half import float_to_half, half_to_float
from cpu_fallback.jit import device

BLOCK, BLOCK_BYTES = 32, 34
CODES, TWO, ONE, ZERO, NAN = np.float32(127), np.float32(2), np.float32(1), np.float32(0), np.float32(np.nan)


def storage(kind: str, head_dim: int) -> tuple[type, int]:
    """(item type, items of a row) of pages of type f32, f16 or q8_0; KeyError for any other."""
    return {
        "f32": (np.float32, head_dim),
        "f16": (np.uint16, head_dim),
        "q8_0": (np.uint8, head_dim // BLOCK * BLOCK_BYTES),
    }[kind]


@device
def load_f32(rows, low, high, out):
    for s in range(low, high):
        for i in range(out.shape[1]):
            out[s, i] = rows[s, i]


@device
def load_f16(rows, low, high, out):
    for s in range(low, high):
        for i in range(out.shape[1]):
            out[s, i] = half_to_float(rows[s, i])


@device
def load_q8_0(rows, low, high, out):
    for s in range(low, high):
        dequantize_q8_0(rows[s], 0, out.shape[1], out[s])


@device
def store_f32(x, row):
    for i in range(x.size):
        row[i] = x[i]


@device
def store_f16(x, row):
    for i in range(x.size):
        row[i] = float_to_half(x[i])


@device
def store_q8_0(x, row):
    for b in range(x.size // BLOCK):
        store_block(x, b * BLOCK, row, b * BLOCK_BYTES)


@device
def store_block(x, first, row, at):
    """x[first:first+32] -> a float16 scale and 32 int8 codes at row[at]."""
    peak, finite = ZERO, True
    for i in range(BLOCK):
        peak = max(peak, abs(x[first + i]))
        finite = finite and math.isfinite(x[first + i])
    d = np.float32(peak / CODES) if finite else NAN
    inverse = np.float32(ONE / d) if d > ZERO else ZERO
    inverse = inverse if math.isfinite(inverse) else ZERO
    scale = float_to_half(d)
    row[at], row[at + 1] = scale & 255, scale >> 8
    for i in range(BLOCK):
        row[at + 2 + i] = nearest(np.float32(x[first + i] * inverse) if finite else ONE) & 255


@device
def nearest(x):
    """float32 -> int64, half away from zero, as ggml rounds: in two steps that cannot pick up a rounding error."""
    whole = math.trunc(x)
    return whole + math.trunc(np.float32(TWO * np.float32(x - np.float32(whole))))


LOAD = {np.float32: load_f32, np.uint16: load_f16, np.uint8: load_q8_0}
STORE = {np.float32: store_f32, np.uint16: store_f16, np.uint8: store_q8_0}


def load_rows(rows, low, high, out):
    """rows (64, row), one head of a page -> out float32 (64, head_dim), slots low..high-1."""
    LOAD[rows.dtype.type](rows, low, high, out)


def store_row(x, row):
    """x float32 (head_dim) -> row: a row of a page."""
    STORE[row.dtype.type](x, row)


@overload(load_rows)
def compiled_load_rows(rows, low, high, out):
    load = LOAD[as_dtype(rows.dtype).type]
    return lambda rows, low, high, out: load(rows, low, high, out)


@overload(store_row)
def compiled_store_row(x, row):
    store = STORE[as_dtype(row.dtype).type]
    return lambda x, row: store(x, row)
