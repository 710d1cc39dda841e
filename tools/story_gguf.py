"""Writes the trained model and its tokenizer as one GGUF that llama.cpp and this project read as `llama`."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
from story_data import BOS_ID, EOS_ID
from story_model import ModelConfig, StoryModel
from tokenizers import Tokenizer


def _add_sizes(writer: gguf.GGUFWriter, config: ModelConfig) -> None:
    writer.add_context_length(config.context)
    writer.add_embedding_length(config.dim)
    writer.add_block_count(config.layers)
    writer.add_feed_forward_length(config.hidden)
    writer.add_head_count(config.heads)
    writer.add_head_count_kv(config.kv_heads)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_base)
    writer.add_layer_norm_rms_eps(config.eps)
    writer.add_vocab_size(config.vocab)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)


def _add_tokenizer(writer: gguf.GGUFWriter, tokenizer: Tokenizer, vocab: int) -> None:
    tokens = [str(tokenizer.id_to_token(i)) for i in range(vocab)]
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    control = (BOS_ID, EOS_ID)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL if i in control else gguf.TokenType.NORMAL for i in range(vocab)])
    writer.add_token_merges([pair if isinstance(pair, str) else " ".join(pair) for pair in merges])
    writer.add_bos_token_id(BOS_ID)
    writer.add_eos_token_id(EOS_ID)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)


def write_gguf(path: Path, model: StoryModel, tokenizer: Tokenizer, description: str) -> int:
    """Writes matrices as F16 and norms as F32; returns the file's size in bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_name("wgpu-infer stories")
    writer.add_description(description)
    writer.add_license("Apache-2.0")
    _add_sizes(writer, model.config)
    _add_tokenizer(writer, tokenizer, model.config.vocab)
    for name, weight in model.named_parameters():
        array = weight.detach().float().numpy()
        writer.add_tensor(name, array.astype(np.float16) if array.ndim == 2 else array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.stat().st_size
