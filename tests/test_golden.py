"""Whole models against what others computed: golden ids and logits, llama.cpp's logits and perplexity."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT, child_environ, need_shared

from wgpu_infer.backends.base import Weight
from wgpu_infer.llm import LLM
from wgpu_infer.sampling.params import SamplingParams

STORIES = ["f32", "F16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "IQ4_NL", "Q4_K_M", "Q6_K"]
DEVICES = ["reference", "cpu", pytest.param("webgpu", marks=pytest.mark.webgpu)]
FLOAT_NMSE = 1e-6  # whole models on float paths
INT8_NMSE = 5e-4  # and where activations are rounded to int8
LLAMA_CPP_NMSE = {"f32": 1e-6, "F16": 1e-5}  # it rounds activations to F16 for F16 weights
LLAMA_CPP_QUANTISED_NMSE = 5e-3  # and to int8 for quantised ones
PERPLEXITY = {"f32": 6.899, "F16": 6.898, "Q8_0": 6.922, "Q4_K_M": 7.033, "Q4_0": 7.683}  # llama.cpp's
GREEDY = SamplingParams(temperature=0.0, max_tokens=200)


def stories(name: str):
    return need_shared("models", f"stories260K-{name}.gguf")


def nmse(got: np.ndarray, want: np.ndarray) -> float:
    return float(np.square(got.astype(np.float64) - want).sum() / np.square(want.astype(np.float64)).sum())


def same_picks(got: np.ndarray, want: np.ndarray) -> None:
    """Equal argmax in every row whose top-2 margin exceeds twice the logit error."""
    top = np.sort(want, axis=-1)
    clear = top[:, -1] - top[:, -2] > 2 * np.abs(got - want).max(axis=-1)
    assert clear.any()
    np.testing.assert_array_equal(got.argmax(-1)[clear], want.argmax(-1)[clear])


def nmse_limit(llm: LLM) -> float:
    """How far a loaded model's logits may be from the reference's."""
    model = llm._engine.model
    weights = [handle for handle in model.weights.handles() if isinstance(handle, Weight)]
    return INT8_NMSE if any(model.backend.can_act8(w.format) for w in weights) else FLOAT_NMSE


@pytest.fixture(scope="module")
def golden():
    return np.load(need_shared("models", "stories260K-golden.npz"))


@pytest.fixture
def open_llm(open_once):
    """LLM on a session-wide check that the device is there."""

    def get(path, device, **options):
        if device != "reference":
            open_once(device)
        return LLM(path, device=device, **options)

    return get


@pytest.mark.parametrize("device", DEVICES)
def test_the_command_gives_the_golden_ids(device, golden, open_once):
    open_once(device)
    command = [sys.executable, "-m", "wgpu_infer.generate", "", "--model", str(stories("f32")), "--device", device]
    command += ["--temperature", "0", "--max-tokens", "200", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=child_environ(), check=True)
    found = json.loads(done.stdout)
    assert found["token_ids"] == golden["ids"][1:].tolist()
    assert found["finish_reason"] == "length"
    assert found["text"].lstrip().startswith("Once upon a time, there was a little girl named Lily.")
    assert found["timings"]["decode_tokens"] == 200
    assert device in found["device"]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kv, limit", [("f32", 1e-9), ("f16", 1e-6)])
def test_golden_logits(device, kv, limit, golden, open_llm):
    with open_llm(stories("f32"), device, kv=kv) as llm:
        got = llm.logits(golden["ids"][:200].tolist())
    assert nmse(got, golden["logits"]) <= limit
    same_picks(got, golden["logits"])


@pytest.mark.parametrize("device", DEVICES[1:])
@pytest.mark.parametrize("name", STORIES)
def test_every_format_agrees_with_the_reference(device, name, open_llm, golden):
    ids = golden["ids"][:100].tolist()
    with LLM(stories(name), device="reference") as llm:
        want = llm.logits(ids)
    with open_llm(stories(name), device) as llm:
        got = llm.logits(ids)
        limit = nmse_limit(llm)
    assert nmse(got, want) <= limit
    same_picks(got, want)


@pytest.mark.parametrize("name", STORIES)
def test_logits_agree_with_llama_cpp(name, open_llm):
    theirs = np.load(ROOT / "tests" / "golden" / f"llama_cpp_stories260K-{name}.npz")
    with open_llm(stories(name), "cpu", kv="f32") as llm:
        got = llm.logits(theirs["ids"].tolist())[theirs["positions"]]
    assert nmse(got, theirs["logits"]) <= LLAMA_CPP_NMSE.get(name, LLAMA_CPP_QUANTISED_NMSE)
    same_picks(got, theirs["logits"])


@pytest.mark.parametrize("name", PERPLEXITY)
def test_perplexity_is_llama_cpps(name, open_llm):
    """BOS and the text, cut every 256 tokens, each chunk's first token replaced by BOS, tokens 129-255 scored."""
    text = need_shared("text", "tinystories_sample.txt").read_text()
    losses = []
    with open_llm(stories(name), "cpu") as llm:
        ids = llm.tokenizer.encode(text)
        for start in range(0, len(ids) - 255, 256):
            chunk = [llm.tokenizer.bos_id, *ids[start + 1 : start + 256]]
            losses.append(cross_entropy(llm.logits(chunk)[128:255], chunk[129:256]))
    assert len(losses) == 7
    assert np.exp(np.mean(losses)) == pytest.approx(PERPLEXITY[name], rel=0.01)


def cross_entropy(logits: np.ndarray, targets: list[int]) -> float:
    logits = logits.astype(np.float64)
    peak = logits.max(-1, keepdims=True)
    log_sum = np.log(np.exp(logits - peak).sum(-1)) + peak[:, 0]
    return float(np.mean(log_sum - logits[np.arange(len(targets)), targets]))
