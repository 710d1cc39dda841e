"""A tiny random llama written by the gguf package, any metadata or tensor replaced: the base of the fault tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np

DIM, HEADS, KV_HEADS, HIDDEN, VOCAB, LAYERS = 32, 4, 2, 64, 24, 2


class Drop:
    """As a value: leave the entry out."""

    def __repr__(self) -> str:  # in the names of tests, which are to be the same in every process
        return "DROP"


DROP = Drop()

METADATA: dict[str, Any] = {
    "general.architecture": "llama",
    "llama.context_length": 256,
    "llama.embedding_length": DIM,
    "llama.block_count": LAYERS,
    "llama.feed_forward_length": HIDDEN,
    "llama.attention.head_count": HEADS,
    "llama.attention.head_count_kv": KV_HEADS,
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
    "llama.rope.dimension_count": DIM // HEADS,
    "tokenizer.ggml.model": "llama",
    "tokenizer.ggml.tokens": ["<unk>", "<s>", "</s>", *(chr(ord("a") + i) for i in range(VOCAB - 3))],
    "tokenizer.ggml.scores": np.zeros(VOCAB, np.float32),
    "tokenizer.ggml.token_type": np.array([2, 3, 3] + [1] * (VOCAB - 3), np.int32),
    "tokenizer.ggml.bos_token_id": 1,
    "tokenizer.ggml.eos_token_id": 2,
}


def tensors(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    kv_dim = DIM // HEADS * KV_HEADS
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (VOCAB, DIM), "output_norm.weight": (DIM,)}
    for i in range(LAYERS):
        shapes |= {
            f"blk.{i}.attn_norm.weight": (DIM,),
            f"blk.{i}.attn_q.weight": (DIM, DIM),
            f"blk.{i}.attn_k.weight": (kv_dim, DIM),
            f"blk.{i}.attn_v.weight": (kv_dim, DIM),
            f"blk.{i}.attn_output.weight": (DIM, DIM),
            f"blk.{i}.ffn_norm.weight": (DIM,),
            f"blk.{i}.ffn_gate.weight": (HIDDEN, DIM),
            f"blk.{i}.ffn_up.weight": (HIDDEN, DIM),
            f"blk.{i}.ffn_down.weight": (DIM, HIDDEN),
        }
    return {name: (rng.standard_normal(shape) * 0.2).astype(np.float32) for name, shape in shapes.items()}


def write_tiny(
    path: Path, metadata: dict[str, Any] | None = None, weights: dict[str, Any] | None = None, seed: int = 0
) -> Path:
    """Writes the file; `metadata` and `weights` replace, add, or (DROP) leave out entries."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.kv_data[0].clear()
    for key, value in (METADATA | (metadata or {})).items():
        if value is not DROP:
            add_value(writer, key, value)
    for name, values in (tensors(seed) | (weights or {})).items():
        if isinstance(values, tuple):  # (raw blocks, quantisation)
            writer.add_tensor(name, values[0], raw_dtype=values[1])
        elif values is not DROP:
            writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def add_value(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    kinds = gguf.GGUFValueType
    if isinstance(value, bool):
        writer.add_key_value(key, value, kinds.BOOL)
    elif isinstance(value, int):
        writer.add_key_value(key, value, kinds.INT32 if value < 0 else kinds.UINT32 if value < 2**32 else kinds.UINT64)
    elif isinstance(value, float):
        writer.add_key_value(key, value, kinds.FLOAT32)
    elif isinstance(value, str):
        writer.add_key_value(key, value, kinds.STRING)
    else:
        writer.add_array(key, value.tolist() if isinstance(value, np.ndarray) else value)
