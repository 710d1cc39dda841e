"""glu: act(gate) · up (Shazeer 2020, arXiv:2002.05202), for the activations of the table below."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from wgpu_infer.contracts import bounds
from wgpu_infer.contracts.cases import activations
from wgpu_infer.contracts.contract import Case, Op, ceil_div, dense, grid, params

ACTIVATIONS = {"silu": 0, "gelu": 1, "gelu_tanh": 2, "relu2": 3}


def silu(x: np.ndarray) -> np.ndarray:
    return x * np.exp(np.minimum(x, 0)) / (np.exp(-np.abs(x)) + 1)


def gelu(x: np.ndarray) -> np.ndarray:
    erf = np.vectorize(math.erf, otypes=[np.float64])
    return 0.5 * x * (1 + erf(x / math.sqrt(2)))


def gelu_tanh(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def relu2(x: np.ndarray) -> np.ndarray:
    return np.square(np.maximum(x, 0))


FUNCTIONS = (silu, gelu, gelu_tanh, relu2)  # in the order of ACTIVATIONS


def reference(gate_up: np.ndarray, *, activation: int, **_: int) -> np.ndarray:
    """gate_up (tokens, 2, cols): a token's gate, then its up -> (tokens, cols) float64."""
    return FUNCTIONS[activation](gate_up[:, 0].astype(np.float64)) * gate_up[:, 1]


def spread(n: int, seed: int) -> np.ndarray:
    """Activations and the values at which a careless exp overflows."""
    x = activations(n, seed=seed, scale=3.0)
    x[:6] = [0.0, -0.0, 100.0, -100.0, 1e-4, -20.0]
    return x


def beside(gate: np.ndarray, up: np.ndarray) -> np.ndarray:
    """gate, up (tokens, cols) -> (tokens, 2, cols)."""
    return np.stack([gate, up], axis=1)


def cases() -> Iterator[Case]:
    for name, code in ACTIVATIONS.items():
        gate, up = spread(3 * 347, seed=code).reshape(3, 347), activations(3, 347, seed=9)
        yield Case(name, {"gate_up": beside(gate, up)}, {"tokens": 3, "cols": 347, "activation": code})


OP = Op(
    name="glu",
    operands=(dense("gate_up", "tokens", 2, "cols"), dense("out", "tokens", "cols", access="w")),
    params=params(tokens="u4", cols="u4", activation="u4"),
    reference=reference,
    bound=bounds.activation,
    groups=lambda p: grid(ceil_div(p["tokens"] * p["cols"], 64)),
    cases=cases,
    constants={"WG": 64},
)
