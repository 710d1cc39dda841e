"""The memory layout of one block of each weight format, and the bit packing they share.

A block is `block_size` neighbouring values of a row. Field names and order are ggml's (ggml-common.h), little-endian
and without padding, so `blocks.view(LAYOUTS[name])` reads a file's bytes as they lie. `d` (and `dmin`, `m`) are
float16 scales of the whole block; `scales` are small integers that multiply them, one per group of 16 or 32 values.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

K_VALUES = 256  # values in a super-block of the K formats and IQ4_XS

LAYOUTS: dict[str, np.dtype] = {
    "F32": np.dtype([("x", "<f4")]),
    "F16": np.dtype([("x", "<f2")]),
    "BF16": np.dtype([("x", "<u2")]),  # the upper half of a float32
    "Q4_0": np.dtype([("d", "<f2"), ("qs", "u1", 16)]),
    "Q4_1": np.dtype([("d", "<f2"), ("m", "<f2"), ("qs", "u1", 16)]),
    "Q5_0": np.dtype([("d", "<f2"), ("qh", "u1", 4), ("qs", "u1", 16)]),
    "Q5_1": np.dtype([("d", "<f2"), ("m", "<f2"), ("qh", "u1", 4), ("qs", "u1", 16)]),
    "Q8_0": np.dtype([("d", "<f2"), ("qs", "i1", 32)]),
    "Q2_K": np.dtype([("scales", "u1", 16), ("qs", "u1", 64), ("d", "<f2"), ("dmin", "<f2")]),
    "Q3_K": np.dtype([("hmask", "u1", 32), ("qs", "u1", 64), ("scales", "u1", 12), ("d", "<f2")]),
    "Q4_K": np.dtype([("d", "<f2"), ("dmin", "<f2"), ("scales", "u1", 12), ("qs", "u1", 128)]),
    "Q5_K": np.dtype([("d", "<f2"), ("dmin", "<f2"), ("scales", "u1", 12), ("qh", "u1", 32), ("qs", "u1", 128)]),
    "Q6_K": np.dtype([("ql", "u1", 128), ("qh", "u1", 64), ("scales", "i1", 16), ("d", "<f2")]),
    "IQ4_NL": np.dtype([("d", "<f2"), ("qs", "u1", 16)]),
    "IQ4_XS": np.dtype([("d", "<f2"), ("scales_h", "<u2"), ("scales_l", "u1", 4), ("qs", "u1", 128)]),
    "MXFP4": np.dtype([("e", "u1"), ("qs", "u1", 16)]),
}

# The 16 values of a 4-bit code of IQ4_NL and IQ4_XS (denser near zero), and of MXFP4 (FP4 E2M1, doubled to integers).
IQ4_VALUES = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.float32)
FP4_VALUES = np.array([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12], np.float32)

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Codes = NDArray[np.integer]  # of any width; uint8 wherever they are stored


def split_bits(packed: Bytes, bits: int, run: int) -> Bytes:
    """Codes of `bits` bits each from bytes: (n, b) -> (n, b * 8 // bits).

    Each run of `run` bytes holds 8 / bits runs of codes: first the lowest bits of all its bytes, then the next bits.
    """
    n = packed.shape[0]
    shifts = np.arange(0, 8, bits, dtype=np.uint8)[:, None]
    codes = (packed.reshape(n, -1, 1, run) >> shifts) & np.uint8((1 << bits) - 1)
    return codes.reshape(n, -1)


def join_bits(codes: Codes, bits: int, run: int) -> Bytes:
    """The inverse of `split_bits`: codes (n, c) below 2**bits -> bytes (n, c * bits // 8)."""
    n = codes.shape[0]
    shifts = np.arange(0, 8, bits, dtype=np.uint8)[:, None]
    return np.bitwise_or.reduce(codes.reshape(n, -1, 8 // bits, run) << shifts, axis=2).reshape(n, -1)


def split_scales_k4(packed: Bytes) -> tuple[Bytes, Bytes]:
    """The eight 6-bit scales and eight 6-bit minima of Q4_K and Q5_K: (n, 12) -> (n, 8), (n, 8).

    Bytes 0-3 hold scales 0-3 and bytes 4-7 minima 0-3 in their lower six bits. Bytes 8-11 hold the lower four bits of
    scales 4-7 and, in the upper half, of minima 4-7; the missing two bits are the upper bits of bytes 0-3 and 4-7.
    """
    first, second, low = packed[:, 0:4], packed[:, 4:8], packed[:, 8:12]
    scales = np.concatenate([first & 63, (low & 15) | (first >> 6 << 4)], axis=1)
    minima = np.concatenate([second & 63, (low >> 4) | (second >> 6 << 4)], axis=1)
    return scales, minima


def join_scales_k4(scales: Bytes, minima: Bytes) -> Bytes:
    """The inverse of `split_scales_k4`: 6-bit (n, 8), (n, 8) -> (n, 12)."""
    first = scales[:, :4] | (scales[:, 4:] >> 4 << 6)
    second = minima[:, :4] | (minima[:, 4:] >> 4 << 6)
    low = (scales[:, 4:] & 15) | (minima[:, 4:] << 4)
    return np.concatenate([first, second, low], axis=1)
