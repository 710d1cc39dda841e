"""Finding special tokens in text before the rest is tokenised.

Longer tokens are looked for first, over the whole text; a shorter one can only match in what is left. So does llama.cpp
(longest first, not leftmost first), and a token that is a prefix of another never hides it. A match may be forbidden at
given places (Barriers): that is how text inside a chat message is kept from becoming a control token.

Cost: one `str.find` pass over the text for each special token whose first characters occur in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wgpu_infer.tokenizer.vocab import CONTROL, UNKNOWN, USER_DEFINED, Vocab

_HEAD = 3  # characters by which tokens that cannot occur are ruled out together
_SPACE = " \t\n\v\f\r"


@dataclass(frozen=True)
class Special:
    """A token that is matched as a whole. `is_marker`: only where markers are asked for (control and unknown tokens).

    strip_left, strip_right: white space beside the match belongs to it and disappears.
    """

    id: int
    text: str
    is_marker: bool
    strip_left: bool = False
    strip_right: bool = False


@dataclass(frozen=True)
class Barriers:
    """Positions in a text that no special token may span; nor may one reach from an opened to a closed position."""

    opened: frozenset[int] = frozenset()
    closed: frozenset[int] = frozenset()


NO_BARRIERS = Barriers()


def specials_of(vocab: Vocab) -> list[Special]:
    """The special tokens of a vocabulary, longest (in bytes) first."""
    kinds = (CONTROL, UNKNOWN, USER_DEFINED)
    found = [token for token, kind in enumerate(vocab.types) if kind in kinds]
    found.sort(key=lambda token: -len(vocab.texts[token].encode("utf-8", "replace")))
    left, right = _stripping(vocab, [vocab.texts[token] for token in found])
    return [
        Special(i, (text := vocab.texts[i]), vocab.types[i] != USER_DEFINED, text in left, text in right) for i in found
    ]


def _stripping(vocab: Vocab, texts: list[str]) -> tuple[set[str], set[str]]:
    """Which tokens swallow white space on their left and right. The format cannot say it: llama.cpp knows by name."""
    name, pre = vocab.name.lower(), vocab.pre_name or ""
    if pre in ("jina-v2-de", "jina-v2-es", "jina-v2-code") or "nomic-bert-moe" in vocab.architecture:
        return {"<mask>"}, set()
    if "phi-3" in name or "phi3" in name:
        return set(), set(texts) - {"<unk>", "<s>", "<|endoftext|>"}
    return {"[MASK]"} if "modern-bert" in name else set(), set()


class SpecialMatcher:
    """Cuts text into special tokens and what lies between them."""

    def __init__(self, specials: Sequence[Special]):
        self._specials = list(specials)
        self._heads = {special.text[:_HEAD] for special in specials}

    def split(self, text: str, markers: bool, barriers: Barriers = NO_BARRIERS) -> list[str | int]:
        """Pieces of text and ids of special tokens, in order; no piece is empty.

        markers: whether control and unknown tokens are looked for.
        """
        heads = {head for head in self._heads if head in text}
        present = [
            special
            for special in self._specials
            if special.text[:_HEAD] in heads and (markers or not special.is_marker) and special.text in text
        ]
        if not present:
            return [text] if text else []
        return _Splitting(text, barriers).run(present)


class _Splitting:
    """One text being cut. `taken[i]` says that character i belongs to a match."""

    def __init__(self, text: str, barriers: Barriers):
        self.text = text
        self.taken = bytearray(len(text))
        self.matches: list[tuple[int, int, int]] = []  # start, end, id, with the stripped white space
        self.barriers = barriers
        self.barred = bytearray(len(text) + 1)
        for position in barriers.opened | barriers.closed:
            self.barred[position] = 1

    def run(self, present: list[Special]) -> list[str | int]:
        for special in present:
            self._find_all(special)
        pieces: list[str | int] = []
        done = 0
        for start, end, token in sorted(self.matches):
            if start > done:
                pieces.append(self.text[done:start])
            pieces.append(token)
            done = end
        if done < len(self.text):
            pieces.append(self.text[done:])
        return pieces

    def _find_all(self, special: Special) -> None:
        size = len(special.text)
        at = self.text.find(special.text)
        while at >= 0:
            after = at + size
            blocked = self.taken.rfind(1, at, after)
            if blocked >= 0:  # go on where the text is free again
                free = self.taken.find(0, blocked + 1)
                after = len(self.text) if free < 0 else free
            elif self._is_barred(at, after):
                after = at + 1
            else:
                after = self._take(special, at, after)
            at = self.text.find(special.text, after)

    def _is_barred(self, start: int, end: int) -> bool:
        is_enclosed = start in self.barriers.opened and end in self.barriers.closed
        return is_enclosed or self.barred.find(1, start + 1, end) >= 0

    def _take(self, special: Special, start: int, end: int) -> int:
        if special.strip_left:
            while start > 0 and not self.taken[start - 1] and self.text[start - 1] in _SPACE:
                start -= 1
        if special.strip_right:
            while end < len(self.text) and not self.taken[end] and self.text[end] in _SPACE:
                end += 1
        self.taken[start:end] = b"\1" * (end - start)
        self.matches.append((start, end, special.id))
        return end
