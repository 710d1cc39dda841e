"""Weights of one input, merged: the same bits as apart, whatever the backend and the formats."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from tiny_model import tensors, write_tiny

from wgpu_infer.backends.cpu import CPUBackend
from wgpu_infer.backends.reference import ReferenceBackend
from wgpu_infer.contracts.cases import activations, random_weight
from wgpu_infer.contracts.host import HostStack
from wgpu_infer.contracts.table import OPS
from wgpu_infer.engine.kv_cache import KVCache
from wgpu_infer.formats.gguf import GGUF
from wgpu_infer.formats.quants import quantize
from wgpu_infer.models.config import ModelConfig
from wgpu_infer.models.transformer import Batch, Scratch, Transformer
from wgpu_infer.models.weights import load_weights

BACKENDS = ["reference", "cpu", pytest.param("webgpu", marks=pytest.mark.webgpu)]


def product(backend, host, x, row0=0, stride=None):
    """(tokens, rows) of matvec."""
    out = backend.empty((len(x), stride or host.rows))
    sizes = {"tokens": len(x), "rows": host.rows, "cols": host.cols, "row0": row0, "stride": stride or host.rows}
    backend.run(OPS["matvec"], backend.array(x), backend.weight(host), out, **sizes)
    return backend.read(out, out.shape)[:, row0 : row0 + host.rows]


@pytest.mark.parametrize("fmt", ["F32", "F16", "Q4_0", "Q8_0", "Q4_K", "Q6_K"])
@pytest.mark.parametrize("name", BACKENDS)
def test_a_stack_multiplies_as_its_parts_do(name, fmt, open_once):
    """Parts that end inside a tile of rows, and inside a word of scales."""
    backend, x = open_once(name), activations(2, 256, seed=1)
    parts = tuple(random_weight(fmt, rows, 256, seed=rows) for rows in (21, 3, 40))
    apart = np.concatenate([product(backend, part, x) for part in parts], axis=1)
    np.testing.assert_array_equal(product(backend, HostStack(parts), x), apart)
    np.testing.assert_array_equal(HostStack(parts).slice_rows(20, 30).values(), HostStack(parts).values()[20:30])


def test_a_stack_is_packed_piece_by_piece(monkeypatch):
    """Its pieces cross the borders of its parts."""
    monkeypatch.setattr("wgpu_infer.backends.cpu.PACKED_AT_ONCE", 1)
    parts = tuple(random_weight("Q4_0", rows, 64, seed=rows) for rows in (21, 3, 40))
    backend, x = CPUBackend(1), activations(1, 64, seed=1)
    apart = np.concatenate([product(backend, part, x) for part in parts], axis=1)
    np.testing.assert_array_equal(product(backend, HostStack(parts), x), apart)


def test_equal_formats_are_one_weight(tmp_path):
    """Values in another format are a weight of their own, whose rows begin behind the keys'."""
    v = np.random.default_rng(1).standard_normal((16, 32)).astype(np.float32)
    path = write_tiny(tmp_path / "a.gguf", weights={"blk.1.attn_v.weight": (quantize(v, "Q8_0").reshape(16, -1), 8)})
    with GGUF.open(path) as gguf:
        weights = load_weights(gguf, ModelConfig.from_gguf(gguf), ReferenceBackend())
    first, second = (layer["attn_qkv.weight"] for layer in weights.layers)
    assert [(w.format, w.rows, row0) for w, row0 in first.parts] == [("F32", 64, 0)]
    assert [(w.format, w.rows, row0) for w, row0 in second.parts] == [("F32", 48, 0), ("Q8_0", 16, 48)]
    assert [w.label for w, _ in second.parts] == ["blk.1.attn_q.weight+attn_k.weight", "blk.1.attn_v.weight"]
    assert second.rows == 64 and weights.layers[0]["ffn_gate_up.weight"].rows == 128
    labels = [handle.label for handle in weights.handles()]
    assert len(labels) == len(set(labels)) and "token_embd.weight" in labels


class Counting(ReferenceBackend):
    """Lists the names of the ops it runs."""

    def __init__(self, int8_formats):
        super().__init__(int8_formats)
        self.ran: list[str] = []

    def run(self, op, *operands, **params):
        self.ran.append(op.name)
        super().run(op, *operands, **params)


@pytest.mark.parametrize("v_format, most", [("Q8_0", 10), ("Q4_0", 11)])
def test_dispatches_of_a_layer(v_format, most, tmp_path):
    """One weight a dispatch: at most 10 a layer, one more for a second format among those of one input."""
    weights, heads = {}, {"llama.attention.head_count": 1, "llama.attention.head_count_kv": 1}
    for name, values in tensors().items():
        if "attn_k." in name or "attn_v." in name:
            values = np.concatenate([values, values])  # one head of 32
        if values.ndim == 2:
            fmt, kind = (v_format, {"Q4_0": 2, "Q8_0": 8}[v_format]) if "attn_v" in name else ("Q8_0", 8)
            weights[name] = (quantize(values, fmt).reshape(len(values), -1), kind)
    backend = Counting({"Q4_0", "Q8_0"})
    metadata = heads | {"llama.rope.dimension_count": 32}
    with GGUF.open(write_tiny(tmp_path / "a.gguf", metadata, weights)) as gguf:
        config = ModelConfig.from_gguf(gguf)
        model = Transformer(backend, config, load_weights(gguf, config, backend), 64, 1, 1)
    cache = KVCache(backend, config, 64, 1, 1, "f16")
    model.forward(Batch(np.array([[5, 0, 0, 0]], np.uint32), 1, "decode"), cache.layers)
    places = [i for i, name in enumerate(backend.ran) if name == "rope_kv_write"]
    assert len(places) == config.layers and places[1] - places[0] <= most
    assert backend.ran.count("matvec_act8") == config.layers * (most - 6) + 1


def test_room_for_ranges_is_made_once(monkeypatch):
    """For a batch's longest possible sequences, so that a decode that grows allocates nothing."""
    backend = ReferenceBackend()
    made = []
    monkeypatch.setattr(backend, "empty", lambda shape, *_: made.append(shape) or len(made))
    scratch = Scratch(backend, SimpleNamespace(heads=4, head_dim=8, q_dim=32, kv_dim=8, dim=32, hidden=8, vocab=8,
                                               arch=SimpleNamespace(gated=True)), 8, 8)  # fmt: skip
    first = scratch.ranges(1, 1, 16)
    assert scratch.ranges(1, 16, 16) == first and made == [(16, 4, 8), (16, 4, 2)]
    assert scratch.ranges(3, 2, 16) != first and made[2:] == [(64, 4, 8), (64, 4, 2)]
    assert scratch.ranges(4, 16, 16) == scratch.ranges(1, 16, 16) == scratch.ranges(3, 2, 16) and len(made) == 4
    scratch.ranges(8, 1 << 20, 1 << 20)
    assert made[4] == (8 << 20, 4, 8), "no more than is asked for"
