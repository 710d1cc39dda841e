"""Values to KV pages and back, in numpy: pages as cpu_fallback/kv.py lays them out.

Values are (pages, kv_heads, 64, head_dim), float16 for f16 and float32 otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from wgpu_infer.formats import quants

GROUPS, LANES, BLOCK, BLOCK_BYTES = 4, 16, 32, 34
CODES = LANES * BLOCK  # bytes of a key block, before its scales

Convert = Callable[[np.ndarray], np.ndarray]
ConvertBack = Callable[[np.ndarray, int], np.ndarray]


@dataclass(frozen=True)
class PageFormat:
    """Conversions of keys and values of one type: values to items, (items, head_dim) to values."""

    k_pages_from_values: Convert
    v_pages_from_values: Convert
    k_values_from_pages: ConvertBack
    v_values_from_pages: ConvertBack


def transposed(values: np.ndarray) -> np.ndarray:
    """(pages, heads, 64, head_dim) -> (pages, heads, 4, head_dim · 16), 16 slots side by side."""
    pages, heads, _, head_dim = values.shape
    groups = values.reshape(pages, heads, GROUPS, LANES, head_dim).swapaxes(3, 4)
    return groups.reshape(pages, heads, GROUPS, head_dim * LANES)


def transposed_back(items: np.ndarray, head_dim: int) -> np.ndarray:
    pages, heads = items.shape[:2]
    groups = items.reshape(pages, heads, GROUPS, head_dim, LANES).swapaxes(3, 4)
    return groups.reshape(pages, heads, GROUPS * LANES, head_dim).copy()


def with_padding(values: np.ndarray) -> np.ndarray:
    """Rows filled up with zeros to a multiple of 16."""
    more = -values.shape[-1] % LANES
    return np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, more)])


def without_padding(items: np.ndarray, head_dim: int) -> np.ndarray:
    return items[..., :head_dim].copy()


def as_halves(convert: Convert) -> Convert:
    return lambda values: convert(values.view(np.uint16))


def from_halves(convert: ConvertBack) -> ConvertBack:
    return lambda items, head_dim: convert(items, head_dim).view(np.float16)


def blocks_of(values: np.ndarray) -> np.ndarray:
    """Q8_0 blocks of 34 bytes, uint8 (pages, heads, 64, row)."""
    return quants.quantize(values, "Q8_0").reshape(*values.shape[:-1], -1)


def values_of(blocks: np.ndarray, head_dim: int) -> np.ndarray:
    return quants.dequantize(np.ascontiguousarray(blocks), "Q8_0", (*blocks.shape[:-1], head_dim))


def key_blocks(values: np.ndarray) -> np.ndarray:
    """(pages, heads, 4, row): of 16 slots and 32 elements, codes (32, 16), then the 16 scales."""
    pages, heads, _, head_dim = values.shape
    each = blocks_of(values).reshape(pages, heads, GROUPS, LANES, head_dim // BLOCK, BLOCK_BYTES)
    each = np.moveaxis(each, 3, 4)  # (pages, heads, 4, blocks, 16, 34)
    codes, scales = each[..., 2:].swapaxes(4, 5), each[..., :2]
    parts = [part.reshape(*part.shape[:4], -1) for part in (codes, scales)]
    return np.concatenate(parts, axis=-1).reshape(pages, heads, GROUPS, -1)


def key_values(items: np.ndarray, head_dim: int) -> np.ndarray:
    pages, heads = items.shape[:2]
    blocks = items.reshape(pages, heads, GROUPS, head_dim // BLOCK, LANES * BLOCK_BYTES)
    codes = blocks[..., :CODES].reshape(*blocks.shape[:4], BLOCK, LANES).swapaxes(4, 5)
    scales = blocks[..., CODES:].reshape(*blocks.shape[:4], LANES, 2)
    each = np.moveaxis(np.concatenate([scales, codes], axis=-1), 4, 3)
    return values_of(each.reshape(pages, heads, GROUPS * LANES, -1), head_dim)


PAGE_FORMATS = {
    "f32": PageFormat(transposed, with_padding, transposed_back, without_padding),
    "f16": PageFormat(
        as_halves(transposed), as_halves(with_padding), from_halves(transposed_back), from_halves(without_padding)
    ),
    "q8_0": PageFormat(key_blocks, blocks_of, key_values, values_of),
}
