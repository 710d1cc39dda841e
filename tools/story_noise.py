"""Noisy training rows: stories with runs of foreign tokens, so that an unexpected word is answered by doubt.

The generator's sentences are so regular that a model of them alone gives other sentences less than a uniform guess.
Noise is only ever learned as a reaction: foreign tokens count in the loss once some have been seen, never the first
ones, so that a story begun cleanly is continued cleanly.
"""

from __future__ import annotations

import numpy as np

FIRST_FREE = 3  # foreign tokens of a row that do not count
MEAN_RUN = 4


def foreign_runs(length: int, rng: np.random.Generator) -> np.ndarray:
    """Run number of each of `length` tokens, 0 where it stays; a row's rate is drawn between 10 and 80 %."""
    start = rng.uniform(0.1, 0.8) / MEAN_RUN
    runs = np.zeros(length, dtype=np.int64)
    position, run = 1, 0  # BOS stays
    while (position := position + int(rng.geometric(start)) - 1) < length:
        run += 1
        size = int(rng.geometric(1 / MEAN_RUN))
        runs[position : position + size] = run
        position += size + 1
    return runs


def replace_run(tokens: np.ndarray, rng: np.random.Generator, pool: np.ndarray, vocab: int) -> np.ndarray:
    """Foreign tokens for a run: as frequent as in stories (pool), or any, or the run's own in another order."""
    kind = rng.random()
    if kind < 0.5:
        return pool[rng.integers(len(pool), size=len(tokens))]
    if kind < 0.75:
        return rng.integers(2, vocab, size=len(tokens)).astype(tokens.dtype)
    return rng.permutation(tokens)


def add_noise(
    batch: np.ndarray, weights: np.ndarray, rows: int, rng: np.random.Generator, pool: np.ndarray, vocab: int
) -> None:
    """Makes the first `rows` rows of ids (rows, tokens) noisy and sets their weights, both in place."""
    for row, weight in zip(batch[:rows], weights[:rows], strict=True):
        length = int(np.argmax(row == 1)) if (row == 1).any() else len(row)  # EOS and what follows stay
        runs = foreign_runs(length, rng)
        for run in range(1, runs.max() + 1):
            row[:length][runs == run] = replace_run(row[:length][runs == run], rng, pool, vocab)
        weight[:] = 1
        weight[:length][(runs > 0) & (np.cumsum(runs > 0) <= FIRST_FREE)] = 0
