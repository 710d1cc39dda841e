"""Hugging Face checkpoints as GGUF: names, rows and metadata, judged by transformers, llama.cpp and a real pair."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from tools.hf_to_gguf import convert
from tools.hf_to_gguf import main as convert_command
from wgpu_infer.errors import ModelFormatError, UnsupportedError
from wgpu_infer.formats.gguf import GGUF
from wgpu_infer.models.archs import ARCHS
from wgpu_infer.models.hf_config import hf_metadata, llama3_rope_factors, rope_factors
from wgpu_infer.models.hf_names import MODEL_TYPES, NAMES, gguf_name, interleave_rows, rename_tensors

SIZES = {
    "vocab_size": 320, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 128,
}  # fmt: skip
LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32}
YARN = {"factor": 4.0, "original_max_position_embeddings": 32}
CONFIG = SIZES | {"model_type": "llama", "hidden_act": "silu", "rms_norm_eps": 1e-5}


def _rope(kind: str, **more: float) -> dict:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10_000.0, **more}}


# name: (transformers' class prefix, what differs from SIZES)
CASES: dict[str, tuple[str, dict]] = {
    "llama": ("Llama", {}),
    "llama, biases, tied": ("Llama", {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}),
    "llama, llama3 rope": ("Llama", _rope("llama3", **LLAMA3)),
    "llama, linear rope": ("Llama", _rope("linear", factor=4.0)),
    "llama, yarn": ("Llama", _rope("yarn", **YARN)),
    "mistral": ("Mistral", {"sliding_window": None}),
    "qwen2": ("Qwen2", {}),
    "qwen2, tied": ("Qwen2", {"tie_word_embeddings": True}),
    "qwen3": ("Qwen3", {"head_dim": 32}),
    "phi": ("Phi", {"num_key_value_heads": 4, **_rope("default", partial_rotary_factor=0.5)}),
}


def _random_model(prefix: str, differences: dict):
    """A model with lively random weights, and its logits for 60 random ids: (model, ids, float32 (60, vocab))."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(1)
    config = getattr(transformers, f"{prefix}Config")(**(SIZES | differences))
    model = getattr(transformers, f"{prefix}ForCausalLM")(config).eval().float()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim == 1:
                weight.add_(0.2 * torch.randn_like(weight))
            else:
                weight.mul_(20 if "embed" in name else 8)
        ids = torch.randint(0, 320, (1, 60))
        return model, ids[0].tolist(), model(ids).logits[0].numpy()


@pytest.mark.parametrize("case", list(CASES))
def test_converted_model_gives_transformers_logits_in_llama_cpp(case, tmp_path):
    pytest.importorskip("llama_cpp")
    from tools.llama_cpp_oracle import Oracle

    model, ids, expected = _random_model(*CASES[case])
    convert(model.state_dict(), model.config, tmp_path / "m.gguf")
    with Oracle(tmp_path / "m.gguf", 64) as oracle:
        logits = oracle.logits(ids)
    # llama.cpp looks GELU up in a table of float16 values.
    allowed = 1e-3 if model.config.model_type == "phi" else 1e-5
    assert np.abs(logits - expected).max() <= allowed * np.abs(expected).max()


def test_real_checkpoint_equals_its_gguf(shared, tmp_path):
    """The stories model exists as a Hugging Face folder and as a GGUF file that others wrote."""
    pytest.importorskip("torch")
    folder = shared("models", "stories260K-hf")
    result = CliRunner().invoke(convert_command, [str(folder), str(tmp_path / "m.gguf")])
    assert result.exit_code == 0, result.output
    with GGUF.open(tmp_path / "m.gguf") as ours, GGUF.open(shared("models", "stories260K-f32.gguf")) as theirs:
        # Theirs repeats the tied embedding as the output.
        assert set(ours.tensors) | {"output.weight"} == set(theirs.tensors) | {"output.weight"}
        for name in ours.tensors:
            assert ours.data(name).tobytes() == theirs.data(name).tobytes(), name
        for key in ("embedding_length", "block_count", "attention.head_count_kv", "rope.dimension_count"):
            assert ours.metadata[f"llama.{key}"] == theirs.metadata[f"llama.{key}"], key


def test_matrices_get_the_format_asked_for(tmp_path):
    model, _, _ = _random_model("Llama", {"hidden_size": 256, "intermediate_size": 256})
    convert(model.state_dict(), model.config, tmp_path / "m.gguf", "Q8_0")
    with GGUF.open(tmp_path / "m.gguf") as file:
        assert {info.format for info in file.tensors.values() if len(info.shape) == 2} == {"Q8_0"}
        assert file.tensors["blk.0.attn_norm.weight"].format == "F32"


def test_interleaved_rows_rotate_as_the_half_convention_does():
    rng = np.random.default_rng(3)
    heads, head_dim = 3, 8
    weight, x, angle = rng.normal(size=(heads * head_dim, 5)), rng.normal(size=5), rng.normal(size=head_dim // 2)
    turn = np.exp(1j * angle)
    half = (weight @ x).reshape(heads, 2, head_dim // 2)
    half = (half[:, 0] + 1j * half[:, 1]) * turn
    pairs = (interleave_rows(weight, heads) @ x).reshape(heads, head_dim // 2, 2)
    pairs = (pairs[..., 0] + 1j * pairs[..., 1]) * turn
    np.testing.assert_allclose(pairs, half, rtol=1e-12)


def test_llama3_factors_equal_transformers():
    pytest.importorskip("torch")
    rope_utils = pytest.importorskip("transformers.modeling_rope_utils")
    from transformers import LlamaConfig

    config = LlamaConfig(**(SIZES | _rope("llama3", **LLAMA3)))
    scaled, _ = rope_utils.ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    plain = 10_000.0 ** (-np.arange(0, 16, 2) / 16)
    factors = llama3_rope_factors(16, 10_000.0, 8.0, 1.0, 4.0, 32)
    np.testing.assert_allclose(plain / factors, scaled.numpy(), rtol=1e-6)
    np.testing.assert_array_equal(factors, rope_factors(config.to_dict()))
    assert len(np.unique(factors)) == 3, "the case must have pairs on all three branches"


def test_every_architecture_has_names():
    assert set(NAMES) == set(MODEL_TYPES.values()) == set(ARCHS)


def test_names():
    assert gguf_name("phi2", "model.layers.13.mlp.fc1.bias") == "blk.13.ffn_up.bias"
    assert gguf_name("llama", "lm_head.weight") == "output.weight"
    state = {"model.embed_tokens.weight": np.zeros((4, 2)), "lm_head.weight": np.zeros((4, 2))}
    old = {"model.layers.0.self_attn.rotary_emb.inv_freq": np.zeros(1)}
    assert set(rename_tensors("llama", state | old, 1, 1)) == {"token_embd.weight", "output.weight"}
    assert set(rename_tensors("llama", state | old, 1, 1, tied=True)) == {"token_embd.weight"}


@pytest.mark.parametrize(
    "name",
    [
        "model.layers.0.mlp.experts.1.w1.weight",
        "model.layers.0.self_attn.q_norm.weight",
        "model.layers.x.mlp.up_proj.weight",
        "layers.0.mlp.up_proj.weight",
        "model.norm.scale",
        "lm_head",
        "",
    ],
)
def test_unknown_tensors_are_refused(name):
    with pytest.raises(ModelFormatError, match="has no place in architecture llama"):
        gguf_name("llama", name)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"model_type": "bert"}, "model_type 'bert'.*llama.*phi"),
        ({"hidden_act": "relu"}, "hidden_act 'relu' is not llama's silu"),
        ({"use_sliding_window": True}, "use_sliding_window"),
        ({"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "rope_type 'dynamic'.*yarn"),
        ({"rope_scaling": {"type": "yarn", "factor": 2.0, "mscale": 1.0}}, "mscale"),
    ],
)
def test_what_we_cannot_run_is_refused(change, message):
    with pytest.raises(UnsupportedError, match=message):
        hf_metadata(CONFIG | change)


def test_missing_key_is_named():
    with pytest.raises(ModelFormatError, match="num_hidden_layers"):
        hf_metadata({key: value for key, value in CONFIG.items() if key != "num_hidden_layers"})


def test_both_ways_to_state_rope_mean_the_same():
    old = {"rope_theta": 5e5, "rope_scaling": {"rope_type": "llama3", **LLAMA3}}
    new = {"rope_parameters": {"rope_theta": 5e5, "rope_type": "llama3", **LLAMA3}}
    assert hf_metadata(CONFIG | old) == hf_metadata(CONFIG | new)
    np.testing.assert_array_equal(rope_factors(CONFIG | old), rope_factors(CONFIG | new))
    assert rope_factors(CONFIG) is None


def test_metadata_of_a_written_config(tmp_path):
    """From JSON, as in a folder: a Mistral whose sliding window bounds its context."""
    config = CONFIG | {"model_type": "mistral", "sliding_window": 64, "head_dim": 32, "rope_theta": 1e6}
    keys = hf_metadata(json.loads(json.dumps(config)))
    expected = {
        "general.architecture": "llama",
        "llama.context_length": 64,
        "llama.attention.key_length": 32,
        "llama.rope.dimension_count": 32,
        "llama.rope.freq_base": 1e6,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
    }
    assert {key: keys[key] for key in expected} == expected
