"""Samplers against published vectors, transformers' logits warpers, and hand-worked cases."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from wgpu_infer.contracts.philox import philox4x32, uniform
from wgpu_infer.errors import ParameterError
from wgpu_infer.sampling import chain
from wgpu_infer.sampling.params import SamplingParams

# Random123's kat_vectors for philox4x32 with 10 rounds
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize("counter, key, expected", KNOWN)
def test_philox_known_answers(counter, key, expected):
    assert philox4x32(counter, key) == expected


def test_uniform_is_in_range_and_spread():
    draws = np.array([uniform(7, position) for position in range(4000)])
    assert draws.min() >= 0 and draws.max() < 1
    counts = np.histogram(draws, 10, (0, 1))[0]
    assert (np.abs(counts - 400) < 100).all()
    assert uniform(7, 3) != uniform(8, 3) != uniform(7 + 2**32, 3)


def logits_row(seed, n=300):
    return (np.random.default_rng(seed).standard_normal(n) * 3).astype(np.float32)


@pytest.mark.parametrize("seed", range(5))
def test_truncations_equal_transformers(seed):
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    logits = logits_row(seed)
    for warper, got in (
        (transformers.TopKLogitsWarper(20), chain.top_k(logits.astype(np.float64), 20)),
        (transformers.TopPLogitsWarper(0.8), chain.top_p(chain.top_k(logits.astype(np.float64), 0), 0.8)),
        (transformers.MinPLogitsWarper(0.1), chain.min_p(chain.top_k(logits.astype(np.float64), 0), 0.1)),
    ):
        kept = torch.isfinite(warper(None, torch.tensor(logits)[None]))[0].numpy()
        assert set(got[0].tolist()) == set(np.flatnonzero(kept).tolist())


def test_penalties_equal_transformers():
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    logits, seen = logits_row(3), [5, 9, 9, 200]
    warped = transformers.RepetitionPenaltyLogitsProcessor(1.3)(torch.tensor([seen]), torch.tensor(logits)[None])
    got = chain.repeat_penalty(logits.astype(np.float64), seen, 1.3)
    np.testing.assert_allclose(got, warped[0].numpy(), rtol=1e-6)
    got = chain.occurrence_penalties(logits.astype(np.float64), seen, 0.5, 0.25)
    want = logits.astype(np.float64)
    want[[5, 200]] -= 0.75
    want[9] -= 1.0
    np.testing.assert_allclose(got, want)


@pytest.mark.parametrize("seed", range(30))
def test_candidates_are_llama_cpps(seed):
    """Logit bias, penalties, top-k, top-p and min-p together, against its own samplers in its own order."""
    llama_cpp = pytest.importorskip("llama_cpp", reason="the extra `peer` is not installed")
    rng = np.random.default_rng(seed)
    n = int(rng.choice([5, 24, 300]))
    logits = (rng.standard_normal(n) * rng.choice([0.3, 1, 3, 10])).astype(np.float32)
    k, p, m = int(rng.choice([0, 1, 5, 40, n + 5])), rng.choice([0.05, 0.5, 0.95, 1.0]), rng.choice([0, 0.05, 0.5, 1])
    repeat, frequency, presence = rng.choice([1, 1.3, 0.7]), rng.choice([0, 0.3, -0.5]), rng.choice([0, 0.7, -1])
    recent = rng.integers(0, n, int(rng.choice([0, 3, 64, 100]))).tolist()
    biases = {int(token): float(rng.normal() * 3) for token in rng.integers(0, n, 3)}
    theirs = llama_cpp_candidates(llama_cpp, logits, biases, recent, (repeat, frequency, presence), k, p, m)
    biased = chain.bias(logits.astype(np.float64), biases)
    penalised = chain.repeat_penalty(biased, recent[-64:], repeat)
    penalised = chain.occurrence_penalties(penalised, recent[-64:], presence, frequency)
    ids, kept = chain.min_p(chain.top_p(chain.top_k(penalised, k), p), m)
    assert sorted(ids.tolist()) == sorted(theirs)
    np.testing.assert_allclose(kept, [theirs[token] for token in ids.tolist()], rtol=1e-5, atol=1e-5)


def llama_cpp_candidates(llama_cpp, logits, biases, recent, penalties, k, p, m):
    """{id: logit} that are left after llama.cpp's samplers."""
    n = len(logits)
    data = (llama_cpp.llama_token_data * n)(*[(i, float(x), 0.0) for i, x in enumerate(logits)])
    array = llama_cpp.llama_token_data_array(data, n, -1, False)
    pairs = (llama_cpp.llama_logit_bias * len(biases))(*biases.items())
    samplers = [
        llama_cpp.llama_sampler_init_logit_bias(n, len(biases), pairs),
        llama_cpp.llama_sampler_init_penalties(n, chain.PENALTY_WINDOW, *penalties),
        llama_cpp.llama_sampler_init_top_k(k),
        llama_cpp.llama_sampler_init_top_p(p, 1),
        llama_cpp.llama_sampler_init_min_p(m, 1),
    ]
    for token in recent:
        llama_cpp.llama_sampler_accept(samplers[1], token)
    for sampler in samplers:
        llama_cpp.llama_sampler_apply(sampler, ctypes.byref(array))
        llama_cpp.llama_sampler_free(sampler)
    return {array.data[i].id: array.data[i].logit for i in range(array.size)}


def sample_by_sorting(logits, params, recent, seed, position):
    """The whole chain on the whole vocabulary, in float64, sorted."""
    logits = chain.bias(logits.astype(np.float64), params.logit_bias)
    logits = chain.repeat_penalty(logits, recent[-64:], params.repeat_penalty)
    logits = chain.occurrence_penalties(logits, recent[-64:], params.presence_penalty, params.frequency_penalty)
    if params.temperature == 0:
        return int(np.argmax(logits))
    order = np.lexsort((np.arange(len(logits)), -logits))[: params.top_k or None]
    candidates = chain.min_p(chain.top_p((order, logits[order]), params.top_p), params.min_p)
    return chain.pick(candidates, params.temperature, uniform(seed, position))


def vocabulary_row(rng, n):
    """Logits of a model that is sure or unsure, some with many equal ones, some with masked ones."""
    row = rng.standard_normal(n) * rng.choice([0.01, 0.5, 3, 10])
    row = np.round(row, int(rng.choice([0, 1, 9]))).astype(np.float32)
    row[rng.integers(0, n, n // 3 if rng.random() < 0.3 else 0)] = -np.inf
    row[rng.integers(0, n)] = row.max() + rng.choice([0, 0, 5])
    return row


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("seed", range(40))
def test_a_large_vocabulary_is_sampled_as_if_it_were_sorted(seed):
    rng = np.random.default_rng(seed)
    row = vocabulary_row(rng, n := int(rng.choice([1, 2, 300, 5000, 5001, 70_000])))
    recent = rng.integers(0, n, int(rng.choice([0, 5, 100]))).tolist() + [int(row.argmax())] * int(rng.integers(0, 2))
    for position in range(12):
        params = SamplingParams(
            temperature=rng.choice([0, 0.1, 1, 30]),
            top_k=int(rng.choice([0, 0, 1, 40, 2000, n])),
            top_p=rng.choice([1.0, 0.95, 0.5, 0.999999]),
            min_p=rng.choice([0, 0.05, 1e-6, 1]),
            repeat_penalty=rng.choice([1, 1, 1.3, 0.7]),
            presence_penalty=rng.choice([0, 0, 0.4]),
            frequency_penalty=rng.choice([0, 0, -0.3]),
            logit_bias={int(t): float(rng.normal() * 5) for t in rng.integers(0, n, int(rng.choice([0, 0, 4])))},
        )
        want = sample_by_sorting(row, params, recent, seed, position)
        assert chain.sample(row, params, recent, seed, position) == want, params


def test_an_even_distribution_is_sampled_to_its_end():
    """All logits equal: the pick is u of the way through the vocabulary, far behind the first candidates."""
    row, n = np.zeros(30_000, np.float32), 30_000
    params = SamplingParams(temperature=1, top_k=0, top_p=1, min_p=0)
    for position in range(20):
        assert abs(chain.sample(row, params, [], 5, position) - uniform(5, position) * n) <= 1


@pytest.mark.filterwarnings("error")
def test_extreme_parameters_pick_without_warnings():
    row = logits_row(4)
    best = int(np.argmax(row))
    for extreme in ({"temperature": 1e-320}, {"top_p": 1e-300}, {"min_p": 1.0}, {"top_k": 1}):
        assert chain.sample(row, SamplingParams(**extreme), [], 3, 9) == best
    for extreme in ({"repeat_penalty": 0.01}, {"repeat_penalty": 100}, {"frequency_penalty": -100.0}):
        assert 0 <= chain.sample(row * 1e30, SamplingParams(**extreme), list(range(300)), 3, 9) < 300


def test_ties_go_to_the_smallest_id():
    logits = np.zeros(50)
    assert chain.top_k(logits, 3)[0].tolist() == [0, 1, 2]
    assert chain.sample(logits.astype(np.float32), SamplingParams(temperature=0), [], 0, 0) == 0


def test_pick_walks_the_cumulative_distribution():
    candidates = np.array([4, 1, 7]), np.log([0.5, 0.3, 0.2])
    assert [chain.pick(candidates, 1.0, u) for u in (0.0, 0.49, 0.51, 0.79, 0.81, 0.99999)] == [4, 4, 1, 1, 7, 7]
    assert chain.pick(candidates, 1e-3, 0.9999) == 4


def test_sampled_frequencies_follow_the_distribution():
    p = np.array([0.6, 0.3, 0.1])
    params = SamplingParams(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0)
    row = np.log(p).astype(np.float32)
    picks = [chain.sample(row, params, [], 11, position) for position in range(6000)]
    np.testing.assert_allclose(np.bincount(picks, minlength=3) / 6000, p, atol=0.025)


def test_logit_bias_and_window():
    row = logits_row(0)
    best = int(np.argmax(row))
    params = SamplingParams(temperature=0, logit_bias={best: -100.0})
    assert chain.sample(row, params, [], 0, 0) != best
    params = SamplingParams(temperature=0, repeat_penalty=100.0)
    assert chain.sample(row, params, [best] + [299] * 63, 0, 0) != best
    assert chain.sample(row, params, [best] + [299] * 64, 0, 0) == best, "the window is the last 64 tokens"


def test_the_callers_logits_are_not_changed():
    row = logits_row(1)
    before = row.copy()
    chain.sample(row, SamplingParams(logit_bias={3: 5.0}, repeat_penalty=1.5), [3], 0, 0)
    np.testing.assert_array_equal(row, before)


@pytest.mark.parametrize(
    "bad",
    [
        {"max_tokens": -1},
        {"max_tokens": 1.5},
        {"max_tokens": True},
        {"max_tokens": "10"},
        {"temperature": -1},
        {"temperature": float("nan")},
        {"temperature": "hot"},
        {"top_p": 0},
        {"top_p": 1.1},
        {"top_k": -5},
        {"top_k": 2**40},
        {"min_p": 2},
        {"repeat_penalty": 0},
        {"repeat_penalty": 1e-320},
        {"temperature": 10**5000},
        {"max_tokens": 10**5000},
        {"presence_penalty": 1e9},
        {"frequency_penalty": float("inf")},
        {"seed": -1},
        {"seed": 2**64},
        {"seed": "x"},
        {"stop": [""]},
        {"stop": ""},
        {"stop": [3]},
        {"stop": ["x"] * 1000},
        {"stop": "x" * 2**20},
        {"logit_bias": {-1: 0.0}},
        {"logit_bias": {1: float("nan")}},
        {"logit_bias": {1: float("-inf")}},
        {"logit_bias": {"a": 1.0}},
        {"logit_bias": [1]},
        {"ignore_eos": 1},
    ],
)
def test_bad_parameters_name_themselves(bad):
    with pytest.raises(ParameterError, match=next(iter(bad))):
        SamplingParams(**bad)
