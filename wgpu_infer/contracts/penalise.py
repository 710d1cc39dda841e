"""penalise: logit biases, then the penalties of the last 64 tokens, on the few logits of each row that they change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from wgpu_infer.contracts.cases import activations, index_array
from wgpu_infer.contracts.contract import Case, Op, dense, grid, index, params
from wgpu_infer.contracts.picks import HISTORY, MOST_BIASES, SETTINGS_WORDS, fields_of, settings_row, window_of


def reference(
    logits: np.ndarray, index: np.ndarray, history: np.ndarray, settings: np.ndarray, biases: np.ndarray, **_: int
) -> np.ndarray:
    """logits (tokens, cols) -> the same in float64, changed. Values that are not finite stay."""
    out = logits.astype(np.float64)
    for row, values in enumerate(out):
        s = fields_of(settings[row])
        for token, bias in biases[row, : s["biases"]]:
            if token < len(values):
                values[token] += bias.view(np.float32)
        tokens, counts = np.unique(window_of(history[row], index[row, 2] + 1), return_counts=True)
        tokens, counts = tokens[tokens < len(values)], counts[tokens < len(values)]
        seen, repeat = values[tokens], s["repeat_penalty"]
        seen = np.where(seen > 0, seen / repeat, seen * repeat)
        values[tokens] = seen - np.where(np.isfinite(seen), s["presence_penalty"] + s["frequency_penalty"] * counts, 0)
    return out


def bound(operands: Mapping[str, Any], expected: np.ndarray, _params: Mapping[str, Any]) -> np.ndarray:
    """A few roundings of what is added and multiplied."""
    before = np.nan_to_num(operands["logits"].astype(np.float64), posinf=0, neginf=0)  # those stay as they are
    expected = np.nan_to_num(expected, posinf=0, neginf=0)
    return 5e-7 * (np.abs(expected) + np.abs(before) + np.abs(expected - before))


def make_case(name: str, cols: int, positions: list[int], **settings: float) -> Case:
    rng = np.random.default_rng(cols)
    tokens = len(positions)
    biases = np.zeros((tokens, MOST_BIASES, 2), np.uint32)
    for row in range(tokens):
        biases[row, :, 0] = rng.permutation(max(cols, MOST_BIASES))[:MOST_BIASES]
        biases[row, :, 1] = rng.normal(0, 3, MOST_BIASES).astype(np.float32).view(np.uint32)
    operands = {
        "logits": activations(tokens, cols, seed=cols),
        "index": index_array([0] * tokens, positions=positions),
        "history": rng.integers(0, min(cols, 40), (tokens, HISTORY)).astype(np.uint32),
        "settings": np.concatenate([settings_row(**settings)] * tokens).reshape(tokens, SETTINGS_WORDS),
        "biases": biases,
    }
    return Case(name, operands, {"tokens": tokens, "cols": cols})


def cases() -> Iterator[Case]:
    yield make_case("nothing", 100, [5])
    yield make_case("repeat", 300, [0, 62, 63, 64, 1000], repeat_penalty=1.3)
    yield make_case("occurrence", 70, [3, 200], presence_penalty=0.5, frequency_penalty=-0.25)
    yield make_case("all", 1000, [7, 90], repeat_penalty=0.7, presence_penalty=2, frequency_penalty=0.1, biases=200)
    yield make_case("biases", 256, [1], biases=MOST_BIASES)
    odd = make_case("extremes", 64, [70, 3], repeat_penalty=1.5, presence_penalty=1, biases=64)
    odd.operands["logits"][0, ::3], odd.operands["logits"][0, 1::3] = -np.inf, np.inf
    odd.operands["logits"][1, ::2] = np.nan
    odd.operands["history"][0, 5] = 0xFFFFFFFF
    yield odd


OP = Op(
    name="penalise",
    operands=(
        dense("logits", "tokens", "cols", access="rw"),
        index(),
        dense("history", "tokens", HISTORY, dtype="u32"),
        dense("settings", "tokens", SETTINGS_WORDS, dtype="u32"),
        dense("biases", "tokens", MOST_BIASES, 2, dtype="u32"),
    ),
    params=params(tokens="u4", cols="u4"),
    reference=reference,
    bound=bound,
    groups=lambda p: grid(p["tokens"]),
    cases=cases,
    constants={"WG": 64, "HISTORY": HISTORY, "SETTINGS_WORDS": SETTINGS_WORDS, "MOST_BIASES": MOST_BIASES},
)
