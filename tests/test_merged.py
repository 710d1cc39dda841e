"""Weights of one input, merged: the same bits as apart, whatever the backend and the formats."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_model import write_tiny

from wgpu_infer.backends.cpu import CPUBackend
from wgpu_infer.backends.reference import ReferenceBackend
from wgpu_infer.contracts.cases import activations, random_weight
from wgpu_infer.contracts.host import HostStack
from wgpu_infer.contracts.table import OPS
from wgpu_infer.formats.gguf import GGUF
from wgpu_infer.formats.quants import quantize
from wgpu_infer.models.config import ModelConfig
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
