"""The weight formats that kernels read, by ggml type id, and kernels that are compiled once per format.

A kernel over weights is written as a function of `dequantize_row`: (data uint8, byte offset of a row, n values, out
float32 (n)). It is compiled for a format when a weight of that format first comes, so that a model pays for its own
formats only.
"""

from __future__ import annotations

from cpu_fallback.formats_32 import (
    dequantize_iq4_nl,
    dequantize_mxfp4,
    dequantize_q4_0,
    dequantize_q4_1,
    dequantize_q5_0,
    dequantize_q5_1,
    dequantize_q8_0,
)
from cpu_fallback.formats_k import (
    dequantize_iq4_xs,
    dequantize_q2_k,
    dequantize_q3_k,
    dequantize_q4_k,
    dequantize_q5_k,
    dequantize_q6_k,
)
from cpu_fallback.formats_plain import dequantize_bf16, dequantize_f16, dequantize_f32
from cpu_fallback.per_layout import per_layout

DEQUANTIZE_ROW = {
    0: dequantize_f32,
    1: dequantize_f16,
    2: dequantize_q4_0,
    3: dequantize_q4_1,
    6: dequantize_q5_0,
    7: dequantize_q5_1,
    8: dequantize_q8_0,
    10: dequantize_q2_k,
    11: dequantize_q3_k,
    12: dequantize_q4_k,
    13: dequantize_q5_k,
    14: dequantize_q6_k,
    20: dequantize_iq4_nl,
    23: dequantize_iq4_xs,
    30: dequantize_bf16,
    39: dequantize_mxfp4,
}


per_format = per_layout(DEQUANTIZE_ROW, raw=True)
