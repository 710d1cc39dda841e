"""Vocabularies of any size that a real tokenizer accepts, for models that have random weights anyway.

A word is a syllable ending in a or e followed by one ending in i, o or u ("bado"), alone or after a space; a long token
is two words ("badokilu"). So every token is the join of exactly two earlier ones, no other pair of tokens joins by
accident, and encoding the text of a token gives that token back. Special tokens have the names and ids of the real
model; where the vocabulary is smaller than the real one they move to its end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

NORMAL, UNKNOWN, CONTROL, UNUSED, BYTE = 1, 2, 3, 5, 6  # llama.cpp's token types

CONSONANTS = "bcdfghjklmnpqrstvwxz"


@dataclass(frozen=True)
class Tokenizer:
    """Model, pre-tokenizer and special tokens. `first_special` is the id in the real vocabulary of specials[0]."""

    model: str
    pre: str
    specials: tuple[str, ...]
    first_special: int
    bos: str
    eos: str
    add_bos: bool
    filler: tuple[str, int]  # name and type of the ids that have no token


TOKENIZERS: dict[str, Tokenizer] = {
    "llama-spm": Tokenizer("llama", "default", ("<unk>", "<s>", "</s>"), 0, "<s>", "</s>", True, ("[PAD{}]", UNUSED)),
    "llama3": Tokenizer(
        "gpt2", "llama-bpe", ("<|begin_of_text|>", "<|end_of_text|>"), 128_000,
        "<|begin_of_text|>", "<|end_of_text|>", True, ("<|reserved_special_token_{}|>", CONTROL),
    ),
    "qwen2": Tokenizer(
        "gpt2", "qwen2", ("<|endoftext|>", "<|im_start|>", "<|im_end|>"), 151_643,
        "<|endoftext|>", "<|endoftext|>", False, ("[PAD{}]", UNUSED),
    ),
    "deepseek-coder": Tokenizer(
        "gpt2", "deepseek-coder", ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"), 32_013,
        "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", True, ("[PAD{}]", UNUSED),
    ),
    "gpt2": Tokenizer(
        "gpt2", "gpt-2", ("<|endoftext|>",), 50_256, "<|endoftext|>", "<|endoftext|>", False, ("[PAD{}]", UNUSED)
    ),
}  # fmt: skip


def tokenizer_metadata(name: str, size: int) -> dict[str, Any]:
    """The `tokenizer.ggml.*` metadata of a vocabulary of `size` tokens in the manner of TOKENIZERS[name]."""
    row = TOKENIZERS[name]
    build = _spm_vocabulary if row.model == "llama" else _bpe_vocabulary
    tokens, types, more = build(row, size)
    ids = {"bos": tokens.index(row.bos), "eos": tokens.index(row.eos)}
    keys = {"model": row.model, "pre": row.pre, "tokens": tokens, "token_type": np.array(types, np.int32), **more}
    keys |= {f"{kind}_token_id": value for kind, value in ids.items()}
    return {f"tokenizer.ggml.{key}": value for key, value in (keys | {"add_bos_token": row.add_bos}).items()}


Vocabulary = tuple[list[str], list[int], dict[str, Any]]


def _spm_vocabulary(row: Tokenizer, size: int) -> Vocabulary:
    """SentencePiece: specials, bytes, single characters, then pieces, whose score falls with their rank."""
    singles = ["▁", *map(chr, range(33, 127))]
    tokens = [*row.specials, *(f"<0x{byte:02X}>" for byte in range(256)), *singles]
    types = [UNKNOWN, CONTROL, CONTROL] + [BYTE] * 256 + [NORMAL] * len(singles)
    tokens += [left + right for left, right in islice(_joins("▁"), max(0, size - len(tokens)))]
    types += [NORMAL] * (len(tokens) - len(types))
    first_scored = 3 + 256
    scores = np.minimum(first_scored - np.arange(size), 0).astype(np.float32)
    return tokens[:size], types[:size], {"scores": scores, "unknown_token_id": 0}


def _bpe_vocabulary(row: Tokenizer, size: int) -> Vocabulary:
    """Byte-level BPE: the 256 bytes, then one token per merge, then specials and fillers."""
    first_special = min(row.first_special, size - len(row.specials))
    merges = list(islice(_joins("Ġ"), first_special - 256))
    tokens = _byte_characters() + [left + right for left, right in merges] + list(row.specials)
    types = [NORMAL] * first_special + [CONTROL] * len(row.specials)
    filler, filler_type = row.filler
    tokens += [filler.format(index) for index in range(size - len(tokens))]
    types += [filler_type] * (size - len(types))
    return tokens, types, {"merges": [f"{left} {right}" for left, right in merges]}


def _joins(space: str) -> Iterator[tuple[str, str]]:
    """The two parts of each token that is made of others, best rank first; about 5.8 million of them."""
    first = [c + v for c in CONSONANTS for v in "ae"]
    second = [c + v for c in CONSONANTS for v in "iou"]
    yield from ((syllable[0], syllable[1]) for syllable in first + second)
    words = [(left, right) for left in first for right in second]
    for left, right in words:
        yield left, right
        yield space, left + right
    joined = [left + right for left, right in words]
    yield from ((left, right) for left in joined for right in joined)


def _byte_characters() -> list[str]:
    """GPT-2's printable character for every byte: itself where it is printable, else the next from U+0100 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = 256 - len(printable)
    return [chr(byte) for byte in printable] + [chr(256 + index) for index in range(others)]
