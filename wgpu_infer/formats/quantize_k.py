"""float32 to blocks for Q4_K, Q5_K and Q6_K.

Three steps per super-block of 256: the best real scale (and minimum) of each group by least squares (scale_search.py);
one float16 step `d` such that the largest scale takes the largest code; then each group chooses, among the scale codes
next to its own, the one that leaves the smallest squared error after all roundings. The bytes are ours, not ggml's: on
weight-like tensors the root mean square error is 2-5 % below that of llama.cpp's quantiser without importance matrix,
and far below it where weights are so small that `d` is a float16 subnormal.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from wgpu_infer.formats.blocks import Bytes, Floats, join_bits, join_scales_k4
from wgpu_infer.formats.quantize import to_bytes, to_half
from wgpu_infer.formats.scale_search import fit_affine, fit_symmetric, nearest_codes

_NEAR = (0, -1, 1)  # steps from a rounded scale code that are tried


def quantize_q4_k(x: Floats) -> Bytes:
    d, dmin, scales, codes = _affine_codes(x, 15)
    return to_bytes("Q4_K", d=d, dmin=dmin, scales=scales, qs=join_bits(codes, 4, 32))


def quantize_q5_k(x: Floats) -> Bytes:
    d, dmin, scales, codes = _affine_codes(x, 31)
    high = join_bits(codes >> 4, 1, 32)
    return to_bytes("Q5_K", d=d, dmin=dmin, scales=scales, qh=high, qs=join_bits(codes & 15, 4, 32))


def quantize_q6_k(x: Floats) -> Bytes:
    groups = x.reshape(-1, 16, 16)
    fitted = fit_symmetric(x.reshape(-1, 16), -32, 31).reshape(-1, 16)
    widest = np.take_along_axis(fitted, np.abs(fitted).argmax(axis=1)[:, None], axis=1)[:, 0]
    d = _half_over(widest / np.float32(-128))
    scales = _nearest_symmetric(groups, _step(d), nearest_codes(fitted, _step(d), 0, -128, 127))
    codes = _codes_of_scaled(groups, _step(d) * scales).reshape(-1, 256)
    return to_bytes("Q6_K", d=d, scales=scales, ql=join_bits(codes & 15, 4, 64), qh=join_bits(codes >> 4, 2, 32))


def _half_over(x: Floats) -> np.ndarray:
    """The float16 next to x (n,) that is not smaller in magnitude, so that no scale exceeds the largest code.

    It matters for weights below 1e-3: their `d` is subnormal, and the nearest float16 may be a fraction of it, or zero.
    """
    half = to_half(x)
    is_short = np.abs(half.astype(np.float32)) < np.abs(x)
    return np.where(is_short, np.nextafter(half, np.copysign(np.float16(np.inf), half)), half)


def _step(d: np.ndarray) -> Floats:
    """A float16 scale (n,) as the decoder will see it, float32 (n, 1)."""
    return d.astype(np.float32)[:, None]


def _nearest_symmetric(groups: Floats, d: Floats, start: Floats) -> Floats:
    """The best scale code of each group near `start`: groups (n, 16, 16), d (n, 1), start (n, 16) -> (n, 16)."""
    best, best_error = start, np.full(start.shape, np.inf, np.float32)
    for step in _NEAR:
        scales = np.clip(start + step, -128, 127)
        size = (d * scales)[:, :, None]
        left = size * nearest_codes(groups, size, 0, -32, 31) - groups
        error = np.einsum("ngi,ngi->ng", left, left)
        best, best_error = np.where(error < best_error, scales, best), np.minimum(error, best_error)
    return best


def _codes_of_scaled(groups: Floats, size: Floats) -> Bytes:
    """Stored Q6_K codes, 0..63 for -32..31: groups (n, 16, 16), size (n, 16) -> (n, 16, 16)."""
    return (nearest_codes(groups, size[:, :, None], 0, -32, 31) + 32).astype(np.uint8)


def _affine_codes(x: Floats, top: int) -> tuple[np.ndarray, np.ndarray, Bytes, Bytes]:
    """x (n, 256), codes 0..top -> d (n,), dmin (n,), packed scales (n, 12), codes (n, 256)."""
    groups = x.reshape(-1, 8, 32)
    scale, minimum = (fit.reshape(-1, 8) for fit in fit_affine(x.reshape(-1, 32), top))
    d, dmin = (_half_over(largest.max(axis=1) / np.float32(63)) for largest in (scale, minimum))
    start = nearest_codes(scale, _step(d), 0, 0, 63), nearest_codes(minimum, _step(dmin), 0, 0, 63)
    scales, minima = _nearest_affine(groups, _step(d), _step(dmin), start, top)
    codes = _codes_of_affine(groups, _step(d) * scales, _step(dmin) * minima, top)
    packed = join_scales_k4(scales.astype(np.uint8), minima.astype(np.uint8))
    return d, dmin, packed, codes.astype(np.uint8).reshape(-1, 256)


def _nearest_affine(
    groups: Floats, d: Floats, dmin: Floats, start: tuple[Floats, Floats], top: int
) -> tuple[Floats, Floats]:
    """The best scale and minimum codes near `start` (two (n, 8)): groups (n, 8, 32), d, dmin (n, 1) -> two (n, 8)."""
    best, best_error = np.stack(start), np.full(start[0].shape, np.inf, np.float32)
    for steps in product(_NEAR, _NEAR):
        scales, minima = (np.clip(code + step, 0, 63) for code, step in zip(start, steps, strict=True))
        size, offset = d * scales, dmin * minima
        left = size[:, :, None] * _codes_of_affine(groups, size, offset, top) - offset[:, :, None] - groups
        error = np.einsum("ngi,ngi->ng", left, left)
        best = np.where(error < best_error, np.stack([scales, minima]), best)
        best_error = np.minimum(error, best_error)
    return best[0], best[1]


def _codes_of_affine(groups: Floats, size: Floats, offset: Floats, top: int) -> Floats:
    """Codes for size * code - offset: groups (n, 8, 32), size and offset (n, 8) -> (n, 8, 32)."""
    return nearest_codes(groups, size[:, :, None], -offset[:, :, None], 0, top)
