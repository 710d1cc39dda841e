"""The sampler chain on one row of logits: each sampler a pure function, applied in llama.cpp's order.

Logit bias and penalties act on logits by token id. The truncations act on candidates: (ids, logits) sorted by falling
logit, equal ones by rising id, so every tie goes to the smallest id. All arithmetic is float64.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from wgpu_infer.sampling.params import SamplingParams
from wgpu_infer.sampling.philox import uniform

PENALTY_WINDOW = 64  # tokens that the penalties look back on

Candidates = tuple[np.ndarray, np.ndarray]  # ids, logits


def sample(logits: np.ndarray, params: SamplingParams, recent: Sequence[int], seed: int, position: int) -> int:
    """The next token's id. logits (vocab,); recent: the tokens so far; position: the index the token will have."""
    logits = logits.astype(np.float64)
    logits = bias(logits, params.logit_bias)
    window = recent[-PENALTY_WINDOW:]
    logits = repeat_penalty(logits, window, params.repeat_penalty)
    logits = occurrence_penalties(logits, window, params.presence_penalty, params.frequency_penalty)
    if params.temperature == 0:
        return int(np.argmax(logits))
    candidates = min_p(top_p(top_k(logits, params.top_k), params.top_p), params.min_p)
    return pick(candidates, params.temperature, uniform(seed, position))


def bias(logits: np.ndarray, biases: Mapping[int, float]) -> np.ndarray:
    """Each value added to its token's logit, in place (as the penalties below change `logits`, (vocab,))."""
    for token, value in biases.items():
        logits[token] += value
    return logits


def repeat_penalty(logits: np.ndarray, window: Sequence[int], penalty: float) -> np.ndarray:
    """Keskar et al. 2019 (arXiv:1909.05858): each token of the window once, towards less likely."""
    if penalty == 1.0 or not len(window):
        return logits
    ids = np.unique(window)
    logits[ids] = np.where(logits[ids] > 0, logits[ids] / penalty, logits[ids] * penalty)
    return logits


def occurrence_penalties(logits: np.ndarray, window: Sequence[int], presence: float, frequency: float) -> np.ndarray:
    """presence once, frequency per occurrence in the window."""
    if (presence == 0 and frequency == 0) or not len(window):
        return logits
    ids, counts = np.unique(window, return_counts=True)
    logits[ids] -= presence + frequency * counts
    return logits


def top_k(logits: np.ndarray, k: int) -> Candidates:
    """The k largest logits (all for k = 0) as sorted candidates."""
    k = min(k, len(logits)) or len(logits)
    ids = np.arange(len(logits))
    if k < len(logits):
        threshold = np.partition(logits, -k)[-k]
        ids = np.flatnonzero(logits >= threshold)  # ids rise, ties included
    order = np.lexsort((ids, -logits[ids]))[:k]
    return ids[order], logits[ids[order]]


def probabilities(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Softmax of the candidates' logits / temperature, (candidates,)."""
    with np.errstate(over="ignore"):  # at a tiny temperature all but the largest go to -inf, probability 0
        e = np.exp((logits - logits[0]) / temperature)  # candidates are sorted: the first is the largest
    return e / e.sum()


def top_p(candidates: Candidates, p: float) -> Candidates:
    """The shortest head of the candidates whose probability reaches p (Holtzman et al. 2019, arXiv:1904.09751)."""
    ids, logits = candidates
    if p >= 1.0:
        return candidates
    count = int(np.searchsorted(np.cumsum(probabilities(logits)), p)) + 1
    return ids[:count], logits[:count]


def min_p(candidates: Candidates, p: float) -> Candidates:
    """Those at least p times as likely as the likeliest (Nguyen et al. 2024, arXiv:2407.01082)."""
    ids, logits = candidates
    if p <= 0.0:
        return candidates
    count = int(np.count_nonzero(logits >= logits[0] + np.log(p)))
    return ids[: max(count, 1)], logits[: max(count, 1)]


def pick(candidates: Candidates, temperature: float, u: float) -> int:
    """The first candidate whose cumulative probability exceeds u."""
    ids, logits = candidates
    cumulative = np.cumsum(probabilities(logits, temperature))
    return int(ids[min(int(np.searchsorted(cumulative, u, side="right")), len(ids) - 1)])
