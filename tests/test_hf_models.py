"""Random tiny models of every architecture: logits equal transformers', and every backend equals the reference."""

from __future__ import annotations

import os

import numpy as np
import pytest

from wgpu_infer.llm import LLM
from wgpu_infer.models.archs import ARCHS
from wgpu_infer.models.hf_names import MODEL_TYPES

if os.environ.get("EXPECT_HF") != "1":
    pytest.importorskip("torch", reason="the extra `hf` is not installed")
    pytest.importorskip("transformers", reason="the extra `hf` is not installed")

COMMON = {
    "vocab_size": 384,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
}
GQA = {"num_key_value_heads": 2, "rms_norm_eps": 1e-6}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
CONFIGS = {
    "llama": ("LlamaConfig", COMMON | GQA),
    "llama-tied": ("LlamaConfig", COMMON | GQA | {"tie_word_embeddings": True}),
    "llama-3.2": ("LlamaConfig", COMMON | GQA | {"rope_parameters": LLAMA3, "rope_scaling": LLAMA3}),
    "llama-linear": (
        "LlamaConfig",
        COMMON | GQA | {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}},
    ),
    "mistral": ("MistralConfig", COMMON | GQA | {"sliding_window": None}),
    "qwen2": ("Qwen2Config", COMMON | GQA),
    "qwen3": ("Qwen3Config", COMMON | GQA | {"head_dim": 32}),
    "phi": ("PhiConfig", COMMON | {"partial_rotary_factor": 0.5, "hidden_act": "gelu_new"}),
}
IDS = [1, 5, 77, 12, 3, 3, 150, 42, 9, 100, 8, 7, 6, 5, 4, 31, 32, 33]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """made(name) -> (GGUF path, transformers' logits of IDS)."""
    import torch
    import transformers

    from tools.hf_to_gguf import convert

    cache: dict[str, tuple] = {}

    def get(name):
        if name not in cache:
            cls, sizes = CONFIGS[name]
            config = getattr(transformers, cls)(**sizes)
            torch.manual_seed(len(name))
            model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
            with torch.no_grad():
                for parameter in model.parameters():  # biases and norms too: a dropped one must show
                    parameter.add_(torch.randn_like(parameter) * 0.1)
                want = model(torch.tensor([IDS])).logits[0].numpy()
            path = tmp_path_factory.mktemp("hf") / f"{name}.gguf"
            convert(model.state_dict(), config, path)
            cache[name] = (path, want)
        return cache[name]

    return get


@pytest.mark.parametrize("device", ["reference", "cpu", pytest.param("webgpu", marks=pytest.mark.webgpu)])
@pytest.mark.parametrize("name", CONFIGS)
def test_logits_equal_transformers(name, device, made, open_once):
    open_once(device)
    path, want = made(name)
    with LLM(path, device=device, kv="f32") as llm:
        got = llm.logits(IDS)
    assert np.abs(got - want).max() <= 1e-4 * np.abs(want).max()


def test_every_architecture_is_tested():
    tested = {MODEL_TYPES[CONFIGS[name][0].removesuffix("Config").lower()] for name in CONFIGS}
    assert tested == set(ARCHS)
