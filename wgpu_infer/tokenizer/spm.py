"""SentencePiece vocabularies: merging neighbours by score, with bytes for what no token spells.

The text is cut into characters; of all neighbours that together spell a token, those with the highest score are joined,
of equal scores the leftmost; so on until nothing joins. Characters that are no token become their UTF-8 bytes as <0xXX>
tokens. This is llama.cpp's algorithm (llm_tokenizer_spm, after SentencePiece's BPE), and it gives its ids.

It does not use the BPE model of the `tokenizers` library: that ranks pairs of tokens and cannot rank two pairs equally,
so it joins by pair where scores are equal (vocabularies without scores, runs such as "aaaa") and gives other ids.
A text is cut before each run of U+2581 where no token spans such a place, and the ids of short words are kept, so that
plain text costs about a lookup a word. Work is O(n log n) for any text.

Control, unknown and byte tokens are never the result of a merge: text that spells them stays text. (llama.cpp allows
it: there "</s>" typed by a user can become the end token.)
"""

from __future__ import annotations

import heapq
import re

import numpy as np

from wgpu_infer.errors import TokenizerError
from wgpu_infer.tokenizer.vocab import BYTE, CONTROL, UNKNOWN, Vocab

SPACE = "▁"
_MAX_KEPT_WORDS, _MAX_KEPT_LENGTH = 1 << 16, 64
_WORDS = re.compile(f"{SPACE}+[^{SPACE}]*|[^{SPACE}]+")
_NO_PAIR = 1 << 62
_INNER_SPACE = re.compile(f"[^{SPACE}]{SPACE}")


class SpmModel:
    """Encodes text that holds no special tokens."""

    def __init__(self, vocab: Vocab):
        self._vocab = vocab
        self._ids = {t: i for i, t in enumerate(vocab.texts) if vocab.types[i] not in (CONTROL, UNKNOWN, BYTE)}
        ranks = np.unique(-vocab.scores, return_inverse=True)[1].tolist()  # 0 is the best; equal scores, equal rank
        self._ranks = {text: ranks[token] for text, token in self._ids.items() if len(text) > 1}
        self._cuts_words = not any(_INNER_SPACE.search(text) for text in self._ids)
        self._kept: dict[str, list[int]] = {}

    def encode(self, text: str, after_special: bool) -> list[int]:
        """Ids of a piece of text. after_special: it begins the text or follows a special token."""
        if self._vocab.remove_extra_whitespaces:
            text = re.sub(" +", " ", text.strip(" "))
        if self._vocab.add_space_prefix and after_special:
            text = " " + text
        text = text.replace(" ", SPACE)
        ids: list[int] = []
        for word in _WORDS.findall(text) if self._cuts_words else [text]:
            ids += self._kept.get(word) or self._word(word)
        return ids

    def _word(self, word: str) -> list[int]:
        ids: list[int] = []
        for symbol in merge_by_rank(word, self._ranks):
            token = self._ids.get(symbol)
            ids += self._bytes(symbol) if token is None else [token]
        if len(word) <= _MAX_KEPT_LENGTH:
            if len(self._kept) >= _MAX_KEPT_WORDS:
                self._kept.clear()
            self._kept[word] = ids
        return ids

    def _bytes(self, symbol: str) -> list[int]:
        """Byte tokens of a character that is no token; where the vocabulary lacks one, the unknown token."""
        index, unknown = self._vocab.index, self._vocab.ids["unk"]
        ids = [index.get(f"<0x{byte:02X}>", unknown) for byte in symbol.encode()]
        if None in ids:
            raise TokenizerError(f"the vocabulary has neither bytes nor an unknown token for {symbol!r}")
        return [token for token in ids if token is not None]


def merge_by_rank(text: str, ranks: dict[str, int]) -> list[str]:
    """Joins neighbouring symbols of `text`, at first its characters, while the joined text has a rank.

    The lowest rank goes first, of equal ranks the leftmost. A symbol is known by its first character: it spans
    text[start:end[start]], `before` its start is that of the symbol to its left, and end 0 means it was joined to that.
    A pair waits as one number, rank · size + start, which sorts as wanted. Pairs of characters are sorted once, pairs
    that arise later go through a heap, which so stays small: half the time of one heap for all.
    """
    size = len(text)
    end, before = list(range(1, size + 1)), list(range(-1, size - 1))
    rank_of, push, pop = ranks.get, heapq.heappush, heapq.heappop  # looked up once: this loop runs per character
    at_first = map(rank_of, map(str.__add__, text, text[1:]))
    sorted_pairs = sorted((rank * size + i for i, rank in enumerate(at_first) if rank is not None), reverse=True)
    take = [_NO_PAIR, *sorted_pairs].pop
    later, smallest = [_NO_PAIR], take()
    while smallest != _NO_PAIR or len(later) > 1:
        if smallest < later[0]:
            pair, smallest = smallest, take()
        else:
            pair = pop(later)
        rank, start = divmod(pair, size)
        middle = end[start]
        if middle == 0 or middle == size or rank_of(text[start : end[middle]]) != rank:
            continue  # one of the two has been joined to another since
        stop = end[start] = end[middle]
        end[middle] = 0
        if stop < size:
            before[stop] = start
            if (joined := rank_of(text[start : end[stop]])) is not None:
                push(later, joined * size + start)
        left = before[start]
        if left >= 0 and (joined := rank_of(text[left:stop])) is not None:
            push(later, joined * size + left)
    return _symbols(text, end)


def _symbols(text: str, end: list[int]) -> list[str]:
    symbols, start = [], 0
    while start < len(text):
        symbols.append(text[start : end[start]])
        start = end[start]
    return symbols
