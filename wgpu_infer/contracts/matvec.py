"""matvec: y = x·Wᵀ for the few tokens of a decode step. Columns are summed alike whatever the number of tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from wgpu_infer.contracts import bounds
from wgpu_infer.contracts.cases import activations, beside, random_weight, weight_formats
from wgpu_infer.contracts.contract import Case, Op, ceil_div, dense, grid, params, weight
from wgpu_infer.contracts.host import HostWeight

ROWS_PER_GROUP = 4
TOKENS_PER_GROUP = 8


def reference(x: np.ndarray, w: HostWeight, **_: int) -> np.ndarray:
    """x (tokens, cols), w (rows, cols) -> (tokens, rows) float64."""
    return x.astype(np.float64) @ w.values().astype(np.float64).T


def make_case(fmt: str, rows: int, cols: int, tokens: int) -> Case:
    operands = {"x": activations(tokens, cols, seed=tokens), "w": random_weight(fmt, rows, cols, seed=rows)}
    return Case(
        f"{fmt}-{rows}x{cols}-{tokens}",
        operands,
        {"tokens": tokens, "rows": rows, "cols": cols, "row0": 0, "stride": rows},
    )


def cases() -> Iterator[Case]:
    for fmt in weight_formats():
        yield make_case(fmt, 37, 512, 1)
        yield make_case(fmt, 6, 768, 3)
    yield make_case("Q8_0", 9, 96, 8)
    yield make_case("Q4_0", 5, 4096, 11)
    yield make_case("F32", 7, 172, 2)
    yield make_case("F16", 3, 50, 1)
    yield make_case("F16", 64, 2048, 9)
    yield beside(make_case("Q4_0", 21, 256, 1))
    yield beside(make_case("Q8_0", 21, 256, 3))


def groups(p: Mapping[str, Any]) -> tuple[int, int, int]:
    x, y, _ = grid(ceil_div(p["rows"], p["ROWS"]))
    return x, y, ceil_div(p["tokens"], p["TOKENS"])


OP = Op(
    name="matvec",
    operands=(dense("x", "tokens", "cols"), weight(), dense("out", "tokens", "stride", access="w")),
    params=params(tokens="u4", rows="u4", cols="u4", row0="u4", stride="u4"),
    reference=reference,
    bound=bounds.dot,
    groups=groups,
    cases=cases,
    constants={"WG": 64, "LANES": 64, "ROWS": ROWS_PER_GROUP, "TOKENS": TOKENS_PER_GROUP},
)
