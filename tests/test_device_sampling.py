"""The ops that pick tokens on a device against the sampler chain, over many settings, vocabularies and positions."""

from __future__ import annotations

import numpy as np
import pytest

from wgpu_infer.contracts import peaks, sample
from wgpu_infer.contracts.cases import index_array
from wgpu_infer.contracts.picks import (
    HISTORY,
    MOST_BIASES,
    MOST_CANDIDATES,
    NO_TOKEN,
    SETTINGS_WORDS,
    fields_of,
    is_wide,
)
from wgpu_infer.contracts.table import OPS
from wgpu_infer.sampling import chain
from wgpu_infer.sampling.params import SamplingParams
from wgpu_infer.sampling.settings import as_biases, as_settings, can_pick

BACKENDS = ["reference", pytest.param("webgpu", marks=pytest.mark.webgpu)]


def picks_on(backend, logits, rows) -> np.ndarray:
    """u32 (rows,): what the device picks. rows: (params, tokens so far, seed) each."""
    n, cols = logits.shape
    settings = np.stack([as_settings(params, seed, 1 << 30) for params, _, seed in rows])
    history = np.zeros((n, HISTORY), np.uint32)
    for row, (_, tokens, _) in enumerate(rows):
        for position in range(max(0, len(tokens) - HISTORY), len(tokens)):
            history[row, position % HISTORY] = tokens[position]
    index = index_array([tokens[-1] for _, tokens, _ in rows], range(n), [len(tokens) - 1 for _, tokens, _ in rows])
    held = [backend.array(x) for x in (logits, index, history, settings, np.stack([as_biases(p) for p, _, _ in rows]))]
    keys = backend.empty((n, peaks.num_groups(cols)), np.uint32)
    sizes = {"tokens": n, "cols": cols}
    groups = {"groups": peaks.num_groups(cols)}
    backend.run(OPS["penalise"], *held, **sizes)
    backend.run(OPS["sample_wide"], held[0], held[3], held[1], held[2], **sizes)
    backend.run(OPS["peaks"], held[0], keys, **sizes, **groups)
    backend.run(OPS["sample"], held[0], keys, held[3], held[1], held[2], **sizes, **groups)
    after, moved = backend.read(held[2], history.shape), backend.read(held[1], index.shape)
    ids = np.array([after[row, len(tokens) % HISTORY] for row, (_, tokens, _) in enumerate(rows)])
    went_on = ids != NO_TOKEN
    assert (moved[:, 2] == index[:, 2] + went_on).all() and (moved[went_on, 0] == ids[went_on]).all()
    assert (moved[~went_on] == index[~went_on]).all() and (moved[:, 1] == index[:, 1]).all()
    return ids


def random_params(rng, vocab: int) -> SamplingParams:
    return SamplingParams(
        temperature=rng.choice([0, 0.1, 0.8, 1, 30]),
        top_k=int(rng.choice([0, 1, 2, 40, 300, MOST_CANDIDATES, MOST_CANDIDATES + 1, 20_000])),
        top_p=rng.choice([1.0, 0.95, 0.5, 0.999]),
        min_p=rng.choice([0, 0.05, 1e-6, 1]),
        repeat_penalty=rng.choice([1, 1, 1.3, 0.7]),
        presence_penalty=rng.choice([0, 0, 0.4]),
        frequency_penalty=rng.choice([0, 0, -0.3]),
        logit_bias={int(t): float(rng.normal() * 5) for t in rng.integers(0, vocab, int(rng.choice([0, 0, 9])))},
    )


def may_differ(logits, params, tokens, seed) -> bool:
    """Whether a rounding may change the pick: u, a cut, or (greedy with penalties) the second best is that close."""
    changed = chain.adjusted(logits, params, tokens[-HISTORY:]) if chain.is_changing(params) else None
    values = chain.with_changes(logits, changed, np.float64)
    if params.temperature == 0:
        best = np.sort(values)[-2:]
        return len(best) == 2 and changed is not None and best[1] - best[0] < 1e-5
    return sample.pick(values, fields_of(as_settings(params, seed, 1 << 30)), len(tokens))[1]


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("vocab", [1, 24, 1000, 5001, 50_000, 151_936])
def test_picks_are_the_chains(name, vocab, open_once):
    backend, rng = open_once(name), np.random.default_rng(vocab)
    rounds, same, close = (12 if vocab < 10_000 else 4), 0, 0
    for _ in range(rounds):
        logits = sample.random_logits(8, vocab, rng.choice([0.5, 3, 10]), int(rng.choice([1, 9])))
        rng.shuffle(logits, axis=1)
        rows = [
            (random_params(rng, vocab), rng.integers(0, vocab, int(rng.choice([1, 5, 64, 200]))).tolist(), int(seed))
            for seed in rng.integers(0, 2**63, 8)
        ]
        for i, got in enumerate(picks_on(backend, logits, rows).tolist()):
            params, tokens, seed = rows[i]
            if got == chain.sample(logits[i], params, tokens, seed, len(tokens)):
                same += 1
            else:
                close += 1
                assert may_differ(logits[i], params, tokens, seed), params
    assert close <= max(1, 0.03 * same)


@pytest.mark.parametrize("name", BACKENDS)
def test_rows_without_a_finite_largest_logit_are_reported(name, open_once):
    logits = np.zeros((5, 5000), np.float32)
    logits[0, 4999], logits[1, 0], logits[2], logits[3, 70], logits[4, 3] = np.nan, np.inf, -np.inf, -np.nan, -np.inf
    for params in (SamplingParams(temperature=0), SamplingParams(), SamplingParams(top_k=0)):
        ids = picks_on(open_once(name), logits, [(params, [1, 2], 3)] * 5)
        assert (ids[:4] == NO_TOKEN).all() and ids[4] < 5000


def test_what_a_device_cannot_pick_is_known():
    assert can_pick(SamplingParams()) and can_pick(SamplingParams(top_k=0))
    assert can_pick(SamplingParams(logit_bias=dict.fromkeys(range(MOST_BIASES), 1.0)))
    assert not can_pick(SamplingParams(logit_bias=dict.fromkeys(range(MOST_BIASES + 1), 1.0)))


def test_which_rows_keep_too_many_to_sort():
    assert is_wide(0.8, 0, 150_000) and is_wide(0.8, MOST_CANDIDATES + 1, 150_000) and is_wide(1.0, 0, 1025)
    assert not is_wide(0.0, 0, 150_000) and not is_wide(1.0, MOST_CANDIDATES, 150_000)
    assert not is_wide(1.0, 5000, 1000) and not is_wide(1.0, 0, MOST_CANDIDATES)


def test_settings_survive_float32():
    """Parameters at the ends of their ranges stay what they mean."""
    s = fields_of(as_settings(SamplingParams(temperature=1e-320, top_p=1e-300, min_p=0), 2**64 - 1, 9))
    assert s["temperature"] > 0 and s["top_p"] > 0 and s["log_min_p"] < -1e20
    assert (s["seed_low"], s["seed_high"], s["limit"]) == (0xFFFFFFFF, 0xFFFFFFFF, 9)
    assert as_settings(SamplingParams(temperature=0), 0, 1).shape == (SETTINGS_WORDS,)
