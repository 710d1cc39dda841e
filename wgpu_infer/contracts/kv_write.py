"""kv_write: the tokens' keys and values into their sequences' pages, converted to the cache's type."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from wgpu_infer.contracts import bounds
from wgpu_infer.contracts.cases import activations, index_array
from wgpu_infer.contracts.contract import PAGE_SLOTS, Case, Op, dense, grid, index, kv, params
from wgpu_infer.contracts.host import KV_DTYPES, HostKV


def reference(k: np.ndarray, v: np.ndarray, index: np.ndarray, kv: HostKV, **_: int) -> None:
    """k, v (tokens, kv_heads, head_dim); token t goes to slot position % 64 of page table[sequence, position // 64]."""
    sequence, position = index[:, 1], index[:, 2]
    page, slot = kv.table[sequence, position // PAGE_SLOTS], position % PAGE_SLOTS
    kv.k[page, :, slot] = kv.stored(k)
    kv.v[page, :, slot] = kv.stored(v)


def cases() -> Iterator[Case]:
    for dtype in KV_DTYPES:
        for tokens, heads, head_dim in ((1, 2, 32), (6, 3, 64), (5, 4, 8)):
            if dtype == "q8_0" and head_dim % 32:
                continue
            table = np.array([[3, 1, 0], [2, 4, 5]], np.uint32)
            positions = [0, 63, 64, 65, 190, 7][:tokens]
            sequences = [1, 0, 1, 0, 0, 1][:tokens]
            yield Case(
                f"{dtype}-{tokens}x{heads}x{head_dim}",
                {
                    "k": activations(tokens, heads, head_dim, seed=1),
                    "v": activations(tokens, heads, head_dim, seed=2),
                    "index": index_array([0] * tokens, sequences, positions),
                    "kv": HostKV.zeros(6, heads, head_dim, table, dtype),
                },
                {"tokens": tokens, "kv_heads": heads, "head_dim": head_dim, "table_width": 3},
            )


OP = Op(
    name="kv_write",
    operands=(
        dense("k", "tokens", "kv_heads", "head_dim"),
        dense("v", "tokens", "kv_heads", "head_dim"),
        index(),
        kv("rw"),
    ),
    params=params(tokens="u4", kv_heads="u4", head_dim="u4", table_width="u4"),
    reference=reference,
    bound=bounds.exact,
    groups=lambda p: grid(p["tokens"] * p["kv_heads"]),
    cases=cases,
    constants={"WG": 32},
)
