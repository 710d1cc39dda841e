"""argmax: the position of each row's largest value, the smallest position where several are equal."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from wgpu_infer.contracts import bounds
from wgpu_infer.contracts.cases import activations
from wgpu_infer.contracts.contract import Case, Op, dense, grid, params


def reference(x: np.ndarray, **_: int) -> np.ndarray:
    """x (rows, cols) -> u32 (rows)."""
    return np.argmax(x, axis=-1).astype(np.uint32)


def cases() -> Iterator[Case]:
    for rows, cols in ((1, 512), (3, 1000), (2, 1), (4, 65)):
        yield Case(f"{rows}x{cols}", {"x": activations(rows, cols, seed=cols)}, {"rows": rows, "cols": cols})
    ties = np.zeros((3, 300), np.float32)
    ties[0, [200, 70, 299]] = 1.0
    ties[1] = -np.inf
    yield Case("ties", {"x": ties}, {"rows": 3, "cols": 300})


OP = Op(
    name="argmax",
    operands=(dense("x", "rows", "cols"), dense("out", "rows", access="w", dtype="u32")),
    params=params(rows="u4", cols="u4"),
    reference=reference,
    bound=bounds.exact,
    groups=lambda p: grid(p["rows"]),
    cases=cases,
    constants={"WG": 256},
)
