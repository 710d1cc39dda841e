"""LLM: a model from file to text, behind one class."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from wgpu_infer.backends.base import Backend
from wgpu_infer.backends.registry import open_backend
from wgpu_infer.contracts.host import check_kv
from wgpu_infer.engine.engine import MAX_SEQUENCES, PREFILL_TOKENS, Engine
from wgpu_infer.engine.sequence import FinishReason, Piece, Sequence, Timings
from wgpu_infer.engine.worker import EngineWorker, PieceStream
from wgpu_infer.errors import ContextLengthError, ParameterError
from wgpu_infer.formats.gguf import GGUF
from wgpu_infer.models.config import ModelConfig
from wgpu_infer.models.transformer import Transformer
from wgpu_infer.models.verify import PREFILL, VerifyReport, verify
from wgpu_infer.models.weights import load_weights, products
from wgpu_infer.sampling.params import SamplingParams
from wgpu_infer.scheduler import HybridScheduler
from wgpu_infer.tokenizer.tokenizer import Tokenizer

DEFAULT_MODEL = Path(__file__).parent / "data" / "stories.gguf"
DEFAULT_CONTEXT = 4096
MAX_CONTEXT = 1 << 20
DEVICES = ("auto", "webgpu", "cpu", "reference")
Prompt = str | list[int]
Progress = Callable[[int, int], None]  # bytes of weights loaded, bytes in all


@dataclass(frozen=True)
class Generation:
    """What a prompt became. `token_ids` are the generated ones, end-of-text not among them; `seed` is the one used."""

    text: str
    token_ids: list[int]
    finish_reason: FinishReason
    timings: Timings
    seed: int


class LLM:
    """A model, loaded and ready. Several threads may use one; their requests share its batches.

    Args:
        path: a GGUF file; None is the small story model that comes with the package.
        device: auto, webgpu, cpu or reference; or a Backend.
        threads: CPU threads; None is one per physical core.
        context: tokens of prompt and answer together; None is what the model was trained for, at most 4,096.
        kv: how keys and values are kept: f16, f32 or q8_0.
        progress: called with (bytes of weights loaded, bytes in all) while loading.
        check_tensors: look for NaN and infinity in every weight while loading.

    Raises ModelFormatError, DeviceError, OutOfMemoryError, UnsupportedError, ParameterError, or OSError for the path.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        device: str | Backend = "auto",
        threads: int | None = None,
        context: int | None = None,
        kv: str = "f16",
        progress: Progress | None = None,
        check_tensors: bool = False,
    ):
        self.path = os.fspath(DEFAULT_MODEL if path is None else path)
        _check_context(context)
        self.kv = kv
        self.gguf = GGUF.open(self.path)
        try:
            self.config = ModelConfig.from_gguf(self.gguf)
            check_kv(kv, self.config.head_dim)
            self.tokenizer = Tokenizer.from_gguf(self.gguf)
            self.context = context or min(self.config.context, DEFAULT_CONTEXT)
            self._worker = EngineWorker(lambda: self._make_engine(device, threads, kv, progress, check_tensors))
        except BaseException:
            self.gguf.close()
            raise

    def generate(
        self, prompt: Prompt | list[Prompt], params: SamplingParams | None = None, parse_special: bool = False
    ) -> Any:
        """A `Generation` for a prompt (text, or a list of token ids), a list of them for a list of prompts.

        Prompts of a list run together. parse_special: text such as "<|im_end|>" becomes the control token it spells.
        Raises ContextLengthError, ParameterError, TokenizerError, DeviceError.
        """
        params = params or SamplingParams()
        prompts: Any = [prompt] if is_single(prompt) else prompt
        results = self._generate(prompts, params, parse_special)
        return results[0] if is_single(prompt) else results

    def stream(
        self, prompt: Prompt, params: SamplingParams | None = None, parse_special: bool = False
    ) -> GenerationStream:
        """The pieces of a generation as they come; iterate it. Leaving the loop ends the generation."""
        if not is_single(prompt):
            raise ParameterError("stream takes one prompt: a text or a list of token ids")
        sequence = self._sequence(prompt, params or SamplingParams(), parse_special)
        return GenerationStream(self._worker.stream(sequence))

    def chat(self, messages: list[dict[str, Any]], params: SamplingParams | None = None) -> Generation:
        """The model's answer to a conversation, through its chat template. Raises ChatTemplateError."""
        return self._generate([self.tokenizer.encode_chat(messages)], params or SamplingParams(), False)[0]

    def logits(self, ids: list[int]) -> np.ndarray:
        """float32 (tokens, vocab): row i is the model's prediction after ids[:i + 1]."""
        self._check_ids(ids)
        if len(ids) > self.context:
            raise ContextLengthError(len(ids), self.context)
        return self._worker.call(lambda: self._engine.logits(list(ids)))

    def verify(self, steps: int = 8, witness: str | None = None, prompt: Prompt = "") -> VerifyReport:
        """Runs every op of some teacher-forced steps here and on a witness backend, from the same inputs.

        steps: steps behind the prompt. witness: cpu, reference or webgpu; None is cpu for a model on a GPU, else
        reference. The report names the first op whose result was further off than its contract allows.
        """
        if isinstance(steps, bool) or not isinstance(steps, int) or not 1 <= steps <= self.context:
            raise ParameterError(f"steps={steps!r:.40} must be a whole number from 1 to the context, {self.context}")
        ids = self.generate(prompt, SamplingParams(max_tokens=steps + PREFILL, temperature=0.0, ignore_eos=True))
        forced = self._sequence(prompt, SamplingParams(), False).prompt + ids.token_ids
        return self._worker.call(lambda: self._verify(forced[: steps + PREFILL], witness))

    def _verify(self, ids: list[int], witness: str | None) -> VerifyReport:
        model = self._engine.model
        on_gpu = getattr(model.backend, "active", model.backend).name == "webgpu"
        with open_backend(witness or ("cpu" if on_gpu else "reference")) as other:
            return verify(model, self.gguf, other, ids, self.kv)

    @property
    def device(self) -> str:
        """The device it runs on, in words."""
        return self._engine.backend.describe()

    def close(self) -> None:
        """Ends running generations, gives back the device and the file. Nothing of it may be used afterwards."""
        self._worker.close()
        self.gguf.close()

    def __enter__(self) -> LLM:
        return self

    def __exit__(self, _t: type | None, _e: BaseException | None, _tb: TracebackType | None) -> None:
        self.close()

    @property
    def _engine(self) -> Engine:
        assert self._worker.engine is not None
        return self._worker.engine

    def _make_engine(
        self, device: str | Backend, threads: int | None, kv: str, progress: Progress | None, check_tensors: bool
    ) -> Engine:
        backend = self._open(device, threads) if isinstance(device, str) else device
        try:
            self.gguf.check_unchanged()
            report = progress or (lambda _done, _total: None)
            weights = load_weights(self.gguf, self.config, backend, report, check_tensors)
            model = Transformer(backend, self.config, weights, self.context, PREFILL_TOKENS, MAX_SEQUENCES)
            return Engine(model, kv)
        except BaseException:
            backend.close()
            raise

    def _open(self, device: str, threads: int | None) -> Backend:
        if device != "auto":
            return open_backend(device, threads)
        scheduler = HybridScheduler(threads=threads)
        scheduler.place(*products(self.gguf, self.config), self.config.layers)
        return scheduler

    def _sequence(self, prompt: Prompt, params: SamplingParams, parse_special: bool) -> Sequence:
        if isinstance(prompt, str):
            ids = self.tokenizer.encode(prompt, add_special=True, parse_special=parse_special)
        else:
            self._check_ids(prompt)
            ids = list(prompt)
        return Sequence(ids, params, self.tokenizer, self.context)

    def _check_ids(self, ids: Any) -> None:
        vocab = self.config.vocab
        bad = next(
            (t for t in ids if isinstance(t, bool) or not isinstance(t, int | np.integer) or not 0 <= t < vocab), None
        )
        if bad is not None or not len(ids):
            given = "an empty list" if bad is None else f"{bad!r:.40}"
            raise ParameterError(f"token ids must be whole numbers from 0 to {vocab - 1}; given: {given}")

    def _generate(self, prompts: list[Prompt], params: SamplingParams, parse_special: bool) -> list[Generation]:
        sequences = [self._sequence(p, params, parse_special) for p in prompts]
        streams: list[PieceStream] = []
        try:
            streams += [self._worker.stream(s) for s in sequences]
            for stream in streams:
                for _piece in stream:
                    pass
        finally:
            for stream in streams:
                stream.close()  # aborts what an error or Ctrl-C left running
        return [finished(s) for s in sequences]


class GenerationStream:
    """Iterates over `Piece`s; `result` is the `Generation`, whole once the iteration has ended."""

    def __init__(self, pieces: PieceStream):
        self._pieces = pieces

    def __iter__(self) -> GenerationStream:
        return self

    def __next__(self) -> Piece:
        return next(self._pieces)

    def close(self) -> None:
        """Ends the generation where it stands."""
        self._pieces.close()

    @property
    def result(self) -> Generation:
        return finished(self._pieces.sequence)


def finished(s: Sequence) -> Generation:
    return Generation(s.text, s.token_ids, s.finish_reason or "abort", s.timings, s.seed)


def is_single(prompt: Any) -> bool:
    """A text or a list of ids, as opposed to a list of prompts."""
    if isinstance(prompt, str):
        return True
    if not isinstance(prompt, list | tuple):
        raise ParameterError(
            f"a prompt is a text, a list of token ids or a list of those; given: {type(prompt).__name__}"
        )
    return bool(prompt) and not any(isinstance(p, str | list | tuple) for p in prompt)


def _check_context(context: Any) -> None:
    if context is None:
        return
    if isinstance(context, bool) or not isinstance(context, int) or not 1 <= context <= MAX_CONTEXT:
        raise ParameterError(f"context={context!r:.40} must be a whole number from 1 to {MAX_CONTEXT}")
