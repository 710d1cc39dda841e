"""attention_reduce: the ranges of attention_split put together, and the heads' sinks with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from wgpu_infer.contracts.attention_split import ranges
from wgpu_infer.contracts.cases import activations, index_array
from wgpu_infer.contracts.contract import Case, Op, dense, grid, index, params


def reference(
    sums: np.ndarray, tops: np.ndarray, index: np.ndarray, sinks: np.ndarray, *, window: int, **_: int
) -> np.ndarray:
    """sums (tokens, heads, splits, head_dim), tops (tokens, heads, splits, 2) -> (tokens, heads, head_dim) float64."""
    out = np.empty((*sums.shape[:2], sums.shape[3]), np.float64)
    for t, position in enumerate(index[:, 2]):
        at = list(ranges(int(position), window))
        highest, weights = np.moveaxis(tops[t, :, at].astype(np.float64), 2, 0)  # (ranges, heads)
        sink = sinks.astype(np.float64) if sinks.size else np.full(sums.shape[1], -np.inf)
        top = np.maximum(highest.max(axis=0), sink)
        factors = np.exp(highest - top)
        total = (factors * weights).sum(axis=0) + np.exp(sink - top)
        out[t] = np.einsum("lh,lhd->hd", factors, sums[t, :, at].astype(np.float64)) / total[:, None]
    return out


def bound(operands: Mapping[str, Any], _expected: np.ndarray, _p: Mapping[str, Any]) -> float:
    """1e-5 of the largest mean value of a range."""
    with np.errstate(invalid="ignore", divide="ignore"):
        means = operands["sums"] / operands["tops"][..., 1:]
    return 1e-5 * float(np.nanmax(np.abs(means), initial=1e-30))


def make_case(
    heads: int, head_dim: int, splits: int, positions: list[int], window: int = 0, sinks: bool = False
) -> Case:
    """What no token sees is NaN."""
    tokens = len(positions)
    sums = activations(tokens, heads, splits, head_dim, seed=head_dim)
    tops = np.stack(
        [activations(tokens, heads, splits, seed=3), np.abs(activations(tokens, heads, splits, seed=4)) + 1], -1
    )
    for t, position in enumerate(positions):
        unseen = [s for s in range(splits) if s not in ranges(position, window)]
        sums[t, :, unseen], tops[t, :, unseen] = np.nan, np.nan
    return Case(
        f"{heads}x{head_dim}-{splits}-{max(positions)}" + f"-w{window}" * (window > 0) + "-sinks" * sinks,
        {
            "sums": sums,
            "tops": tops,
            "index": index_array([0] * tokens, positions=positions),
            "sinks": activations(heads, seed=6) if sinks else np.empty(0, np.float32),
        },
        {
            "tokens": tokens,
            "heads": heads,
            "head_dim": head_dim,
            "splits": splits,
            "window": window,
            "sink_size": heads * sinks,
        },
    )


def cases() -> Iterator[Case]:
    yield make_case(4, 64, 1, [63, 0])
    yield make_case(8, 32, 4, [255, 100, 7])
    yield make_case(2, 128, 64, [4095], sinks=True)
    yield make_case(3, 96, 8, [511, 64], window=130)
    yield make_case(2, 256, 4, [200, 30], sinks=True)


def ragged_cases() -> Iterator[Case]:
    """Of heads that no blocks of 32 fit."""
    yield make_case(5, 20, 2, [90])
    yield make_case(3, 80, 4, [190, 12], sinks=True)


OP = Op(
    name="attention_reduce",
    operands=(
        dense("sums", "tokens", "heads", "splits", "head_dim"),
        dense("tops", "tokens", "heads", "splits", 2),
        index(),
        dense("sinks", "sink_size"),
        dense("out", "tokens", "heads", "head_dim", access="w"),
    ),
    params=params(tokens="u4", heads="u4", head_dim="u4", splits="u4", window="u4", sink_size="u4"),
    reference=reference,
    bound=bound,
    groups=lambda p: grid(p["tokens"] * p["heads"]),
    cases=lambda: iter([*cases(), *ragged_cases()]),
    constants={"WG": 64},
)
