"""The model in the package, in every format it is derived to: backends agree, and so does llama.cpp."""

from __future__ import annotations

import numpy as np
import pytest
from test_golden import FLOAT_NMSE, nmse, same_picks

from tools.golden_logits import golden_path, hash_weights, read_golden
from tools.quantize_gguf import quantize_gguf
from wgpu_infer.llm import DEFAULT_MODEL, LLM
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
        assert {w.format for w in llm._engine.model.weights.layers[0].values() if hasattr(w, "format")} == {name}
    assert nmse(got, want) <= FLOAT_NMSE
    same_picks(got, want)


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
