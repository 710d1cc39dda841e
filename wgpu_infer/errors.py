"""The typed errors a user can meet. Every message says what was given and what is allowed."""

from __future__ import annotations

import os


class WgpuInferError(Exception):
    """Base of every error this package raises on purpose."""


class ModelFormatError(WgpuInferError):
    """A model file that cannot be used: which file, where in it, and why.

    Args:
        reason: one line saying what is wrong and, where it helps, what to do.
        path: the file, or None when the model did not come from a file.
        offset: byte offset of the fault in the file, or None where no single byte is at fault.
    """

    def __init__(self, reason: str, path: str | os.PathLike[str] | None = None, offset: int | None = None):
        self.reason = reason
        self.path = None if path is None else os.fspath(path)
        self.offset = offset
        where = "" if self.path is None else f"{self.path}: "
        at = "" if offset is None else f" (at byte {offset})"
        super().__init__(f"{where}{reason}{at}")


class TokenizerError(WgpuInferError):
    """A vocabulary that cannot be built, a text that cannot be encoded or an id that does not exist."""


class ChatTemplateError(WgpuInferError):
    """A chat template that is malformed, refused, too expensive, or that rejected its messages."""


class ParameterError(WgpuInferError, ValueError):
    """A parameter outside its allowed range; names the parameter, what was given and what is allowed."""


class ContextLengthError(WgpuInferError):
    """A prompt that does not fit the context. `prompt_tokens` and `context` are in tokens."""

    def __init__(self, prompt_tokens: int, context: int):
        self.prompt_tokens = prompt_tokens
        self.context = context
        super().__init__(
            f"the prompt has {prompt_tokens} tokens but the context holds {context}; "
            "shorten the prompt or raise the context (--context N)"
        )


class DeviceError(WgpuInferError):
    """A device that is missing, lost or unable to do what was asked."""


class OutOfMemoryError(DeviceError):
    """An allocation that did not fit; says how much was needed."""


class UnsupportedError(WgpuInferError, NotImplementedError):
    """Something that is not built (yet): an op on a backend, a quant format, a tokenizer name."""
