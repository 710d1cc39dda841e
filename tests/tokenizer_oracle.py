"""What the tokenizer tests judge against: llama.cpp itself, texts of every kind, and small vocabularies made here."""

from __future__ import annotations

import ctypes
import functools
import json
import random
from pathlib import Path

import pytest

BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
SPM_START = ["<unk>", "<s>", "</s>", *BYTES]
SPM_START_TYPES = [2, 3, 3, *[6] * 256]


class LlamaCpp:
    """llama.cpp's tokenizer for a GGUF file, by way of llama-cpp-python. Skips where that is not installed."""

    def __init__(self, path: Path | str):
        self.lib = pytest.importorskip("llama_cpp")
        self.lib.llama_log_set(_SILENT or _silence(self.lib), ctypes.c_void_p(0))
        params = self.lib.llama_model_default_params()
        params.vocab_only = True
        self.model = self.lib.llama_model_load_from_file(str(path).encode(), params)
        assert self.model, f"llama.cpp cannot load {path}"
        self.vocab = self.lib.llama_model_get_vocab(self.model)
        self.size = self.lib.llama_vocab_n_tokens(self.vocab)

    def encode(self, text: str, add_special: bool = False, parse_special: bool = False) -> list[int]:
        data = text.encode()
        room = 6 * len(data) + 64
        ids = (self.lib.llama_token * room)()
        count = self.lib.llama_tokenize(self.vocab, data, len(data), ids, room, add_special, parse_special)
        assert count >= 0
        return list(ids[:count])

    def piece(self, token: int, special: bool) -> bytes:
        room = ctypes.create_string_buffer(4096)
        size = self.lib.llama_token_to_piece(self.vocab, token, room, 4096, 0, special)
        return room.raw[:size]

    def ends(self) -> set[int]:
        return {token for token in range(self.size) if self.lib.llama_vocab_is_eog(self.vocab, token)}

    def close(self) -> None:
        self.lib.llama_model_free(self.model)


_SILENT = None  # the callback must stay alive as long as llama.cpp may call it


def _silence(lib):
    global _SILENT
    _SILENT = lib.llama_log_callback(lambda _level, _text, _data: None)
    return _SILENT


_PROSE = (
    "the of and to in that is was he for it with as his on be at by had not are but from or have an they which one you "
    "were her all she there would their we him been has when who will more no if out so said what up its about into "
    "don't I'll we've they're it's I'd I'M CAN'T hello world Tokenizer GPU 3.14 1,234,567 x=y+1; return foo(bar)[0]"
)
_WORDS = _PROSE.split()
_ALPHABETS = [
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "0123456789",
    " \t\n\r\v\f",
    "'sStTdDmMlLvVrReE",
    '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~',
    "éèêëàçñöüßÆØÅåæøœŒÿŸıİǅǆſµªº",
    "абвгдеёжзАБВГДЕЁЖЗ",
    "日本語中文汉字漢字的一是不了人",
    "ひらがなカタカナｱｲｳ",
    "한국어안녕하세요",
    "العربية۔،؟",
    "हिन्दी देवनागरी",
    "ไทยภาษา",
    "កម្ពុជា",
    "😀🚀👩‍👩‍👧‍👦🦙😶‍🌫️✅",
    "½¼²³①②Ⅷ٣४๕",
    "\u00a0\u1680\u2003\u2028\u2029\u3000\u0085\u200b\ufeff",
    "\u0300\u0301\u0308\u20d7\u0e31",
    "€£¥₹¬±×÷→∑√∞≠",
    "。、！？，；：“”‘’…—〜～・「」",
    "\x01\x1b\x1c\x1f\x7f\x80\x9f",
    "\U00010400\U0001d400\U000e0001\U0010fffd\ue000\ufffd\ufffe",
    "▁Ġ Ċ",
]


def random_text(rng: random.Random) -> str:
    """A text of up to some hundred characters: words, runs, and mixtures of scripts, digits, spaces and marks."""
    kind = rng.random()
    if kind < 0.15:
        return " ".join(rng.choice(_WORDS) for _ in range(rng.randrange(1, 40)))
    if kind < 0.2:
        return "".join(chr(rng.randrange(1, 0x3000)) for _ in range(rng.randrange(1, 60)))
    if kind < 0.3:
        return "".join(rng.choice("0123456789½ a,.-\n") for _ in range(rng.randrange(1, 40)))
    pools = [rng.choice(_ALPHABETS) for _ in range(rng.randrange(1, 6))] + [" "]
    parts = []
    for _ in range(rng.randrange(1, 12)):
        pool = rng.choice(pools)
        repeated = rng.random() < 0.25
        size = rng.randrange(1, 20 if repeated else 8)
        parts.append(rng.choice(pool) * size if repeated else "".join(rng.choice(pool) for _ in range(size)))
    return "".join(parts)


def random_texts(count: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    return [random_text(rng) for _ in range(count)]


@functools.cache
def byte_level_vocabulary(size: int = 3000) -> tuple[list[str], list[str]]:
    """Tokens and merges of a byte-level BPE trained without any pre-tokenizer.

    Its tokens run across words, so its ids show every place where a pre-tokenizer cuts.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, min_frequency=2, show_progress=False, initial_alphabet=alphabet)
    tokenizer.train_from_iterator([text[:120] for text in random_texts(4000, 3)], trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return sorted(model["vocab"], key=model["vocab"].get), [" ".join(merge) for merge in model["merges"]]


def metadata(model: str, tokens: list[str], **keys) -> dict:
    """GGUF metadata of a vocabulary. Keys are under tokenizer.ggml; a key with a double underscore is a full one."""
    full = {"tokenizer.ggml.model": model, "tokenizer.ggml.tokens": tokens}
    for key, value in keys.items():
        if value is not None:
            full[key.replace("__", ".") if "__" in key else f"tokenizer.ggml.{key}"] = value
    return full


def spm(tokens: list[str], scores: list[float] | None = None, types: list[int] | None = None, **keys) -> dict:
    """Metadata of a SentencePiece vocabulary: <unk>, <s>, </s>, bytes, then `tokens`."""
    scores = None if scores is None else [0.0] * 259 + scores
    types = SPM_START_TYPES + (types or [1] * len(tokens))
    return metadata("llama", SPM_START + tokens, scores=scores, token_type=types, **keys)


def small_byte_level() -> dict:
    """Metadata of the trained vocabulary with two control tokens and a user-defined one."""
    tokens, merges = byte_level_vocabulary()
    count = len(tokens)
    return metadata(
        "gpt2",
        [*tokens, "<|im_start|>", "<|im_end|>", "<tool>"],
        merges=merges,
        pre="gpt-2",
        token_type=[*[1] * count, 3, 3, 4],
        bos_token_id=count,
        eos_token_id=count + 1,
    )


def write_gguf(path: Path, meta: dict) -> Path:
    """A vocabulary-only GGUF file that llama.cpp loads, written by the gguf package."""
    gguf = pytest.importorskip("gguf")
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(8)
    writer.add_feed_forward_length(8)
    writer.add_head_count(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(meta["tokenizer.ggml.tokens"]))
    add = {bool: writer.add_bool, int: writer.add_uint32, str: writer.add_string, list: writer.add_array}
    for key, value in meta.items():
        add[type(value)](key, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path
