"""The vocabulary of a model file: tokens, scores, types, special ids and flags, checked before anything is built.

Defaults are those of llama.cpp for each tokenizer model. A vocabulary that contradicts itself (an empty or doubled
token, scores or types of another length, merges of tokens that do not exist) is a ModelFormatError; a tokenizer or
pre-tokenizer that is not built is an UnsupportedError with the known names.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np

from wgpu_infer.errors import ModelFormatError, UnsupportedError
from wgpu_infer.tokenizer.pretokenizers import PRE_TOKENIZERS, PreTokenizer
from wgpu_infer.tokenizer.special import BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED, find_end_tokens

__all__ = ["BYTE", "CONTROL", "NORMAL", "UNKNOWN", "UNUSED", "USER_DEFINED", "Vocab", "read_vocab"]

PREFIX = "tokenizer.ggml."
MAX_TOKEN_LENGTH = 1 << 16  # characters
MAX_TOKENS = 1 << 24
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Defaults:
    """What holds for a tokenizer model where the metadata says nothing. `kind` is the algorithm."""

    kind: str  # spm | bpe | wordpiece | unigram
    ids: dict[str, int]
    add_bos: bool = False
    add_eos: bool = False
    add_space_prefix: bool = False
    pre: str | None = None  # the pre-tokenizer, whatever the file says


MODELS: dict[str, Defaults] = {
    "llama": Defaults("spm", {"bos": 1, "eos": 2, "unk": 0}, add_bos=True, add_space_prefix=True),
    "gpt2": Defaults("bpe", {"bos": 11, "eos": 11}),
    "gemma4": Defaults("bpe", {}, pre="gemma4"),
    "whitespace": Defaults("bpe", {"bos": 11, "eos": 11}, pre="whitespace"),
    "bert": Defaults("wordpiece", {"bos": 101, "unk": 100, "sep": 102, "pad": 0}, add_bos=True),
    "t5": Defaults("unigram", {"eos": 1, "unk": 2, "pad": 0}, add_eos=True),
}

_ID_KEYS = {  # role: keys in order of preference, without PREFIX and _token_id
    "bos": ("bos", "cls"),
    "eos": ("eos",),
    "eot": ("eot",),
    "eom": ("eom",),
    "unk": ("unknown",),
    "sep": ("seperator",),  # spelled so in the format
    "pad": ("padding",),
    "fim_pre": ("fim_pre", "prefix"),
    "fim_suf": ("fim_suf", "suffix"),
    "fim_mid": ("fim_mid", "middle"),
    "fim_pad": ("fim_pad",),
    "fim_rep": ("fim_rep",),
    "fim_sep": ("fim_sep",),
}


@dataclass
class Vocab:
    """A checked vocabulary.

    Attributes:
        texts: the tokens as the file spells them (byte-level, with U+2581 for spaces, as <0xXX>), by id.
        index: id by text.
        types: NORMAL … BYTE by id, corrected by special.find_end_tokens.
        scores: (vocab,) float32, zeros where the file has none.
        ids: id or None by role: bos, eos, eot, eom, unk, sep, pad, fim_….
        merges: "left right" in order of rank; empty unless byte-pair.
    """

    kind: str
    model: str
    pre_name: str | None
    pre: PreTokenizer | None
    path: str | None
    texts: list[str]
    index: dict[str, int]
    types: list[int]
    scores: np.ndarray
    ids: dict[str, int | None]
    end_ids: frozenset[int] = frozenset()
    merges: list[str] = field(default_factory=list)
    add_bos: bool = False
    add_eos: bool = False
    add_space_prefix: bool = False
    remove_extra_whitespaces: bool = False
    lowercase: bool = True
    strip_accents: bool = True
    charsmap: bytes = b""
    name: str = ""
    architecture: str = ""

    def fault(self, reason: str) -> NoReturn:
        raise ModelFormatError(f"tokenizer: {reason}", self.path)


def read_vocab(metadata: Mapping[str, Any], path: str | os.PathLike[str] | None = None) -> Vocab:
    """The vocabulary in GGUF metadata.

    Raises:
        ModelFormatError: there is none, or it contradicts itself.
        UnsupportedError: its tokenizer model or pre-tokenizer is not built.
    """
    reader = _Reader(metadata, path)
    model = reader.text("model")
    if model is None:
        reader.fault("the file has no tokenizer.ggml.model, so it has no tokenizer")
    if model not in MODELS:
        raise UnsupportedError(f"tokenizer model {model!r} is not supported; known: {', '.join(sorted(MODELS))}")
    defaults = MODELS[model]
    pre_name, pre = _pre_tokenizer(reader, defaults)
    texts, index = reader.tokens()
    scores, types = reader.scores(len(texts)), reader.types(len(texts))
    ids = reader.special_ids(_default_ids(defaults, pre), len(texts))
    vocab = Vocab(defaults.kind, model, pre_name, pre, reader.path, texts, index, types, scores, ids)
    if defaults.kind == "bpe":
        vocab.merges = reader.merges(optional=pre_name == "kimi-k2")
    vocab.end_ids = find_end_tokens(texts, index, types, ids)
    _read_flags(vocab, reader, defaults)
    return vocab


def _pre_tokenizer(reader: _Reader, defaults: Defaults) -> tuple[str | None, PreTokenizer | None]:
    if defaults.kind != "bpe":
        return None, None
    name = defaults.pre or reader.text("pre")
    if not name:
        _LOG.warning("%sno tokenizer.ggml.pre in the file: taking 'default', which may be wrong", reader.where)
        name = "default"
    if name not in PRE_TOKENIZERS:
        raise UnsupportedError(f"pre-tokenizer {name!r} is not supported; known: {', '.join(sorted(PRE_TOKENIZERS))}")
    return name, PRE_TOKENIZERS[name]


def _default_ids(defaults: Defaults, pre: PreTokenizer | None) -> dict[str, int]:
    if pre is not None and pre.bos_default is None:
        return {role: token for role, token in defaults.ids.items() if role != "bos"}
    return defaults.ids


def _read_flags(vocab: Vocab, reader: _Reader, defaults: Defaults) -> None:
    pre = vocab.pre
    vocab.add_bos = reader.flag("add_bos_token", defaults.add_bos or (pre is not None and pre.add_bos))
    vocab.add_bos = vocab.add_bos or (pre is not None and pre.force_bos)
    vocab.add_eos = reader.flag("add_eos_token", defaults.add_eos)
    vocab.add_space_prefix = reader.flag("add_space_prefix", defaults.add_space_prefix)
    vocab.remove_extra_whitespaces = reader.flag("remove_extra_whitespaces", False)
    vocab.lowercase = reader.flag("normalizer.lowercase", vocab.kind == "wordpiece")
    vocab.strip_accents = reader.flag("normalizer.strip_accents", vocab.lowercase)
    vocab.charsmap = reader.charsmap()
    vocab.name = str(reader.metadata.get("general.name", ""))
    vocab.architecture = str(reader.metadata.get("general.architecture", ""))
    for flag, role in (("add_bos", "bos"), ("add_eos", "eos")):
        if getattr(vocab, flag) and vocab.ids.get(role) is None and vocab.kind != "wordpiece":
            vocab.fault(f"the file asks for {role.upper()} to be added but names no such token")


class _Reader:
    """Reads keys under `tokenizer.ggml.` with their types checked. Metadata may hold lists or numpy arrays."""

    def __init__(self, metadata: Mapping[str, Any], path: str | os.PathLike[str] | None):
        self.metadata = metadata
        self.path = None if path is None else os.fspath(path)
        self.where = "" if self.path is None else f"{self.path}: "

    def fault(self, reason: str) -> NoReturn:
        raise ModelFormatError(f"tokenizer: {reason}", self.path)

    def text(self, key: str) -> str | None:
        value = self.metadata.get(PREFIX + key)
        if value is not None and not isinstance(value, str):
            self.fault(f"{PREFIX}{key} must be a string, is {type(value).__name__}")
        return value

    def flag(self, key: str, default: bool) -> bool:
        value = self.metadata.get(PREFIX + key, default)
        if not isinstance(value, bool | np.bool_):
            self.fault(f"{PREFIX}{key} must be true or false, is {type(value).__name__}")
        return bool(value)

    def strings(self, key: str) -> list[str] | None:
        value = self.metadata.get(PREFIX + key)
        if value is None:
            return None
        if isinstance(value, str | bytes) or not isinstance(value, Sequence):
            self.fault(f"{PREFIX}{key} must be a list of strings, is {type(value).__name__}")
        if len(value) > MAX_TOKENS * (4 if key == "merges" else 1):
            self.fault(f"{PREFIX}{key} has {len(value)} entries, more than any model")
        if not set(map(type, value)) <= {str}:
            self.fault(f"{PREFIX}{key} must hold strings only")
        return list(value)

    def tokens(self) -> tuple[list[str], dict[str, int]]:
        texts = self.strings("tokens")
        if not texts:
            self.fault(f"{PREFIX}tokens is missing or empty")
        index = {text: i for i, text in enumerate(texts)}
        if "" in index:
            self.fault(f"token {index['']} is empty")
        if len(index) != len(texts):
            twice = next(i for i, text in enumerate(texts) if index[text] != i)
            self.fault(f"tokens {twice} and {index[texts[twice]]} are both {texts[twice][:80]!r}")
        try:
            "".join(texts).encode()
        except UnicodeEncodeError:
            self.fault("a token holds a lone surrogate")
        if max(map(len, texts)) > MAX_TOKEN_LENGTH:
            self.fault(f"a token is longer than {MAX_TOKEN_LENGTH} characters")
        return texts, index

    def numbers(self, key: str, count: int) -> np.ndarray | None:
        value = self.metadata.get(PREFIX + key)
        if value is None:
            return None
        array = np.asarray(value)
        if array.ndim != 1 or array.dtype.kind not in "iuf":
            self.fault(f"{PREFIX}{key} must be a list of numbers")
        if len(array) != count:
            self.fault(f"{PREFIX}{key} has {len(array)} entries but there are {count} tokens")
        return array

    def scores(self, count: int) -> np.ndarray:
        array = self.numbers("scores", count)
        scores = np.zeros(count, np.float32) if array is None else array.astype(np.float32)
        if not np.isfinite(scores).all():
            self.fault(f"the score of token {int(np.argmin(np.isfinite(scores)))} is not a finite number")
        return scores

    def types(self, count: int) -> list[int]:
        array = self.numbers("token_type", count)
        return [NORMAL] * count if array is None else array.astype(np.int64).tolist()

    def special_ids(self, defaults: Mapping[str, int], count: int) -> dict[str, int | None]:
        ids: dict[str, int | None] = {}
        for role, names in _ID_KEYS.items():
            default = defaults.get(role)
            ids[role] = default if default is not None and default < count else None
            for name in reversed(names):  # the preferred key last, so that it wins
                ids[role] = self._special_id(f"{name}_token_id", count, ids[role])
        return ids

    def _special_id(self, key: str, count: int, otherwise: int | None) -> int | None:
        value = self.metadata.get(PREFIX + key)
        if value is None:
            return otherwise
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            self.fault(f"{PREFIX}{key} must be a whole number, is {type(value).__name__}")
        if 0 <= value < count:
            return int(value)
        _LOG.warning("%s%s%s is %d, outside the vocabulary; ignored", self.where, PREFIX, key, value)
        return otherwise

    def merges(self, optional: bool) -> list[str]:
        merges = self.strings("merges")
        if merges is None and not optional:
            self.fault(f"{PREFIX}merges is missing")
        return merges or []

    def charsmap(self) -> bytes:
        value = self.metadata.get(PREFIX + "precompiled_charsmap")
        if value is None:
            return b""
        array = np.asarray(value)
        if array.ndim != 1 or array.dtype.kind not in "iu":
            self.fault(f"{PREFIX}precompiled_charsmap must be a list of bytes")
        return array.astype(np.uint8).tobytes()
