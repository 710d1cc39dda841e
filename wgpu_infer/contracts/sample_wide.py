"""sample_wide: what `sample` does, for the rows that keep more candidates than it can sort; others stay as they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from wgpu_infer.contracts import sample
from wgpu_infer.contracts.contract import Case, Op, dense, grid, params
from wgpu_infer.contracts.picks import HISTORY, SETTINGS_WORDS


def reference(
    logits: np.ndarray, settings: np.ndarray, index: np.ndarray, history: np.ndarray, **_: int
) -> tuple[np.ndarray, np.ndarray]:
    """logits (tokens, cols) -> index (tokens, 4) and history (tokens, 64), moved on."""
    return sample.move_on(logits, settings, index, history, wide=True)


def make_case(name: str, logits: np.ndarray, positions: list[int], **settings: Any) -> Case:
    case = sample.make_case(name, logits, positions, **settings)
    operands = {name: value for name, value in case.operands.items() if name != "peaks"}
    return Case(name, operands, {"tokens": len(logits), "cols": logits.shape[1]})


def cases() -> Iterator[Case]:
    usual = {"temperature": 0.8, "top_p": 0.95, "log_min_p": float(np.log(0.05)), "seed_low": 5}
    large, middle = sample.random_logits(4, 130_003), sample.random_logits(3, 3001)
    yield make_case("usual", large, [1, 2, 63, 100], **usual)
    yield make_case("all", large, [3, 4, 5, 6], temperature=[0.1, 1, 3, 30], seed_low=[1, 2, 3, 4])
    yield make_case("top-k", middle, [1, 2, 3], temperature=2.0, top_k=[1025, 2000, 3000], seed_high=[1, 2, 3])
    yield make_case("top-k-top-p", middle, [4, 5, 6], temperature=5.0, top_k=[1025, 2000, 9000], top_p=[0.5, 0.9, 0.99])
    yield make_case("not-wide", middle, [4, 5, 6], temperature=[0.0, 1.0, 1.0], top_k=[0, 40, 1024])
    yield make_case("ties", sample.random_logits(3, 70_000, 1, 0), [4, 5, 6], temperature=1.0, top_k=[0, 5000, 60_000])
    yield make_case("flat", np.zeros((3, 20_000), np.float32), [4, 5, 6], temperature=1.0, top_p=[1.0, 0.5, 0.123])
    yield make_case("least", sample.random_logits(3, 1025), [0, 5, 62], **usual)
    yield make_case("ends", sample.random_logits(4, 1100), [9, 10, 11, 9], **usual, limit=[10, 10, 10, 11])
    odd = sample.random_logits(5, 1500)
    odd[0, 70], odd[1, 3], odd[2], odd[3, :1480], odd[4, 1:] = np.nan, np.inf, -np.inf, -np.inf, -3e38
    yield make_case("extremes", odd, [1, 2, 3, 4, 5], temperature=1.0)
    least = sample.random_logits(12, 1500)
    least[1::3, 375:], least[2::3, 375:], least[2::3, 7] = -3.4e38, -3.4e38, 3.4e38
    least[0::3, 5] = 99  # the pick of every third row: what its search leaves in workgroup memory misleads the others
    hot = {"temperature": [0.5, 0.8, 100] * 4, "top_k": [0, 1025, 1100] * 4, "seed_low": list(range(12))}
    yield make_case("overflowing", least, list(range(12)), **hot)
    cold = {"temperature": [sample.COLDEST, 1.0, 1.0], "top_p": [1, 1e-6, 1], "log_min_p": [-1e30, -1e30, 0.0]}
    yield make_case("sharp", middle, [1, 2, 3], **cold)


OP = Op(
    name="sample_wide",
    operands=(
        dense("logits", "tokens", "cols"),
        dense("settings", "tokens", SETTINGS_WORDS, dtype="u32"),
        dense("index", "tokens", 4, access="rw", dtype="u32"),
        dense("history", "tokens", HISTORY, access="rw", dtype="u32"),
    ),
    params=params(tokens="u4", cols="u4"),
    reference=reference,
    bound=sample.bound,
    groups=lambda p: grid(p["tokens"]),
    cases=cases,
    constants=sample.OP.constants,
)
