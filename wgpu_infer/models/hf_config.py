"""A Hugging Face `config.json` as GGUF metadata, and the tensor that llama 3's rope scaling becomes.

Guarantees: what the metadata cannot express (an activation the architecture does not have, an unknown rope scaling, a
sliding window) is refused with UnsupportedError. Reads both ways of stating rope: `rope_theta` with `rope_scaling`, and
the later `rope_parameters`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from wgpu_infer.errors import ModelFormatError, UnsupportedError
from wgpu_infer.models.archs import ARCHS
from wgpu_infer.models.hf_names import find_arch

Config = Mapping[str, Any]

KEYS = {
    "block_count": "num_hidden_layers",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "vocab_size": "vocab_size",
}
ACTIVATIONS = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "relu2": "relu2",
}
EPS_KEYS = {"rms": "rms_norm_eps", "layer": "layer_norm_eps"}


def hf_metadata(config: Config) -> dict[str, Any]:
    """GGUF metadata of a configuration, `general.architecture` and `<arch>.*`; no tokenizer.

    Raises UnsupportedError for what we cannot run, ModelFormatError for a key that is missing.
    """
    name = find_arch(str(config.get("model_type")))
    arch = ARCHS[name]
    activation = ACTIVATIONS.get(_need(config, "hidden_act"))
    if activation != arch.activation:
        raise UnsupportedError(f"hidden_act {config['hidden_act']!r} is not {name}'s {arch.activation}")
    keys = {key: int(_need(config, hf_key)) for key, hf_key in KEYS.items()}
    keys["context_length"] = _context(config)
    keys["attention.head_count_kv"] = config.get("num_key_value_heads") or keys["attention.head_count"]
    if config.get("head_dim"):
        keys |= {"attention.key_length": config["head_dim"], "attention.value_length": config["head_dim"]}
    eps = {arch.eps_key: float(_need(config, EPS_KEYS[arch.norm]))}
    return {"general.architecture": name} | {f"{name}.{k}": v for k, v in {**keys, **eps, **_rope(config)}.items()}


def rope_factors(config: Config) -> np.ndarray | None:
    """The divisors of rope's frequencies, float32 (rotated / 2,), where the configuration scales them as llama 3."""
    rope = _rope_parameters(config)
    if rope["rope_type"] != "llama3":
        return None
    return llama3_rope_factors(
        _rotated(config, rope), rope["rope_theta"], rope["factor"], rope["low_freq_factor"], rope["high_freq_factor"],
        rope["original_max_position_embeddings"],
    )  # fmt: skip


def llama3_rope_factors(
    rotated: int, base: float, factor: float, low_freq_factor: float, high_freq_factor: float, original_context: int
) -> np.ndarray:
    """What llama 3.1 divides the frequency of each of the `rotated` / 2 pairs by: float32 (rotated / 2,).

    1 for pairs that turn more than `high_freq_factor` times in the original context, `factor` for those that turn less
    than `low_freq_factor` times, and between them the frequency moves linearly with the number of turns.
    """
    turns = original_context * base ** (-np.arange(0, rotated, 2) / rotated) / (2 * math.pi)
    kept = np.clip((turns - low_freq_factor) / (high_freq_factor - low_freq_factor), 0, 1)
    return (1 / ((1 - kept) / factor + kept)).astype(np.float32)


def _need(config: Config, key: str) -> Any:
    if config.get(key) is None:
        raise ModelFormatError(f"the configuration has no {key}")
    return config[key]


def _context(config: Config) -> int:
    """Trained positions. Within one sliding window every position sees all before it, so Mistral's ends there."""
    context = int(_need(config, "max_position_embeddings"))
    if config.get("use_sliding_window"):
        raise UnsupportedError("use_sliding_window is not supported")
    window = config.get("sliding_window") if config["model_type"] == "mistral" else None
    return min(context, window or context)


def _rope_parameters(config: Config) -> dict[str, Any]:
    rope = {**(config.get("rope_scaling") or {}), **(config.get("rope_parameters") or {})}
    rope.setdefault("rope_theta", config.get("rope_theta") or 10_000.0)
    rope.setdefault("rope_type", rope.get("type", "default"))
    rope.setdefault("partial_rotary_factor", config.get("partial_rotary_factor") or 1.0)
    rope.setdefault("original_max_position_embeddings", _need(config, "max_position_embeddings"))
    return rope


def _rotated(config: Config, rope: dict[str, Any]) -> int:
    head_dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    return int(head_dim * rope["partial_rotary_factor"])


def _rope(config: Config) -> dict[str, Any]:
    rope = _rope_parameters(config)
    keys = {"rope.dimension_count": _rotated(config, rope), "rope.freq_base": float(rope["rope_theta"])}
    kind = rope["rope_type"]
    if kind in ("default", "llama3"):  # llama 3's scaling is a tensor
        return keys
    if kind == "linear":
        return keys | {"rope.scaling.type": kind, "rope.scaling.factor": float(rope["factor"])}
    if kind == "yarn":
        return keys | _yarn(rope)
    raise UnsupportedError(f"rope_type {kind!r} is not supported; known: default, linear, yarn, llama3")


def _yarn(rope: dict[str, Any]) -> dict[str, Any]:
    factor = float(rope["factor"])
    magnitude = 1 + 0.1 * math.log(factor)
    if rope.get("mscale") or rope.get("mscale_all_dim"):
        raise UnsupportedError("yarn's mscale is not supported")
    return {
        "rope.scaling.type": "yarn",
        "rope.scaling.factor": factor,
        "rope.scaling.original_context_length": int(rope["original_max_position_embeddings"]),
        # GGUF multiplies YaRN's magnitude by this, Hugging Face replaces it.
        "rope.scaling.attn_factor": float(rope.get("attention_factor") or magnitude) / magnitude,
        "rope.scaling.yarn_beta_fast": float(rope.get("beta_fast") or 32.0),
        "rope.scaling.yarn_beta_slow": float(rope.get("beta_slow") or 1.0),
    }
