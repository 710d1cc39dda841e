"""The forward pass, once, as straight-line calls of ops on handles. It reads no value and never branches on data.

What changes between steps (ids, positions, sequences, output rows, block tables) lies in buffers filled before the
pass; what is fixed lies in the ops' parameters. So a pass is recorded once per number of tokens and then only run.
Prompt tokens take matmul, generated ones matvec, so that how a token is summed depends on its phase only, never on
its neighbours in the batch. Where the backend multiplies a weight's format by int8 activations, what feeds it writes
those too.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from wgpu_infer.backends.base import KV, Act8, Array, Backend, Handle
from wgpu_infer.contracts.contract import PAGE_SLOTS
from wgpu_infer.contracts.glu import ACTIVATIONS
from wgpu_infer.contracts.host import ACT8_BLOCK, KV_DTYPES
from wgpu_infer.contracts.table import OPS
from wgpu_infer.models.config import ModelConfig
from wgpu_infer.models.plan import Call, allocate, plan, planned
from wgpu_infer.models.rope_table import rope_table
from wgpu_infer.models.weights import Product, Weights

Phase = Literal["prefill", "decode"]
PHASES: tuple[Phase, ...] = ("prefill", "decode")
LINEAR = {"prefill": "matmul", "decode": "matvec"}
ROOM_FOR_RANGES = 64 << 20  # bytes of attention's sums that are set aside before they are needed
MOST_FOR_RANGES = 256 << 20  # bytes of them at all, but for a sequence alone
MAX_PROGRAMS = 64  # recorded passes kept; prompts of ever new lengths start over

Tail = Callable[[Array, Array, int], None]  # queues what follows a pass: (index, logits, rows of logits)


@dataclass(frozen=True)
class Batch:
    """The tokens of one step. `index` (tokens, 4) u32: id, sequence slot, position, and in row i output i's token.

    ahead: positions by which tokens may move on before the host writes another index.
    """

    index: np.ndarray
    outputs: int
    phase: Phase
    ahead: int = 0

    @property
    def tokens(self) -> int:
        return len(self.index)

    @property
    def pages(self) -> int:
        """Pages of the longest sequence."""
        return (int(self.index[:, 2].max(initial=0)) + self.ahead) // PAGE_SLOTS + 1


class Scratch:
    """Every activation of the pass, for `tokens` tokens and `outputs` rows of logits. Memory comes by `plan`, but for
    what attention by ranges needs, which grows with the longest sequence."""

    def __init__(self, backend: Backend, c: ModelConfig, tokens: int, outputs: int):
        def rows(width: int, label: str) -> Array:
            return planned((tokens, width), label)

        self.index = planned((tokens, 4), "index", np.uint32)
        self.x, self.normed, self.delta = (rows(c.dim, name) for name in ("x", "normed", "delta"))
        self.qkv, self.attended = rows(c.q_dim + 2 * c.kv_dim, "qkv"), rows(c.q_dim, "attended")
        self.hidden, self.forward = rows(c.hidden, "hidden"), rows(c.dim, "forward")
        self.gate_up = rows(2 * c.hidden, "gate_up") if c.arch.gated else self.hidden
        self.nothing = planned((1,), "nothing")  # stands for an operand that a call leaves out
        self.out = planned((outputs, c.dim), "out")
        self.logits = planned((outputs, c.vocab), "logits")
        self._backend, self._config = backend, c
        self._int8: dict[str, Act8] = {}
        self._ranges = 0

    def int8(self, x: Array) -> Act8:
        """The int8 activations that belong to an array."""
        found = self._int8.get(x.label)
        if found is None:
            found = self._int8[x.label] = Act8(x.shape[0], x.shape[1], None, f"{x.label}.int8")
        return found

    def ranges(self, tokens: int, splits: int, most: int) -> tuple[Array, Array]:
        """What attention_split hands to attention_reduce: sums and tops. Room is made for these tokens' `most` ranges,
        so that it lasts; for the `splits` asked for, where that would be too much."""
        rows, size = 1 << (tokens - 1).bit_length(), 4 * self._config.q_dim
        wanted = rows * most if rows * most * size <= ROOM_FOR_RANGES else tokens * splits
        if wanted > self._ranges:
            self._ranges = wanted
            heads = self._ranges, self._config.heads
            self._sums = self._backend.empty((*heads, self._config.head_dim), np.float32, "sums")
            self._tops = self._backend.empty((*heads, 2), np.float32, "tops")
        return self._sums, self._tops


class Transformer:
    """A model on a backend. `forward` queues one step; its result is `scratch.logits` (outputs, vocab)."""

    def __init__(
        self, backend: Backend, config: ModelConfig, weights: Weights, context: int, max_tokens: int, max_outputs: int
    ):
        self.backend, self.config, self.weights = backend, config, weights
        self.max_tokens, self.max_outputs = max_tokens, max_outputs
        self.context = context
        products = [p for layer in weights.layers for p in layer.values() if isinstance(p, Product)]
        self.token_operations = sum(2.0 * w.rows * w.cols for p in products for w, _ in p.parts)  # of a prompt's token
        table = rope_table(context, config.rot, config.rope_base, config.rope_scaling, weights.frequency_factors)
        self.angles = backend.array(table, "angles")
        self._programs: dict[tuple, Callable[[], None]] = {}
        self._calls: list[Call] | None = None  # while they are listed
        self.scratch = s = Scratch(backend, config, max_tokens, max_outputs)
        allocate(backend, plan(self.list_calls(), kept=(s.index, s.logits, s.nothing)))

    def list_calls(self) -> list[Call]:
        """The ops of all kinds of passes one after the other, and their operands; how many tokens changes neither."""
        c, table = self.config, planned((1, 1), "block_table", np.uint32)
        calls: list[Call] = []
        self._calls = calls
        for phase, dtype in itertools.product(PHASES, KV_DTYPES):
            cache = [KV(0, c.kv_heads, c.head_dim, dtype, table, None)] * c.layers
            self.run_pass(Batch(np.zeros((1, 4), np.uint32), 1, phase), cache)
        self._calls = None
        return calls

    def forward(self, batch: Batch, cache: list[KV], tail: Tail | None = None) -> Array:
        """Queues the pass over a batch and returns the logits' handle (outputs, vocab)."""
        self.backend.write(self.scratch.index, batch.index)
        return self.go_on(batch, cache, tail)

    def go_on(self, batch: Batch, cache: list[KV], tail: Tail | None = None) -> Array:
        """As `forward`, but from the index that the tail of the pass before has left."""
        self.program(batch, cache, tail)()
        return self.scratch.logits

    def warm_up(self, cache: list[KV], tail: Tail | None = None) -> None:
        """Records passes of either phase, so that their kernels are compiled before the first request, and makes room
        for a sequence that fills the context."""
        if self.splits_attention(cache[0]):
            self.scratch.ranges(1, 1, cache[0].table.shape[1])
        for phase in PHASES:
            self.program(Batch(np.zeros((1, 4), np.uint32), 1, phase), cache, tail if phase == "decode" else None)

    def program(self, batch: Batch, cache: list[KV], tail: Tail | None = None) -> Callable[[], None]:
        """The recorded pass over batches of this size, and of sequences up to the next power of two of pages."""
        key = (batch.phase, batch.tokens, batch.outputs, tail, self.splits(batch, cache[0]), *map(id, cache))
        found = self._programs.get(key)
        if found is None:
            if len(self._programs) >= MAX_PROGRAMS:
                self._programs.clear()
            found = self._programs[key] = self.backend.program(lambda: self.run_pass(batch, cache, tail))
        return found

    def forget_programs(self) -> None:
        """Passes are recorded anew at their next call."""
        self._programs.clear()

    def run_pass(self, batch: Batch, cache: list[KV], tail: Tail | None = None) -> None:
        """All ops of a pass, in order."""
        s, model = self.scratch, self.weights.model
        self.embed(batch)
        delta = None
        for layer, kv in zip(self.weights.layers, cache, strict=True):
            delta = self.layer(batch, layer, kv, delta)
        self.norm(batch, model, "output_norm", delta, ())
        self.run("gather_rows", s.normed, s.index, s.out, tokens=batch.tokens, rows=batch.outputs, dim=self.config.dim)
        if self.takes_int8(model, "output"):
            self.quantize(s.out, batch.outputs)
        self.linear(batch.phase, batch.outputs, s.out, model, "output", s.logits)
        self.add_bias(batch.outputs, s.logits, model, "output")
        if tail is not None:
            tail(s.index, s.logits, batch.outputs)

    def layer(self, batch: Batch, w: dict, kv: KV, delta: Array | None) -> Array:
        """One block; returns what is still to be added to the residual stream."""
        s = self.scratch
        attention, forward = ("attn_qkv",), ("ffn_gate_up" if self.config.arch.gated else "ffn_up",)
        self.norm(batch, w, "attn_norm", delta, attention + forward if self.config.arch.parallel else attention)
        if self.config.arch.parallel:
            self.attention(batch, w, kv)
            self.feed_forward(batch, w)
            self.add(s.delta, s.forward, batch.tokens * self.config.dim)
            return s.delta
        self.attention(batch, w, kv)
        self.norm(batch, w, "ffn_norm", s.delta, forward)
        self.feed_forward(batch, w)
        return s.forward

    def attention(self, batch: Batch, w: dict, kv: KV) -> None:
        """normed -> delta."""
        s, c, n = self.scratch, self.config, batch.tokens
        self.linear(batch.phase, n, s.normed, w, "attn_qkv", s.qkv)
        heads = {"tokens": n, "heads": c.heads, "kv_heads": c.kv_heads, "head_dim": c.head_dim}
        heads |= {"table_width": kv.table.shape[1], "stride": s.qkv.shape[1]}
        self.position(w, kv, heads)
        int8 = self.takes_int8(w, "attn_output")
        scores = {"scale": c.head_dim**-0.5, "window": 0, "softcap": 0.0, "alibi": 0.0}
        if splits := self.splits(batch, kv):
            self.attend_in_ranges(kv, heads | scores | {"splits": splits}, int8)
        else:
            self.run("attention", s.qkv, s.index, s.nothing, kv, s.attended, **heads, **scores, sink_size=0)
            if int8:
                self.quantize(s.attended, n)
        self.linear(batch.phase, n, s.attended, w, "attn_output", s.delta)
        self.add_bias(n, s.delta, w, "attn_output")

    def attend_in_ranges(self, kv: KV, params: dict[str, int | float], int8: bool) -> None:
        """qkv -> attended, or its int8 blocks, by ranges of keys."""
        s, n = self.scratch, int(params["tokens"])
        ranges = s.ranges(n, int(params["splits"]), kv.table.shape[1])
        self.run("attention_split", s.qkv, s.index, kv, *ranges, **params)
        sizes = {name: params[name] for name in ("tokens", "heads", "head_dim", "splits", "window")} | {"sink_size": 0}
        if int8 and self.config.head_dim % ACT8_BLOCK == 0:
            out = s.int8(s.attended)
            self.run("attention_reduce_act8", *ranges, s.index, s.nothing, out, **sizes, width=self.config.q_dim)
            return
        self.run("attention_reduce", *ranges, s.index, s.nothing, s.attended, **sizes)
        if int8:
            self.quantize(s.attended, n)

    def splits(self, batch: Batch, kv: KV) -> int:
        """Ranges that attention of this batch is to have room for; 0 where it is not split."""
        if batch.phase == "prefill" or not self.splits_attention(kv):
            return 0
        return ranges_of(batch.pages, kv)

    def decode_rows(self, position: int, kv: KV) -> int:
        """Sequences that a decode step may hold when one of them has come to a position: attention by ranges takes as
        much room for each."""
        if not self.splits_attention(kv):
            return self.max_tokens
        room = min(MOST_FOR_RANGES, self.backend.most_array_bytes)
        return max(1, room // (4 * self.config.q_dim * ranges_of(position // PAGE_SLOTS + 1, kv)))

    def splits_attention(self, kv: KV) -> bool:
        return self.backend.can_run(OPS["attention_split"], kv.dtype)

    def position(self, w: dict, kv: KV, heads: dict[str, int]) -> None:
        """Biases, norms and rotates queries and keys, and puts keys and values into the cache."""
        s, c = self.scratch, self.config
        bias, gains = w.get("attn_qkv.bias"), w.get("attn_qk_norm.weight")
        sizes = {"bias_size": bias.shape[0] if bias else 0, "gain_size": gains.shape[0] if gains else 0, "eps": c.eps}
        angles = {"rot": c.rot, "interleaved": int(c.arch.rope == "interleaved")}
        angles |= {"positions": self.context, "half": c.rot // 2}
        vectors = bias or s.nothing, gains or s.nothing
        self.run("rope_kv_write", s.qkv, s.index, self.angles, *vectors, kv, **heads, **angles, **sizes)

    def feed_forward(self, batch: Batch, w: dict) -> None:
        """normed -> forward."""
        s, n, arch = self.scratch, batch.tokens, self.config.arch
        name, activation = "ffn_gate_up" if arch.gated else "ffn_up", ACTIVATIONS[arch.activation]
        self.linear(batch.phase, n, s.normed, w, name, s.gate_up)
        self.add_bias(n, s.gate_up, w, name)
        int8 = self.takes_int8(w, "ffn_down")
        if arch.gated:
            op, out = ("glu_act8", s.int8(s.hidden)) if int8 else ("glu", s.hidden)
            self.run(op, s.gate_up, out, tokens=n, cols=self.config.hidden, activation=activation)
        else:
            self.run("activate", s.hidden, n=n * self.config.hidden, activation=activation)
            if int8:
                self.quantize(s.hidden, n)
        self.linear(batch.phase, n, s.hidden, w, "ffn_down", s.forward)
        self.add_bias(n, s.forward, w, "ffn_down")

    def norm(self, batch: Batch, w: dict, name: str, delta: Array | None, readers: tuple[str, ...]) -> None:
        """x (+= delta) -> normed, and its int8 blocks where one of the weights `readers` takes them."""
        s, gain, n = self.scratch, w[f"{name}.weight"], batch.tokens
        sizes = {"rows": n, "dim": self.config.dim, "eps": self.config.eps}
        int8 = self.takes_int8(w, *readers)
        if self.config.arch.norm == "layer":
            if delta is not None:
                self.add(s.x, delta, n * self.config.dim)
            self.run("layer_norm", s.x, gain, w[f"{name}.bias"], s.normed, **sizes)
            if int8:
                self.quantize(s.normed, n)
            return
        inputs = (s.x, gain) if delta is None else (s.x, delta, gain)
        op = "rms_norm" if delta is None else "add_rms_norm"
        if int8:
            self.run(f"{op}_act8", *inputs, s.normed, s.int8(s.normed), **sizes)
        else:
            self.run(op, *inputs, s.normed, **sizes)

    def takes_int8(self, w: dict, *names: str) -> bool:
        """Whether one of these products takes int8 activations."""
        return any(self.backend.can_act8(fmt) for name in names for fmt in w[f"{name}.weight"].formats)

    def quantize(self, x: Array, rows: int) -> None:
        self.run("quantize", x, self.scratch.int8(x), tokens=rows, cols=x.shape[1])

    def linear(self, phase: Phase, n: int, x: Array, w: dict, name: str, out: Array) -> None:
        """out = x·Wᵀ, an op for each part of the product; x's int8 blocks are there if one of them takes those."""
        product: Product = w[f"{name}.weight"]
        for weight, row0 in product.parts:
            int8 = self.backend.can_act8(weight.format)
            op = f"{LINEAR[phase]}_act8" if int8 else LINEAR[phase]
            sizes = {"tokens": n, "rows": weight.rows, "cols": weight.cols, "row0": row0, "stride": product.rows}
            self.run(op, self.scratch.int8(x) if int8 else x, weight, out, **sizes)

    def add_bias(self, n: int, x: Array, w: dict, name: str) -> None:
        if f"{name}.bias" in w:
            self.add(x, w[f"{name}.bias"], n * x.shape[1], x.shape[1])

    def embed(self, batch: Batch) -> None:
        table = self.weights.embedding
        sizes = {"tokens": batch.tokens, "rows": table.rows, "cols": table.cols, "row0": 0}
        self.run("embedding", self.scratch.index, table, self.scratch.x, **sizes)

    def add(self, x: Array, y: Array, n: int, period: int | None = None) -> None:
        self.run("add", x, y, n=n, period=period or n)

    def run(self, op: str, *operands: Handle, **params: int | float) -> None:
        if self._calls is not None:
            self._calls.append((OPS[op], operands))
        else:
            self.backend.run(OPS[op], *operands, **params)


def ranges_of(pages: int, kv: KV) -> int:
    """Ranges of keys that there is to be room for: by powers of two, so that few programs are recorded."""
    return min(1 << (pages - 1).bit_length(), kv.table.shape[1])


def layer_dispatches(model: Transformer, cache: list[KV]) -> int | None:
    """Dispatches that a layer adds to a decode step; None where steps are not lists of dispatches, or one layer is all.

    Of a layer that adds what the one before it left, as all but the first do.
    """
    batch, layers = Batch(np.zeros((1, 4), np.uint32), 1, "decode"), model.weights.layers

    def count(number: int) -> int | None:
        def build() -> None:
            delta = None
            for layer, kv in zip(layers[:number], cache, strict=False):
                delta = model.layer(batch, layer, kv, delta)

        return num_dispatches(model.backend.program(build))

    one, two = (count(number) for number in (1, 2))
    return None if one is None or two is None or len(layers) < 2 else two - one


def num_dispatches(program: Callable[[], None]) -> int | None:
    found = getattr(program, "dispatches", None)
    return None if found is None else len(found)
