"""rope_kv_write: queries rotated in place; keys rotated and, with the values, into their sequences' pages."""

from __future__ import annotations

import numpy as np

from cpu_fallback.checks import BAD_PARAMETERS, POSITION, SLOTS
from cpu_fallback.jit import kernel, span
from cpu_fallback.kv_store import store_key, store_value
from cpu_fallback.kv_write import page_of, take_row
from cpu_fallback.lanes import shares
from cpu_fallback.rope import rotate, rotate_head

PART = 8192  # elements


def parts(*, tokens: int, heads: int, kv_heads: int, head_dim: int, **_: int) -> int:
    return shares(tokens * kv_heads, tokens * (heads + 2 * kv_heads) * head_dim, PART)


@kernel
def rope_kv_write(
    q, k, v, index, table, kv_k, kv_v, kv_table, tokens, heads, kv_heads, head_dim, table_width, rot, interleaved,
    positions, half, part, parts, scratch,
):  # fmt: skip
    """q (tokens, heads, head_dim); k, v (tokens, kv_heads, head_dim); table (positions, half, 2); pages as in kv.py."""
    if kv_heads < 1 or heads % kv_heads or rot > head_dim or rot // 2 > half:
        return BAD_PARAMETERS
    group = heads // kv_heads
    first, last = span(tokens * kv_heads, part, parts)
    for unit in range(first, last):  # a head's tokens side by side: their keys share cache lines
        h, t = unit // tokens, unit % tokens
        position = np.int64(index[t, POSITION])
        page = page_of(index, t, kv_table, kv_k.shape[0])
        if page < 0 or position >= positions:
            return t + 1
        angles, start, head = position * half * 2, (t * kv_heads + h) * head_dim, page * kv_heads + h
        for g in range(group):
            rotate_head(q, group * start + g * head_dim, table, angles, rot, interleaved, scratch)
        take_row(k, start, head_dim, scratch)
        rotate(scratch, table, angles, rot, interleaved)
        store_key(scratch, 0, head_dim, kv_k, head * (kv_k.shape[2] * kv_k.shape[3]), position % SLOTS)
        take_row(v, start, head_dim, scratch)
        store_value(scratch, 0, head_dim, kv_v, head * (kv_v.shape[2] * kv_v.shape[3]), position % SLOTS)
    return 0
