"""The model in the package, in every format it is derived to: backends agree, and so does llama.cpp."""

from __future__ import annotations

import numpy as np
import pytest
from test_golden import INT8_NMSE, nmse, nmse_limit, same_picks

from tools.golden_logits import golden_path, hash_weights, read_golden
from tools.quantize_gguf import quantize_gguf
from wgpu_infer.backends.reference import ReferenceBackend
from wgpu_infer.llm import DEFAULT_MODEL, LLM
from wgpu_infer.models.weights import Product
from wgpu_infer.sampling.params import SamplingParams

FORMATS = ["F16", "Q8_0", "Q6_K", "Q5_K", "Q4_K", "Q4_0"]
LLAMA_CPP_NMSE = {"F16": 1e-5, "Q8_0": 5e-4, "Q4_0": 5e-4}  # it rounds activations; to 256 at a time for K formats
K_FORMATS_NMSE = 2e-3
DEVICES = ["cpu", pytest.param("webgpu", marks=pytest.mark.webgpu)]


@pytest.fixture(scope="module")
def derived(tmp_path_factory):
    """derived(format) -> the embedded model in that format."""
    folder = tmp_path_factory.mktemp("embedded")

    def get(name):
        if name == "F16":
            return DEFAULT_MODEL
        path = folder / f"{name}.gguf"
        if not path.exists():
            quantize_gguf(DEFAULT_MODEL, path, name)
        return path

    return get


@pytest.fixture(scope="module")
def reference(derived):
    """reference(format) -> (ids, the reference's logits)."""
    known: dict[str, np.ndarray] = {}
    ids = read_golden("stories-Q8_0").ids[:64].tolist()

    def get(name):
        if name not in known:
            with LLM(derived(name), device="reference") as llm:
                known[name] = llm.logits(ids)
        return ids, known[name]

    return get


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", FORMATS)
def test_backends_agree(name, device, derived, reference, open_once):
    open_once(device)
    ids, want = reference(name)
    with LLM(derived(name), device=device) as llm:
        got = llm.logits(ids)
        limit = nmse_limit(llm)
        products = [w for w in llm._engine.model.weights.layers[0].values() if isinstance(w, Product)]
        assert {fmt for product in products for fmt in product.formats} == {name}
    assert nmse(got, want) <= limit
    same_picks(got, want)


@pytest.mark.parametrize("name", FORMATS[1:])
def test_int8_activations_are_rounded_as_the_reference_rounds_them(name, derived, open_once):
    """Against a reference with int8 activations: exact, until a value between two codes goes the other way.

    From then on all that follows is rounded from slightly other values, and the two differ as either does from exact.
    """
    ids = read_golden("stories-Q8_0").ids[:64].tolist()
    with LLM(derived(name), device=ReferenceBackend(int8_formats={name}), kv="f32") as llm:
        want = llm.logits(ids)
    with LLM(derived(name), device="cpu", kv="f32") as llm:
        assert llm._engine.backend.can_act8(name)
        got = llm.logits(ids)
    assert nmse(got[:1], want[:1]) <= 1e-12
    assert nmse(got, want) <= INT8_NMSE


def test_a_thousand_greedy_tokens_are_the_references(derived):
    """Up to a first difference, where the two likeliest tokens lie within the error of rounded activations."""
    tokens = 1000
    with LLM(derived("Q8_0"), device="cpu", context=tokens + 8) as llm:
        prompt = llm.tokenizer.encode("Once upon a time", add_special=True)
        params = SamplingParams(temperature=0.0, max_tokens=tokens, ignore_eos=True)
        ids = prompt + llm.generate(prompt, params).token_ids
        got = llm.logits(ids)
    assert len(ids) == len(prompt) + tokens
    with LLM(derived("Q8_0"), device="reference", context=tokens + 8) as llm:
        want = llm.logits(ids)
    picks = want[len(prompt) - 1 : -1].argmax(-1)
    wrong = np.flatnonzero(picks != ids[len(prompt) :])
    if wrong.size:
        row = len(prompt) - 1 + wrong[0]
        second, first = np.sort(want[row])[-2:]
        assert first - second <= 2 * np.abs(got[row] - want[row]).max(), f"token {wrong[0]} differs"


@pytest.mark.parametrize("name", FORMATS[1:])
def test_llama_cpp_agrees(name, derived):
    golden = read_golden(f"stories-{name}")
    assert hash_weights(derived(name)) == golden.weights, f"{golden_path(f'stories-{name}')} is of another model"
    with LLM(derived(name), device="cpu", kv="f32") as llm:
        got = llm.logits(golden.ids.tolist())[golden.positions]
    assert nmse(got, golden.logits) <= LLAMA_CPP_NMSE.get(name, K_FORMATS_NMSE)
    same_picks(got, golden.logits)


@pytest.mark.parametrize("device", DEVICES)
def test_greedy_text_is_the_references(device, open_once):
    open_once(device)
    params = SamplingParams(temperature=0.0, max_tokens=60)
    with LLM(device="reference") as llm:
        want = llm.generate("Once upon a time", params)
    with LLM(device=device) as llm:
        got = llm.generate("Once upon a time", params)
    assert (got.token_ids, got.text) == (want.token_ids, want.text)


def test_a_story_ends_by_itself():
    with LLM(device="cpu") as llm:
        outs = llm.generate(["Once upon a time"] * 4, SamplingParams(seed=5))
        assert outs[0].finish_reason == "stop" and len(outs[0].text.split()) > 40
        assert len({out.text for out in outs}) == 1
