"""float32 to blocks for the plain formats and those with one scale per 32 values.

Every function maps float32 (n, block_size) to uint8 (n, block_bytes) and gives the same bytes as ggml's reference
quantisers (and the `gguf` package): the scale comes from the extreme values alone. The block formats need finite
values, which `quants.quantize` checks.
"""

from __future__ import annotations

import numpy as np

from wgpu_infer.errors import ParameterError
from wgpu_infer.formats.blocks import LAYOUTS, Bytes, Floats, join_bits


def to_bytes(name: str, **values: np.ndarray) -> Bytes:
    """Blocks from their fields, each (n,) or (n, k): -> uint8 (n, block_bytes)."""
    layout = LAYOUTS[name]
    blocks = np.empty(len(next(iter(values.values()))), layout)
    for field, value in values.items():
        blocks[field] = value
    return blocks.view(np.uint8).reshape(-1, layout.itemsize)


def to_half(x: Floats) -> np.ndarray:
    """float16 of x; raises ParameterError where a finite value is too large for it."""
    with np.errstate(over="ignore", under="ignore"):
        half = x.astype("<f2")
    if np.any(np.isinf(half) & np.isfinite(x)):
        raise ParameterError(f"a weight is too large for float16: {np.abs(x).max():g} is over 65504")
    return half


def quantize_f32(x: Floats) -> Bytes:
    return to_bytes("F32", x=x[:, 0])


def quantize_f16(x: Floats) -> Bytes:
    return to_bytes("F16", x=to_half(x[:, 0]))


def quantize_bf16(x: Floats) -> Bytes:
    """Rounds half to even; a NaN stays one (its quiet bit is set, so that cutting it cannot give infinity)."""
    bits = np.ascontiguousarray(x[:, 0]).view(np.uint32)
    rounded = (bits.astype(np.uint64) + 0x7FFF + (bits >> 16 & 1)) >> 16
    return to_bytes("BF16", x=np.where(np.isnan(x[:, 0]), bits >> 16 | 0x40, rounded))


def quantize_q4_0(x: Floats) -> Bytes:
    d, codes = _signed_codes(x, 8)
    return to_bytes("Q4_0", d=to_half(d), qs=join_bits(codes, 4, 16))


def quantize_q5_0(x: Floats) -> Bytes:
    d, codes = _signed_codes(x, 16)
    return to_bytes("Q5_0", d=to_half(d), qh=_fifth_bits(codes), qs=join_bits(codes & 15, 4, 16))


def quantize_q4_1(x: Floats) -> Bytes:
    d, m, codes = _unsigned_codes(x, 15)
    return to_bytes("Q4_1", d=to_half(d), m=to_half(m), qs=join_bits(codes, 4, 16))


def quantize_q5_1(x: Floats) -> Bytes:
    d, m, codes = _unsigned_codes(x, 31)
    return to_bytes("Q5_1", d=to_half(d), m=to_half(m), qh=_fifth_bits(codes), qs=join_bits(codes & 15, 4, 16))


def quantize_q8_0(x: Floats) -> Bytes:
    d = np.abs(x).max(axis=1) / np.float32(127)
    scaled = x * _inverse(d)[:, None]
    whole = np.trunc(scaled)
    codes = whole + np.trunc(2 * (scaled - whole))  # rounds half away from zero
    return to_bytes("Q8_0", d=to_half(d), qs=codes.astype(np.int8))


def _signed_codes(x: Floats, half: int) -> tuple[Floats, Bytes]:
    """The value of largest magnitude, of either sign, becomes code 0 (that is -half): (n, 32) -> d, codes (n, 32)."""
    peak = np.take_along_axis(x, np.abs(x).argmax(axis=1)[:, None], axis=1)[:, 0]
    d = peak / np.float32(-half)
    codes = np.trunc(x * _inverse(d)[:, None] + np.float32(half + 0.5))
    return d, np.minimum(codes, 2 * half - 1).astype(np.uint8)


def _unsigned_codes(x: Floats, top: int) -> tuple[Floats, Floats, Bytes]:
    """Codes 0..top span the block from its smallest to its largest value: (n, 32) -> d, m (n,), codes (n, 32)."""
    m = x.min(axis=1)
    d = (x.max(axis=1) - m) / np.float32(top)
    codes = np.trunc((x - m[:, None]) * _inverse(d)[:, None] + np.float32(0.5))
    return d, m, np.minimum(codes, top).astype(np.uint8)


def _inverse(d: Floats) -> Floats:
    """1 / d, and 0 where d is zero or so small that its inverse overflows (float16 rounds such a scale to zero)."""
    with np.errstate(divide="ignore", over="ignore"):
        inverse = np.float32(1) / d
    return np.where(np.isfinite(inverse), inverse, np.float32(0))


def _fifth_bits(codes: Bytes) -> Bytes:
    """(n, 32) codes below 32 -> (n, 4): bit i of the little-endian word is the fifth bit of code i."""
    return np.packbits(codes >> 4, axis=1, bitorder="little")
