"""Checking a loaded model op by op: teacher-forced steps run on its backend and on a witness from the same inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wgpu_infer.backends.base import Array, Backend, Weight
from wgpu_infer.backends.compare import Disagreement
from wgpu_infer.backends.pair import PairBackend
from wgpu_infer.contracts.contract import PAGE_SLOTS, ceil_div
from wgpu_infer.formats.gguf import GGUF
from wgpu_infer.models.transformer import Batch, Transformer
from wgpu_infer.models.weights import load_weights

PREFILL = 5  # tokens of the prompt step; the rest are decoded one by one


@dataclass(frozen=True)
class VerifyReport:
    """What was checked and the first op whose result was off, with the operands it ran on; None where all agree."""

    primary: str
    witness: str
    steps: int
    ops_checked: int
    disagreement: Disagreement | None
    operands: str

    @property
    def agrees(self) -> bool:
        return self.disagreement is None

    def __str__(self) -> str:
        head = f"{self.primary} against {self.witness}: {self.ops_checked} ops in {self.steps} steps"
        if self.agrees:
            return f"{head}, all agree"
        return f"{head}; the first that disagrees is {self.disagreement} ({self.operands})"


def verify(model: Transformer, gguf: GGUF, witness: Backend, ids: Sequence[int], kv_dtype: str) -> VerifyReport:
    """Runs ids (at least one) through a copy of the model on both backends, one prompt step and single steps after it.

    The weights already on the model's backend are used where they lie; the witness loads its own.
    """
    pair = PairBackend(model.backend, witness, loaded_handles(model))
    config = model.config
    weights = load_weights(gguf, config, pair)
    copy = Transformer(pair, config, weights, len(ids), min(PREFILL, len(ids)), 1)
    table = pair.array(np.arange(ceil_div(len(ids), PAGE_SLOTS), dtype=np.uint32)[None])
    cache = [pair.kv(table.shape[1], config.kv_heads, config.head_dim, table, kv_dtype) for _ in range(config.layers)]
    steps = 0
    for batch in batches(ids):
        copy.forward(batch, cache)
        steps += 1
        if pair.first is not None:
            break
    copy.forget_programs()  # they hold the copy, which holds them: its memory would wait for the garbage collector
    names = model.backend.describe(), witness.describe()
    return VerifyReport(*names, steps, pair.checked, pair.first, pair.first_operands)


def batches(ids: Sequence[int]) -> list[Batch]:
    """The first tokens as one prompt step, every later one as a decode step."""
    index = np.zeros((len(ids), 4), np.uint32)
    index[:, 0], index[:, 2] = ids, np.arange(len(ids))
    head = index[:PREFILL].copy()
    head[0, 3] = len(head) - 1
    return [Batch(head, 1, "prefill"), *(Batch(index[i : i + 1], 1, "decode") for i in range(PREFILL, len(ids)))]


def loaded_handles(model: Transformer) -> dict[str, Array | Weight]:
    """The model's weights by label."""
    return {handle.label: handle for handle in model.weights.handles() if handle.label}
