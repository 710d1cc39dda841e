"""sample: picks each row's next token as sampling/chain.py does behind the penalties, and moves the row on to it.

Largest first, ties to the smallest id: top-k, top-p, min-p, temperature, and the first token whose cumulative
probability exceeds u. The row then has the token at the next position of its index and its history. A row that has as
many tokens as its limit stays; one whose largest logit is not finite gets NO_TOKEN in its history and stays. Rows that
keep more than MOST_CANDIDATES are left to sample_wide.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from wgpu_infer.contracts import peaks
from wgpu_infer.contracts.cases import index_array
from wgpu_infer.contracts.contract import Case, Op, dense, grid, params
from wgpu_infer.contracts.philox import uniform
from wgpu_infer.contracts.picks import (
    COLDEST,
    HISTORY,
    MOST_CANDIDATES,
    NO_TOKEN,
    SETTINGS_WORDS,
    fields_of,
    is_wide,
    settings_row,
)

SLIM = 1e-5  # a u (or a cut) this close to a boundary may fall on either side of it


def reference(
    logits: np.ndarray, _peaks: np.ndarray, settings: np.ndarray, index: np.ndarray, history: np.ndarray, **_: int
) -> tuple[np.ndarray, np.ndarray]:
    """logits (tokens, cols) -> index (tokens, 4) and history (tokens, 64), moved on."""
    return move_on(logits, settings, index, history, wide=False)


def move_on(
    logits: np.ndarray, settings: np.ndarray, index: np.ndarray, history: np.ndarray, wide: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Of the rows that keep many candidates (`wide`), or of the others."""
    index, history = index.copy(), history.copy()
    for row, values in enumerate(logits):
        s, position = fields_of(settings[row]), int(index[row, 2]) + 1
        if position >= s["limit"] or is_wide(s["temperature"], s["top_k"], len(values)) != wide:
            continue
        token = pick(values, s, position)[0] if np.isfinite(values.max()) else NO_TOKEN
        history[row, position % HISTORY] = token
        if token != NO_TOKEN:
            index[row, 0], index[row, 2] = token, position
    return index, history


def pick(values: np.ndarray, s: Mapping[str, Any], position: int) -> tuple[int, bool]:
    """The row's pick by settings s, and whether a rounding might have changed it."""
    wanted = 1 if s["temperature"] == 0 else s["top_k"] or len(values)
    ids = np.argsort(-values, kind="stable")[:wanted]
    fall = values[ids].astype(np.float64) - float(values[ids[0]])
    count, is_slim = len(ids), False
    if s["top_p"] < 1:
        cumulative = running_share(fall)
        count = min(count, int(np.searchsorted(cumulative, s["top_p"])) + 1)
        is_slim = is_near(cumulative, s["top_p"])
    kept = int(np.count_nonzero(fall >= s["log_min_p"]))
    is_slim |= is_near(fall[1:], s["log_min_p"])
    cumulative = running_share(fall[: max(min(count, kept), 1)] / max(s["temperature"], COLDEST))
    u = uniform(s["seed_low"] | s["seed_high"] << 32, position)
    place = int(np.searchsorted(cumulative, u, side="right"))
    return int(ids[min(place, len(cumulative) - 1)]), is_slim or is_near(cumulative[:-1], u)


def running_share(scores: np.ndarray) -> np.ndarray:
    """The cumulative softmax of scores whose first is the largest."""
    with np.errstate(over="ignore"):
        e = np.exp(scores - scores[0])
    return np.cumsum(e) / e.sum()


def is_near(values: np.ndarray, mark: float) -> bool:
    return bool(np.any(np.abs(values - mark) < SLIM))


def bound(operands: Mapping[str, Any], expected: np.ndarray, _params: Mapping[str, Any]) -> np.ndarray:
    """Exact, but for rows where u or a cut lies so close to a boundary that a rounding decides."""
    allowed = np.zeros(expected.shape)
    for row, values in enumerate(operands["logits"]):
        if np.isfinite(values.max()):
            position = int(operands["index"][row, 2]) + 1
            allowed[row] = np.inf if pick(values, fields_of(operands["settings"][row]), position)[1] else 0
    return allowed


def make_case(name: str, logits: np.ndarray, positions: list[int], **settings: Any) -> Case:
    """Settings that are lists give each row its own value."""
    tokens, cols = logits.shape
    rows = [settings_row(**{k: v[i] if isinstance(v, list) else v for k, v in settings.items()}) for i in range(tokens)]
    sizes = {"tokens": tokens, "cols": cols, "groups": peaks.num_groups(cols)}
    operands = {
        "logits": logits,
        "peaks": peaks.reference(logits, **sizes),
        "settings": np.stack(rows),
        "index": index_array([7] * tokens, list(range(tokens)), positions, list(range(tokens))),
        "history": np.arange(tokens * HISTORY, dtype=np.uint32).reshape(tokens, HISTORY),
    }
    return Case(name, operands, sizes)


def random_logits(tokens: int, cols: int, spread: float = 3.0, decimals: int = 9) -> np.ndarray:
    rng = np.random.default_rng(cols)
    return np.round(rng.standard_normal((tokens, cols)) * spread, decimals).astype(np.float32)


def cases() -> Iterator[Case]:
    usual = {"temperature": 0.8, "top_k": 40, "top_p": 0.95, "log_min_p": float(np.log(0.05)), "seed_low": 5}
    large = random_logits(3, 130_003)
    yield make_case("greedy", random_logits(3, 300, decimals=0), [0, 63, 64])
    yield make_case("greedy-large", large, [9, 8, 7])
    yield make_case("usual", random_logits(4, 1000), [0, 5, 62, 63], **usual)
    yield make_case("usual-large", large, [1, 2, 100], **{**usual, "seed_high": [0, 1, 0xFFFFFFFF]})
    yield make_case("all", random_logits(3, 999), [1, 2, 3], temperature=[0.1, 1, 30], seed_low=[1, 2, 3])
    yield make_case("most", large, [4, 5, 6], temperature=[1.0, 5, 1], top_k=[1024, 700, 1], top_p=0.999)
    yield make_case("ties", random_logits(3, 70_000, 1, 0), [4, 5, 6], temperature=1.0, top_k=[3, 500, 1024])
    yield make_case("flat", np.zeros((2, 20_000), np.float32), [4, 5], temperature=1.0, top_k=1000)
    yield make_case("one", random_logits(2, 1), [4, 5], **usual)
    yield make_case("ends", random_logits(4, 64), [9, 10, 11, 9], **usual, limit=[10, 10, 10, 11])
    odd = random_logits(5, 500)
    odd[0, 70], odd[1, 3], odd[2], odd[3, :480], odd[4, 1:] = np.nan, np.inf, -np.inf, -np.inf, -3e38
    yield make_case("extremes", odd, [1, 2, 3, 4, 5], temperature=1.0, top_k=[40, 0, 0, 40, 0])
    cold = {"temperature": [COLDEST, 1.0, 1.0, 0.0], "top_p": [1, 1e-6, 1, 1], "log_min_p": [-1e30, -1e30, 0.0, 0.0]}
    yield make_case("sharp", random_logits(4, 200), [1, 2, 3, 4], **cold)


OP = Op(
    name="sample",
    operands=(
        dense("logits", "tokens", "cols"),
        dense("peaks", "tokens", "groups", dtype="u32"),
        dense("settings", "tokens", SETTINGS_WORDS, dtype="u32"),
        dense("index", "tokens", 4, access="rw", dtype="u32"),
        dense("history", "tokens", HISTORY, access="rw", dtype="u32"),
    ),
    params=params(tokens="u4", cols="u4", groups="u4"),
    reference=reference,
    bound=bound,
    groups=lambda p: grid(p["tokens"]),
    cases=cases,
    constants={
        "WG": 256,
        "HISTORY": HISTORY,
        "SETTINGS_WORDS": SETTINGS_WORDS,
        "MOST_CANDIDATES": MOST_CANDIDATES,
        "NO_TOKEN": NO_TOKEN,
    },
)
