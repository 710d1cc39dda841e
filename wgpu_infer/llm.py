"""LLM: a model from file to text, behind one class."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, overload

import numpy as np

from wgpu_infer.backends.base import Backend
from wgpu_infer.backends.memory import Memory
from wgpu_infer.backends.registry import NAMES, open_backend
from wgpu_infer.backends.timing import Tuned
from wgpu_infer.checks import number, shown, whole
from wgpu_infer.contracts.host import check_kv
from wgpu_infer.engine.engine import MAX_SEQUENCES, Engine
from wgpu_infer.engine.run_ahead import MOST_AHEAD
from wgpu_infer.engine.sequence import FinishReason, Piece, Sequence, Timings
from wgpu_infer.engine.worker import EngineWorker, PieceStream
from wgpu_infer.errors import ContextLengthError, ParameterError, WgpuInferError
from wgpu_infer.formats.gguf import GGUF
from wgpu_infer.models.config import ModelConfig
from wgpu_infer.models.transformer import Transformer, layer_dispatches
from wgpu_infer.models.verify import PREFILL, VerifyReport, verify
from wgpu_infer.models.weights import load_weights, products
from wgpu_infer.profile import Profile
from wgpu_infer.sampling.params import SamplingParams
from wgpu_infer.scheduler import HybridScheduler
from wgpu_infer.tokenizer.tokenizer import Tokenizer

DEFAULT_MODEL = Path(__file__).parent / "data" / "stories.gguf"
DEFAULT_CONTEXT = 4096
MAX_CONTEXT = 1 << 20
MAX_THREADS = 1 << 16  # no machine has more; the CPU backend knows how many there are
DEVICES = ("auto", *NAMES)
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

    `with`, `close` or dropping it gives back the device and the memory.

    Args:
        path: a GGUF file; None is the small story model that comes with the package.
        device: auto, webgpu, cpu or reference; or a Backend.
        threads: CPU threads; None is one per physical core.
        context: tokens of prompt and answer together; None is what the model was trained for, at most 4,096.
        kv: how keys and values are kept: f16, f32 or q8_0.
        progress: called with (bytes of weights loaded, bytes in all) while loading.
        check_tensors: look for NaN and infinity in every weight while loading.
        compiling: called with (kernels ready, kernels in all) while they are compiled, or read from the cache.
        tuning: called with (kernels chosen, kernels with a choice) while variants are measured on a GPU.
        adapter: which WebGPU adapter: its number in `wgpu-infer doctor`, or part of its name; None is WGPU_ADAPTER_NAME
            of the environment, else the best: discrete, integrated, software.
        run_ahead: how many tokens of each sequence a GPU may be given to compute before the first of them is read; the
            text comes that much later at most. 0 picks every token on the CPU. None is 4, on a software adapter 0.

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
        compiling: Progress | None = None,
        adapter: str | int | None = None,
        run_ahead: int | None = None,
        tuning: Progress | None = None,
    ):
        self.path = os.fspath(DEFAULT_MODEL if path is None else path)
        if not isinstance(device, Backend) and device not in DEVICES:
            raise ParameterError(f"device={shown(device)} is not known; allowed: {', '.join(DEVICES)}, or a Backend")
        threads = None if threads is None else whole("threads", threads, 1, MAX_THREADS)
        context = None if context is None else whole("context", context, 1, MAX_CONTEXT)
        run_ahead = None if run_ahead is None else whole("run_ahead", run_ahead, 0, MOST_AHEAD)
        wanted = check_adapter(adapter, device)
        self.kv = kv
        self.gguf = GGUF.open(self.path)
        try:
            self.config = ModelConfig.from_gguf(self.gguf)
            check_kv(kv, self.config.head_dim)
            self.tokenizer = Tokenizer.from_gguf(self.gguf)
        except BaseException:
            self.gguf.close()
            raise
        self.context = context or min(self.config.context, DEFAULT_CONTEXT)
        self._abandoned = threading.Event()

        def make() -> Engine:
            reports = tuple(map(self._reporting, (progress, compiling, tuning)))
            return self._make_engine(device, threads, wanted, kv, reports, check_tensors, run_ahead)

        try:
            self._worker = EngineWorker(make, at_end=self.gguf.close)
        except BaseException:
            self._abandoned.set()
            raise
        self._finalizer = weakref.finalize(self, self._worker.close, wait=False)
        self._finalizer.atexit = False  # the thread ends with the process

    @overload
    def generate(
        self, prompt: str | list[int], params: SamplingParams | None = None, parse_special: bool = False
    ) -> Generation: ...
    @overload
    def generate(
        self, prompt: list[str] | list[list[int]], params: SamplingParams | None = None, parse_special: bool = False
    ) -> list[Generation]: ...
    def generate(
        self, prompt: Any, params: SamplingParams | None = None, parse_special: bool = False
    ) -> Generation | list[Generation]:
        """A `Generation` for a prompt (text, or a list of token ids), a list of them for a list of prompts.

        An empty text is BOS alone. Prompts of a list run together. parse_special: text such as "<|im_end|>" becomes the
        control token it spells.
        Raises ContextLengthError, ParameterError, TokenizerError, DeviceError.
        """
        if is_single(prompt):
            return self._generate([prompt], params, parse_special)[0]
        return self._generate(prompt, params, parse_special)

    def stream(
        self, prompt: Prompt, params: SamplingParams | None = None, parse_special: bool = False
    ) -> GenerationStream:
        """The pieces of a generation as they come; iterate it. Leaving the loop ends the generation."""
        if not is_single(prompt):
            raise ParameterError("stream takes one prompt: a text or a list of token ids")
        return GenerationStream(self, self._worker.stream(self._sequence(prompt, params, parse_special)))

    def chat(self, messages: list[dict[str, Any]], params: SamplingParams | None = None) -> Generation:
        """The model's answer to a conversation, through its chat template. Raises ChatTemplateError."""
        return self._generate([self.tokenizer.encode_chat(messages)], params, False)[0]

    def logits(self, ids: list[int]) -> np.ndarray:
        """float32 (tokens, vocab): row i is the model's prediction after ids[:i + 1].

        Runs beside generations as soon as there is room for it. Raises ContextLengthError, ParameterError, DeviceError.
        """
        checked = self._check_ids(ids)
        if len(checked) > self.context:
            raise ContextLengthError(len(checked), self.context)
        engine = self._engine
        return self._worker.call(lambda: engine.logits(checked), lambda: engine.cache.can_reserve(len(checked)))

    def verify(self, steps: int = 8, witness: str | None = None, prompt: Prompt = "") -> VerifyReport:
        """Runs every op of some teacher-forced steps here and on a witness backend, from the same inputs.

        steps: steps behind the prompt's first 5 tokens. witness: cpu, reference or webgpu; None is cpu for a model on a
        GPU, else reference. The report names the first op whose result was further off than its contract allows.
        Raises ParameterError, ContextLengthError, DeviceError.
        """
        steps = whole("steps", steps, 1, self.context)
        if witness is not None and witness not in NAMES:
            raise ParameterError(f"witness={shown(witness)} is not known; allowed: {', '.join(NAMES)}")
        sequence = self._sequence(prompt, SamplingParams(max_tokens=steps + PREFILL, temperature=0.0, ignore_eos=True))
        forced = sequence.prompt + self._run([sequence])[0].token_ids
        return self._worker.call(lambda: self._verify(forced[: steps + PREFILL], witness))

    def tune(self, seconds: float = 60.0) -> list[Tuned]:
        """Measures which variants of this model's kernels are fastest on this GPU, and keeps the choice on disk.

        The choices serve models of the same shapes that are loaded later. Empty where nothing can be chosen. A choice
        can change results in the last bits. Waits until nothing is running.
        """
        seconds, engine = number("seconds", seconds, 0, 1e6), self._engine
        return self._worker.call(lambda: engine.tune(seconds, again=True), lambda: engine.is_idle)

    @contextmanager
    def profile(self) -> Iterator[Profile]:
        """Times what runs in the block, op by op: `with llm.profile() as p: llm.generate(...)`, then print(p).

        The profile is whole when the block ends; generating is slower meanwhile. Raises UnsupportedError on a GPU
        without timestamps, ParameterError while another profile is made.
        """
        engine, call = self._engine, self._worker.call
        timer = call(lambda: engine.start_timer())
        profile = Profile(self.device, call(lambda: layer_dispatches(engine.model, engine.cache.layers)), timer.timing)
        try:
            yield profile
        finally:
            call(lambda: engine.stop_timer(timer))

    def _verify(self, ids: list[int], witness: str | None) -> VerifyReport:
        model = self._engine.model
        on_gpu = getattr(model.backend, "active", model.backend).name == "webgpu"
        with open_backend(witness or ("cpu" if on_gpu else "reference")) as other:
            return verify(model, self.gguf, other, ids, self.kv)

    @property
    def device(self) -> str:
        """The device it runs on, in words."""
        return self._engine.backend.describe()

    @property
    def passed_over(self) -> dict[str, str]:
        """Backends that device="auto" did not take, and why; empty where a device was named."""
        return dict(getattr(self._engine.backend, "unavailable", {}))

    def memory(self) -> Memory:
        """What the model holds on its device."""
        return self._engine.backend.memory()

    def close(self) -> None:
        """Ends running generations, gives back the device and the file. Nothing of it may be used afterwards."""
        self._worker.close()

    def __enter__(self) -> LLM:
        return self

    def __exit__(self, _t: type | None, error: BaseException | None, _tb: TracebackType | None) -> None:
        self._worker.close(wait=not isinstance(error, KeyboardInterrupt))  # Ctrl-C does not wait for the step to end

    @property
    def _engine(self) -> Engine:
        assert self._worker.engine is not None
        return self._worker.engine

    def _make_engine(
        self,
        device: str | Backend,
        threads: int | None,
        adapter: str | None,
        kv: str,
        reports: tuple[Progress, ...],
        check_tensors: bool,
        run_ahead: int | None,
    ) -> Engine:
        """reports: of loading, compiling and tuning."""
        backend = self._open(device, threads, adapter) if isinstance(device, str) else device
        try:
            self.gguf.check_unchanged()

            loading, backend.compile_progress, backend.tune_progress = reports
            weights = load_weights(self.gguf, self.config, backend, loading, check_tensors)
            most = backend.most_prompt_tokens
            model = Transformer(backend, self.config, weights, self.context, most, MAX_SEQUENCES)
            return Engine(model, kv, run_ahead)
        except BaseException:
            backend.close()
            raise

    def _reporting(self, progress: Progress | None) -> Progress:
        """`progress`, or nothing, and an end to loading that nobody waits for any more. It does not hold the model."""
        abandoned = self._abandoned

        def report(done: int, total: int) -> None:
            if abandoned.is_set():
                raise WgpuInferError("loading was interrupted")
            if progress is not None:
                progress(done, total)

        return report

    def _open(self, device: str, threads: int | None, adapter: str | None) -> Backend:
        if device != "auto":
            return open_backend(device, threads, adapter)
        scheduler = HybridScheduler(threads=threads, adapter=adapter, software=False)
        scheduler.place(*products(self.gguf, self.config), self.config.layers)
        return scheduler

    def _sequence(self, prompt: Prompt, params: SamplingParams | None, parse_special: bool = False) -> Sequence:
        params = SamplingParams() if params is None else params
        if not isinstance(params, SamplingParams):
            raise ParameterError(f"params must be a SamplingParams; given: {type(params).__name__}")
        if isinstance(prompt, str):
            ids = self.tokenizer.encode(prompt, add_special=True, parse_special=parse_special)
            if not ids and self.tokenizer.bos_id is not None:
                ids = [self.tokenizer.bos_id]  # an empty prompt is BOS alone, also where no text begins with it
        else:
            ids = self._check_ids(prompt)
        return Sequence(ids, params, self.tokenizer, self.context)

    def _check_ids(self, ids: Any) -> list[int]:
        if not is_list(ids) or not len(ids):
            given = "an empty list" if is_list(ids) else type(ids).__name__
            raise ParameterError(f"token ids come as a list of at least one whole number; given: {given}")
        return [whole("token id", token, 0, self.config.vocab - 1) for token in ids]

    def _generate(
        self, prompts: Iterable[Prompt], params: SamplingParams | None, parse_special: bool
    ) -> list[Generation]:
        return self._run([self._sequence(p, params, parse_special) for p in prompts])

    def _run(self, sequences: list[Sequence]) -> list[Generation]:
        streams: list[PieceStream] = []
        try:
            for sequence in sequences:
                streams.append(self._worker.stream(sequence))
            for stream in streams:
                for _piece in stream:
                    pass
        finally:
            for stream in streams:
                stream.close()  # aborts what an error or Ctrl-C left running
        return [finished(s) for s in sequences]


class GenerationStream:
    """Iterates over `Piece`s; `result` is the `Generation`, whole once the iteration has ended."""

    def __init__(self, llm: LLM, pieces: PieceStream):
        self._llm = llm  # a model whose stream is still read is not dropped
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


def check_adapter(adapter: str | int | None, device: str | Backend) -> str | None:
    """The adapter as text. ParameterError for what names none, or where no adapter is opened."""
    if adapter is None:
        return None
    if isinstance(adapter, bool) or not isinstance(adapter, str | int) or adapter == "" or str(adapter)[0] == "-":
        raise ParameterError(f"adapter={shown(adapter)} must be an adapter's number or part of its name")
    if device not in ("auto", "webgpu"):
        raise ParameterError(f"adapter={shown(adapter)} is for device webgpu or auto; given: {shown(device)}")
    return str(adapter)


def finished(s: Sequence) -> Generation:
    return Generation(s.text, list(s.token_ids), s.finish_reason or "abort", replace(s.timings), s.seed)


def is_single(prompt: Any) -> bool:
    """A text or a list of ids, as opposed to a list of prompts. ParameterError for what is neither."""
    if is_one_prompt(prompt):
        return True
    if isinstance(prompt, list | tuple) and all(map(is_one_prompt, prompt)):
        return False
    given = type(prompt).__name__
    if isinstance(prompt, list | tuple):
        given += " of " + ", ".join(sorted({type(p).__name__ for p in prompt}))
    raise ParameterError(f"a prompt is a text, a list of token ids or a list of those; given: {given}")


def is_one_prompt(prompt: Any) -> bool:
    return isinstance(prompt, str) or (
        is_list(prompt) and len(prompt) > 0 and not any(isinstance(part, str) or is_list(part) for part in prompt)
    )


def is_list(value: Any) -> bool:
    return isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim == 1)
