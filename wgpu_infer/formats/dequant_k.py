"""Blocks to float32 for the formats with 256-value super-blocks: Q2_K to Q6_K and IQ4_XS.

A super-block holds a float16 scale `d` and, for each group of 16 or 32 values, a small integer that multiplies it.
Functions map uint8 blocks (n, block_bytes) to float32 (n, 256) in ggml's order of operations: first the group's scale
is rounded to float32, then the product with the code (and the subtraction of the group's minimum).
"""

from __future__ import annotations

import numpy as np

from wgpu_infer.formats.blocks import IQ4_VALUES, K_VALUES, Bytes, Codes, Floats, split_bits, split_scales_k4
from wgpu_infer.formats.dequant import column, fields


def dequantize_q2_k(blocks: Bytes) -> Floats:
    b = fields(blocks, "Q2_K")
    scales = column(b["d"]) * (b["scales"] & 15).astype(np.float32)
    minima = column(b["dmin"]) * (b["scales"] >> 4).astype(np.float32)
    return _affine(scales, split_bits(b["qs"], 2, 32), minima)


def dequantize_q3_k(blocks: Bytes) -> Floats:
    b = fields(blocks, "Q3_K")
    scales = column(b["d"]) * _scales_q3_k(b["scales"])
    # The third bit is stored inverted: where it is clear, 4 is subtracted.
    codes = split_bits(b["qs"], 2, 32) | split_bits(b["hmask"], 1, 32) << 2
    return _scaled(scales, codes.astype(np.float32) - 4)


def _scales_q3_k(packed: Bytes) -> Floats:
    """Sixteen scales of -32..31: (n, 12) -> (n, 16); bytes 0-7 hold their lower four bits, 8-11 the upper two."""
    scales = split_bits(packed[:, :8], 4, 8) | split_bits(packed[:, 8:], 2, 4) << 4
    return scales.astype(np.float32) - 32


def dequantize_q4_k(blocks: Bytes) -> Floats:
    b = fields(blocks, "Q4_K")
    scales, minima = _scales_k4(b)
    return _affine(scales, split_bits(b["qs"], 4, 32), minima)


def dequantize_q5_k(blocks: Bytes) -> Floats:
    b = fields(blocks, "Q5_K")
    scales, minima = _scales_k4(b)
    return _affine(scales, split_bits(b["qs"], 4, 32) | split_bits(b["qh"], 1, 32) << 4, minima)


def _scales_k4(b: np.ndarray) -> tuple[Floats, Floats]:
    """Scales and minima of the eight groups of Q4_K and Q5_K: fields (n,) -> (n, 8), (n, 8)."""
    scales, minima = split_scales_k4(b["scales"])
    return column(b["d"]) * scales.astype(np.float32), column(b["dmin"]) * minima.astype(np.float32)


def dequantize_q6_k(blocks: Bytes) -> Floats:
    b = fields(blocks, "Q6_K")
    scales = column(b["d"]) * b["scales"].astype(np.float32)
    codes = split_bits(b["ql"], 4, 64) | split_bits(b["qh"], 2, 32) << 4
    return _scaled(scales, codes.astype(np.float32) - 32)


def dequantize_iq4_xs(blocks: Bytes) -> Floats:
    b = fields(blocks, "IQ4_XS")
    low = split_bits(b["scales_l"], 4, 1)  # (n, 8): the lower half of a byte is the even group
    high = (b["scales_h"][:, None] >> np.arange(0, 16, 2, dtype=np.uint16)) & 3
    scales = column(b["d"]) * ((low | high << 4).astype(np.float32) - 32)
    return _scaled(scales, IQ4_VALUES[split_bits(b["qs"], 4, 16)])


def _scaled(scales: Floats, values: Floats) -> Floats:
    """scales (n, groups), values (n, 256) -> their product (n, 256)."""
    groups = values.reshape(*scales.shape, -1)
    return (scales[:, :, None] * groups).reshape(-1, K_VALUES)


def _affine(scales: Floats, codes: Codes, minima: Floats) -> Floats:
    """scale * code - minimum, with scales and minima (n, groups) and codes (n, 256)."""
    groups = codes.reshape(*scales.shape, -1).astype(np.float32)
    return (scales[:, :, None] * groups - minima[:, :, None]).reshape(-1, K_VALUES)
