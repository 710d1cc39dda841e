"""rope: rotary position embedding (Su et al. 2021, arXiv:2104.09864), in place, from a table of cosines and sines.

The table is made once in float64 by `models/rope_table.py`; linear, NTK and YaRN scaling, frequency factors and YaRN's
magnitude all live in it, so the op only rotates: pairs (2i, 2i+1) when interleaved, (i, i + rot/2) otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from wgpu_infer.contracts.cases import activations, index_array
from wgpu_infer.contracts.contract import Case, Op, ceil_div, dense, grid, index, params

HALF, INTERLEAVED = 0, 1


def pairs(rot: int, interleaved: int) -> tuple[np.ndarray, np.ndarray]:
    """The two element numbers of each of the rot/2 pairs."""
    i = np.arange(rot // 2)
    return (2 * i, 2 * i + 1) if interleaved else (i, i + rot // 2)


def reference(
    x: np.ndarray, index: np.ndarray, table: np.ndarray, *, rot: int, interleaved: int, **_: int
) -> np.ndarray:
    """x (tokens, heads, head_dim), table (positions, rot/2, 2) of cos and sin -> the rotated x, float64."""
    out = x.astype(np.float64)
    angle = table[index[:, 2]].astype(np.float64)[:, None]  # (tokens, 1, rot/2, 2)
    a, b = pairs(rot, interleaved)
    xa, xb = out[..., a], out[..., b]
    out[..., a] = xa * angle[..., 0] - xb * angle[..., 1]
    out[..., b] = xa * angle[..., 1] + xb * angle[..., 0]
    return out


def bound(operands: Mapping[str, Any], expected: np.ndarray, p: Mapping[str, Any]) -> np.ndarray:
    """1e-6 of the pair's norm; what is not rotated must be untouched."""
    a, b = pairs(p["rot"], p["interleaved"])
    norm = np.hypot(expected[..., a], expected[..., b])
    out = np.zeros_like(expected)
    out[..., a] = out[..., b] = 1e-6 * norm + 1e-37
    return out


def cases() -> Iterator[Case]:
    rng = np.random.default_rng(0)
    for tokens, heads, head_dim, rot, interleaved in (
        (1, 8, 8, 8, 1),
        (5, 4, 64, 64, 0),
        (3, 2, 80, 32, 0),
        (7, 3, 128, 128, 1),
        (2, 5, 20, 10, 1),
    ):
        angles = rng.uniform(-50, 50, (40, rot // 2))
        table = np.stack([np.cos(angles), np.sin(angles)], -1).astype(np.float32)
        positions = rng.integers(0, 40, tokens).tolist()
        yield Case(
            f"{tokens}x{heads}x{head_dim}-{rot}-{'interleaved' if interleaved else 'half'}",
            {
                "x": activations(tokens, heads, head_dim, seed=rot),
                "index": index_array([0] * tokens, positions=positions),
                "table": table,
            },
            {
                "tokens": tokens,
                "heads": heads,
                "head_dim": head_dim,
                "rot": rot,
                "interleaved": interleaved,
                "positions": 40,
                "half": rot // 2,
            },
        )


OP = Op(
    name="rope",
    operands=(
        dense("x", "tokens", "heads", "head_dim", access="rw"),
        index(),
        dense("table", "positions", "half", 2),
    ),
    params=params(tokens="u4", heads="u4", head_dim="u4", rot="u4", interleaved="u4", positions="u4", half="u4"),
    reference=reference,
    bound=bound,
    groups=lambda p: grid(ceil_div(p["tokens"] * p["heads"] * p["half"], 64)),
    cases=cases,
    constants={"WG": 64},
)
