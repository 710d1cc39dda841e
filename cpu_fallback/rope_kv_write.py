"""rope_kv_write: biases, norms per head and rope of queries (in place) and keys; keys and values into their pages."""

from __future__ import annotations

import numpy as np

from cpu_fallback.checks import BAD_PARAMETERS, POSITION, SEQUENCE, SLOTS, is_beyond
from cpu_fallback.jit import internal, kernel, span
from cpu_fallback.kv import LANES
from cpu_fallback.kv_store import store_key, store_value
from cpu_fallback.lanes import shares, sum_of_squares
from cpu_fallback.rms_norm import inverse_rms
from cpu_fallback.rope import rotate
from cpu_fallback.simd import element, set_element

PART = 8192  # elements


def parts(*, tokens: int, kv_heads: int, stride: int, **_: float) -> int:
    return shares(tokens * kv_heads, tokens * stride, PART)


@internal
def page_of(index, t, table, pages):
    """The page token t lies in; negative where its place or the page does not exist."""
    if is_beyond(index, t, table):
        return -1
    page = np.int64(table[index[t, SEQUENCE], np.int64(index[t, POSITION]) // SLOTS])
    return page if page < pages else -1


@internal
def take_head(qkv, start, bias, at, bias_size, head_dim, row):
    """A head and its bias, added, to the beginning of `row`, with zeros up to whole vectors."""
    for i in range(head_dim):
        value = element(qkv, start + i)
        set_element(row, i, value + element(bias, at + i) if bias_size else value)
    for i in range(head_dim, (head_dim + LANES - 1) // LANES * LANES):
        set_element(row, i, np.float32(0))


@internal
def norm_head(row, gains, at, head_dim, eps):
    """row / its root mean square · gains[at:]; zeros behind it fill its last vector."""
    whole = (head_dim + LANES - 1) // LANES * LANES
    factor = inverse_rms(sum_of_squares(row, np.int64(0), whole, row), head_dim, eps)
    for i in range(head_dim):
        set_element(row, i, element(row, i) * factor * element(gains, at + i))


@kernel
def rope_kv_write(
    qkv, index, table, bias, gains, kv_k, kv_v, kv_table, tokens, heads, kv_heads, head_dim, table_width, rot,
    interleaved, positions, half, stride, bias_size, gain_size, eps, part, parts, scratch,
):  # fmt: skip
    """qkv (tokens, stride), table (positions, half, 2), bias (stride), gains (2, head_dim); pages as in kv.py."""
    if kv_heads < 1 or heads % kv_heads or rot > head_dim or rot // 2 > half or bias_size not in (0, stride):
        return BAD_PARAMETERS
    if stride != (heads + 2 * kv_heads) * head_dim or gain_size not in (0, 2 * head_dim):
        return BAD_PARAMETERS
    group = heads // kv_heads
    first, last = span(tokens * kv_heads, part, parts)
    for unit in range(first, last):  # a head's tokens side by side: their keys share cache lines
        h, t = unit // tokens, unit % tokens
        position = np.int64(index[t, POSITION])
        page = page_of(index, t, kv_table, kv_k.shape[0])
        if page < 0 or (rot and position >= positions):
            return t + 1
        angles, row, head = position * half * 2, t * stride, page * kv_heads + h
        for g in range(group + 1):  # the group's queries, then the key
            at = (h * group + g if g < group else heads + h) * head_dim
            take_head(qkv, row + at, bias, at, bias_size, head_dim, scratch)
            if gain_size:
                norm_head(scratch, gains, head_dim if g == group else 0, head_dim, eps)
            rotate(scratch, table, angles, rot, interleaved)
            if g < group:
                for i in range(head_dim):
                    set_element(qkv, row + at + i, element(scratch, i))
        store_key(scratch, 0, head_dim, kv_k, head * (kv_k.shape[2] * kv_k.shape[3]), position % SLOTS)
        at = (heads + kv_heads + h) * head_dim
        take_head(qkv, row + at, bias, at, bias_size, head_dim, scratch)
        store_value(scratch, 0, head_dim, kv_v, head * (kv_v.shape[2] * kv_v.shape[3]), position % SLOTS)
    return 0
