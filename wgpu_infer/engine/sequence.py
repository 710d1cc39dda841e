"""One request on its way through the engine: its tokens, where it stands, and what it has said so far."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from typing import Literal

from wgpu_infer.engine.stop import StopMatcher
from wgpu_infer.sampling.params import SamplingParams
from wgpu_infer.tokenizer.streaming import StreamDecoder
from wgpu_infer.tokenizer.tokenizer import Tokenizer

FinishReason = Literal["stop", "length", "abort"]


@dataclass
class Timings:
    """Seconds and token counts of one generation; prefill_s and decode_s are times in the engine, waiting excluded."""

    prompt_tokens: int = 0
    prefill_s: float = 0.0
    decode_tokens: int = 0
    decode_s: float = 0.0
    first_token_s: float = 0.0  # from submission, waiting included


@dataclass
class Piece:
    """What one step added: a token (None for text released at the end) and the text that became certain with it."""

    text: str
    token_id: int | None = None
    finish_reason: FinishReason | None = None


@dataclass(eq=False)
class Sequence:
    """`tokens` are prompt and generated; `computed` of them are in the KV cache.

    `text` goes on from the prompt's text: its first word keeps the space before it, unless the prompt ends in a control
    token.
    """

    prompt: list[int]
    params: SamplingParams
    tokenizer: Tokenizer
    context: int
    tokens: list[int] = field(init=False)
    computed: int = 0
    slot: int | None = None
    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    error: Exception | None = None
    timings: Timings = field(default_factory=Timings)

    def __post_init__(self) -> None:
        self.tokens = list(self.prompt)
        self.seed = secrets.randbits(32) if self.params.seed is None else self.params.seed
        continuing = bool(self.prompt) and not self.tokenizer.is_control(self.prompt[-1])
        self.decoder = StreamDecoder(self.tokenizer, continuing=continuing)  # "Once" goes on with " upon"
        self.matcher = StopMatcher(self.params.stop)
        self.submitted = time.perf_counter()
        self.timings.prompt_tokens = len(self.prompt)

    @property
    def limit(self) -> int:
        """Tokens at which the sequence ends: context or max_tokens, whichever comes first."""
        wanted = self.context if self.params.max_tokens is None else len(self.prompt) + self.params.max_tokens
        return min(self.context, wanted)

    @property
    def is_prefilling(self) -> bool:
        return self.computed < len(self.prompt)

    @property
    def is_finished(self) -> bool:
        return self.finish_reason is not None

    def append(self, token: int) -> Piece:
        """Takes a picked token and says what can be shown of it."""
        if not self.token_ids:
            self.timings.first_token_s = time.perf_counter() - self.submitted
        self.timings.decode_tokens += 1
        if token in self.tokenizer.eog_ids and not self.params.ignore_eos:
            return self.finish("stop")
        self.tokens.append(token)
        self.token_ids.append(token)
        shown = self.matcher.push(self.decoder.push(token))
        self.text += shown
        if self.matcher.stopped:
            return self.finish("stop", shown, token)
        if len(self.tokens) >= self.limit:
            return self.finish("length", shown, token)
        return Piece(shown, token)

    def finish(self, reason: FinishReason, shown: str = "", token: int | None = None) -> Piece:
        """Ends the sequence and releases text that was held back for a stop string or an unfinished character."""
        rest = self.matcher.push(self.decoder.finish()) + self.matcher.finish()
        self.text += rest
        self.finish_reason = "stop" if self.matcher.stopped else reason
        return Piece(shown + rest, token, self.finish_reason)
