"""Operands that claims are measured on, as cases of the op contract."""

from __future__ import annotations

import functools

import numpy as np

from wgpu_infer.backends.cpu import CPUBackend
from wgpu_infer.contracts.attention import filled_kv
from wgpu_infer.contracts.cases import activations, index_array
from wgpu_infer.contracts.contract import PAGE_SLOTS, Case
from wgpu_infer.contracts.host import HostAct8, HostWeight

HEADS, HEAD_DIM = 32, 64


@functools.cache
def backend_of(threads: int) -> CPUBackend:
    return CPUBackend(threads)


def product_case(rows: int, cols: int, tokens: int) -> Case:
    """A product of Q4_0 and int8 activations, all values alike: neither time nor memory depends on them."""
    w = HostWeight(np.full(rows * cols // 32 * 18, 0x24, np.uint8), "Q4_0", rows, cols)
    x = HostAct8(np.ones((tokens, cols), np.int8), np.ones((tokens, cols // 32), np.float32))
    return Case("", {"x": x, "w": w}, {"tokens": tokens, "rows": rows, "cols": cols, "row0": 0, "stride": rows})


def attention_case(tokens: int, keys: int, kv_heads: int) -> Case:
    """The last `tokens` of a sequence of `keys`: 32 heads of 64, float16 pages in a random order."""
    pages = -(-keys // PAGE_SLOTS)
    table = np.random.default_rng(0).permutation(pages).astype(np.uint32).reshape(1, pages)
    operands = {
        "q": activations(tokens, HEADS, HEAD_DIM, seed=1),
        "index": index_array([0] * tokens, positions=range(keys - tokens, keys)),
        "sinks": np.empty(0, np.float32),
        "kv": filled_kv(pages, kv_heads, HEAD_DIM, table, "f16", seed=2),
    }
    sizes = {"tokens": tokens, "heads": HEADS, "kv_heads": kv_heads, "head_dim": HEAD_DIM, "table_width": pages}
    sizes |= {"window": 0, "stride": HEADS * HEAD_DIM, "sink_size": 0}
    return Case("", operands, sizes | {"scale": HEAD_DIM**-0.5, "softcap": 0.0, "alibi": 0.0})
