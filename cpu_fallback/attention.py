"""attention: causal softmax attention over KV pages, with an online softmax: no score matrix exists.

All query heads that share a KV head go together, and so do neighbouring tokens of one sequence, so that keys and
values are read and converted once for all of them (attention_range.py). For a few tokens, as in decoding, the ranges
of keys are dealt out too: their records go to the workspace, and a second stage folds them. For many tokens a part
walks all ranges of its tokens and folds as it goes; its memory is the thread's scratch, whatever the number of tokens.
Both do the same operations in the same order.
"""

from __future__ import annotations

import numpy as np

from cpu_fallback.attention_range import (
    KEYS,
    NO,
    YES,
    attend_range,
    clear_total,
    first_key,
    fold,
    most_queries,
    places,
    put_quotient,
    record_of,
    take_queries,
    visible,
    width_of,
)
from cpu_fallback.checks import BAD_PARAMETERS, POSITION, SEQUENCE, SLOTS, is_beyond
from cpu_fallback.jit import internal, kernel, span
from cpu_fallback.kv import LANES, padded
from cpu_fallback.simd import load_f32, store_f32

FEW = 8  # tokens whose ranges are dealt out
PARTS = 32  # of few tokens; many tokens make up to four times as many
QUERIES = 8  # of a part of the second stage


def ranges_of(table_width: int) -> int:
    return -(-table_width * SLOTS // KEYS)


def workspace(*, tokens: int, heads: int, head_dim: int, table_width: int, **_: float) -> int:
    """float32 elements: a record for every range of every query of a few tokens."""
    return tokens * heads * ranges_of(table_width) * (padded(head_dim) + 2 * LANES) if tokens <= FEW else 0


def parts(stage: int, *, tokens: int, heads: int, kv_heads: int, table_width: int, **_: float) -> int:
    if stage == 1:
        return max(1, tokens * heads // QUERIES) if tokens <= FEW else 1
    return (
        min(PARTS, tokens * kv_heads * ranges_of(table_width)) if tokens <= FEW else min(4 * PARTS, tokens * kv_heads)
    )


@internal
def run_of(index, kv_table, first, tokens, longest):
    """The tokens of one sequence from `first` on, at most `longest`: (end, least position, largest, status)."""
    last, least, most = first, np.int64(index[first, POSITION]), NO
    while last < min(tokens, first + longest) and index[last, SEQUENCE] == index[first, SEQUENCE]:
        if is_beyond(index, last, kv_table):
            return last, least, most, last + 1
        position = np.int64(index[last, POSITION])
        least, most, last = min(least, position), max(most, position), last + 1
    return last, least, most, 0


@internal
def ranges(least, most, window):
    """(first, behind the last) range that tokens of these positions attend to."""
    return first_key(least, window) // KEYS, most // KEYS + 1


@internal
def count_units(index, kv_table, tokens, longest, window):
    """(units of a block of heads, status). A unit is a run of tokens, and of few tokens one range of it."""
    units, first = NO, NO
    while first < tokens:
        first, least, most, status = run_of(index, kv_table, first, tokens, longest)
        if status:
            return NO, status
        begin, end = ranges(least, most, window)
        units += end - begin if tokens <= FEW else 1
    return units, 0


@kernel
def attention(
    q, index, sinks, kv_k, kv_v, kv_table, out, tokens, heads, kv_heads, head_dim, table_width, window, scale, softcap,
    alibi, stride, sink_size, workspace, part, parts, scratch,
):  # fmt: skip
    """q (tokens, stride), out (tokens, heads, head_dim); kv_k, kv_v: pages as in kv.py; kv_table (sequences,
    table_width)."""
    if kv_heads < 1 or heads % kv_heads or most_queries(head_dim) < 1 or stride < heads * head_dim:
        return BAD_PARAMETERS
    if sink_size not in (0, heads):
        return BAD_PARAMETERS
    group, few, width, record = heads // kv_heads, tokens <= FEW, width_of(head_dim), record_of(head_dim)
    block = min(group, most_queries(head_dim))  # heads that go together
    blocks = (group + block - 1) // block
    longest = max(1, most_queries(head_dim) // block)
    units, status = count_units(index, kv_table, tokens, longest, window)
    if status:
        return status
    unit, unit_end = span(units * kv_heads * blocks, part, parts)
    first = NO
    while first < tokens and unit_end > 0:
        last, least, most, _ = run_of(index, kv_table, first, tokens, longest)
        begin, end = ranges(least, most, window)
        split = end - begin if few else 1
        for u in range(max(unit, 0), min(unit_end, split * kv_heads * blocks)):
            kv_head, from_head = u // split // blocks, u // split % blocks * block
            head, count = kv_head * group + from_head, min(block, group - from_head)
            queries = (last - first) * count
            _, records, totals, _, _ = places(queries, head_dim)
            take_queries(q, first, last, stride, heads, head, count, head_dim, scale, alibi, scratch)
            for i in range(queries):
                clear_total(scratch, totals + i * record, width, sinks, head + i % count, sink_size)
            for number in range(begin + u % split, begin + u % split + 1 if few else end):
                if not attend_range(
                    kv_k, kv_v, kv_table, index, first, last, least, most, kv_head, count, head_dim, number, window,
                    softcap, scratch,
                ):  # fmt: skip
                    return first + 1
                for i in range(queries):
                    t, source = first + i // count, records + i * record
                    low, high = visible(np.int64(index[t, POSITION]), window, number)
                    if low < high and few:
                        query = t * heads + head + i % count
                        keep(scratch, source, record, workspace, (query * ranges_in(table_width) + number) * record)
                    elif low < high:
                        fold(scratch, totals + i * record, scratch, source, width)
            for i in range(NO if few else queries):
                query = (first + i // count) * heads + head + i % count
                put_quotient(scratch, totals + i * record, head_dim, out, query * head_dim)
        unit, unit_end, first = unit - split * kv_heads * blocks, unit_end - split * kv_heads * blocks, last
    return 0


@internal
def ranges_in(table_width):
    return (table_width * SLOTS + KEYS - 1) // KEYS


@internal
def keep(scratch, at, record, workspace, to):
    for i in range(0, record, LANES):
        store_f32(workspace, to + i, load_f32(scratch, at + i))


@kernel
def attention_reduce(
    q, index, sinks, kv_k, kv_v, kv_table, out, tokens, heads, kv_heads, head_dim, table_width, window, scale, softcap,
    alibi, stride, sink_size, workspace, part, parts, scratch,
):  # fmt: skip
    """Folds the records of a few tokens, a query after the other, into out."""
    if tokens > FEW:
        return 0
    width, record = width_of(head_dim), record_of(head_dim)
    first, last = span(tokens * heads, part, parts)
    for query in range(first, last):
        _, least, most, status = run_of(index, kv_table, query // heads, tokens, YES)
        if status:
            return status
        begin, end = ranges(least, most, window)
        clear_total(scratch, NO, width, sinks, query % heads, sink_size)
        for number in range(begin, end):
            fold(scratch, NO, workspace, (query * ranges_in(table_width) + number) * record, width)
        put_quotient(scratch, NO, head_dim, out, query * head_dim)
    return 0


stages = (attention, attention_reduce)
