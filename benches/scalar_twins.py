"""Plain loops in numba, one number after the other: what the SIMD kernels are measured against and agree with.

numba.njit as anyone would use it: no fast-math, no threads, no SIMD values. LLVM may still make vectors of a loop
whose iterations do not depend on each other; `scalar_code` keeps it from that. float16 is read by a table, which is
faster than converting bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numba
import numpy as np

config: Any = numba.config  # its attributes come from the environment
plain: Any = numba.njit(nogil=True, error_model="numpy")
HALVES = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)  # by a float16's bits
SLOTS = 64  # tokens of a KV page


@contextmanager
def scalar_code() -> Iterator[None]:
    """What is compiled meanwhile (at its first call) gets no vectors from LLVM's loop and SLP vectorisers."""
    before = config.LOOP_VECTORIZE, config.SLP_VECTORIZE
    config.LOOP_VECTORIZE = config.SLP_VECTORIZE = 0
    try:
        yield
    finally:
        config.LOOP_VECTORIZE, config.SLP_VECTORIZE = before


@plain
def dot(x, y):
    """float32 (n), (n) -> float32."""
    total = np.float32(0)
    for i in range(x.size):
        total += x[i] * y[i]
    return total


@plain
def product(codes, scales, w, out):
    """int8 codes (tokens, cols), scales (tokens, cols / 32), w float32 (rows, cols) -> out (tokens, rows)."""
    for t in range(codes.shape[0]):
        for r in range(w.shape[0]):
            total = 0.0
            for k in range(w.shape[1]):
                total += np.float64(codes[t, k]) * scales[t, k // 32] * w[r, k]
            out[t, r] = total


@plain
def rms_norm(x, gain, eps, out):
    """x (rows, dim), gain (dim) -> out (rows, dim)."""
    for r in range(x.shape[0]):
        total = 0.0
        for i in range(x.shape[1]):
            total += np.float64(x[r, i]) * x[r, i]
        inverse = 1 / math.sqrt(total / x.shape[1] + eps)
        for i in range(x.shape[1]):
            out[r, i] = x[r, i] * inverse * gain[i]


@plain
def softmax(x, scale, out):
    """x (rows, cols) -> out (rows, cols)."""
    for r in range(x.shape[0]):
        highest, total = -math.inf, 0.0
        for i in range(x.shape[1]):
            highest = max(highest, x[r, i] * scale)
        for i in range(x.shape[1]):
            total += math.exp(x[r, i] * scale - highest)
        for i in range(x.shape[1]):
            out[r, i] = math.exp(x[r, i] * scale - highest) / total


@plain
def silu_glu(gate, up, out):
    """gate, up (n) -> out (n)."""
    for i in range(gate.size):
        x = np.float64(gate[i])
        out[i] = x / (1 + math.exp(-x)) * up[i]


@plain
def attention(q, kv_k, kv_v, pages, keys, scale, halves, scores, out):
    """One token. q, out (heads, head_dim); kv_k, kv_v float16 bits (page, kv head, slot, head_dim); scores (keys)."""
    heads, head_dim = q.shape
    for h in range(heads):
        head = h * kv_k.shape[1] // heads
        highest = np.float32(-np.inf)
        for k in range(keys):
            row = kv_k[pages[k // SLOTS], head, k % SLOTS]
            total = np.float32(0)
            for i in range(head_dim):
                total += q[h, i] * halves[row[i]]
            scores[k] = total * scale
            highest = max(highest, scores[k])
        total = np.float32(0)
        for k in range(keys):
            scores[k] = math.exp(scores[k] - highest)
            total += scores[k]
        out[h] = np.float32(0)
        for k in range(keys):
            row, weight = kv_v[pages[k // SLOTS], head, k % SLOTS], scores[k] / total
            for i in range(head_dim):
                out[h, i] += weight * halves[row[i]]


@plain
def dequantize_q4_k(raw, halves, out):
    """raw (blocks, 144): d, dmin, 8 scales and minima in 12 bytes, 128 bytes of codes -> out (blocks, 256)."""
    for b in range(raw.shape[0]):
        block, values = raw[b], out[b]
        d, dmin = halves[block[0] | block[1] << 8], halves[block[2] | block[3] << 8]
        for g in range(8):
            if g < 4:
                s, m = block[4 + g] & 63, block[8 + g] & 63
            else:
                s, m = block[8 + g] & 15 | block[g] >> 6 << 4, block[8 + g] >> 4 | block[4 + g] >> 6 << 4
            scale, minimum = d * np.float32(s), dmin * np.float32(m)
            for j in range(32):
                code = block[16 + g // 2 * 32 + j] >> 4 * (g % 2) & 15
                values[32 * g + j] = scale * np.float32(code) - minimum
