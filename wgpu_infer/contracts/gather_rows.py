"""gather_rows: the rows of the tokens whose logits are wanted, before the output layer."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from wgpu_infer.contracts import bounds
from wgpu_infer.contracts.cases import activations, index_array
from wgpu_infer.contracts.contract import Case, Op, dense, grid, index, params


def reference(x: np.ndarray, index: np.ndarray, *, rows: int, **_: int) -> np.ndarray:
    """x (tokens, dim) -> (rows, dim): row i is token index[i, 3]."""
    return x[index[:rows, 3]]


def cases() -> Iterator[Case]:
    for dim, outputs in ((64, [6, 2]), (100, [0, 1, 2, 3, 4, 5, 6]), (7, [3])):
        operands = {"x": activations(7, dim, seed=dim), "index": index_array([0] * 7, outputs=outputs)}
        yield Case(f"{dim}-{len(outputs)}", operands, {"tokens": 7, "rows": len(outputs), "dim": dim})


OP = Op(
    name="gather_rows",
    operands=(dense("x", "tokens", "dim"), index(), dense("out", "rows", "dim", access="w")),
    params=params(tokens="u4", rows="u4", dim="u4"),
    reference=reference,
    bound=bounds.exact,
    groups=lambda p: grid(p["rows"]),
    cases=cases,
    constants={"WG": 64},
)
