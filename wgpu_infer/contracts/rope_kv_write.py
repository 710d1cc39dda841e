"""rope_kv_write: rope on queries and keys, and kv_write of the keys and values, in one pass; k itself stays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from wgpu_infer.contracts import kv_write, rope
from wgpu_infer.contracts.cases import activations, index_array
from wgpu_infer.contracts.contract import Case, Op, dense, grid, index, kv, params
from wgpu_infer.contracts.host import KV_DTYPES, HostKV


def reference(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    index: np.ndarray,
    table: np.ndarray,
    kv: HostKV,
    *,
    rot: int,
    interleaved: int,
    **_: int,
) -> np.ndarray:
    """q (tokens, heads, head_dim), k and v (tokens, kv_heads, head_dim) -> the rotated q, float64."""
    rotated = rope.reference(k, index, table, rot=rot, interleaved=interleaved)
    kv_write.reference(rotated.astype(np.float32), v, index, kv)
    return rope.reference(q, index, table, rot=rot, interleaved=interleaved)


def bound(operands: Mapping[str, Any], expected: np.ndarray, p: Mapping[str, Any]) -> np.ndarray:
    """rope's, of q. Pages hold what they would hold if keys were rotated exactly and rounded to float32 first."""
    return rope.bound(operands, expected, p)


def make_case(dtype: str, tokens: int, heads: int, kv_heads: int, head_dim: int, rot: int, interleaved: int) -> Case:
    rng = np.random.default_rng(head_dim)
    angles = rng.uniform(-50, 50, (192, rot // 2))
    table = np.stack([np.cos(angles), np.sin(angles)], -1).astype(np.float32)
    pages = np.array([[3, 1, 0], [2, 4, 5]], np.uint32)
    style = "interleaved" if interleaved else "half"
    return Case(
        f"{dtype}-{tokens}x{heads}/{kv_heads}x{head_dim}-{rot}-{style}",
        {
            "q": activations(tokens, heads, head_dim, seed=1),
            "k": activations(tokens, kv_heads, head_dim, seed=2),
            "v": activations(tokens, kv_heads, head_dim, seed=3),
            "index": index_array([0] * tokens, [1, 0, 1, 0, 0, 1][:tokens], [0, 63, 64, 65, 190, 7][:tokens]),
            "table": table,
            "kv": HostKV.zeros(6, kv_heads, head_dim, pages, dtype),
        },
        {
            "tokens": tokens,
            "heads": heads,
            "kv_heads": kv_heads,
            "head_dim": head_dim,
            "table_width": 3,
            "rot": rot,
            "interleaved": interleaved,
            "positions": 192,
            "half": rot // 2,
        },
    )


def cases() -> Iterator[Case]:
    for dtype in KV_DTYPES:
        yield make_case(dtype, 1, 4, 4, 32, 32, 1)
        yield make_case(dtype, 6, 6, 2, 64, 64, 0)
        yield make_case(dtype, 5, 4, 2, 96, 32, 0)
    yield make_case("f32", 5, 4, 2, 20, 10, 1)
    yield make_case("f16", 3, 3, 1, 8, 8, 0)


OP = Op(
    name="rope_kv_write",
    operands=(
        dense("q", "tokens", "heads", "head_dim", access="rw"),
        dense("k", "tokens", "kv_heads", "head_dim"),
        dense("v", "tokens", "kv_heads", "head_dim"),
        index(),
        dense("table", "positions", "half", 2),
        kv("rw"),
    ),
    params=params(
        tokens="u4",
        heads="u4",
        kv_heads="u4",
        head_dim="u4",
        table_width="u4",
        rot="u4",
        interleaved="u4",
        positions="u4",
        half="u4",
    ),
    reference=reference,
    bound=bound,
    groups=lambda p: grid(p["tokens"] * p["kv_heads"]),
    cases=cases,
    constants={"WG": 64},
)
