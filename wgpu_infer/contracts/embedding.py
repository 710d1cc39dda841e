"""embedding: the rows of a (vocabulary, dim) weight that the tokens' ids name."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from wgpu_infer.contracts import bounds
from wgpu_infer.contracts.cases import index_array, random_weight, weight_formats
from wgpu_infer.contracts.contract import Case, Op, dense, grid, index, params, weight
from wgpu_infer.contracts.host import HostWeight


def reference(index: np.ndarray, w: HostWeight, *, row0: int, rows: int, **_: int) -> np.ndarray:
    """(tokens, cols) f32. A weight split by rows holds vocabulary rows row0..row0+rows of it."""
    return w.row_values(index[:, 0] - row0)


def cases() -> Iterator[Case]:
    for fmt in weight_formats():
        cols, rows, ids = 512, 7, [3, 0, 6, 3, 5]
        operands = {"index": index_array(ids), "w": random_weight(fmt, rows, cols, seed=1)}
        yield Case(f"{fmt}-7x512", operands, {"tokens": len(ids), "rows": rows, "cols": cols, "row0": 0})
    operands = {"index": index_array([11, 2]), "w": random_weight("F16", 13, 20, seed=2)}
    yield Case("F16-13x20", operands, {"tokens": 2, "rows": 13, "cols": 20, "row0": 0})


OP = Op(
    name="embedding",
    operands=(index(), weight(), dense("out", "tokens", "cols", access="w")),
    params=params(tokens="u4", rows="u4", cols="u4", row0="u4"),
    reference=reference,
    bound=bounds.one_rounding,
    groups=lambda p: grid(p["tokens"]),
    cases=cases,
    constants={"WG": 64},
)
