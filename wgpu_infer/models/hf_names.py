"""Tensors of a Hugging Face checkpoint under their GGUF names and in GGUF's order of rows.

Guarantees: every tensor is renamed or refused, none is dropped silently; pure numpy on whatever arrays are given.
Leaves out: whether all tensors of an architecture are there (weights.py checks that at load), and sizes (hf_config.py).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from wgpu_infer.errors import ModelFormatError, UnsupportedError
from wgpu_infer.models.archs import ARCHS

MODEL_TYPES: dict[str, str] = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "phi": "phi2"}

MODEL = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
ATTENTION = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v"}
GATED_LAYER = {
    "input_layernorm": "attn_norm",
    **ATTENTION,
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}

# Per GGUF architecture: names outside the layers, and names behind "model.layers.N.", without .weight or .bias.
NAMES: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "llama": (MODEL, GATED_LAYER),
    "qwen2": (MODEL, GATED_LAYER),
    "qwen3": (MODEL, GATED_LAYER | {"self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm"}),
    "phi2": (
        {"model.embed_tokens": "token_embd", "model.final_layernorm": "output_norm", "lm_head": "output"},
        {"input_layernorm": "attn_norm", **ATTENTION, "self_attn.dense": "attn_output"}
        | {"mlp.fc1": "ffn_up", "mlp.fc2": "ffn_down"},
    ),
}
LAYER_PREFIX = "model.layers."
DERIVED = ("rotary_emb.inv_freq",)  # computed from the configuration; old checkpoints store it too


def find_arch(model_type: str) -> str:
    """The GGUF architecture of a configuration's model_type; UnsupportedError naming the known ones otherwise."""
    if model_type not in MODEL_TYPES:
        raise UnsupportedError(f"model_type {model_type!r} is not supported; known: {', '.join(MODEL_TYPES)}")
    return MODEL_TYPES[model_type]


def gguf_name(arch: str, name: str) -> str:
    """`model.layers.3.mlp.fc1.bias` -> `blk.3.ffn_up.bias`; ModelFormatError for a name the architecture lacks."""
    model, layer = NAMES[arch]
    stem, _, kind = name.rpartition(".")
    if kind in ("weight", "bias"):
        if stem in model:
            return f"{model[stem]}.{kind}"
        number, _, part = stem.removeprefix(LAYER_PREFIX).partition(".")
        if stem.startswith(LAYER_PREFIX) and number.isdecimal() and part in layer:
            return f"blk.{number}.{layer[part]}.{kind}"
    raise ModelFormatError(f"the tensor {name} has no place in architecture {arch}")


def interleave_rows(tensor: np.ndarray, heads: int) -> np.ndarray:
    """Query or key rows from rope's half convention to its interleaved one: (heads * head_dim, ...), the same shape.

    Hugging Face rotates elements i and i + head_dim / 2 of a head together, GGUF's llama 2i and 2i + 1.
    """
    rows, *rest = tensor.shape
    halves = tensor.reshape(heads, 2, rows // heads // 2, *rest)
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(tensor.shape)


def rename_tensors(
    arch: str, state: Mapping[str, np.ndarray], heads: int, kv_heads: int, tied: bool = False
) -> dict[str, np.ndarray]:
    """A checkpoint's tensors {HF name: (out, in) or (n,)} as {GGUF name: the same shape}.

    `tied`: the output is the embedding, so a repeated lm_head.weight is left out.
    """
    tensors = {}
    for name, tensor in state.items():
        if name.endswith(DERIVED) or (tied and name == "lm_head.weight"):
            continue
        renamed = gguf_name(arch, name)
        part = renamed.split(".")[-2]
        if ARCHS[arch].rope == "interleaved" and part in ("attn_q", "attn_k"):
            tensor = interleave_rows(tensor, heads if part == "attn_q" else kv_heads)
        tensors[renamed] = tensor
    return tensors
