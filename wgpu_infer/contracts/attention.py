"""attention: causal softmax attention of each token's heads over its sequence's KV pages, with an online softmax
(Milakov & Gimelshein 2018, arXiv:1805.02867; Dao et al. 2022, arXiv:2205.14135), so no score matrix exists anywhere.

Query head h reads KV head h // (heads / kv_heads). Keys are walked page by page from position 0, whatever the batch, so
a token's result does not depend on its neighbours. `window` w > 0: only the last w positions; `softcap` c > 0: scores
become c·tanh(score / c). `alibi` a > 0: then a score loses a head's slope times the key's distance (Press et al. 2021,
arXiv:2108.12409), slopes falling from 2^(-a/n) to 2^-a over n heads, n a power of 2; heads beyond it lie between those.
`sinks`, where there are any (sink_size = heads), are scores, one a head, of a key that every token sees, of value 0.

A token's queries begin its row of `q`; what is behind them in the row (stride elements) is not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from wgpu_infer.contracts.cases import activations, index_array
from wgpu_infer.contracts.contract import PAGE_SLOTS, Case, Op, ceil_div, dense, grid, index, kv, params
from wgpu_infer.contracts.host import HostKV

ROWS = 32  # (token, head) pairs of a workgroup
MAX_GROUP = 8  # query heads of one KV head that go together


def slopes(heads: int, alibi: float) -> np.ndarray:
    """float32 (heads) ALiBi slopes, 0 where alibi is 0."""
    if alibi <= 0:
        return np.zeros(heads, np.float32)
    h, n = np.arange(heads), 1 << (heads.bit_length() - 1)
    return (2.0 ** (-alibi * np.where(h < n, h + 1, h - n + 0.5) / n)).astype(np.float32)


def reference(
    q: np.ndarray,
    index: np.ndarray,
    sinks: np.ndarray,
    kv: HostKV,
    *,
    heads: int,
    head_dim: int,
    scale: float,
    window: int,
    softcap: float,
    alibi: float,
    **_: int,
) -> np.ndarray:
    """q (tokens, stride), sinks (heads) or (0) -> (tokens, heads, head_dim) float64."""
    q = q.reshape(len(index), -1)[:, : heads * head_dim].reshape(-1, heads, head_dim)
    out = np.empty(q.shape, np.float64)
    sink = sinks.astype(np.float64)[:, None] if sinks.size else np.full((heads, 1), -np.inf)
    for t, (_id, sequence, position, _row) in enumerate(index):
        args = q[t], kv, int(sequence), int(position)
        scores, v = scored(*args, heads=heads, scale=scale, window=window, softcap=softcap, alibi=alibi)
        top = np.maximum(scores.max(axis=1, keepdims=True), sink)
        p = np.exp(scores - top)
        out[t] = np.einsum("hl,lhd->hd", p / (p.sum(axis=1, keepdims=True) + np.exp(sink - top)), v)
    return out


def scored(
    q: np.ndarray,
    kv: HostKV,
    sequence: int,
    position: int,
    *,
    heads: int,
    scale: float,
    window: int,
    softcap: float,
    alibi: float,
    **_: int,
) -> tuple[np.ndarray, np.ndarray]:
    """q (heads, head_dim) -> scores (heads, length), -inf before the window, and values (length, heads, head_dim)."""
    page, slot = kv.slots(sequence, position + 1)
    group = heads // kv.k.shape[1]
    k = np.repeat(kv.k[page, :, slot].astype(np.float64), group, axis=1)  # (length, heads, head_dim)
    v = np.repeat(kv.v[page, :, slot].astype(np.float64), group, axis=1)
    scores = np.einsum("hd,lhd->hl", q.astype(np.float64), k) * np.float32(scale)
    if softcap > 0:
        scores = softcap * np.tanh(scores / softcap)
    scores -= slopes(heads, alibi)[:, None] * (position - np.arange(position + 1))
    if window > 0:
        scores[:, : max(0, position + 1 - window)] = -np.inf
    return scores, v


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
    sinks: bool = False,
    extra: int = 0,
) -> Case:
    """Two sequences take turns, each for `run` tokens; `extra` elements lie behind a token's queries."""
    width = max(positions) // PAGE_SLOTS + 1
    rng = np.random.default_rng(head_dim)
    table = rng.permutation(2 * width).astype(np.uint32).reshape(2, width)
    tokens = len(positions)
    return Case(
        f"{dtype}-{heads}/{kv_heads}x{head_dim}-{max(positions)}"
        + f"-{tokens}" * (run > 1)
        + (f"-w{window}" * (window > 0))
        + "-cap" * (softcap > 0)
        + "-alibi" * (alibi > 0)
        + "-sinks" * sinks
        + f"-{extra} behind" * (extra > 0),
        {
            "q": queries(tokens, heads, head_dim, extra),
            "index": index_array([0] * tokens, [t // run % 2 for t in range(tokens)], positions),
            "sinks": activations(heads, seed=6, scale=2.0) if sinks else np.empty(0, np.float32),
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
            "stride": heads * head_dim + extra,
            "sink_size": heads * sinks,
        },
    )


def queries(tokens: int, heads: int, head_dim: int, extra: int) -> np.ndarray:
    """(tokens, heads, head_dim), or (tokens, stride) where NaNs lie behind a token's queries."""
    q = activations(tokens, heads, head_dim, seed=3)
    return np.pad(q.reshape(tokens, -1), [(0, 0), (0, extra)], constant_values=np.nan) if extra else q


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
    yield make_case("f16", 8, 2, 64, [130, 3], sinks=True, extra=256)
    yield make_case("f32", 4, 4, 32, [*range(60, 80)], run=20, sinks=True, extra=64, window=30, softcap=10.0)
    yield make_case("f16", 4, 1, 256, [70, 300])
    yield make_case("f16", 2, 1, 256, [*range(90, 130)], run=40)


def groups(p: Mapping[str, Any]) -> tuple[int, int, int]:
    """A workgroup takes 32 rows: heads of a KV head, MAX_GROUP of them, by as many tokens as fit."""
    shared_by = p["heads"] // p["kv_heads"]
    tiles = ceil_div(p["tokens"], ROWS // min(shared_by, MAX_GROUP))
    return grid(tiles * p["kv_heads"] * ceil_div(shared_by, MAX_GROUP))


OP = Op(
    name="attention",
    operands=(
        dense("q", "tokens", "stride"),
        index(),
        dense("sinks", "sink_size"),
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
        stride="u4",
        sink_size="u4",
    ),
    reference=reference,
    bound=bound,
    groups=groups,
    cases=cases,
    constants={"WG": 64, "GROUP": 1, "UNITS": 1},
)
