"""softmax: exp(x·scale - max) over each row, divided by its sum."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from wgpu_infer.contracts.cases import activations
from wgpu_infer.contracts.contract import Case, Op, dense, grid, params


def reference(x: np.ndarray, *, scale: float, **_: int) -> np.ndarray:
    """x (rows, cols) -> float64 (rows, cols), each row summing to 1."""
    x = x.astype(np.float64) * np.float32(scale)
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def bound(_operands: Mapping[str, Any], expected: np.ndarray, _p: Mapping[str, Any]) -> np.ndarray:
    """1e-3 relative, and 1e-6 absolute so that a row still sums to 1 within 1e-6."""
    return np.minimum(1e-3 * expected + 1e-37, 1e-6)


def cases() -> Iterator[Case]:
    for rows, cols, scale in ((1, 64, 1.0), (5, 100, 0.125), (2, 2000, 3.0), (3, 1, 1.0)):
        yield Case(
            f"{rows}x{cols}",
            {"x": activations(rows, cols, seed=cols)},
            {"rows": rows, "cols": cols, "scale": scale},
        )
    masked = activations(2, 40, seed=5)
    masked[0, 7:] = -np.inf
    yield Case("masked", {"x": masked}, {"rows": 2, "cols": 40, "scale": 1.0})


OP = Op(
    name="softmax",
    operands=(dense("x", "rows", "cols"), dense("out", "rows", "cols", access="w")),
    params=params(rows="u4", cols="u4", scale="f4"),
    reference=reference,
    bound=bound,
    groups=lambda p: grid(p["rows"]),
    cases=cases,
    constants={"WG": 64},
)
