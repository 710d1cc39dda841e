"""The engine: several sequences, one model, one step at a time. `step` is the diagram.

A step is a prefill of waiting prompts (in chunks, several prompts together) or a decode of all running sequences; the
phase decides how tokens are summed, so a sequence computes the same alone or in company.
"""

from __future__ import annotations

import time
from collections import deque

import numpy as np

from wgpu_infer.backends.timing import Timer, Tuned
from wgpu_infer.contracts.contract import PAGE_SLOTS, ceil_div
from wgpu_infer.contracts.work import Keys
from wgpu_infer.engine.kv_cache import KVCache, bytes_per_page
from wgpu_infer.engine.sequence import Piece, Sequence
from wgpu_infer.errors import ContextLengthError, DeviceError, OutOfMemoryError, ParameterError
from wgpu_infer.models.transformer import Batch, Phase, Transformer
from wgpu_infer.sampling.chain import sample

PREFILL_TOKENS = 128  # tokens of a prefill step: enough to reuse weights, short enough to interrupt
SHORT_PROMPT = 16  # tokens of the second prompt that variants are chosen for
MAX_SEQUENCES = 32  # that run at once; more wait
KV_BUDGET = 1 << 30  # bytes of KV pages beyond what one full context needs
SOFTWARE_KV_BUDGET = 32 << 20  # on a software adapter, which takes all of them from the machine at the first step

Pieces = list[tuple[Sequence, Piece]]


class Engine:
    """Owns the running sequences and their pages. Not thread-safe: one thread drives it (see worker.py)."""

    def __init__(self, model: Transformer, kv_dtype: str = "f16"):
        self.model = model
        self.backend = model.backend
        self.context = model.context
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self.cache = make_cache(model, kv_dtype)
        model.warm_up(self.cache.layers)
        if self.backend.tune_seconds > 0:
            self.tune(self.backend.tune_seconds)
        self.backend.trim()

    def step(self) -> Pieces:
        """Admit, choose a batch, run it, pick tokens, hand out what became certain."""
        self.admit()
        sequences, batch = self.schedule()
        if batch is None:
            return []
        started = time.perf_counter()
        logits = self.run(batch)
        tokens = self.sample(sequences, logits)
        return self.postprocess(sequences, batch, tokens, time.perf_counter() - started)

    @property
    def is_idle(self) -> bool:
        return not self.running and not self.waiting

    def submit(self, sequence: Sequence) -> None:
        """Queues a checked sequence; ContextLengthError or ParameterError where it can never run."""
        vocab = self.model.config.vocab
        bad = next((t for t in sequence.prompt if not 0 <= t < vocab), None)
        if bad is not None:
            raise ParameterError(f"token id {bad} is not in the vocabulary; allowed: 0 to {vocab - 1}")
        unknown = next((t for t in sequence.params.logit_bias if t >= vocab), None)
        if unknown is not None:
            raise ParameterError(f"logit_bias names token {unknown}; the vocabulary ends at {vocab - 1}")
        if not sequence.prompt:
            raise ParameterError("the prompt has no tokens, and this vocabulary has no BOS token to begin with")
        if len(sequence.prompt) > self.context:
            raise ContextLengthError(len(sequence.prompt), self.context)
        self.waiting.append(sequence)

    def abort(self, sequence: Sequence) -> None:
        """Ends a sequence now and returns its pages; others go on."""
        if sequence in self.waiting:
            self.waiting.remove(sequence)
        if not sequence.is_finished:
            sequence.finish("abort")
        self.release(sequence)

    def admit(self) -> None:
        """Waiting sequences start in order, as long as pages for their whole length are free."""
        while self.waiting and self.cache.can_reserve(self.waiting[0].limit):
            sequence = self.waiting.popleft()
            sequence.slot = self.cache.reserve(sequence.limit)
            self.running.append(sequence)

    def schedule(self) -> tuple[list[Sequence], Batch | None]:
        """Prompts first, else one token of every running sequence. Returns those that get a token, in output order."""
        prefilling = [s for s in self.running if s.is_prefilling]
        rows: list[tuple[int, int, int]] = []
        picked: list[tuple[Sequence, int]] = []  # (sequence, its last token's row)
        for s in prefilling or self.running:
            last = len(s.prompt) if prefilling else len(s.tokens)
            room = self.model.max_tokens - len(rows)
            chunk = range(s.computed, min(last, s.computed + room))
            rows += [(s.tokens[i], s.slot or 0, i) for i in chunk]
            s.computed += len(chunk)
            if len(chunk) and s.computed == last:
                picked.append((s, len(rows) - 1))
        if not rows:
            return [], None
        phase: Phase = "prefill" if prefilling else "decode"
        return [s for s, _ in picked], make_batch(rows, [row for _, row in picked], phase)

    def run(self, batch: Batch) -> np.ndarray:
        """float32 (outputs, vocab)."""
        handle = self.model.forward(batch, self.cache.layers)
        if not batch.outputs:
            self.backend.flush()
            return np.zeros((0, self.model.config.vocab), np.float32)
        return self.backend.read(handle, (batch.outputs, self.model.config.vocab))

    def sample(self, sequences: list[Sequence], logits: np.ndarray) -> list[int | None]:
        """A token for each sequence; None where its logits are not finite (it then ends with an error)."""
        return [
            sample(row, s.params, s.tokens, s.seed, len(s.tokens)) if is_usable(row) else None
            for s, row in zip(sequences, logits, strict=True)
        ]

    def postprocess(self, sequences: list[Sequence], batch: Batch, tokens: list[int | None], seconds: float) -> Pieces:
        """Appends tokens, releases what finished. Sequences with max_tokens 0 end after their prompt."""
        pieces: Pieces = []
        self.charge(batch, seconds)
        for s, token in zip(sequences, tokens, strict=True):
            if token is None:
                s.error = DeviceError(f"the model's logits at position {len(s.tokens)} are not finite (NaN)")
                pieces.append((s, s.finish("abort")))
            elif len(s.tokens) >= s.limit:
                pieces.append((s, s.finish("length")))
            else:
                pieces.append((s, s.append(token)))
        for s, _ in pieces:
            if s.is_finished:
                self.release(s)
        return pieces

    def charge(self, batch: Batch, seconds: float) -> None:
        """Adds a step's time to every sequence that was in it."""
        slots = set(batch.index[:, 1].tolist())
        for s in self.running:
            if s.slot in slots and batch.phase == "prefill":
                s.timings.prefill_s += seconds
            elif s.slot in slots:
                s.timings.decode_s += seconds

    def release(self, sequence: Sequence) -> None:
        if sequence in self.running:
            self.running.remove(sequence)
        if sequence.slot is not None:
            self.cache.release(sequence.slot)
            sequence.slot = None

    def tune(self, seconds: float, again: bool = False) -> list[Tuned]:
        """Chooses the device's fastest variants for this model's steps; nothing may be running."""
        lengths = {self.model.max_tokens, min(SHORT_PROMPT, self.model.max_tokens)}
        prompts = [Batch(prompt_index(tokens), 1, "prefill") for tokens in sorted(lengths)]
        batches = [Batch(np.zeros((1, 4), np.uint32), 1, "decode"), *prompts]
        found = self.backend.tune([self.model.program(b, self.cache.layers) for b in batches], seconds, again)
        if found:
            self.model.forget_programs()
            self.model.warm_up(self.cache.layers)
        return found

    def start_timer(self) -> Timer:
        """Times every op from now on; programs recorded without that are recorded anew."""
        timer = self.backend.timer(self.keys)
        timer.start()
        self.model.forget_programs()
        return timer

    def stop_timer(self, timer: Timer) -> None:
        timer.stop()
        self.model.forget_programs()

    def keys(self) -> Keys | None:
        """What the step in hand sees of its sequences, on average."""
        lengths = [s.computed for s in self.running]
        return Keys(sum(lengths) / len(lengths), len(lengths)) if lengths else None

    def logits(self, ids: list[int]) -> np.ndarray:
        """float32 (tokens, vocab): teacher-forced, outside any generation. The cache must have room for them."""
        slot = self.cache.reserve(len(ids))
        try:
            return np.concatenate([self._logits(ids, slot, at) for at in range(0, len(ids), self.model.max_outputs)])
        finally:
            self.cache.release(slot)

    def _logits(self, ids: list[int], slot: int, start: int) -> np.ndarray:
        rows = [(ids[i], slot, i) for i in range(start, min(len(ids), start + self.model.max_outputs))]
        return self.run(make_batch(rows, list(range(len(rows))), "prefill"))


def make_cache(model: Transformer, kv_dtype: str) -> KVCache:
    """Pages for one full context, and beyond it as many as the sequences, the budget and the device have use for."""
    per_context = ceil_div(model.context, PAGE_SLOTS)
    budget = SOFTWARE_KV_BUDGET if model.backend.is_software else KV_BUDGET
    extra = min(budget // bytes_per_page(model.config, kv_dtype), per_context * (MAX_SEQUENCES - 1))
    while True:
        try:
            pages = per_context + extra
            return KVCache(model.backend, model.config, model.context, MAX_SEQUENCES, pages, kv_dtype)
        except OutOfMemoryError:
            if not extra:
                raise
            extra //= 4


def prompt_index(tokens: int) -> np.ndarray:
    """The index of one prompt of that many tokens, in the first sequence's slot."""
    index = np.zeros((tokens, 4), np.uint32)
    index[:, 2] = np.arange(tokens)
    return index


def is_usable(logits: np.ndarray) -> bool:
    """Whether a token can be picked: the largest is a finite number, which it is not where there is a NaN."""
    return bool(np.isfinite(logits.max()))


def make_batch(rows: list[tuple[int, int, int]], outputs: list[int], phase: Phase) -> Batch:
    """rows of (id, slot, position); outputs: the rows whose logits are wanted."""
    index = np.zeros((len(rows), 4), np.uint32)
    index[:, :3] = rows
    index[: len(outputs), 3] = outputs
    return Batch(index, len(outputs), phase)
