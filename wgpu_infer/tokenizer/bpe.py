"""Byte-pair vocabularies on the `tokenizers` library: its BPE model behind the pre-tokenizer that the file names.

Merges keep the file's order of ranks and are checked: each joins two tokens into a third, none twice. A character that
a vocabulary lacks stands in the word as a token of our own while merges are made, so that its neighbours do not join,
and is dropped afterwards, as in llama.cpp.
"""

from __future__ import annotations

import re

from wgpu_infer.errors import ModelFormatError, TokenizerError
from wgpu_infer.tokenizer.pretokenizers import PreTokenizer
from wgpu_infer.tokenizer.rust import guarded
from wgpu_infer.tokenizer.vocab import CONTROL, UNKNOWN, Vocab

_MISSING = "\0missing"
_NEWLINES = re.compile(r"(\n+)")
_WORDS = re.compile("[^\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")


class BpeModel:
    """Encodes text that holds no special tokens."""

    def __init__(self, vocab: Vocab):
        assert vocab.pre is not None
        self._vocab, self._pre = vocab, vocab.pre
        self._tokenizer = _build(vocab, vocab.pre)

    def encode(self, text: str, after_special: bool) -> list[int]:
        """Ids of a piece of text; where it stands makes no difference."""
        if self._vocab.model == "whitespace":
            return [token for word in _WORDS.findall(text) for token in self._encode(self._folded(word))]
        if self._pre.escape_spaces:
            text = text.replace(" ", "▁")
        return self._encode_lines(text) if self._pre.newline_tokens else self._encode(text)

    def _folded(self, word: str) -> str:
        return "".join(char.lower()[0] for char in word) if self._vocab.lowercase else word

    def _encode_lines(self, text: str) -> list[int]:
        ids: list[int] = []
        for part in _NEWLINES.split(text):
            token = self._vocab.index.get(part) if part.startswith("\n") else None
            ids += self._encode(part) if token is None else [token]
        return ids

    def _encode(self, text: str) -> list[int]:
        if not text:
            return []
        with guarded(TokenizerError, "the text cannot be encoded"):
            ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        missing = len(self._vocab.texts)
        return [token for token in ids if token != missing] if missing in ids else ids


def _build(vocab: Vocab, pre: PreTokenizer):  # type: ignore[no-untyped-def]  # the library has no types
    from tokenizers import Tokenizer, models

    merges = _without_markers(vocab)
    ids = {text: i for i, text in enumerate(vocab.texts) if vocab.types[i] not in (CONTROL, UNKNOWN)}
    ids[_MISSING] = len(vocab.texts)
    options = {"unk_token": _MISSING, "ignore_merges": pre.ignore_merges, "byte_fallback": not pre.byte_level}
    try:
        with guarded(ModelFormatError, "the vocabulary cannot be built"):
            model = models.BPE(ids, merges, **options)
    except ModelFormatError as fault:
        _check_tokens(vocab, merges)
        vocab.fault(fault.reason)
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizer(pre)
    return tokenizer


def _without_markers(vocab: Vocab) -> list[tuple[str, str]]:
    """The merges without those that would make or use a control token: text must not become one that way."""
    merges = set(vocab.merges)
    if len(merges) != len(vocab.merges):
        vocab.fault("a merge occurs twice")
    markers = {text for text, kind in zip(vocab.texts, vocab.types, strict=True) if kind in (CONTROL, UNKNOWN)}
    spelled = any(f"{text[:cut]} {text[cut:]}" in merges for text in markers for cut in range(1, len(text)))
    pairs = _pairs(vocab)
    if not spelled:
        return pairs
    return [pair for pair in pairs if markers.isdisjoint((*pair, pair[0] + pair[1]))]


def pre_tokenizer(pre: PreTokenizer):  # type: ignore[no-untyped-def]
    """The pre-tokenizer of the `tokenizers` library for a row of the table."""
    from tokenizers import Regex, pre_tokenizers

    steps: list = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in pre.patterns]
    if pre.byte_level:
        steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
    return pre_tokenizers.Sequence(steps)


def _pairs(vocab: Vocab) -> list[tuple[str, str]]:
    """Merges in order of rank, each cut at its first space; a space that comes first belongs to the left token."""
    pairs = [(left, right) for left, _, right in (merge.partition(" ") for merge in vocab.merges)]
    for rank, (left, right) in enumerate(pairs):
        if not left:
            left, _, right = right.partition(" ")
            pairs[rank] = " " + left, right
        if not right:
            vocab.fault(f"merge {rank} is {vocab.merges[rank][:80]!r}, not two tokens with a space between")
    return pairs


def _check_tokens(vocab: Vocab, pairs: list[tuple[str, str]]) -> None:
    """Every merge joins two tokens into a third."""
    for left, right in pairs:
        missing = next((part for part in (left, right, left + right) if part not in vocab.index), None)
        if missing is not None:
            vocab.fault(f"a merge of {left[:80]!r} and {right[:80]!r} refers to {missing[:80]!r}, which is not a token")
