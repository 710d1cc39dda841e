"""How much of a text repeats a corpus: hashed windows of words."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

WINDOW = 12


def window_hashes(texts: Iterable[str], ids: dict[str, int], size: int = WINDOW) -> np.ndarray:
    """A uint64 hash of every run of `size` words inside one text; `ids` numbers the words and grows with new ones."""
    multiplier = np.uint64(0x9E3779B97F4A7C15)
    hashes = []
    for text in texts:
        words = np.array([ids.setdefault(word, len(ids) + 1) for word in text.split()], dtype=np.uint64)
        count = len(words) - size + 1
        if count < 1:
            continue
        value = np.zeros(count, dtype=np.uint64)
        for k in range(size):
            value = (value + words[k : k + count]) * multiplier
            value ^= value >> np.uint64(29)
        hashes.append(value)
    return np.concatenate(hashes) if hashes else np.zeros(0, dtype=np.uint64)


def repeated_share(texts: Iterable[str], corpus: np.ndarray, ids: dict[str, int]) -> float:
    """Share of the texts' windows that occur in a corpus whose hashes `corpus` are sorted."""
    hashes = window_hashes(texts, ids)
    if not len(hashes):
        return 0.0
    found = np.searchsorted(corpus, hashes)
    return float(np.mean(corpus[np.minimum(found, len(corpus) - 1)] == hashes))
