"""Blocks to float32 for the plain formats and those with one scale per 32 values.

Every function maps uint8 blocks (n, block_bytes) to float32 (n, block_size). The order of the float32 operations is a
part of the format: results equal ggml's (and the `gguf` package's) to the last bit, also where scales are subnormal,
infinite or NaN.
"""

from __future__ import annotations

import numpy as np

from wgpu_infer.formats.blocks import FP4_VALUES, IQ4_VALUES, LAYOUTS, Bytes, Floats, split_bits


def fields(blocks: Bytes, name: str) -> np.ndarray:
    """Blocks (n, block_bytes) as a structured array (n,) of the format's fields, without a copy where possible."""
    return np.ascontiguousarray(blocks).view(LAYOUTS[name]).reshape(-1)


def column(field: np.ndarray) -> Floats:
    """A per-block field (n,) as float32 (n, 1)."""
    return field.astype(np.float32)[:, None]


def dequantize_f32(blocks: Bytes) -> Floats:
    return column(fields(blocks, "F32")["x"])


def dequantize_f16(blocks: Bytes) -> Floats:
    return column(fields(blocks, "F16")["x"])


def dequantize_bf16(blocks: Bytes) -> Floats:
    return (fields(blocks, "BF16")["x"].astype(np.uint32) << 16).view(np.float32)[:, None]


def dequantize_q4_0(blocks: Bytes) -> Floats:
    b = fields(blocks, "Q4_0")
    return column(b["d"]) * (split_bits(b["qs"], 4, 16).astype(np.float32) - 8)


def dequantize_q4_1(blocks: Bytes) -> Floats:
    b = fields(blocks, "Q4_1")
    return column(b["d"]) * split_bits(b["qs"], 4, 16).astype(np.float32) + column(b["m"])


def dequantize_q5_0(blocks: Bytes) -> Floats:
    b = fields(blocks, "Q5_0")
    return column(b["d"]) * (_codes_5bit(b) - 16)


def dequantize_q5_1(blocks: Bytes) -> Floats:
    b = fields(blocks, "Q5_1")
    return column(b["d"]) * _codes_5bit(b) + column(b["m"])


def _codes_5bit(b: np.ndarray) -> Floats:
    """Bit i of the 32-bit word `qh` is the fifth bit of code i: fields (n,) -> codes 0..31 as float32 (n, 32)."""
    high = np.unpackbits(b["qh"], axis=1, bitorder="little")
    return (split_bits(b["qs"], 4, 16) | high << 4).astype(np.float32)


def dequantize_q8_0(blocks: Bytes) -> Floats:
    b = fields(blocks, "Q8_0")
    return column(b["d"]) * b["qs"].astype(np.float32)


def dequantize_iq4_nl(blocks: Bytes) -> Floats:
    b = fields(blocks, "IQ4_NL")
    return column(b["d"]) * IQ4_VALUES[split_bits(b["qs"], 4, 16)]


def dequantize_mxfp4(blocks: Bytes) -> Floats:
    b = fields(blocks, "MXFP4")
    return _half_of_e8m0(b["e"])[:, None] * FP4_VALUES[split_bits(b["qs"], 4, 16)]


def _half_of_e8m0(exponent: Bytes) -> Floats:
    """2 ** (exponent - 128), half the scale because FP4_VALUES are doubled; 0 and 1 give float32 subnormals.

    255 is NaN in the OCP Microscaling specification; ggml reads it as a number, and so does this.
    """
    e = exponent.astype(np.uint32)
    bits = np.where(e < 2, np.uint32(0x00200000) << e, (e - 1) << 23)
    return bits.astype(np.uint32).view(np.float32)
