"""The shapes that make_model.py can write: sizes of real models, and tiny ones of every architecture for tests.

A shape becomes a list of tensors (names and sizes, in llama.cpp's names) and the metadata that llama.cpp reads. Sizes
are those of the models' published configurations.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from wgpu_infer.models.hf_config import llama3_rope_factors


@dataclass(frozen=True)
class Shape:
    """Sizes of a model. `head_dim` and `rope_dim` of 0 mean dim / heads and the whole head."""

    arch: str
    layers: int
    dim: int
    heads: int
    kv_heads: int
    hidden: int
    vocab: int
    context: int
    tokenizer: str  # a row of made_vocab.TOKENIZERS
    eps: float = 1e-5
    rope_base: float = 10000.0
    head_dim: int = 0
    rope_dim: int = 0
    tied: bool = False
    linear_rope: float = 0.0  # context extension by dividing positions, 0 for none
    llama3_rope: dict[str, float] = field(default_factory=dict)  # arguments of llama3_rope_factors, empty for none

    @property
    def head(self) -> int:
        return self.head_dim or self.dim // self.heads

    @property
    def rope(self) -> int:
        return self.rope_dim or self.head


_TINY = {"layers": 3, "dim": 256, "heads": 4, "kv_heads": 2, "hidden": 512, "vocab": 512, "context": 512}
_QWEN25 = {"vocab": 151_936, "context": 32_768, "tokenizer": "qwen2", "eps": 1e-6, "rope_base": 1e6, "tied": True}
_LLAMA32_ROPE = {"factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_context": 8192}

SHAPES: dict[str, Shape] = {
    "tinyllama-1.1b": Shape("llama", 22, 2048, 32, 4, 5632, 32_000, 2048, "llama-spm"),
    "llama-2-7b": Shape("llama", 32, 4096, 32, 32, 11_008, 32_000, 4096, "llama-spm"),
    "llama-3.2-1b": Shape(
        "llama", 16, 2048, 32, 8, 8192, 128_256, 131_072, "llama3",
        rope_base=500_000.0, tied=True, llama3_rope=_LLAMA32_ROPE,
    ),
    "deepseek-coder-1.3b": Shape(
        "llama", 24, 2048, 16, 16, 5504, 32_256, 16_384, "deepseek-coder",
        eps=1e-6, rope_base=100_000.0, linear_rope=4.0,
    ),
    "qwen2.5-0.5b": Shape("qwen2", layers=24, dim=896, heads=14, kv_heads=2, hidden=4864, **_QWEN25),
    "qwen2.5-coder-1.5b": Shape("qwen2", layers=28, dim=1536, heads=12, kv_heads=2, hidden=8960, **_QWEN25),
    "phi-2": Shape("phi2", 32, 2560, 32, 32, 10_240, 51_200, 2048, "gpt2", rope_dim=32),
    # Not a model of anyone's: a few layers under a large vocabulary.
    "mini": Shape("llama", 4, 512, 8, 4, 1408, 128_256, 8192, "llama3", rope_base=500_000.0),
    "tiny-llama": Shape("llama", **_TINY, tokenizer="llama-spm"),
    "tiny-qwen2": Shape("qwen2", **_TINY, tokenizer="qwen2", eps=1e-6, rope_base=1e6, tied=True),
    # As in the real model, the heads together are wider than the residual stream.
    "tiny-qwen3": Shape("qwen3", **_TINY, tokenizer="qwen2", eps=1e-6, rope_base=1e6, head_dim=128, tied=True),
    "tiny-phi2": Shape("phi2", **{**_TINY, "kv_heads": 4}, tokenizer="gpt2", rope_dim=32),
}  # fmt: skip

Parts = tuple[tuple[str, str], ...]  # (tensor name, its dimensions as names of sizes)


def _linear(name: str, dims: str, bias: bool = False) -> Parts:
    return ((f"{name}.weight", dims), (f"{name}.bias", dims.split()[0]))[: 1 + bias]


def _norm(name: str, dims: str = "dim", bias: bool = False) -> Parts:
    return ((f"{name}.weight", dims), (f"{name}.bias", dims))[: 1 + bias]


def _attention(qkv_bias: bool = False, output_bias: bool = False) -> Parts:
    inputs = (("attn_q", "q dim"), ("attn_k", "kv dim"), ("attn_v", "kv dim"))
    parts = sum((_linear(name, dims, qkv_bias) for name, dims in inputs), ())
    return parts + _linear("attn_output", "dim q", output_bias)


_GATED = (
    _norm("ffn_norm") + _linear("ffn_gate", "hidden dim") + _linear("ffn_up", "hidden dim")
    + _linear("ffn_down", "dim hidden")
)  # fmt: skip

LAYER: dict[str, Parts] = {
    "llama": _norm("attn_norm") + _attention() + _GATED,
    "qwen2": _norm("attn_norm") + _attention(qkv_bias=True) + _GATED,
    "qwen3": _norm("attn_norm") + _attention() + _norm("attn_q_norm", "head") + _norm("attn_k_norm", "head") + _GATED,
    "phi2": _norm("attn_norm", bias=True)
    + _attention(qkv_bias=True, output_bias=True)
    + _linear("ffn_up", "hidden dim", bias=True)
    + _linear("ffn_down", "dim hidden", bias=True),
}
END: dict[str, Parts] = {
    "llama": _norm("output_norm") + _linear("output", "vocab dim"),
    "qwen2": _norm("output_norm") + _linear("output", "vocab dim"),
    "qwen3": _norm("output_norm") + _linear("output", "vocab dim"),
    "phi2": _norm("output_norm", bias=True) + _linear("output", "vocab dim", bias=True),
}


def list_tensors(shape: Shape) -> dict[str, tuple[int, ...]]:
    """Name and numpy shape, (rows, columns), of every tensor, in the file's order."""
    sizes = {
        "dim": shape.dim, "hidden": shape.hidden, "vocab": shape.vocab, "head": shape.head,
        "q": shape.heads * shape.head, "kv": shape.kv_heads * shape.head,
    }  # fmt: skip
    parts = [("token_embd.weight", "vocab dim")]
    if shape.llama3_rope:
        sizes["pairs"] = shape.rope // 2
        parts.append(("rope_freqs.weight", "pairs"))
    for layer in range(shape.layers):
        parts += [(f"blk.{layer}.{name}", dims) for name, dims in LAYER[shape.arch]]
    parts += [(name, dims) for name, dims in END[shape.arch] if not (shape.tied and name == "output.weight")]
    return {name: tuple(sizes[each] for each in dims.split()) for name, dims in parts}


def list_metadata(shape: Shape) -> dict[str, Any]:
    """The architecture's metadata as llama.cpp's converter writes it, without the tokenizer's."""
    norm = "layer_norm_epsilon" if shape.arch == "phi2" else "layer_norm_rms_epsilon"
    keys: dict[str, Any] = {
        "block_count": shape.layers,
        "context_length": shape.context,
        "embedding_length": shape.dim,
        "feed_forward_length": shape.hidden,
        "attention.head_count": shape.heads,
        "attention.head_count_kv": shape.kv_heads,
        f"attention.{norm}": shape.eps,
        "rope.dimension_count": shape.rope,
        "rope.freq_base": shape.rope_base,
        "vocab_size": shape.vocab,
    }
    if shape.head_dim:
        keys |= {"attention.key_length": shape.head_dim, "attention.value_length": shape.head_dim}
    if shape.linear_rope:
        keys |= {"rope.scaling.type": "linear", "rope.scaling.factor": shape.linear_rope}
    return {f"{shape.arch}.{key}": value for key, value in keys.items()}


def fixed_tensors(shape: Shape) -> dict[str, Any]:
    """Tensors whose values are not weights: the divisors of llama 3's rope frequencies, float32 (rope / 2,)."""
    if not shape.llama3_rope:
        return {}
    return {"rope_freqs.weight": llama3_rope_factors(shape.rope, shape.rope_base, **shape.llama3_rope)}
