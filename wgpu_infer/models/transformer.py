"""The forward pass, once, as straight-line calls of ops on handles. It reads no value and never branches on data.

What changes between steps (ids, positions, sequences, output rows, block tables) lies in buffers filled before the
pass; what is fixed lies in the ops' parameters. Prompt tokens take matmul, generated ones matvec, so that how a token
is summed depends on its phase only, never on its neighbours in the batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from wgpu_infer.backends.base import KV, Array, Backend, Weight
from wgpu_infer.contracts.glu import ACTIVATIONS
from wgpu_infer.contracts.table import OPS
from wgpu_infer.models.config import ModelConfig
from wgpu_infer.models.rope_table import rope_table
from wgpu_infer.models.weights import Weights

Phase = Literal["prefill", "decode"]
LINEAR = {"prefill": OPS["matmul"], "decode": OPS["matvec"]}


@dataclass(frozen=True)
class Batch:
    """The tokens of one step. `index` (tokens, 4) u32: id, sequence slot, position, and in row i output i's token."""

    index: np.ndarray
    outputs: int
    phase: Phase

    @property
    def tokens(self) -> int:
        return len(self.index)


class Scratch:
    """Every activation of the pass, allocated once for `tokens` tokens and `outputs` rows of logits."""

    def __init__(self, backend: Backend, c: ModelConfig, tokens: int, outputs: int):
        def rows(width: int, label: str) -> Array:
            return backend.empty((tokens, width), np.float32, label)

        self.index = backend.empty((tokens, 4), np.uint32, "index")
        self.x, self.normed, self.delta = (rows(c.dim, name) for name in ("x", "normed", "delta"))
        self.q, self.attended = rows(c.q_dim, "q"), rows(c.q_dim, "attended")
        self.k, self.v = rows(c.kv_dim, "k"), rows(c.kv_dim, "v")
        self.gate, self.up, self.hidden = (rows(c.hidden, name) for name in ("gate", "up", "hidden"))
        self.forward = rows(c.dim, "forward")
        self.normed_q, self.normed_k = rows(c.q_dim, "normed_q"), rows(c.kv_dim, "normed_k")
        self.out = backend.empty((outputs, c.dim), np.float32, "out")
        self.logits = backend.empty((outputs, c.vocab), np.float32, "logits")


class Transformer:
    """A model on a backend. `forward` queues one step; its result is `scratch.logits` (outputs, vocab)."""

    def __init__(
        self, backend: Backend, config: ModelConfig, weights: Weights, context: int, max_tokens: int, max_outputs: int
    ):
        self.backend, self.config, self.weights = backend, config, weights
        self.max_tokens, self.max_outputs = max_tokens, max_outputs
        self.scratch = Scratch(backend, config, max_tokens, max_outputs)
        self.context = context
        table = rope_table(context, config.rot, config.rope_base, config.rope_scaling, weights.frequency_factors)
        self.angles = backend.array(table, "angles")

    def forward(self, batch: Batch, cache: list[KV]) -> Array:
        """Queues the pass over a batch and returns the logits' handle (outputs, vocab)."""
        s, model = self.scratch, self.weights.model
        self.backend.write(s.index, batch.index)
        self.embed(batch)
        delta = None
        for layer, kv in zip(self.weights.layers, cache, strict=True):
            delta = self.layer(batch, layer, kv, delta)
        self.norm(batch, model, "output_norm", delta)
        self.run("gather_rows", s.normed, s.index, s.out, tokens=batch.tokens, rows=batch.outputs, dim=self.config.dim)
        output = "output" if "output.weight" in model else "token_embd"
        self.linear(batch.phase, batch.outputs, s.out, model, output, s.logits)
        return s.logits

    def layer(self, batch: Batch, w: dict, kv: KV, delta: Array | None) -> Array:
        """One block; returns what is still to be added to the residual stream."""
        s = self.scratch
        self.norm(batch, w, "attn_norm", delta)
        if self.config.arch.parallel:
            self.attention(batch, w, kv)
            self.feed_forward(batch, w)
            self.add(s.delta, s.forward, batch.tokens * self.config.dim)
            return s.delta
        self.attention(batch, w, kv)
        self.norm(batch, w, "ffn_norm", s.delta)
        self.feed_forward(batch, w)
        return s.forward

    def attention(self, batch: Batch, w: dict, kv: KV) -> None:
        """normed -> delta."""
        s, c, n = self.scratch, self.config, batch.tokens
        for name, out in (("attn_q", s.q), ("attn_k", s.k), ("attn_v", s.v)):
            self.linear(batch.phase, n, s.normed, w, name, out)
        q = self.position(batch, w, "attn_q_norm", s.q, s.normed_q, c.heads)
        k = self.position(batch, w, "attn_k_norm", s.k, s.normed_k, c.kv_heads)
        width = kv.table.shape[1]
        sizes = {"tokens": n, "kv_heads": c.kv_heads, "head_dim": c.head_dim, "table_width": width}
        self.run("kv_write", k, s.v, s.index, kv, **sizes)
        scale = c.head_dim**-0.5
        self.run("attention", q, s.index, kv, s.attended, **sizes, heads=c.heads, window=0, scale=scale, softcap=0.0)
        self.linear(batch.phase, n, s.attended, w, "attn_output", s.delta)

    def position(self, batch: Batch, w: dict, norm: str, x: Array, normed: Array, heads: int) -> Array:
        """Queries or keys, normed per head where the architecture does so, then rotated."""
        c, n = self.config, batch.tokens
        if c.arch.qk_norm:
            self.run("rms_norm", x, w[f"{norm}.weight"], normed, rows=n * heads, dim=c.head_dim, eps=c.eps)
            x = normed
        self.run(
            "rope",
            x,
            self.scratch.index,
            self.angles,
            tokens=n,
            heads=heads,
            head_dim=c.head_dim,
            rot=c.rot,
            interleaved=int(c.arch.rope == "interleaved"),
            positions=self.context,
            half=c.rot // 2,
        )
        return x

    def feed_forward(self, batch: Batch, w: dict) -> None:
        """normed -> forward."""
        s, n, arch = self.scratch, batch.tokens, self.config.arch
        size, activation = n * self.config.hidden, ACTIVATIONS[arch.activation]
        self.linear(batch.phase, n, s.normed, w, "ffn_up", s.up)
        hidden = s.up
        if arch.gated:
            self.linear(batch.phase, n, s.normed, w, "ffn_gate", s.gate)
            self.run("glu", s.gate, s.up, s.hidden, n=size, activation=activation)
            hidden = s.hidden
        else:
            self.run("activate", s.up, n=size, activation=activation)
        self.linear(batch.phase, n, hidden, w, "ffn_down", s.forward)

    def norm(self, batch: Batch, w: dict, name: str, delta: Array | None) -> None:
        """x (+= delta) -> normed."""
        s, gain = self.scratch, w[f"{name}.weight"]
        sizes = {"rows": batch.tokens, "dim": self.config.dim, "eps": self.config.eps}
        if self.config.arch.norm == "layer":
            if delta is not None:
                self.add(s.x, delta, batch.tokens * self.config.dim)
            self.run("layer_norm", s.x, gain, w[f"{name}.bias"], s.normed, **sizes)
        elif delta is not None:
            self.run("add_rms_norm", s.x, delta, gain, s.normed, **sizes)
        else:
            self.run("rms_norm", s.x, gain, s.normed, **sizes)

    def linear(self, phase: Phase, n: int, x: Array, w: dict, name: str, out: Array) -> None:
        """out = x·Wᵀ (+ bias)."""
        weight: Weight = w[f"{name}.weight"]
        sizes = {"tokens": n, "rows": weight.rows, "cols": weight.cols, "row0": 0, "stride": weight.rows}
        self.backend.run(LINEAR[phase], x, weight, out, **sizes)
        if f"{name}.bias" in w:
            self.add(out, w[f"{name}.bias"], n * weight.rows, weight.rows)

    def embed(self, batch: Batch) -> None:
        table: Weight = self.weights.model["token_embd.weight"]  # type: ignore[assignment]
        sizes = {"tokens": batch.tokens, "rows": table.rows, "cols": table.cols, "row0": 0}
        self.run("embedding", self.scratch.index, table, self.scratch.x, **sizes)

    def add(self, x: Array, y: Array, n: int, period: int | None = None) -> None:
        self.run("add", x, y, n=n, period=period or n)

    def run(self, op: str, *operands: Array | Weight | KV, **params: int | float) -> None:
        self.backend.run(OPS[op], *operands, **params)
