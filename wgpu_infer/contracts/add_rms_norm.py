"""add_rms_norm: the residual add and the norm that follows it: x += delta, out = rms_norm(x)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from wgpu_infer.contracts import bounds
from wgpu_infer.contracts.cases import activations
from wgpu_infer.contracts.contract import Case, Op, dense, grid, params
from wgpu_infer.contracts.rms_norm import normalise


def reference(
    x: np.ndarray, delta: np.ndarray, gain: np.ndarray, *, eps: float, **_: int
) -> tuple[np.ndarray, np.ndarray]:
    """x, delta (rows, dim), gain (dim) -> the new x and its norm. The sum is rounded to f32 first, as it is stored."""
    total = (x + delta).astype(np.float32)
    return total, normalise(total, gain, eps)


def cases() -> Iterator[Case]:
    for rows, dim in ((1, 64), (6, 100), (2, 1024), (3, 9)):
        operands = {
            "x": activations(rows, dim, seed=dim),
            "delta": activations(rows, dim, seed=dim + 1),
            "gain": activations(dim, seed=rows),
        }
        yield Case(f"{rows}x{dim}", operands, {"rows": rows, "dim": dim, "eps": 1e-5})


OP = Op(
    name="add_rms_norm",
    operands=(
        dense("x", "rows", "dim", access="rw"),
        dense("delta", "rows", "dim"),
        dense("gain", "dim"),
        dense("out", "rows", "dim", access="w"),
    ),
    params=params(rows="u4", dim="u4", eps="f4"),
    reference=reference,
    bound=bounds.norm,
    groups=lambda p: grid(p["rows"]),
    cases=cases,
    constants={"WG": 64},
)
