"""Files that parse but contradict themselves (G21, G33-G36): a ModelFormatError naming the fault, before any work."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from tiny_model import DIM, DROP, HIDDEN, VOCAB, tensors, write_tiny

from wgpu_infer.backends.reference import ReferenceBackend
from wgpu_infer.errors import ModelFormatError, UnsupportedError
from wgpu_infer.formats.gguf import GGUF
from wgpu_infer.llm import LLM
from wgpu_infer.models.archs import ARCHS
from wgpu_infer.models.config import ModelConfig
from wgpu_infer.models.weights import load_weights


def load(path, **options):
    with GGUF.open(path) as gguf:
        config = ModelConfig.from_gguf(gguf)
        return config, load_weights(gguf, config, ReferenceBackend(), **options)


def test_the_base_file_is_good(tmp_path):
    config, weights = load(write_tiny(tmp_path / "a.gguf"))
    assert (config.dim, config.vocab, len(weights.layers)) == (DIM, VOCAB, 2)


BAD_METADATA = [
    ({"general.architecture": DROP}, "general.architecture"),
    ({"general.architecture": 7}, "general.architecture"),
    ({"general.architecture": "nosuch"}, "nosuch"),
    ({"general.architecture": "../../x"}, "not supported"),
    ({"tokenizer.ggml.tokens": ["a", "b"]}, "2 tokens"),
    ({"llama.block_count": 0}, "block_count"),
    ({"llama.block_count": 10**9}, "block_count"),
    ({"llama.block_count": 2**32 - 5}, "block_count"),
    ({"llama.block_count": -1}, "block_count"),
    ({"llama.block_count": DROP}, "block_count"),
    ({"llama.block_count": "2"}, "block_count"),
    ({"llama.embedding_length": 0}, "embedding_length"),
    ({"llama.embedding_length": 2**40}, "embedding_length"),
    ({"llama.embedding_length": 64}, "shape"),
    ({"llama.feed_forward_length": 0}, "feed_forward_length"),
    ({"llama.attention.head_count": 0}, "head_count"),
    ({"llama.attention.head_count": 5, "llama.attention.head_count_kv": 5}, "does not divide"),
    ({"llama.attention.head_count_kv": 0}, "head_count_kv"),
    ({"llama.attention.head_count_kv": 3}, "does not divide"),
    ({"llama.attention.key_length": 16}, "value_length|shape"),
    ({"llama.rope.dimension_count": 7}, "dimension_count"),
    ({"llama.rope.dimension_count": 64}, "dimension_count"),
    ({"llama.rope.freq_base": 0.0}, "freq_base"),
    ({"llama.rope.freq_base": float("nan")}, "freq_base"),
    ({"llama.rope.freq_base": -1.0}, "freq_base"),
    ({"llama.rope.scaling.type": "magic"}, "scaling.type"),
    ({"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 0.0}, "scaling.factor"),
    ({"llama.context_length": 0}, "context_length"),
    ({"llama.context_length": DROP}, "context_length"),
    ({"llama.attention.layer_norm_rms_epsilon": 0.0}, "epsilon"),
    ({"llama.attention.layer_norm_rms_epsilon": float("nan")}, "epsilon"),
    ({"llama.attention.layer_norm_rms_epsilon": float("inf")}, "epsilon"),
    ({"llama.attention.layer_norm_rms_epsilon": -1e-5}, "epsilon"),
    ({"llama.attention.layer_norm_rms_epsilon": DROP}, "epsilon"),
    ({"llama.expert_count": 2, "llama.expert_used_count": 3}, "expert_used_count"),
    ({"llama.expert_count": 8, "llama.expert_used_count": 2}, "mixture-of-experts"),
]


@pytest.mark.parametrize("metadata, named", BAD_METADATA, ids=lambda v: str(v)[:60])
def test_bad_metadata(tmp_path, metadata, named):
    path = write_tiny(tmp_path / "a.gguf", metadata)
    with pytest.raises(ModelFormatError, match=named) as caught:
        load(path)
    assert caught.value.path == str(path)


def test_rope_scaling_is_read_as_llama_cpp_does(tmp_path):
    def scaling(**given):
        keys = {f"llama.rope.{key}": value for key, value in given.items()}
        return load(write_tiny(tmp_path / "a.gguf", keys))[0].rope_scaling

    assert scaling(**{"scaling.factor": 4.0}).kind == "linear"  # a factor without a type, as older files have it
    assert scaling(scale_linear=2.0).factor == 2.0
    assert scaling(**{"scaling.type": "none", "scaling.factor": 4.0}).kind == "none"
    assert scaling(**{"scaling.type": "yarn", "scaling.factor": 4.0}).kind == "yarn"


def test_progress_ends_with_all_bytes(tmp_path):
    for weights in ({}, {"mystery.weight": np.zeros(9, np.float32)}):
        seen = []
        path = write_tiny(tmp_path / "a.gguf", weights=weights)
        with warnings.catch_warnings(action="ignore"):
            load(path, progress=lambda done, total, seen=seen: seen.append((done, total)))
        done, total = zip(*seen, strict=True)
        assert list(done) == sorted(done) and done[-1] == total[-1] and len(set(total)) == 1


def test_unknown_architecture_lists_the_known(tmp_path):
    with pytest.raises(ModelFormatError) as caught:
        load(write_tiny(tmp_path / "a.gguf", {"general.architecture": "nosuch"}))
    assert all(name in str(caught.value) for name in ARCHS)
    assert caught.value.offset is not None


@pytest.mark.parametrize("name", [n for n in tensors() if n.startswith(("blk.1", "t", "o"))])
def test_a_missing_tensor_is_named(tmp_path, name):
    with pytest.raises(ModelFormatError, match=name.replace(".", r"\.")):
        load(write_tiny(tmp_path / "a.gguf", weights={name: DROP}))


def test_a_bias_that_only_some_layers_have_is_named(tmp_path):
    with pytest.raises(ModelFormatError, match=r"blk\.1\.attn_q\.bias is missing"):
        load(write_tiny(tmp_path / "a.gguf", weights={"blk.0.attn_q.bias": np.zeros(DIM, np.float32)}))


def test_fused_qkv_is_cut(tmp_path):
    """llama.cpp's phi-2 files hold q, k and v as one tensor, its biases too."""
    apart, fused, base = {}, {}, tensors()
    for i in range(2):
        names = [f"blk.{i}.attn_{part}" for part in "qkv"]
        biases = [np.random.default_rng(i).standard_normal(len(base[f"{n}.weight"])).astype(np.float32) for n in names]
        apart |= {f"{name}.bias": bias for name, bias in zip(names, biases, strict=True)}
        fused |= {f"{name}.weight": DROP for name in names}
        fused[f"blk.{i}.attn_qkv.weight"] = np.concatenate([base[f"{name}.weight"] for name in names])
        fused[f"blk.{i}.attn_qkv.bias"] = np.concatenate(biases)
    ids = [1, 5, 9, 14, 3]
    with (
        LLM(write_tiny(tmp_path / "apart.gguf", weights=apart), device="reference") as one,
        LLM(write_tiny(tmp_path / "fused.gguf", weights=fused), device="reference") as other,
        LLM(write_tiny(tmp_path / "none.gguf"), device="reference") as without,
    ):
        np.testing.assert_array_equal(one.logits(ids), other.logits(ids))
        assert (one.logits(ids) != without.logits(ids)).any()
    short = {**fused, "blk.1.attn_qkv.weight": fused["blk.1.attn_qkv.weight"][:-1]}
    with pytest.raises(ModelFormatError, match=r"blk\.1\.attn_qkv\.weight has shape"):
        load(write_tiny(tmp_path / "short.gguf", weights=short))


def test_a_wrong_shape_is_named(tmp_path):
    transposed = np.zeros((DIM, HIDDEN), np.float32)
    with pytest.raises(ModelFormatError, match=r"blk\.1\.ffn_gate\.weight has shape"):
        load(write_tiny(tmp_path / "a.gguf", weights={"blk.1.ffn_gate.weight": transposed}))
    with pytest.raises(ModelFormatError, match="shape"):
        load(write_tiny(tmp_path / "a.gguf", weights={"token_embd.weight": np.zeros((0, DIM), np.float32)}))


def test_an_unknown_tensor_is_a_warning(tmp_path):
    with pytest.warns(UserWarning, match=r"mystery\.weight"):
        load(write_tiny(tmp_path / "a.gguf", weights={"mystery.weight": np.zeros(3, np.float32)}))


def test_a_format_we_cannot_read_is_named(tmp_path):
    import gguf

    kind = gguf.GGMLQuantizationType.IQ2_XXS
    size, nbytes = gguf.GGML_QUANT_SIZES[kind]
    raw = np.zeros((DIM, 256 // size * nbytes), np.uint8)
    path = write_tiny(
        tmp_path / "a.gguf",
        {"llama.feed_forward_length": 256},
        {f"blk.{i}.{n}.weight": np.zeros((256, DIM), np.float32) for i in (0, 1) for n in ("ffn_up", "ffn_gate")}
        | {"blk.0.ffn_down.weight": np.zeros((DIM, 256), np.float32), "blk.1.ffn_down.weight": (raw, kind)},
    )
    with pytest.raises((UnsupportedError, ModelFormatError), match="IQ2_XXS"):
        load(path)


def test_check_tensors_finds_nan_and_inf(tmp_path):
    for bad in (np.nan, np.inf):
        values = tensors()["blk.1.ffn_up.weight"].astype(np.float16)
        values[3, 5] = bad
        path = write_tiny(tmp_path / "a.gguf", weights={"blk.1.ffn_up.weight": values})
        load(path)
        with pytest.raises(ModelFormatError, match=r"blk\.1\.ffn_up\.weight"):
            load(path, check_values=True)


def test_inspect_and_tokenizer_metadata_work_on_any_architecture(tmp_path):
    from wgpu_infer.inspect import render, summarise

    found = summarise(str(write_tiny(tmp_path / "a.gguf", {"general.architecture": "nosuch"})), tensors=True)
    assert found["runs"].startswith("no: architecture 'nosuch'")
    assert "token_embd.weight" in render(found)
