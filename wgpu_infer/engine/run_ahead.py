"""Decoding several steps ahead of reading what they picked: the state of a batch lies on the device.

Each step ends by picking its tokens there and moving its rows on (contracts/sample.py), so the next may be submitted at
once. Steps are submitted in bursts of half the depth: while one burst computes, the picks of the one before are read.
`history` holds the last 64 tokens of every row; its copy behind a burst is what its picks are read from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from wgpu_infer.backends.base import Array, Backend
from wgpu_infer.contracts.peaks import num_groups
from wgpu_infer.contracts.picks import HISTORY, MOST_BIASES, NO_TOKEN, SETTINGS_WORDS, is_wide, settings_row
from wgpu_infer.contracts.table import OPS
from wgpu_infer.engine.sequence import Sequence
from wgpu_infer.models.transformer import Batch, Tail
from wgpu_infer.sampling.chain import is_changing
from wgpu_infer.sampling.settings import as_biases, as_settings, can_pick

MOST_AHEAD = HISTORY // 2  # steps; their picks must all be in the history still
USUAL_AHEAD = 4
Picks = list[list[int | None]]  # per step and sequence; None where the logits were not finite


@dataclass
class Flight:
    """Steps that are submitted together. They compute for `members`; those of `sequences` get a token from each."""

    batch: Batch
    members: list[Sequence]
    sequences: list[Sequence]
    steps: int = 1
    tail: Tail | None = None  # picks on the device
    goes_on: bool = False  # from where the flight before left the device's state
    logits: Array | None = None  # of its last step
    picked: Callable[[], Picks] | None = None  # waits for the device's picks

    def of_steps(self, steps: int) -> Flight:
        return replace(self, steps=steps, batch=replace(self.batch, ahead=steps - 1))

    def behind(self, in_flight: int, steps: int) -> Flight:
        """A flight that goes on where this one and others, `in_flight` steps together, will have come to."""
        index = self.batch.index.copy()
        index[:, 2] = [min(len(s.tokens) + in_flight, s.limit) - 1 for s in self.sequences]
        return replace(self, batch=replace(self.batch, index=index), goes_on=True).of_steps(steps)


class DeviceState:
    """The buffers of a decode batch beside its index: one row per sequence."""

    def __init__(self, backend: Backend, rows: int, vocab: int):
        def words(width: int, label: str) -> Array:
            return backend.empty((rows, width), np.uint32, label)

        self.backend, self.vocab, self.groups = backend, vocab, num_groups(vocab)
        self.peaks, self.history = words(self.groups, "peaks"), words(HISTORY, "history")
        self.settings, self.biases = words(SETTINGS_WORDS, "settings"), words(2 * MOST_BIASES, "biases")

    def begin(self, sequences: list[Sequence]) -> Tail:
        """Sets the rows to where the sequences stand, and returns how their steps end."""
        changes = any(is_changing(s.params) for s in sequences)
        wide = any(is_wide(s.params.temperature, s.params.top_k, self.vocab) for s in sequences)
        self.backend.write(self.settings, np.stack([self.settings_of(s) for s in sequences]))
        self.backend.write(self.history, np.stack([history_of(s.tokens) for s in sequences]))
        if any(s.params.logit_bias for s in sequences):
            self.backend.write(self.biases, np.stack([self.biases_of(s) for s in sequences]))
        return Picking(self, changes, wide)

    def settings_of(self, s: Sequence) -> np.ndarray:
        """A row that the device cannot pick for is left alone: its limit is reached."""
        return as_settings(s.params, s.seed, s.limit) if can_pick(s.params) else settings_row(limit=0)

    def biases_of(self, s: Sequence) -> np.ndarray:
        return as_biases(s.params) if can_pick(s.params) else np.zeros((MOST_BIASES, 2), np.uint32)

    def read_later(self, positions: list[int], steps: int) -> Callable[[], Picks]:
        """The picks of the steps submitted last; positions: of each row's first pick among them."""
        take = self.backend.read_later(self.history, (len(positions), HISTORY))
        return lambda: picks_from(take(), positions, steps)


@dataclass(frozen=True)
class Picking:
    """Queues the ops that turn a step's logits into its picks. changes: logits by token id; wide: some rows keep many
    candidates."""

    state: DeviceState
    changes: bool = False
    wide: bool = False

    def __call__(self, index: Array, logits: Array, rows: int) -> None:
        s, sizes = self.state, {"tokens": rows, "cols": self.state.vocab}
        if self.changes:
            s.backend.run(OPS["penalise"], logits, index, s.history, s.settings, s.biases, **sizes)
        if self.wide:
            s.backend.run(OPS["sample_wide"], logits, s.settings, index, s.history, **sizes)
        sizes["groups"] = s.groups
        s.backend.run(OPS["peaks"], logits, s.peaks, **sizes)
        s.backend.run(OPS["sample"], logits, s.peaks, s.settings, index, s.history, **sizes)


def history_of(tokens: list[int]) -> np.ndarray:
    """u32 (HISTORY,): the token of position p at p modulo HISTORY."""
    row = np.zeros(HISTORY, np.uint32)
    start = max(0, len(tokens) - HISTORY)
    row[np.arange(start, len(tokens)) % HISTORY] = tokens[start:]
    return row


def picks_from(history: np.ndarray, positions: list[int], steps: int) -> Picks:
    """From history (rows, HISTORY): of each row the tokens at its position and the steps - 1 behind it."""
    at = (np.array(positions)[:, None] + np.arange(steps)) % HISTORY  # (rows, steps)
    picked = np.take_along_axis(history, at, axis=1).T.tolist()
    return [[None if token == NO_TOKEN else token for token in step] for step in picked]


def burst(depth: int, in_flight: int, wanted: int) -> int:
    """How many steps to submit now, of those wanted; 0 while too many are in flight."""
    steps = min(max(depth // 2, 1), wanted)
    return steps if 0 < steps <= depth - in_flight else 0
