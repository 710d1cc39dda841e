"""add_rms_norm_act8: the residual add, the norm that follows it, and the norm's result as int8 blocks beside it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from wgpu_infer.contracts import add_rms_norm, bounds
from wgpu_infer.contracts.cases import activations
from wgpu_infer.contracts.contract import Case, Op, act8, dense, grid, params
from wgpu_infer.contracts.host import HostAct8


def reference(
    x: np.ndarray, delta: np.ndarray, gain: np.ndarray, *, eps: float, **_: int
) -> tuple[np.ndarray, np.ndarray, HostAct8]:
    """x, delta (rows, dim), gain (dim) -> the new x, its norm, and that as act8."""
    total, out = add_rms_norm.reference(x, delta, gain, eps=eps)
    return total, out, HostAct8.of(out.astype(np.float32))


def cases() -> Iterator[Case]:
    for rows, dim in ((1, 64), (6, 96), (2, 1024)):
        operands = {
            "x": activations(rows, dim, seed=dim),
            "delta": activations(rows, dim, seed=dim + 1),
            "gain": activations(dim, seed=rows),
        }
        yield Case(f"{rows}x{dim}", operands, {"rows": rows, "dim": dim, "eps": 1e-5})


OP = Op(
    name="add_rms_norm_act8",
    operands=(
        dense("x", "rows", "dim", access="rw"),
        dense("delta", "rows", "dim"),
        dense("gain", "dim"),
        dense("out", "rows", "dim", access="w"),
        act8("out8", "rows", "dim", access="w"),
    ),
    params=params(rows="u4", dim="u4", eps="f4"),
    reference=reference,
    bound=bounds.norm,
    groups=lambda p: grid(p["rows"]),
    cases=cases,
    constants={"WG": 64},
)
