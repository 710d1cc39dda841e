"""The engine: several sequences, one model, one step at a time. `step` is the diagram.

A step is a prefill of waiting prompts (in chunks, several prompts together) or a decode of all running sequences; the
phase decides how tokens are summed, so a sequence computes the same alone or in company. Where the backend can pick
tokens itself, decode steps are submitted several deep (run_ahead.py) before the picks of the first are read. Whoever
comes or goes ends that: what is in flight is taken first, and what it computed for those who have gone is dropped.
"""

from __future__ import annotations

import time
from collections import deque

import numpy as np

from wgpu_infer.backends.base import Array, Backend
from wgpu_infer.backends.timing import Timer, Tuned
from wgpu_infer.contracts.contract import PAGE_SLOTS, ceil_div
from wgpu_infer.contracts.work import Keys
from wgpu_infer.engine.kv_cache import KVCache, bytes_per_page
from wgpu_infer.engine.run_ahead import USUAL_AHEAD, DeviceState, Flight, Picking, Picks, burst
from wgpu_infer.engine.sequence import Piece, Sequence
from wgpu_infer.errors import ContextLengthError, DeviceError, OutOfMemoryError, ParameterError
from wgpu_infer.models.transformer import Batch, Phase, Transformer
from wgpu_infer.sampling.chain import sample
from wgpu_infer.sampling.settings import can_pick

SHORT_PROMPT = 16  # tokens of the second prompt that variants are chosen for
MAX_SEQUENCES = 32  # that run at once; more wait
KV_BUDGET = 1 << 30  # bytes of KV pages beyond what one full context needs
SOFTWARE_KV_BUDGET = 32 << 20  # on a software adapter, which takes all of them from the machine at the first step

Pieces = list[tuple[Sequence, Piece]]


class Engine:
    """Owns the running sequences and their pages. Not thread-safe: one thread drives it (see worker.py)."""

    def __init__(self, model: Transformer, kv_dtype: str = "f16", run_ahead: int | None = None):
        self.model = model
        self.backend = model.backend
        self.context = model.context
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self.flights: deque[Flight] = deque()  # submitted, not yet taken
        self.open: Flight | None = None  # the one whose state on the device later steps may go on from
        self.leaving: list[int] = []  # slots of sequences that ended while steps are in flight
        self.cache = make_cache(model, kv_dtype)
        self.run_ahead = choose_depth(model.backend, run_ahead)
        self.state = DeviceState(model.backend, MAX_SEQUENCES, model.config.vocab) if self.run_ahead else None
        self.warm_up()
        if self.backend.tune_seconds > 0:
            self.tune(self.backend.tune_seconds)
        self.backend.trim()

    def step(self) -> Pieces:
        """Admit, schedule and run as far ahead as may be, take the oldest picks, hand out what became certain."""
        started = time.perf_counter()
        self.admit()
        while (flight := self.schedule()) is not None:
            self.run(flight)
        if not self.flights:
            return []
        flight = self.flights.popleft()
        picks = self.sample(flight)
        return self.postprocess(flight, picks, time.perf_counter() - started)

    @property
    def is_idle(self) -> bool:
        return not self.running and not self.waiting and not self.flights

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
        """Ends a sequence now; its pages are free once nothing in flight writes to them. Others go on."""
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

    def schedule(self) -> Flight | None:
        """What can be submitted now; None where its tokens depend on picks that are still in flight."""
        if self.open is not None and self.open.sequences == self.running and self.fit(self.running):
            return self.go_on(self.open)
        self.open = None
        return None if self.flights else self.begin()

    def begin(self) -> Flight | None:
        """Work whose tokens are all known. A decode whose picks are made on the device leaves its state open there."""
        flight = self.next_batch()
        if flight is not None and flight.batch.phase == "decode" and self.state is not None:
            flight.tail = self.state.begin(flight.sequences)
            if all(map(self.can_pick_there, flight.sequences)):
                self.open = flight = flight.of_steps(burst(self.run_ahead, 0, steps_wanted(flight.sequences)))
        return flight

    def next_batch(self) -> Flight | None:
        """Tokens of prompts that are not computed yet, else the last token of every running sequence."""
        prefilling = [s for s in self.running if s.is_prefilling]
        members: list[Sequence] = []
        rows: list[tuple[int, int, int]] = []
        picked: list[tuple[Sequence, int]] = []  # (sequence, its last token's row)
        most = self.model.max_tokens
        if prefilling:
            most = self.backend.chunk(self.model.token_operations, most)
        for s in prefilling or self.take_turns():
            last = len(s.prompt) if prefilling else len(s.tokens)
            room = most - len(rows)
            chunk = range(s.computed, min(last, s.computed + room))
            rows += [(s.tokens[i], s.slot or 0, i) for i in chunk]
            s.computed += len(chunk)
            members += [s] if len(chunk) else []
            if len(chunk) and s.computed == last:
                picked.append((s, len(rows) - 1))
        if not rows:
            return None
        batch = make_batch(rows, [row for _, row in picked], "prefill" if prefilling else "decode")
        return Flight(batch, members, [s for s, _ in picked])

    def take_turns(self) -> list[Sequence]:
        """The running sequences, or as many of the first as fit a decode step; those go to the end of the line."""
        count = len(self.running)
        while count > 1 and not self.fit(self.running[:count]):
            count -= 1
        turn = self.running[:count]
        self.running = self.running[count:] + turn
        return turn

    def fit(self, sequences: list[Sequence]) -> bool:
        """Whether a decode step can hold them all, wherever it is run ahead to."""
        longest = max((len(s.tokens) for s in sequences), default=0) + 2 * self.run_ahead
        return len(sequences) <= self.model.decode_rows(longest, self.cache.layers[0])

    def go_on(self, last: Flight) -> Flight | None:
        """More steps of what is in flight, as many as the depth allows and the sequences want."""
        in_flight = sum(f.steps for f in self.flights)
        steps = burst(self.run_ahead, in_flight, steps_wanted(last.sequences) - in_flight)
        return last.behind(in_flight, steps) if steps else None

    def run(self, flight: Flight) -> None:
        """Submits a flight's steps."""
        before = sum(f.steps for f in self.flights)
        for step in range(flight.steps):
            submit = self.model.go_on if step or flight.goes_on else self.model.forward
            flight.logits = submit(flight.batch, self.cache.layers, flight.tail)
        if flight.tail is not None and self.state is not None:
            positions = [len(s.tokens) + before for s in flight.sequences]
            flight.picked = self.state.read_later(positions, flight.steps)
        self.flights.append(flight)

    def sample(self, flight: Flight) -> Picks:
        """A token for each step and sequence; None where logits were not finite (the sequence ends with an error)."""
        picks: Picks = flight.picked() if flight.picked else [[None] * len(flight.sequences)]
        here = [i for i, s in enumerate(flight.sequences) if not flight.picked or not self.can_pick_there(s)]
        if here or not flight.picked:
            rows = self.read_logits(flight.batch, flight.logits)
            for i in here:
                picks[0][i] = pick(rows[i], flight.sequences[i])
        return picks

    def read_logits(self, batch: Batch, handle: Array | None) -> np.ndarray:
        """float32 (outputs, vocab); without outputs it only starts what is queued."""
        if handle is None or not batch.outputs:
            self.backend.flush()
            return np.zeros((0, self.model.config.vocab), np.float32)
        return self.backend.read(handle, (batch.outputs, self.model.config.vocab))

    def can_pick_there(self, s: Sequence) -> bool:
        """Whether this sequence's tokens are picked on the device, behind its logits."""
        return self.state is not None and can_pick(s.params)

    def postprocess(self, flight: Flight, picks: Picks, seconds: float) -> Pieces:
        """Appends tokens until their sequence ends, and drops the rest; releases what has ended."""
        pieces: Pieces = []
        self.charge(flight, seconds)
        for tokens in picks:
            going = [(s, token) for s, token in zip(flight.sequences, tokens, strict=True) if not s.is_finished]
            pieces += [(s, accept(s, token)) for s, token in going]
        for s, piece in pieces:
            if piece.finish_reason:
                self.release(s)
        if not self.flights:
            self.free_slots()
        return pieces

    def charge(self, flight: Flight, seconds: float) -> None:
        """Adds a step's time to every sequence that was in it."""
        for s in flight.members:
            if not s.is_finished and flight.batch.phase == "prefill":
                s.timings.prefill_s += seconds
            elif not s.is_finished:
                s.timings.decode_s += seconds

    def release(self, sequence: Sequence) -> None:
        if sequence in self.running:
            self.running.remove(sequence)
        if sequence.slot is not None:
            self.leaving.append(sequence.slot)
            sequence.slot = None
        if not self.flights:
            self.free_slots()

    def forget_flights(self) -> None:
        """After an error: nobody takes what is in flight, and the device's state is not to be relied on."""
        self.flights.clear()
        self.open = None
        self.free_slots()

    def free_slots(self) -> None:
        """Returns the pages of those who left; nothing in flight may write to them."""
        while self.leaving:
            self.cache.release(self.leaving.pop())

    def warm_up(self) -> None:
        self.model.warm_up(self.cache.layers, Picking(self.state) if self.state else None)

    def tune(self, seconds: float, again: bool = False) -> list[Tuned]:
        """Chooses the device's fastest variants for this model's steps; nothing may be running."""
        lengths = {self.model.max_tokens, min(SHORT_PROMPT, self.model.max_tokens)}
        prompts = [Batch(prompt_index(tokens), 1, "prefill") for tokens in sorted(lengths)]
        batches = [Batch(np.zeros((1, 4), np.uint32), 1, "decode"), *prompts]
        found = self.backend.tune([self.model.program(b, self.cache.layers) for b in batches], seconds, again)
        if found:
            self.model.forget_programs()
            self.warm_up()
        self.backend.trim()
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
        self.backend.trim()

    def keys(self) -> Keys | None:
        """What the step in hand sees of its sequences, on average."""
        lengths = [s.computed for s in self.running]
        return Keys(sum(lengths) / len(lengths), len(lengths)) if lengths else None

    def logits(self, ids: list[int]) -> np.ndarray:
        """float32 (tokens, vocab): teacher-forced, outside any generation. The cache must have room for them."""
        self.open = None  # its state on the device is overwritten
        slot = self.cache.reserve(len(ids))
        try:
            return np.concatenate([self._logits(ids, slot, at) for at in range(0, len(ids), self.model.max_outputs)])
        finally:
            self.cache.release(slot)

    def _logits(self, ids: list[int], slot: int, start: int) -> np.ndarray:
        rows = [(ids[i], slot, i) for i in range(start, min(len(ids), start + self.model.max_outputs))]
        return self.logits_of(make_batch(rows, list(range(len(rows))), "prefill"))

    def logits_of(self, batch: Batch) -> np.ndarray:
        """float32 (outputs, vocab), at once."""
        return self.read_logits(batch, self.model.forward(batch, self.cache.layers))


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


def choose_depth(backend: Backend, run_ahead: int | None) -> int:
    """How many decode steps may be in flight; 0 picks on the CPU, which costs an emulated GPU less."""
    if not backend.can_run_ahead:
        return 0
    usual = 0 if backend.is_software else USUAL_AHEAD
    return usual if run_ahead is None else run_ahead


def steps_wanted(sequences: list[Sequence]) -> int:
    return max(s.limit - len(s.tokens) for s in sequences)


def accept(s: Sequence, token: int | None) -> Piece:
    """Appends a token, or ends a sequence that got none. Sequences with max_tokens 0 end after their prompt."""
    s.computed = len(s.tokens)
    if token is None:
        s.error = DeviceError(f"the model's logits at position {len(s.tokens)} are not finite (NaN)")
        return s.finish("abort")
    return s.finish("length") if len(s.tokens) >= s.limit else s.append(token)


def pick(logits: np.ndarray, s: Sequence) -> int | None:
    return sample(logits, s.params, s.tokens, s.seed, len(s.tokens)) if is_usable(logits) else None


def is_usable(logits: np.ndarray) -> bool:
    """Whether a token can be picked: the largest is a finite number, which it is not where there is a NaN."""
    return bool(np.isfinite(logits.max()))


def make_batch(rows: list[tuple[int, int, int]], outputs: list[int], phase: Phase) -> Batch:
    """rows of (id, slot, position); outputs: the rows whose logits are wanted."""
    index = np.zeros((len(rows), 4), np.uint32)
    index[:, :3] = rows
    index[: len(outputs), 3] = outputs
    return Batch(index, len(outputs), phase)
