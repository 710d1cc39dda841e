"""matmul: y = x·Wᵀ for the many tokens of a prompt: every weight block is unpacked once for a tile of tokens.

A tile walks the columns in order whatever the number of tokens, so a token's result does not depend on its neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator

from wgpu_infer.contracts import bounds, matvec
from wgpu_infer.contracts.cases import beside, weight_formats
from wgpu_infer.contracts.contract import Case, Op, dense, params, weight

ROWS = 64
TOKENS = 32


def cases() -> Iterator[Case]:
    for fmt in weight_formats():
        yield matvec.make_case(fmt, 37, 512, 19)
    yield matvec.make_case("Q8_0", 70, 96, 33)
    yield matvec.make_case("F32", 33, 172, 65)
    yield matvec.make_case("F16", 5, 50, 3)
    yield matvec.make_case("Q4_0", 130, 1024, 1)
    yield beside(matvec.make_case("Q8_0", 70, 96, 33))


OP = Op(
    name="matmul",
    operands=(dense("x", "tokens", "cols"), weight(), dense("out", "tokens", "stride", access="w")),
    params=params(tokens="u4", rows="u4", cols="u4", row0="u4", stride="u4"),
    reference=matvec.reference,
    bound=bounds.dot,
    groups=matvec.groups,
    cases=cases,
    constants={"WG": ROWS, "ROWS": ROWS, "TOKENS": TOKENS},
)
