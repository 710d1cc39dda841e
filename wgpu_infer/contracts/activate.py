"""activate: x = act(x) in place, for feed-forward layers without a gate."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from wgpu_infer.contracts import bounds
from wgpu_infer.contracts.contract import Case, Op, ceil_div, dense, grid, params
from wgpu_infer.contracts.glu import ACTIVATIONS, FUNCTIONS, spread


def reference(x: np.ndarray, *, activation: int, **_: int) -> np.ndarray:
    """x (n) -> (n) float64."""
    return FUNCTIONS[activation](x.astype(np.float64))


def cases() -> Iterator[Case]:
    for name, code in ACTIVATIONS.items():
        yield Case(name, {"x": spread(777, seed=code)}, {"n": 777, "activation": code})


OP = Op(
    name="activate",
    operands=(dense("x", "n", access="rw"),),
    params=params(n="u4", activation="u4"),
    reference=reference,
    bound=bounds.activation,
    groups=lambda p: grid(ceil_div(p["n"], 64)),
    cases=cases,
    constants={"WG": 64},
)
