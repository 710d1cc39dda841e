"""kv_write: the tokens' keys and values into their sequences' pages, converted to the pages' type."""

from __future__ import annotations

import numpy as np

from cpu_fallback.checks import POSITION, SEQUENCE, SLOTS, is_beyond
from cpu_fallback.jit import internal, kernel, span
from cpu_fallback.kv import LANES
from cpu_fallback.kv_store import store_key, store_value
from cpu_fallback.lanes import shares
from cpu_fallback.simd import element, set_element

PART = 8192  # elements


def parts(*, tokens: int, kv_heads: int, head_dim: int, **_: int) -> int:
    return shares(tokens * kv_heads, tokens * kv_heads * head_dim, PART)


@internal
def page_of(index, t, table, pages):
    """The page token t lies in; negative where its place or the page does not exist."""
    if is_beyond(index, t, table):
        return -1
    page = np.int64(table[index[t, SEQUENCE], np.int64(index[t, POSITION]) // SLOTS])
    return page if page < pages else -1


@internal
def take_row(x, start, head_dim, row):
    """A head's elements to the beginning of `row`, with zeros up to whole vectors."""
    for i in range(head_dim):
        set_element(row, i, element(x, start + i))
    for i in range(head_dim, (head_dim + LANES - 1) // LANES * LANES):
        set_element(row, i, np.float32(0))


@kernel
def kv_write(k, v, index, kv_k, kv_v, kv_table, tokens, kv_heads, head_dim, table_width, part, parts, scratch):
    """k, v (tokens, kv_heads, head_dim) -> kv_k, kv_v: pages as in kv.py; kv_table (sequences, table_width)."""
    first, last = span(tokens * kv_heads, part, parts)
    for unit in range(first, last):  # a head's tokens side by side: their keys share cache lines
        h, t = unit // tokens, unit % tokens
        page = page_of(index, t, kv_table, kv_k.shape[0])
        if page < 0:
            return t + 1
        head, slot, start = page * kv_heads + h, np.int64(index[t, POSITION]) % SLOTS, (t * kv_heads + h) * head_dim
        take_row(k, start, head_dim, scratch)
        store_key(scratch, 0, head_dim, kv_k, head * (kv_k.shape[2] * kv_k.shape[3]), slot)
        take_row(v, start, head_dim, scratch)
        store_value(scratch, 0, head_dim, kv_v, head * (kv_v.shape[2] * kv_v.shape[3]), slot)
    return 0
