"""glu_act8: act(gate) · up straight to int8 blocks; the product in float32 is not kept."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from wgpu_infer.contracts import bounds, glu
from wgpu_infer.contracts.cases import activations
from wgpu_infer.contracts.contract import Case, Op, act8, ceil_div, dense, grid, params
from wgpu_infer.contracts.host import HostAct8


def reference(gate_up: np.ndarray, *, activation: int, **_: int) -> HostAct8:
    """gate_up (tokens, 2, cols) -> act8 (tokens, cols)."""
    return HostAct8.of(glu.reference(gate_up, activation=activation).astype(np.float32))


def cases() -> Iterator[Case]:
    for name, code in glu.ACTIVATIONS.items():
        gate = glu.spread(3 * 352, seed=code).reshape(3, 352)
        operands = {"gate_up": glu.beside(gate, activations(3, 352, seed=9))}
        yield Case(name, operands, {"tokens": 3, "cols": 352, "activation": code})


OP = Op(
    name="glu_act8",
    operands=(dense("gate_up", "tokens", 2, "cols"), act8("out8", access="w")),
    params=params(tokens="u4", cols="u4", activation="u4"),
    reference=reference,
    bound=bounds.act8_scale,
    groups=lambda p: grid(ceil_div(p["tokens"] * p["cols"], 32 * 64)),
    cases=cases,
    constants={"WG": 64},
)
