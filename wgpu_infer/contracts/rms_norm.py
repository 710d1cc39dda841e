"""rms_norm: each row divided by its root mean square, times a weight (Zhang & Sennrich 2019, arXiv:1910.07467)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from wgpu_infer.contracts import bounds
from wgpu_infer.contracts.cases import activations
from wgpu_infer.contracts.contract import Case, Op, dense, grid, params


def normalise(x: np.ndarray, gain: np.ndarray, eps: float) -> np.ndarray:
    """x (rows, dim), gain (dim) -> float64 (rows, dim)."""
    x = x.astype(np.float64)
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + np.float32(eps).astype(np.float64)) * gain


def reference(x: np.ndarray, gain: np.ndarray, *, eps: float, **_: int) -> np.ndarray:
    return normalise(x, gain, eps)


def cases() -> Iterator[Case]:
    for rows, dim, eps in ((1, 64, 1e-5), (5, 100, 1e-6), (3, 2048, 1e-5), (40, 8, 1e-6), (1, 1, 1e-5)):
        operands = {"x": activations(rows, dim, seed=dim), "gain": activations(dim, seed=rows)}
        yield Case(f"{rows}x{dim}", operands, {"rows": rows, "dim": dim, "eps": eps})
    zeros = {"x": np.zeros((2, 33), np.float32), "gain": np.ones(33, np.float32)}
    yield Case("zeros", zeros, {"rows": 2, "dim": 33, "eps": 1e-5})


OP = Op(
    name="rms_norm",
    operands=(dense("x", "rows", "dim"), dense("gain", "dim"), dense("out", "rows", "dim", access="w")),
    params=params(rows="u4", dim="u4", eps="f4"),
    reference=reference,
    bound=bounds.norm,
    groups=lambda p: grid(p["rows"]),
    cases=cases,
    constants={"WG": 64},
)
