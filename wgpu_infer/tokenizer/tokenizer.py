"""The public tokenizer: text to token ids and back, from the metadata of a GGUF file.

    tokenizer = Tokenizer.from_gguf("model.gguf")
    ids = tokenizer.encode("Hello", add_special=False)
    tokenizer.decode(ids)

Ids are llama.cpp's for every tokenizer model that is built (vocab.MODELS) and every pre-tokenizer it knows, with one
exception on purpose: text that spells a control token never becomes that token unless parse_special is given. Decoding
gives the tokens' bytes unchanged; llama.cpp's removal of spaces before punctuation (clean_spaces) is not done, since it
alters text and cannot be streamed.

Everything a file says is checked when the tokenizer is built. Encoding takes O(n log n) time for any text.
"""

from __future__ import annotations

import logging
import operator
import os
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from wgpu_infer.errors import ChatTemplateError, TokenizerError
from wgpu_infer.tokenizer.partition import NO_BARRIERS, Barriers, SpecialMatcher, specials_of
from wgpu_infer.tokenizer.pieces import Pieces
from wgpu_infer.tokenizer.vocab import CONTROL, NORMAL, UNKNOWN, USER_DEFINED, Vocab, read_vocab

if TYPE_CHECKING:
    from wgpu_infer.tokenizer.chat_template import ChatTemplate


_LOG = logging.getLogger(__name__)


class Model(Protocol):
    """An algorithm that encodes text without special tokens."""

    def encode(self, text: str, after_special: bool) -> list[int]: ...


def _spm(vocab: Vocab) -> Model:
    from wgpu_infer.tokenizer.spm import SpmModel

    return SpmModel(vocab)


def _bpe(vocab: Vocab) -> Model:
    from wgpu_infer.tokenizer.bpe import BpeModel

    return BpeModel(vocab)


def _wordpiece(vocab: Vocab) -> Model:
    from wgpu_infer.tokenizer.wordpiece import WordPieceModel

    return WordPieceModel(vocab)


def _unigram(vocab: Vocab) -> Model:
    from wgpu_infer.tokenizer.unigram import UnigramModel

    return UnigramModel(vocab)


_MODELS: dict[str, Callable[[Vocab], Model]] = {
    "spm": _spm,
    "bpe": _bpe,
    "wordpiece": _wordpiece,
    "unigram": _unigram,
}


class Tokenizer:
    """Tokens of one model.

    Attributes:
        vocab_size: number of tokens; ids run from 0 to vocab_size - 1.
        bos_id, eos_id, eot_id, pad_id, unk_id: int, or None where the model has none.
        eog_ids: every id that ends a generation.
        chat_template: the file's template, or None.
    """

    def __init__(self, vocab: Vocab, chat_template: str | None = None):
        self._vocab = vocab
        self._model = _MODELS[vocab.kind](vocab)
        self._matcher = SpecialMatcher(specials_of(vocab))
        self._pieces = Pieces(vocab)
        self.chat_template = chat_template
        self.vocab_size = len(vocab.texts)
        self.bos_id, self.eos_id, self.eot_id = vocab.ids["bos"], vocab.ids["eos"], vocab.ids["eot"]
        self.pad_id, self.unk_id = vocab.ids["pad"], vocab.ids["unk"]
        self.eog_ids = vocab.end_ids

    @classmethod
    def from_gguf(cls, gguf: Any) -> Tokenizer:
        """From a path or an open GGUF; a vocabulary without weights will do, of any architecture.

        Raises:
            ModelFormatError: no valid GGUF file, no vocabulary in it, or one that contradicts itself.
            UnsupportedError: a tokenizer model or pre-tokenizer that is not built.
            OSError: the file cannot be read.
        """
        if hasattr(gguf, "metadata"):
            return cls.from_metadata(gguf.metadata, getattr(gguf, "path", None))
        from wgpu_infer.formats.gguf import GGUF

        with GGUF.open(gguf) as opened:
            return cls.from_metadata(opened.metadata, opened.path)

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any], path: str | os.PathLike[str] | None = None) -> Tokenizer:
        """From GGUF metadata; `path` is for messages only. Raises as from_gguf."""
        vocab = read_vocab(metadata, path)
        template = metadata.get("tokenizer.chat_template")
        if template is not None and not isinstance(template, str):
            vocab.fault(f"tokenizer.chat_template must be a string, is {type(template).__name__}")
        if template == "":
            _LOG.warning("the chat template in the file is empty; taken as none")
        return cls(vocab, template or None)

    def encode(self, text: str, add_special: bool = True, parse_special: bool = False) -> list[int]:
        """Token ids of a text.

        Args:
            add_special: add BOS and EOS where the model wants them.
            parse_special: text that spells a control token becomes that token; otherwise it is plain text.

        Raises TokenizerError for what is not encodable text (not a str, lone surrogates).
        """
        _check_text(text)
        ids = self._encode(text, NO_BARRIERS, parse_special)
        return [*self._first(), *ids, *self._last()] if add_special else ids

    def _encode(self, text: str, barriers: Barriers, parse_special: bool = True) -> list[int]:
        ids: list[int] = []
        after_special = True
        for part in self._matcher.split(text, parse_special, barriers):
            if isinstance(part, int):
                ids.append(part)
            else:
                ids += self._model.encode(part, after_special)
            after_special = isinstance(part, int)
        return ids

    def _first(self) -> list[int]:
        wanted = self._vocab.add_bos or self._vocab.kind == "wordpiece"
        return [self.bos_id] if wanted and self.bos_id is not None else []

    def _last(self) -> list[int]:
        if self._vocab.kind == "wordpiece":
            separator = self._vocab.ids["sep"]
            return [] if separator is None else [separator]
        return [self.eos_id] if self._vocab.add_eos and self.eos_id is not None else []

    def decode(self, ids: Iterable[int], skip_special: bool = True, continuing: bool = False) -> str:
        """Text of token ids; bytes that are not UTF-8 become U+FFFD.

        Args:
            skip_special: leave out control and unknown tokens.
            continuing: the ids go on from an earlier text: keep the space that begins a first word. Without it the
                space that `encode` put before a text is taken away again.

        Raises TokenizerError naming an id that does not exist.
        """
        pieces: list[bytes] = []
        for token in ids:
            piece = self.token_bytes(token, skip_special)
            if piece:
                pieces.append(piece if pieces or continuing else self.strip_prefix(token, piece))
        return b"".join(pieces).decode("utf-8", "replace")

    def token_bytes(self, token: int, skip_special: bool = True) -> bytes:
        """The exact bytes of one token; of a control or unknown token its name, or b"" if skip_special."""
        token = self._check(token)
        return b"" if skip_special and self._pieces.is_marker(token) else self._pieces.of(token)

    def strip_prefix(self, token: int, piece: bytes) -> bytes:
        """`piece`, the bytes of a text's first token, without the space that encoding puts in front."""
        has_prefix = self._vocab.add_space_prefix or self._vocab.kind == "wordpiece"
        is_word = self._vocab.types[token] == NORMAL
        return piece[1:] if has_prefix and is_word and piece.startswith(b" ") else piece

    def apply_chat_template(
        self, messages: list[dict[str, Any]], add_generation_prompt: bool = True, **extra: Any
    ) -> str:
        """The text of a conversation by the model's template; arguments and errors as ChatTemplate.render."""
        return self._template.render(messages, add_generation_prompt, **extra)

    def encode_chat(
        self, messages: list[dict[str, Any]], add_generation_prompt: bool = True, **extra: Any
    ) -> list[int]:
        """Token ids of a conversation by the model's template, BOS in front once where the model wants it.

        The template's own markers become control tokens; text of the messages that spells one stays text
        (chat_marks.py says how). Raises ChatTemplateError and TokenizerError.
        """
        from wgpu_infer.tokenizer.chat_marks import Protector, strings_of
        from wgpu_infer.tokenizer.chat_template import check_messages

        check_messages(messages)
        source = self._template.source
        texts = [source, *strings_of([messages, extra])]
        for text in texts:
            _check_text(text)
        protector = Protector(self._markers, [text for text in self._user_defined if text in source], texts)
        marked = [protector.message(message) for message in messages]
        text = self._template.render(marked, add_generation_prompt, **protector.variables(extra))
        ids = self._encode(*protector.take_out(text))
        first = self._first()
        return ids if ids[: len(first)] == first else first + ids

    @cached_property
    def _template(self) -> ChatTemplate:
        from wgpu_infer.tokenizer.chat_template import CHATML, ChatTemplate

        source = self.chat_template
        if source is None:
            if not {"<|im_start|>", "<|im_end|>"} <= self._vocab.index.keys():
                raise ChatTemplateError("the model has no chat template; it may not be made for conversations")
            source = CHATML
        bos, eos = (self._spelling(token) for token in (self.bos_id, self.eos_id))
        return ChatTemplate(source, bos, eos)

    @cached_property
    def _markers(self) -> list[str]:
        kinds = zip(self._vocab.texts, self._vocab.types, strict=True)
        return [text for text, kind in kinds if kind in (CONTROL, UNKNOWN)]

    @cached_property
    def _user_defined(self) -> list[str]:
        kinds = zip(self._vocab.texts, self._vocab.types, strict=True)
        return [text for text, kind in kinds if kind == USER_DEFINED]

    def _spelling(self, token: int | None) -> str:
        return "" if token is None else self._vocab.texts[token]

    def name_of(self, token: int) -> str:
        """The token as the vocabulary spells it."""
        return self._vocab.texts[self._check(token)]

    def is_control(self, token: int) -> bool:
        """Whether the token is a control token: never part of the text."""
        return self._vocab.types[self._check(token)] == CONTROL

    def _check(self, token: int) -> int:
        try:
            index = -1 if isinstance(token, bool) else operator.index(token)
        except TypeError:
            index = -1
        if not 0 <= index < self.vocab_size:
            raise TokenizerError(f"there is no token {token!r:.40}; ids run from 0 to {self.vocab_size - 1}")
        return index


def _check_text(text: str) -> None:
    if not isinstance(text, str):
        raise TokenizerError(f"text must be a str, is {type(text).__name__}")
    try:
        text.encode()
    except UnicodeEncodeError as fault:
        raise TokenizerError(f"the text is not valid Unicode: a lone surrogate at character {fault.start}") from None
