"""matvec_act8: y = x·Wᵀ for few tokens, x rounded to int8 blocks: integer dot products, float32 sums of blocks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from wgpu_infer.contracts import bounds, matvec
from wgpu_infer.contracts.cases import activations, beside, random_weight, weight_formats
from wgpu_infer.contracts.contract import Case, Op, act8, dense, params, weight
from wgpu_infer.contracts.host import HostAct8, HostWeight

FLOATS = ("F32", "F16", "BF16")


def formats() -> list[str]:
    """The formats that take int8 activations: all quantised ones."""
    return [fmt for fmt in weight_formats() if fmt not in FLOATS]


def reference(x: HostAct8, w: HostWeight, **_: int) -> np.ndarray:
    """x act8 (tokens, cols), w (rows, cols) -> (tokens, rows) float64."""
    return x.values() @ w.values().astype(np.float64).T


def make_case(fmt: str, rows: int, cols: int, tokens: int) -> Case:
    x = HostAct8.of(activations(tokens, cols, seed=tokens))
    sizes = {"tokens": tokens, "rows": rows, "cols": cols, "row0": 0, "stride": rows}
    return Case(f"{fmt}-{rows}x{cols}-{tokens}", {"x": x, "w": random_weight(fmt, rows, cols, seed=rows)}, sizes)


def cases() -> Iterator[Case]:
    for fmt in formats():
        yield make_case(fmt, 37, 512, 1)
        yield make_case(fmt, 6, 768, 3)
    yield make_case("Q8_0", 9, 96, 8)
    yield make_case("Q4_0", 53, 4096, 11)
    yield make_case("Q6_K", 32, 4608, 2)
    yield beside(make_case("Q4_0", 21, 256, 1))
    yield beside(make_case("Q8_0", 21, 256, 3))


OP = Op(
    name="matvec_act8",
    operands=(act8("x"), weight(), dense("out", "tokens", "stride", access="w")),
    params=params(tokens="u4", rows="u4", cols="u4", row0="u4", stride="u4"),
    reference=reference,
    bound=bounds.dot_act8,
    groups=matvec.groups,
    cases=cases,
    constants=matvec.OP.constants,
)
