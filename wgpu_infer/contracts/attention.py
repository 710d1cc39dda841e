"""attention: causal softmax attention of each token's heads over its sequence's KV pages, with an online softmax
(Milakov & Gimelshein 2018, arXiv:1805.02867; Dao et al. 2022, arXiv:2205.14135), so no score matrix exists anywhere.

Query head h reads KV head h // (heads / kv_heads). Keys are walked page by page from position 0, whatever the batch, so
a token's result does not depend on its neighbours. `window` w > 0: only the last w positions; `softcap` c > 0: scores
become c·tanh(score / c). `alibi` a > 0: then a score loses a head's slope times the key's distance (Press et al. 2021,
arXiv:2108.12409), slopes falling from 2^(-a/n) to 2^-a over n heads, n a power of 2; heads beyond it lie between those.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from wgpu_infer.contracts.cases import activations, index_array
from wgpu_infer.contracts.contract import PAGE_SLOTS, Case, Op, dense, grid, index, kv, params
from wgpu_infer.contracts.host import HostKV


def slopes(heads: int, alibi: float) -> np.ndarray:
    """float32 (heads) ALiBi slopes, 0 where alibi is 0."""
    if alibi <= 0:
        return np.zeros(heads, np.float32)
    h, n = np.arange(heads), 1 << (heads.bit_length() - 1)
    return (2.0 ** (-alibi * np.where(h < n, h + 1, h - n + 0.5) / n)).astype(np.float32)


def reference(
    q: np.ndarray, index: np.ndarray, kv: HostKV, *, scale: float, window: int, softcap: float, alibi: float, **_: int
) -> np.ndarray:
    """q (tokens, heads, head_dim) -> (tokens, heads, head_dim) float64."""
    out = np.empty(q.shape, np.float64)
    group = q.shape[1] // kv.k.shape[1]
    for t, (_id, sequence, position, _row) in enumerate(index):
        page, slot = kv.slots(int(sequence), int(position) + 1)
        k = np.repeat(kv.k[page, :, slot].astype(np.float64), group, axis=1)  # (length, heads, head_dim)
        v = np.repeat(kv.v[page, :, slot].astype(np.float64), group, axis=1)
        scores = np.einsum("hd,lhd->hl", q[t].astype(np.float64), k) * np.float32(scale)
        if softcap > 0:
            scores = softcap * np.tanh(scores / softcap)
        scores -= slopes(q.shape[1], alibi)[:, None] * (int(position) - np.arange(int(position) + 1))
        if window > 0:
            scores[:, : max(0, int(position) + 1 - window)] = -np.inf
        p = np.exp(scores - scores.max(axis=1, keepdims=True))
        out[t] = np.einsum("hl,lhd->hd", p / p.sum(axis=1, keepdims=True), v)
    return out


def bound(operands: Mapping[str, Any], expected: np.ndarray, _p: Mapping[str, Any]) -> float:
    """1e-5 · max|V|."""
    return 1e-5 * float(np.abs(operands["kv"].v).max())


def filled_kv(pages: int, heads: int, head_dim: int, table: np.ndarray, dtype: str, seed: int) -> HostKV:
    kv = HostKV.zeros(pages, heads, head_dim, table, dtype)
    kv.k[:] = kv.stored(activations(*kv.k.shape, seed=seed))
    kv.v[:] = kv.stored(activations(*kv.v.shape, seed=seed + 1))
    return kv


def make_case(
    dtype: str,
    heads: int,
    kv_heads: int,
    head_dim: int,
    positions: list[int],
    window: int = 0,
    softcap: float = 0.0,
    run: int = 1,
    alibi: float = 0.0,
) -> Case:
    """Two sequences take turns, each for `run` tokens."""
    width = max(positions) // PAGE_SLOTS + 1
    rng = np.random.default_rng(head_dim)
    table = rng.permutation(2 * width).astype(np.uint32).reshape(2, width)
    tokens = len(positions)
    return Case(
        f"{dtype}-{heads}/{kv_heads}x{head_dim}-{max(positions)}"
        + f"-{tokens}" * (run > 1)
        + (f"-w{window}" * (window > 0))
        + "-cap" * (softcap > 0)
        + "-alibi" * (alibi > 0),
        {
            "q": activations(tokens, heads, head_dim, seed=3),
            "index": index_array([0] * tokens, [t // run % 2 for t in range(tokens)], positions),
            "kv": filled_kv(2 * width, kv_heads, head_dim, table, dtype, seed=4),
        },
        {
            "tokens": tokens,
            "heads": heads,
            "kv_heads": kv_heads,
            "head_dim": head_dim,
            "table_width": width,
            "window": window,
            "scale": head_dim**-0.5,
            "softcap": softcap,
            "alibi": alibi,
        },
    )


def cases() -> Iterator[Case]:
    yield make_case("f32", 8, 4, 8, [0])
    yield make_case("f32", 4, 4, 64, [63, 64, 5])
    yield make_case("f32", 6, 1, 80, [200, 1])
    yield make_case("f32", 4, 2, 128, [300, 129, 64, 65])
    yield make_case("f32", 4, 2, 32, [150, 90], window=70)
    yield make_case("f32", 4, 2, 32, [150, 90], softcap=20.0)
    yield make_case("f32", 4, 4, 32, [150, 90], alibi=8.0)
    yield make_case("f32", 6, 2, 32, list(range(265, 277)), softcap=20.0, alibi=4.0, run=12)  # 6 heads: two beyond 4
    yield make_case("f16", 8, 2, 64, [130, 131, 2])
    yield make_case("f16", 3, 3, 20, [70])
    yield make_case("q8_0", 4, 2, 64, [100, 7])
    yield make_case("f32", 2, 2, 64, list(range(250, 270)), run=20)  # neighbours, as in a prompt
    yield make_case("f16", 6, 2, 96, [*range(15), *range(290, 308)], run=15, softcap=30.0)
    yield make_case("q8_0", 8, 1, 32, [*range(120, 136), *range(3)], run=16, window=50)


OP = Op(
    name="attention",
    operands=(
        dense("q", "tokens", "heads", "head_dim"),
        index(),
        kv("r"),
        dense("out", "tokens", "heads", "head_dim", access="w"),
    ),
    params=params(
        tokens="u4",
        heads="u4",
        kv_heads="u4",
        head_dim="u4",
        table_width="u4",
        window="u4",
        scale="f4",
        softcap="f4",
        alibi="f4",
    ),
    reference=reference,
    bound=bound,
    groups=lambda p: grid(p["tokens"] * p["heads"]),
    cases=cases,
    constants={"WG": 64},
)
