"""kv_write: the tokens' keys and values into their sequences' pages, converted to the pages' type."""

from __future__ import annotations

import numpy as np

from cpu_fallback.checks import POSITION, SEQUENCE, SLOTS, is_beyond
from cpu_fallback.jit import device, inlined, kernel, span
from cpu_fallback.kv import LANES
from cpu_fallback.kv_store import store_key, store_value
from cpu_fallback.lanes import shares
from cpu_fallback.simd import element, set_element

PART = 8192  # elements


def parts(*, tokens: int, kv_heads: int, head_dim: int, **_: int) -> int:
    return shares(tokens * kv_heads, tokens * kv_heads * head_dim, PART)


@inlined
def page_of(index, t, table):
    return np.int64(table[index[t, SEQUENCE], index[t, POSITION] // SLOTS])


@device
def take_row(x, start, head_dim, row, at):
    """A head's elements to a row of scratch, with zeros up to whole vectors."""
    for i in range((head_dim + LANES - 1) // LANES * LANES):
        set_element(row, at + i, element(x, start + i) if i < head_dim else np.float32(0))


@kernel
def kv_write(k, v, index, kv_k, kv_v, kv_table, tokens, kv_heads, head_dim, table_width, part, parts, scratch):
    """k, v (tokens, kv_heads, head_dim) -> kv_k, kv_v: pages as in kv.py; kv_table (sequences, table_width)."""
    first, last = span(tokens * kv_heads, part, parts)
    width = (head_dim + LANES - 1) // LANES * LANES
    for unit in range(first, last):  # a head's tokens side by side: their keys share cache lines
        h, t = unit // tokens, unit % tokens
        if is_beyond(index, t, kv_table):
            return t + 1
        page, slot = page_of(index, t, kv_table), np.int64(index[t, POSITION]) % SLOTS
        if page >= kv_k.shape[0]:
            return t + 1
        head = page * kv_heads + h
        take_row(k, (t * kv_heads + h) * head_dim, head_dim, scratch, 0)
        store_key(scratch, 0, head_dim, kv_k, head * (kv_k.shape[2] * kv_k.shape[3]), slot, width)
        take_row(v, (t * kv_heads + h) * head_dim, head_dim, scratch, 0)
        store_value(scratch, 0, head_dim, kv_v, head * (kv_v.shape[2] * kv_v.shape[3]), slot)
    return 0
