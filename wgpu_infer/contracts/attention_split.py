"""attention_split: attention of a few tokens, each range of 64 keys by itself (flash-decoding; Dao et al. 2023).

For a (token, head, range): the highest score, the sum of e^(score - highest), and the sum of the values so weighted.
attention_reduce puts the ranges together. Ranges are the sequence's pages, counted from its first key, so what a range
gives depends on nothing but the token; `splits` is how many of them there is room for. Ranges of which a token sees no
key stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from wgpu_infer.contracts import attention
from wgpu_infer.contracts.contract import PAGE_SLOTS, Case, Op, ceil_div, dense, grid, index, kv, params
from wgpu_infer.contracts.host import HostKV


def ranges(position: int, window: int) -> range:
    """Those of which a token at this position sees a key."""
    first = max(0, position + 1 - window) if window > 0 else 0
    return range(first // PAGE_SLOTS, position // PAGE_SLOTS + 1)


def reference(
    q: np.ndarray,
    index: np.ndarray,
    kv: HostKV,
    sums: np.ndarray,
    tops: np.ndarray,
    *,
    heads: int,
    head_dim: int,
    window: int,
    **p: Any,
) -> tuple[np.ndarray, np.ndarray]:
    """q (tokens, stride) -> sums (tokens, heads, splits, head_dim), tops (tokens, heads, splits, 2): highest score and
    sum of weights; float64."""
    sums, tops = sums.astype(np.float64), tops.astype(np.float64)
    for t, (_id, sequence, position, _row) in enumerate(index):
        row = q.reshape(len(index), -1)[t, : heads * head_dim].reshape(heads, head_dim)
        scores, v = attention.scored(row, kv, int(sequence), int(position), heads=heads, window=window, **p)
        for split in ranges(int(position), window):
            part = scores[:, split * PAGE_SLOTS : (split + 1) * PAGE_SLOTS]
            tops[t, :, split, 0] = part.max(axis=1)
            weights = np.exp(part - part.max(axis=1, keepdims=True))
            tops[t, :, split, 1] = weights.sum(axis=1)
            values = v[split * PAGE_SLOTS : (split + 1) * PAGE_SLOTS]
            sums[t, :, split] = np.einsum("hl,lhd->hd", weights, values)
    return sums, tops


def bound(operands: Mapping[str, Any], expected: np.ndarray, _p: Mapping[str, Any]) -> np.ndarray | float:
    """1e-5 · max|V| for each of a range's keys; of a score, 1e-5 of the largest; of a sum of weights, 1e-5 a key."""
    if expected.shape[-1] != 2:
        return PAGE_SLOTS * attention.bound(operands, expected, _p)
    highest = float(np.abs(expected[..., 0], where=expected[..., 1] > 0, out=np.zeros(expected.shape[:-1])).max())
    return np.broadcast_to([1e-5 * max(highest, 1.0), 1e-5 * PAGE_SLOTS], expected.shape)


def split_case(case: Case, splits: int) -> Case:
    """The first stage of a case of attention, into memory that holds something."""
    p = {name: value for name, value in case.params.items() if name != "sink_size"} | {"splits": splits}
    shape = int(p["tokens"]), int(p["heads"]), splits
    names = ("q", "index", "kv")
    room = {"sums": np.full((*shape, int(p["head_dim"])), -7, np.float32), "tops": np.full((*shape, 2), -7, np.float32)}
    return Case(f"{case.id}-{splits}", {**{name: case.operands[name] for name in names}, **room}, p)


def cases() -> Iterator[Case]:
    for dtype in ("f32", "f16", "q8_0"):
        yield split_case(attention.make_case(dtype, 8, 2, 64, [200, 63, 64, 0]), 4)
        yield split_case(attention.make_case(dtype, 4, 4, 32, [130], window=70, extra=64), 8)
        yield split_case(attention.make_case(dtype, 14, 2, 128, [65], softcap=20.0), 2)
    yield split_case(attention.make_case("f32", 24, 2, 8, [150, 90], alibi=8.0), 4)
    yield split_case(attention.make_case("f16", 6, 1, 80, [100, 190]), 4)
    yield split_case(attention.make_case("f16", 3, 3, 20, [70]), 2)
    yield split_case(attention.make_case("f16", 4, 2, 256, [70, 127]), 2)


OP = Op(
    name="attention_split",
    operands=(
        dense("q", "tokens", "stride"),
        index(),
        kv("r"),
        dense("sums", "tokens", "heads", "splits", "head_dim", access="rw"),
        dense("tops", "tokens", "heads", "splits", 2, access="rw"),
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
        splits="u4",
    ),
    reference=reference,
    bound=bound,
    groups=lambda p: grid(
        p["tokens"] * p["kv_heads"] * ceil_div(p["heads"] // p["kv_heads"], attention.MAX_GROUP) * p["splits"]
    ),
    cases=cases,
    constants={"WG": 64, "GROUP": 1, "UNITS": 1},
)
