"""quantize: activations to int8 blocks, which integer products with quantised weights take (`act8`)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from wgpu_infer.contracts import bounds
from wgpu_infer.contracts.cases import activations
from wgpu_infer.contracts.contract import Case, Op, act8, ceil_div, dense, grid, params
from wgpu_infer.contracts.host import HostAct8


def reference(x: np.ndarray, **_: int) -> HostAct8:
    """x (tokens, cols) -> act8 (tokens, cols)."""
    return HostAct8.of(x)


def cases() -> Iterator[Case]:
    for tokens, cols in ((1, 32), (3, 96), (2, 2048), (5, 5632)):
        yield Case(f"{tokens}x{cols}", {"x": activations(tokens, cols, seed=cols)}, {"tokens": tokens, "cols": cols})
    x = activations(4, 128, seed=3)
    x[0], x[1, :32], x[2, :40] = 0, 1e-42, 3e38
    x[3, :32] = np.arange(-16, 16) / 2  # codes that lie halfway, if rounded with another scale
    yield Case("extremes", {"x": x}, {"tokens": 4, "cols": 128})


OP = Op(
    name="quantize",
    operands=(dense("x", "tokens", "cols"), act8("out8", access="w")),
    params=params(tokens="u4", cols="u4"),
    reference=reference,
    bound=bounds.act8_scale,
    groups=lambda p: grid(ceil_div(p["tokens"] * p["cols"], 32 * 64)),
    cases=cases,
    constants={"WG": 64},
)
