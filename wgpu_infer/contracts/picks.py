"""What the ops that pick tokens on the device share: a row of settings, a row of history, and how picks are judged.

A batch of sequences that decodes on the device has one row each of `index`, `history`, `settings` and `biases`. A
row's position P is that of the token it computes, so the token that it picks is at P + 1. `history` holds the token of
position p at p modulo 64: it is the window of the penalties and the ring from which picks are read back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

HISTORY = 64  # tokens; penalties look back on all of them
MOST_BIASES = 4096  # logit biases of one row
MOST_CANDIDATES = 1024  # logits that `sample` sorts; rows that keep more are sample_wide's
NO_TOKEN = 0xFFFFFFFF  # the pick of a row whose largest logit is not a finite number
NO_BIAS = (0xFFFFFFFF, 0)
SETTINGS = np.dtype(
    [
        ("temperature", "<f4"),  # 0 is greedy
        ("top_k", "<u4"),  # 0 keeps all
        ("top_p", "<f4"),
        ("log_min_p", "<f4"),  # a very low number keeps all
        ("repeat_penalty", "<f4"),
        ("presence_penalty", "<f4"),
        ("frequency_penalty", "<f4"),
        ("seed_low", "<u4"),
        ("seed_high", "<u4"),
        ("limit", "<u4"),  # tokens; a row that has as many is left as it is
        ("biases", "<u4"),  # how many of its row of biases count
        ("spare", "<u4", 5),
    ]
)
SETTINGS_WORDS = SETTINGS.itemsize // 4
KEEPS_ALL = -1e30  # as log_min_p
COLDEST = 1e-30  # a temperature that is not greedy, in float32


def is_wide(temperature: float, top_k: int, vocab: int) -> bool:
    """Whether a row keeps more candidates than can be sorted, before top-p and min-p."""
    return temperature != 0 and min(top_k or vocab, vocab) > MOST_CANDIDATES


def settings_row(**fields: Any) -> np.ndarray:
    """u32 (SETTINGS_WORDS,): those given, the others such that they do nothing."""
    row = np.zeros(1, SETTINGS)
    neutral = {"top_p": 1, "log_min_p": KEEPS_ALL, "repeat_penalty": 1, "limit": 0xFFFFFFFF}
    for name, value in (neutral | fields).items():
        row[name] = value
    return row.view(np.uint32)


def fields_of(settings: np.ndarray) -> Mapping[str, Any]:
    """A row's settings by name."""
    row = np.ascontiguousarray(settings).view(SETTINGS)[0]
    return {name: row[name].item() for name in SETTINGS.names or () if name != "spare"}


def window_of(history: np.ndarray, position: int) -> np.ndarray:
    """The tokens before `position` that a row's history (64,) holds, in no order."""
    return history[: min(position, HISTORY)].astype(np.int64)
