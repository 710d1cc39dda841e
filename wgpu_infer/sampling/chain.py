"""The sampler chain on one row of logits: each sampler a pure function, applied in llama.cpp's order.

Logit bias and penalties act on logits by token id. The truncations act on candidates: (ids, logits) sorted by falling
logit, equal ones by rising id, so every tie goes to the smallest id. All arithmetic is float64; the vocabulary is never
sorted whole unless a truncation keeps nearly all of it: as many of the largest logits are sorted as decide the pick.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from wgpu_infer.contracts.philox import uniform
from wgpu_infer.contracts.picks import HISTORY
from wgpu_infer.sampling.params import SamplingParams

PENALTY_WINDOW = HISTORY  # tokens that the penalties look back on
FIRST_HEAD, GROWTH = 256, 8  # candidates that are sorted first where top_k keeps all, and how their number grows
MARGIN = 1e-9  # far above what rounding adds to a sum of probabilities
GROUPS_PER_CANDIDATE, FEWEST_GROUPS = 4, 1024  # logits are grouped to find a threshold; few groups would be slow

Candidates = tuple[np.ndarray, np.ndarray]  # ids, logits
Changed = tuple[np.ndarray, np.ndarray]  # rising ids of the tokens whose logits were changed, and those in float64


def sample(logits: np.ndarray, params: SamplingParams, recent: Sequence[int], seed: int, position: int) -> int:
    """The next token's id. logits float32 (vocab,); recent: the tokens so far; position: the index it will have."""
    changed = None
    if is_changing(params):
        changed = adjusted(logits, params, recent[-PENALTY_WINDOW:])
        logits = with_changes(logits, changed, np.float32)
    if params.temperature == 0:
        return int(top_k(logits, 1, changed)[0][0] if changed else np.argmax(logits))
    u = uniform(seed, position)
    if params.top_k == 0:
        return sample_from_all(logits, params, u, changed)
    candidates = min_p(top_p(top_k(logits, params.top_k, changed), params.top_p), params.min_p)
    return pick(candidates, params.temperature, u)


def is_changing(params: SamplingParams) -> bool:
    """Whether logits are changed by token id."""
    penalties = params.repeat_penalty != 1 or params.presence_penalty or params.frequency_penalty
    return bool(params.logit_bias or penalties)


def adjusted(logits: np.ndarray, params: SamplingParams, window: Sequence[int]) -> Changed:
    """The tokens that have a logit bias or lie in the window, and their logits then."""
    ids = np.unique(np.array([*params.logit_bias, *window], np.int64))
    values = logits[ids].astype(np.float64)
    seen = np.searchsorted(ids, np.array(window, np.int64)).tolist()
    values = bias(values, {int(np.searchsorted(ids, token)): value for token, value in params.logit_bias.items()})
    values = repeat_penalty(values, seen, params.repeat_penalty)
    return ids, occurrence_penalties(values, seen, params.presence_penalty, params.frequency_penalty)


def with_changes(logits: np.ndarray, changed: Changed | None, dtype: type) -> np.ndarray:
    """A copy of the logits with the changed ones in their places."""
    out: np.ndarray = logits.astype(dtype)
    if changed:
        with np.errstate(over="ignore"):
            out[changed[0]] = changed[1]
    return out


def sample_from_all(logits: np.ndarray, params: SamplingParams, u: float, changed: Changed | None) -> int:
    """Without top-k: the largest logits, as many as it takes for top-p, min-p or the pick to end among them."""
    count, is_cut = FIRST_HEAD, params.top_p < 1 or params.min_p > 0
    ids, head = top_k(logits, count, changed)
    needs_total = params.top_p < 1 or not is_cut
    total = mass(logits, head[0], 1.0 if is_cut else params.temperature, changed) if needs_total else None
    while len(ids) < len(logits):
        kept = min_p(top_p((ids, head), params.top_p, total), params.min_p)
        if len(kept[0]) < len(ids):
            return pick(kept, params.temperature, u)
        if not is_cut and probabilities(head, params.temperature, total).sum() > u + MARGIN:
            return pick((ids, head), params.temperature, u, total)
        count *= GROWTH
        ids, head = top_k(logits, count, changed)
    return pick(min_p(top_p((ids, head), params.top_p), params.min_p), params.temperature, u)


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


def top_k(logits: np.ndarray, k: int, changed: Changed | None = None) -> Candidates:
    """The k largest logits (all for k = 0) as sorted candidates. changed: logits that are known more exactly."""
    k = min(k, len(logits)) or len(logits)
    if k < len(logits):
        with np.errstate(over="ignore"):  # rounding keeps the order, so the k largest stay at or above the threshold
            rounded = logits.astype(np.float32, copy=False)
        ids = np.flatnonzero(rounded >= threshold(rounded, k))  # ids rise, ties included
    else:
        ids = np.arange(len(logits))
    kept = logits[ids].astype(np.float64)
    if changed:
        _, here, there = np.intersect1d(ids, changed[0], assume_unique=True, return_indices=True)
        kept[here] = changed[1][there]
    order = np.argsort(-kept, kind="stable")[:k]  # equal ones stay in the order of their ids
    return ids[order], kept[order]


def threshold(logits: np.ndarray, k: int) -> np.float32:
    """A value that at least k logits reach, and few more: the k-th largest of the largest of groups of logits."""
    size = len(logits) // max(GROUPS_PER_CANDIDATE * k, FEWEST_GROUPS)
    if size > 1:
        groups = len(logits) // size
        heads = logits[: size * groups].reshape(size, groups).max(axis=0)
        logits = np.concatenate([heads, logits[size * groups :]])
    return np.partition(logits, -k)[-k]


def mass(logits: np.ndarray, largest: float, temperature: float, changed: Changed | None) -> float:
    """Σ exp((logit - largest) / temperature) over all logits."""
    with np.errstate(over="ignore"):
        return float(np.exp((with_changes(logits, changed, np.float64) - largest) / temperature).sum())


def probabilities(logits: np.ndarray, temperature: float = 1.0, total: float | None = None) -> np.ndarray:
    """Softmax of the candidates' logits / temperature, (candidates,). total: the `mass` of all, if they are not all."""
    with np.errstate(over="ignore"):  # at a tiny temperature all but the largest go to -inf, probability 0
        e = np.exp((logits - logits[0]) / temperature)  # candidates are sorted: the first is the largest
    return e / (e.sum() if total is None else total)


def top_p(candidates: Candidates, p: float, total: float | None = None) -> Candidates:
    """The shortest head of the candidates whose probability reaches p (Holtzman et al. 2019, arXiv:1904.09751)."""
    ids, logits = candidates
    if p >= 1.0:
        return candidates
    count = int(np.searchsorted(np.cumsum(probabilities(logits, 1.0, total)), p)) + 1
    return ids[:count], logits[:count]


def min_p(candidates: Candidates, p: float) -> Candidates:
    """Those at least p times as likely as the likeliest (Nguyen et al. 2024, arXiv:2407.01082)."""
    ids, logits = candidates
    if p <= 0.0:
        return candidates
    count = int(np.count_nonzero(logits >= logits[0] + np.log(p)))
    return ids[: max(count, 1)], logits[: max(count, 1)]


def pick(candidates: Candidates, temperature: float, u: float, total: float | None = None) -> int:
    """The first candidate whose cumulative probability exceeds u."""
    ids, logits = candidates
    cumulative = np.cumsum(probabilities(logits, temperature, total))
    return int(ids[min(int(np.searchsorted(cumulative, u, side="right")), len(ids) - 1)])
