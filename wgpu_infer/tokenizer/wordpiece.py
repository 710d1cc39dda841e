"""WordPiece vocabularies (BERT): words cut at spaces and punctuation, then the longest tokens from the left.

Follows llama.cpp (llm_tokenizer_wpm), whose vocabularies write the start of a word as U+2581. A word of which some part
is no token is the unknown token as a whole. Folding case and accents takes the first code point of a decomposition, so
a Hangul syllable keeps its first letter only; that is llama.cpp's way and differs from BERT's own tokenizer.
"""

from __future__ import annotations

import unicodedata

from wgpu_infer.errors import TokenizerError
from wgpu_infer.tokenizer.vocab import CONTROL, UNKNOWN, Vocab

START = "▁"
_MAX_KEPT_WORDS = 1 << 16
_SPACES = frozenset("\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000") | set(map(chr, range(0x2000, 0x200B)))
_IDEOGRAPHS = (  # ranges whose characters are words of their own
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B920, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


class WordPieceModel:
    """Encodes text that holds no special tokens."""

    def __init__(self, vocab: Vocab):
        self._ids = {t: i for i, t in enumerate(vocab.texts) if vocab.types[i] not in (CONTROL, UNKNOWN)}
        self._longest = max(map(len, self._ids), default=0)
        self._unknown = vocab.ids["unk"]
        self._folding = _Folding(vocab.lowercase, vocab.strip_accents)
        self._kept: dict[str, list[int]] = {}

    def encode(self, text: str, after_special: bool) -> list[int]:
        """Ids of a piece of text; where it stands makes no difference."""
        ids: list[int] = []
        for word in text.translate(self._folding).split(" "):
            if word:
                ids += self._kept.get(word) or self._word(word)
        return ids

    def _word(self, word: str) -> list[int]:
        ids = self._longest_matches(START + word)
        if ids is None:
            if self._unknown is None:
                raise TokenizerError(f"the vocabulary has no unknown token for {word[:80]!r}")
            ids = [self._unknown]
        if len(self._kept) >= _MAX_KEPT_WORDS:
            self._kept.clear()
        self._kept[word] = ids
        return ids

    def _longest_matches(self, word: str) -> list[int] | None:
        ids, start = [], 0
        while start < len(word):
            for end in range(min(len(word), start + self._longest), start, -1):
                token = self._ids.get(word[start:end])
                if token is not None:
                    ids.append(token)
                    start = end
                    break
            else:
                return None
        return ids


class _Folding(dict[int, str]):
    """A table for str.translate, filled as characters are met. What stands alone gets spaces around it."""

    def __init__(self, lowercase: bool, strip_accents: bool):
        super().__init__()
        self._lowercase, self._strip_accents = lowercase, strip_accents

    def __missing__(self, code: int) -> str:
        self[code] = self._fold(chr(code))
        return self[code]

    def _fold(self, char: str) -> str:
        if self._strip_accents:
            char = unicodedata.normalize("NFD", char)[0]
        if char in _SPACES:
            return " "
        category = unicodedata.category(char)
        if char in "\0\ufffd" or category in ("Cc", "Cf", "Co", "Cs"):
            return ""
        if self._strip_accents and category[0] == "M":
            return ""
        folded = char.lower()[0] if self._lowercase else char
        stands_alone = category[0] == "P" or (category[0] == "S" and ord(char) < 0x7F) or _is_ideograph(ord(char))
        return f" {folded} " if stands_alone else folded


def _is_ideograph(code: int) -> bool:
    return any(first <= code <= last for first, last in _IDEOGRAPHS)
