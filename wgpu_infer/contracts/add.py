"""add: x += y in place; y has `period` elements and repeats (a bias row), or as many as x (a residual)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from wgpu_infer.contracts import bounds
from wgpu_infer.contracts.cases import activations
from wgpu_infer.contracts.contract import Case, Op, ceil_div, dense, grid, params


def reference(x: np.ndarray, y: np.ndarray, *, period: int, **_: int) -> np.ndarray:
    """x (n), y (period) with n a multiple of period -> (n) float64."""
    return (x.astype(np.float64).reshape(-1, period) + y).reshape(-1)


def cases() -> Iterator[Case]:
    for n, period in ((1037, 1037), (99, 33), (4096, 256), (5, 1)):
        operands = {"x": activations(n, seed=n), "y": activations(period, seed=period)}
        yield Case(f"{n}-{period}", operands, {"n": n, "period": period})


OP = Op(
    name="add",
    operands=(dense("x", "n", access="rw"), dense("y", "period")),
    params=params(n="u4", period="u4"),
    reference=reference,
    bound=bounds.one_rounding,
    groups=lambda p: grid(ceil_div(p["n"], 64)),
    cases=cases,
    constants={"WG": 64},
)
