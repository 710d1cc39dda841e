"""layer_norm: each row minus its mean, divided by its standard deviation, times gain plus bias (arXiv:1607.06450)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from wgpu_infer.contracts import bounds
from wgpu_infer.contracts.cases import activations
from wgpu_infer.contracts.contract import Case, Op, dense, grid, params


def reference(x: np.ndarray, gain: np.ndarray, bias: np.ndarray, *, eps: float, **_: int) -> np.ndarray:
    """x (rows, dim), gain and bias (dim) -> float64 (rows, dim)."""
    x = x.astype(np.float64)
    x = x - x.mean(axis=-1, keepdims=True)
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + np.float32(eps).astype(np.float64)) * gain + bias


def cases() -> Iterator[Case]:
    for rows, dim in ((1, 64), (5, 100), (3, 2560), (2, 7)):
        operands = {
            "x": activations(rows, dim, seed=dim) + 2.0,
            "gain": activations(dim, seed=rows),
            "bias": activations(dim, seed=rows + 1),
        }
        yield Case(f"{rows}x{dim}", operands, {"rows": rows, "dim": dim, "eps": 1e-5})


OP = Op(
    name="layer_norm",
    operands=(
        dense("x", "rows", "dim"),
        dense("gain", "dim"),
        dense("bias", "dim"),
        dense("out", "rows", "dim", access="w"),
    ),
    params=params(rows="u4", dim="u4", eps="f4"),
    reference=reference,
    bound=bounds.norm,
    groups=lambda p: grid(p["rows"]),
    cases=cases,
    constants={"WG": 64},
)
