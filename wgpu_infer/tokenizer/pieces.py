"""The bytes that a token stands for."""

from __future__ import annotations

import re

from wgpu_infer.tokenizer.vocab import BYTE, CONTROL, NORMAL, UNKNOWN, USER_DEFINED, Vocab

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's spelling of bytes by visible characters: Latin-1 where that is visible, else U+0100 onwards."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in set(visible)]
    return {chr(byte): byte for byte in visible} | {chr(256 + i): byte for i, byte in enumerate(hidden)}


BYTE_OF = _byte_alphabet()


class Pieces:
    """Bytes of tokens, found once per token and kept."""

    def __init__(self, vocab: Vocab):
        self._vocab = vocab
        self._kept: dict[int, bytes] = {}
        for token, kind in enumerate(vocab.types):
            if kind == BYTE and not _BYTE_TOKEN.fullmatch(vocab.texts[token]):
                vocab.fault(f"token {token} is a byte but is spelled {vocab.texts[token][:80]!r}, not as <0xXX>")

    def is_marker(self, token: int) -> bool:
        """Whether the token is a control or unknown token: no part of the text."""
        return self._vocab.types[token] in (CONTROL, UNKNOWN)

    def of(self, token: int) -> bytes:
        """The bytes of a token; of a control token its name; of an unused one none."""
        piece = self._kept.get(token)
        if piece is None:
            piece = self._kept[token] = self._find(token)
        return piece

    def _find(self, token: int) -> bytes:
        text, kind = self._vocab.texts[token], self._vocab.types[token]
        if kind in (CONTROL, UNKNOWN, USER_DEFINED):
            return _utf8(text)
        if kind == BYTE:
            return bytes([int(text[3:5], 16)])
        return self._normal(text) if kind == NORMAL else b""

    def _normal(self, text: str) -> bytes:
        pre = self._vocab.pre
        if pre is None or pre.escape_spaces:
            return _utf8(text.replace("▁", " "))
        if pre.byte_level and all(char in BYTE_OF for char in text):
            return bytes(BYTE_OF[char] for char in text)
        return _utf8(text)


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
