"""KV pages as the device stores them: u32 words, and their translation to and from a HostKV."""

from __future__ import annotations

import math

import numpy as np

from wgpu_infer.contracts.contract import PAGE_SLOTS
from wgpu_infer.contracts.host import check_kv
from wgpu_infer.errors import UnsupportedError
from wgpu_infer.formats import quants

MAX_HEAD_DIM = 256  # attention.wgsl: one invocation of 64 holds four values of the output
Q8_WORDS = 9  # per 32 values: 8 of codes, then the f16 scale


def check_pages(dtype: str, head_dim: int) -> None:
    """ParameterError for a type that does not exist or fit, UnsupportedError for what no shader reads."""
    check_kv(dtype, head_dim)
    if head_dim % 4 or head_dim > MAX_HEAD_DIM:
        raise UnsupportedError(
            f"a head dimension of {head_dim} does not run on webgpu: it must be a multiple of 4, at most {MAX_HEAD_DIM}"
        )


def slot_words(dtype: str, head_dim: int) -> int:
    """Words per slot (one token of one head)."""
    return {"f32": head_dim, "f16": head_dim // 2, "q8_0": head_dim // 32 * Q8_WORDS}[dtype]


def page_words(dtype: str, pages: int, kv_heads: int, head_dim: int) -> int:
    return pages * kv_heads * PAGE_SLOTS * slot_words(dtype, head_dim)


def encode(values: np.ndarray, dtype: str) -> np.ndarray:
    """(pages, kv_heads, 64, head_dim) to words."""
    if dtype == "f32":
        return np.ascontiguousarray(values, np.float32).reshape(-1).view(np.uint32)
    if dtype == "f16":
        return np.ascontiguousarray(values, np.float16).reshape(-1).view(np.uint32)
    rows = np.ascontiguousarray(values, np.float32).reshape(-1, values.shape[-1])
    blocks = quants.quantize(rows, "Q8_0").view(quants.get_format("Q8_0").dtype)
    words = np.zeros((len(blocks), Q8_WORDS), np.uint32)
    words[:, :8] = np.ascontiguousarray(blocks["qs"]).view(np.uint32)
    words[:, 8] = blocks["d"].view(np.uint16)
    return words.reshape(-1)


def decode(words: np.ndarray, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Words to (pages, kv_heads, 64, head_dim): float16 for f16, else float32."""
    if dtype != "q8_0":
        return words.view(np.float16 if dtype == "f16" else np.float32).reshape(shape)
    f = quants.get_format("Q8_0")
    parts = words.reshape(-1, Q8_WORDS)
    blocks = np.empty(len(parts), f.dtype)
    blocks["qs"] = np.ascontiguousarray(parts[:, :8]).view(np.int8).reshape(-1, 32)
    blocks["d"] = parts[:, 8].astype(np.uint16).view(np.float16)
    return quants.dequantize(blocks.view(np.uint8), "Q8_0", (math.prod(shape[:-1]), shape[-1])).reshape(shape)
