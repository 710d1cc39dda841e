"""KV pages in memory: one KV head's keys and values of 64 tokens, as float32, float16 bits or Q8_0 blocks.

Attention wants lanes that need no sums across them: 16 keys when it scores, 16 elements of a value when it adds values
up. So keys lie transposed, in 4 groups of 16 slots: (pages, kv heads, 4, row) with a row of (head_dim, 16), and values
do not: (pages, kv heads, 64, row) with head_dim rounded up to a multiple of 16, what is added being 0. Q8_0 has its
blocks of 32 along head_dim in both: for values as in a file (a float16 scale, 32 codes), for keys (32, 16) codes, then
the 16 slots' scales. Everything here takes flat positions of an array's items.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.extending import overload
from numba.np.numpy_support import as_dtype

from cpu_fallback import isa
from cpu_fallback.half import half_to_float
from cpu_fallback.simd import address, element, load_i8_i32, prefetch, splat_f32, store_f32, to_f32

SLOTS, LANES = 64, 16
GROUPS = SLOTS // LANES
BLOCK, BLOCK_BYTES = 32, 34
KEY_BLOCK_BYTES = LANES * BLOCK_BYTES
KEY_SCALES = LANES * BLOCK  # where a key block's scales begin
INTERNAL: Any = {"nogil": True, "error_model": "numpy", "_nrt": False}  # how functions chosen by item type are compiled


def padded(head_dim: int) -> int:
    """head_dim rounded up to whole vectors."""
    return -(-head_dim // LANES) * LANES


def storage(kind: str, head_dim: int) -> tuple[type, tuple[int, int], tuple[int, int]]:
    """(item type, shape of a head's keys in a page, shape of its values) of f32, f16 or q8_0; else KeyError."""
    if kind == "q8_0":
        blocks = head_dim // BLOCK
        return np.uint8, (GROUPS, blocks * KEY_BLOCK_BYTES), (SLOTS, blocks * BLOCK_BYTES)
    item = {"f32": np.float32, "f16": np.uint16}[kind]
    return item, (GROUPS, head_dim * LANES), (SLOTS, padded(head_dim))


def as_they_lie(pages, at, first, last, ahead, scratch, to):
    return address(pages, at)


def widened(pages, at, first, last, ahead, scratch, to):
    row = pages.shape[3]
    for i in range(first * row, last * row, LANES):
        prefetch(ahead + 2 * i)
        store_f32(scratch, to + i, isa.load_f16(pages, at + i))
    return address(scratch, to)


def key_blocks(pages, at, first, last, ahead, scratch, to):
    blocks = pages.shape[3] // KEY_BLOCK_BYTES
    for b in range(first * blocks, last * blocks):
        start, target = at + b * KEY_BLOCK_BYTES, to + b * (BLOCK * LANES)
        scale = isa.load_f16(pages, start + KEY_SCALES)
        for i in range(0, BLOCK * LANES, LANES):
            prefetch(ahead + b * KEY_BLOCK_BYTES + i)
            store_f32(scratch, target + i, to_f32(load_i8_i32(pages, start + i)) * scale)
    return address(scratch, to)


def value_blocks(pages, at, first, last, ahead, scratch, to):
    blocks = pages.shape[3] // BLOCK_BYTES
    for b in range(first * blocks, last * blocks):
        start, target = at + b * BLOCK_BYTES, to + b * BLOCK
        prefetch(ahead + b * BLOCK_BYTES)
        scale = splat_f32(half_to_float(np.uint32(element(pages, start)) | np.uint32(element(pages, start + 1)) << 8))
        store_f32(scratch, target, to_f32(load_i8_i32(pages, start + 2)) * scale)
        store_f32(scratch, target + LANES, to_f32(load_i8_i32(pages, start + 2 + LANES)) * scale)
    return address(scratch, to)


KEYS = {np.float32: as_they_lie, np.uint16: widened, np.uint8: key_blocks}
VALUES = {np.float32: as_they_lie, np.uint16: widened, np.uint8: value_blocks}


def load_keys(pages, at, first, last, ahead, scratch, to):
    """A head's keys at `at`, groups first..last-1 of them -> address of float32 (4, head_dim, 16).

    They are converted to scratch from position `to` on, unless they are float32. Meanwhile as much memory from address
    `ahead` on is brought into the cache: the next page, which no prefetcher foresees (one thread read 10 GB/s without
    it, 30 with it; asked for in one go instead of line by line, the requests wait for each other).
    """
    return KEYS[pages.dtype.type](pages, at, first, last, ahead, scratch, to)


def load_values(pages, at, first, last, ahead, scratch, to):
    """A head's values, slots first..last-1, likewise -> address of float32 (64, padded head_dim)."""
    return VALUES[pages.dtype.type](pages, at, first, last, ahead, scratch, to)


@overload(load_keys, jit_options=INTERNAL)
def compiled_load_keys(pages, at, first, last, ahead, scratch, to):
    return KEYS[as_dtype(pages.dtype).type]


@overload(load_values, jit_options=INTERNAL)
def compiled_load_values(pages, at, first, last, ahead, scratch, to):
    return VALUES[as_dtype(pages.dtype).type]
