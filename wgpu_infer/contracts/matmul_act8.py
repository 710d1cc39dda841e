"""matmul_act8: y = x·Wᵀ for the many tokens of a prompt, x rounded to int8 blocks."""

from __future__ import annotations

from collections.abc import Iterator

from wgpu_infer.contracts import bounds, matvec, matvec_act8
from wgpu_infer.contracts.cases import beside
from wgpu_infer.contracts.contract import Case, Op, act8, dense, params, weight


def cases() -> Iterator[Case]:
    for fmt in matvec_act8.formats():
        yield matvec_act8.make_case(fmt, 37, 512, 19)
    yield matvec_act8.make_case("Q8_0", 70, 96, 33)
    yield matvec_act8.make_case("Q4_0", 130, 1024, 1)
    yield matvec_act8.make_case("Q4_K", 18, 4608, 5)
    yield matvec_act8.make_case("Q5_1", 33, 64, 260)
    yield beside(matvec_act8.make_case("Q8_0", 70, 96, 33))


OP = Op(
    name="matmul_act8",
    operands=(act8("x"), weight(), dense("out", "tokens", "stride", access="w")),
    params=params(tokens="u4", rows="u4", cols="u4", row0="u4", stride="u4"),
    reference=matvec_act8.reference,
    bound=bounds.dot_act8,
    groups=matvec.groups,
    cases=cases,
    constants={"WG": 64, "ROWS": 32, "TOKENS": 32, "STEP": 2},
)
