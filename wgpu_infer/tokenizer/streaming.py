"""Decoding token by token: only whole characters come out."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wgpu_infer.tokenizer.tokenizer import Tokenizer


class StreamDecoder:
    """Text of tokens as they come. The pieces joined are `tokenizer.decode` of all ids.

    A character whose bytes are spread over tokens comes out with its last byte. Bytes that cannot be UTF-8 come out as
    U+FFFD as soon as that is certain. Work per token does not depend on what came before: at most three bytes wait.

    Args:
        skip_special: leave out control and unknown tokens.
        continuing: the tokens go on from an earlier text, so the space before the first word is kept.
    """

    def __init__(self, tokenizer: Tokenizer, skip_special: bool = True, continuing: bool = False):
        self._tokenizer = tokenizer
        self._skip_special = skip_special
        self._at_start = not continuing
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token: int) -> str:
        """The text that became certain with this token. TokenizerError: there is no such id."""
        piece = self._tokenizer.token_bytes(token, self._skip_special)
        if piece and self._at_start:
            self._at_start = False
            piece = self._tokenizer.strip_prefix(token, piece)
        return self._utf8.decode(piece)

    def finish(self) -> str:
        """What is left: U+FFFD for a character that was begun, else nothing."""
        return self._utf8.decode(b"", final=True)
