"""kv_write: the tokens' keys and values into their sequences' pages, converted to the pages' type."""

from __future__ import annotations

import numpy as np
from numba import prange

from cpu_fallback.checks import POSITION, SEQUENCE, SLOTS, first_bad_page
from cpu_fallback.jit import parallel_kernel
from cpu_fallback.kv import store_row


@parallel_kernel
def kv_write(k, v, index, kv_k, kv_v, kv_table, tokens, kv_heads, head_dim, table_width):
    """k, v (tokens, kv_heads, head_dim) -> kv_k, kv_v (pages, kv_heads, 64, row); kv_table (sequences, table_width)."""
    bad = first_bad_page(index, kv_table, kv_k.shape[0], tokens, False)
    if bad:
        return bad
    for t in prange(tokens):
        position = np.int64(index[t, POSITION])
        page, slot = kv_table[index[t, SEQUENCE], position // SLOTS], position % SLOTS
        for h in range(kv_heads):
            store_row(k[t, h], kv_k[page, h, slot])
            store_row(v[t, h], kv_v[page, h, slot])
    return 0
