"""attention: causal softmax attention over KV pages, with an online softmax: no score matrix exists.

A task is one token and one KV head: keys are walked page by page from the first that the window reaches, a page's rows
are converted to float32 once for all query heads that share them, and the running maximum and sum are corrected once a
page. Nothing depends on the other tokens of the batch.
"""

from __future__ import annotations

import math

import numpy as np
from numba import prange

from cpu_fallback.checks import POSITION, SEQUENCE, SLOTS, first_bad_page
from cpu_fallback.jit import device, parallel_kernel
from cpu_fallback.kv import load_rows
from cpu_fallback.sums import dot_of_rows

LOWEST, NOTHING, ONE = np.float32(-np.inf), np.float32(0), np.float32(1)


@parallel_kernel
def attention(
    q, index, kv_k, kv_v, kv_table, out, tokens, heads, kv_heads, head_dim, table_width, window, scale, softcap
):
    """q, out (tokens, heads, head_dim); kv_k, kv_v (pages, kv_heads, 64, row); kv_table (sequences, table_width)."""
    bad = first_bad_page(index, kv_table, kv_k.shape[0], tokens, True)
    if bad:
        return bad
    for task in prange(tokens * kv_heads):
        t, head = from_both_ends(task // kv_heads, tokens), task % kv_heads
        attend(q, index, kv_k, kv_v, kv_table, out, t, head, window, np.float32(scale), np.float32(softcap))
    return 0


@device
def from_both_ends(i, n):
    """0, n-1, 1, n-2, …: late tokens have most keys, and each thread gets as many late ones as early ones."""
    return n - 1 - i // 2 if i % 2 else i // 2


@device
def attend(queries, index, kv_k, kv_v, kv_table, outputs, t, head, window, scale, softcap):
    """Token t's query heads that share KV head `head`; q and out are (group, head_dim)."""
    group = queries.shape[1] // kv_k.shape[1]
    q, out = queries[t, head * group : (head + 1) * group], outputs[t, head * group : (head + 1) * group]
    pages, position = kv_table[index[t, SEQUENCE]], np.int64(index[t, POSITION])
    start = max(0, position + 1 - window) if window > 0 else 0
    rows = np.empty((SLOTS, q.shape[1]), np.float32)  # a page's keys, then its values
    scores = np.empty((group, SLOTS), np.float32)
    state = np.empty((group, 2), np.float32)  # per query head: the maximum so far, the sum of exp(score - maximum)
    clear(state, out)
    for p in range(start // SLOTS, position // SLOTS + 1):
        page, base = pages[p], p * SLOTS
        low, high = max(start - base, 0), min(position + 1 - base, SLOTS)
        load_rows(kv_k[page, head], low, high, rows)
        score(q, rows, low, high, scale, softcap, scores)
        for g in range(group):
            rescale(scores, low, high, g, state, out)
        load_rows(kv_v[page, head], low, high, rows)
        add_values(scores, rows, low, high, out)
    divide(state, out)


@device
def clear(state, out):
    for g in range(out.shape[0]):
        state[g, 0], state[g, 1] = LOWEST, NOTHING
        for i in range(out.shape[1]):
            out[g, i] = NOTHING


@device
def score(q, keys, low, high, scale, softcap, scores):
    """scores[:, low:high] = q·key, scaled and capped."""
    for g in range(q.shape[0]):
        for slot in range(low, high):
            value = dot_of_rows(q, g, keys, slot) * scale
            scores[g, slot] = softcap * math.tanh(value / softcap) if softcap > NOTHING else value


@device
def rescale(scores, low, high, g, state, out):
    """scores[g, low:high] become exp(score - maximum so far); what was summed before is corrected to that maximum."""
    highest = state[g, 0]
    for slot in range(low, high):
        highest = max(highest, scores[g, slot])
    correction = math.exp(state[g, 0] - highest)
    total = state[g, 1] * correction
    for slot in range(low, high):
        scores[g, slot] = math.exp(scores[g, slot] - highest)
        total += scores[g, slot]
    state[g, 0], state[g, 1] = highest, total
    for i in range(out.shape[1]):
        out[g, i] *= correction


@device
def add_values(scores, values, low, high, out):
    """out (group, head_dim) += scores · values, one slot after the other."""
    for g in range(out.shape[0]):
        for slot in range(low, high):
            factor = scores[g, slot]
            for i in range(out.shape[1]):
                out[g, i] += factor * values[slot, i]


@device
def divide(state, out):
    for g in range(out.shape[0]):
        inverse = ONE / state[g, 1]
        for i in range(out.shape[1]):
            out[g, i] *= inverse
