"""Layouts of F32, F16 and BF16: 16 rows side by side, column after column. See layout.py."""

from __future__ import annotations

from cpu_fallback.isa import load_f16
from cpu_fallback.jit import device
from cpu_fallback.layout import ROWS, FloatLayout
from cpu_fallback.simd import load_bf16, load_f32, load_u16, load_u32, store_u16, store_u32


@device
def pack_2(raw, start, w, at, row, cols):
    for k in range(cols):
        store_u16(w, at + 2 * (ROWS * k + row), load_u16(raw, start + 2 * k))


@device
def pack_4(raw, start, w, at, row, cols):
    for k in range(cols):
        store_u32(w, at + 4 * (ROWS * k + row), load_u32(raw, start + 4 * k))


ALL = (
    FloatLayout("F32", 0, 4, load_f32, pack_4),
    FloatLayout("F16", 1, 2, load_f16, pack_2),
    FloatLayout("BF16", 30, 2, load_bf16, pack_2),
)
