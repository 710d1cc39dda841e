"""Unigram vocabularies (T5, XLM-RoBERTa): the segmentation with the highest sum of scores.

The search is the Unigram model of the `tokenizers` library; the text is normalised before it as llama.cpp does
(llm_tokenizer_ugm): the file's character map first, longest match first, then spaces.
"""

from __future__ import annotations

import re
import struct

from wgpu_infer.errors import ModelFormatError, TokenizerError
from wgpu_infer.tokenizer.rust import guarded
from wgpu_infer.tokenizer.vocab import NORMAL, UNUSED, USER_DEFINED, Vocab

SPACE = "▁"
_ASCII_RUN = re.compile(r"[ -~]+(?![^ -~])")


class UnigramModel:
    """Encodes text that holds no special tokens."""

    def __init__(self, vocab: Vocab):
        self._vocab = vocab
        self._charsmap = CharacterMap(vocab) if vocab.charsmap else None
        self._tokenizer = _build(vocab)

    def encode(self, text: str, after_special: bool) -> list[int]:
        """Ids of a piece of text; each piece is normalised by itself."""
        text = self._spaced(self._charsmap.apply(text) if self._charsmap else text)
        if not text:
            return []
        with guarded(TokenizerError, "the text cannot be encoded"):
            return self._tokenizer.encode(text, add_special_tokens=False).ids

    def _spaced(self, text: str) -> str:
        if self._vocab.remove_extra_whitespaces:
            return "".join(SPACE + word for word in text.split(" ") if word)
        rest = text.lstrip(" ")
        first = SPACE if rest and self._vocab.add_space_prefix else ""
        return SPACE * (len(text) - len(rest)) + first + rest.replace(" ", SPACE)


def _build(vocab: Vocab):  # type: ignore[no-untyped-def]  # the library has no types
    from tokenizers import Tokenizer, models

    if vocab.ids["unk"] is None:
        vocab.fault("a unigram vocabulary needs an unknown token")
    worst = min((float(s) for s, kind in zip(vocab.scores, vocab.types, strict=True) if kind == NORMAL), default=0.0)
    pieces = [_piece(vocab, token, worst) for token in range(len(vocab.texts))]
    with guarded(ModelFormatError, "the vocabulary cannot be built"):
        return Tokenizer(models.Unigram(pieces, vocab.ids["unk"], False))


def _piece(vocab: Vocab, token: int, worst: float) -> tuple[str, float]:
    """Text and score. What text must not become keeps its place under a name with a space, which no text has here."""
    kind, text = vocab.types[token], vocab.texts[token]
    if kind in (NORMAL, UNUSED):
        return text, float(vocab.scores[token])
    return (text, 0.0) if kind == USER_DEFINED else (f" {token}", worst)


class CharacterMap:
    """SentencePiece's precompiled character map: a double array over UTF-8 bytes, then the replacements.

    Layout: u32 size of the array in bytes; the array, u32 nodes (value in bits 0-30; offset to the children in bits
    10-30, shifted by 8 if bit 9 is set; bit 8: a replacement ends here; bits 0-7 and 31: the byte that leads here);
    then the replacements, each ending in NUL. Source: Kanda, Space- and Time-Efficient String Dictionaries, 2018.
    """

    def __init__(self, vocab: Vocab):
        blob = vocab.charsmap
        size = struct.unpack_from("<I", blob)[0] if len(blob) >= 4 else 0
        if size % 4 or not 0 < size <= len(blob) - 5 or blob[-1] != 0:
            vocab.fault("the precompiled character map is damaged")
        self._fault = vocab.fault
        self._nodes = struct.unpack_from(f"<{size // 4}I", blob, 4)
        self._replacements = blob[4 + size :]
        self._skips_ascii = not any(self._match(bytes([a, b]))[0] for a in range(32, 127) for b in range(32, 127))

    def apply(self, text: str) -> str:
        """The text with each longest match replaced, from the left."""
        out: list[str] = []
        at = 0
        while at < len(text):
            run = _ASCII_RUN.match(text, at) if self._skips_ascii else None
            if run:
                out.append(run.group())
                at = run.end()
                continue
            length, replacement = self._match(text[at : at + 32].encode())
            size = _characters(text, at, length)
            out.append(replacement if length else text[at])
            at += size
        return "".join(out)

    def _match(self, data: bytes) -> tuple[int, str]:
        """Bytes of the longest prefix of `data` that is mapped, and what it becomes; 0 where none is."""
        node, length, value = self._base(self._node(0)), 0, 0
        for i, byte in enumerate(data):
            node ^= byte
            unit = self._node(node) if byte else 0
            if not byte or unit & 0x800000FF != byte:
                break
            node ^= self._base(unit)
            if unit >> 8 & 1:
                length, value = i + 1, self._node(node) & 0x7FFFFFFF
        return (length, self._replacement(value)) if length else (0, "")

    def _node(self, index: int) -> int:
        if index >= len(self._nodes):
            self._fault("the precompiled character map points outside itself")
        return self._nodes[index]

    @staticmethod
    def _base(unit: int) -> int:
        return (unit >> 10) << ((unit & 1 << 9) >> 6)

    def _replacement(self, offset: int) -> str:
        if offset >= len(self._replacements):
            self._fault("the precompiled character map points outside itself")
        return self._replacements[offset : self._replacements.index(b"\0", offset)].decode("utf-8", "replace")


def _characters(text: str, at: int, length: int) -> int:
    """How many characters from `at` make up `length` bytes; 1 where length is 0."""
    size, count = 0, 0
    while size < length:
        size += len(text[at + count].encode())
        count += 1
    return max(count, 1)
