"""rope_kv_write: all that stands between the product of queries, keys and values and attention: their biases, the norm
per head of queries and keys (RMS, with gains; Qwen 3), rope, and keys and values into their sequences' pages.

A token's row of `qkv` is its query heads, its key heads, its value heads. Queries are changed in place; keys and values
go to the pages only. Biases and gains are left out where their size is 0, rope where `rot` is 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from wgpu_infer.contracts import rms_norm, rope
from wgpu_infer.contracts.cases import activations, index_array
from wgpu_infer.contracts.contract import PAGE_SLOTS, Case, Op, dense, grid, index, kv, params
from wgpu_infer.contracts.host import KV_DTYPES, HostKV


def reference(
    qkv: np.ndarray,
    index: np.ndarray,
    table: np.ndarray,
    bias: np.ndarray,
    gains: np.ndarray,
    kv: HostKV,
    *,
    heads: int,
    kv_heads: int,
    head_dim: int,
    rot: int,
    interleaved: int,
    eps: float,
    **_: int,
) -> np.ndarray:
    """qkv (tokens, stride), table (positions, half, 2), bias (stride) or (0), gains (2, head_dim) or (0): of queries,
    of keys. -> qkv with the new queries. A biased value is rounded to float32; all else is float64."""
    rows = qkv.reshape(len(index), -1)
    biased = (rows.astype(np.float64) + (bias.reshape(-1) if bias.size else 0.0)).astype(np.float32)
    q, k, v = np.split(biased.reshape(len(rows), -1, head_dim), [heads, heads + kv_heads], axis=1)
    q_gain, k_gain = gains.reshape(2, head_dim) if gains.size else (None, None)
    q, k = (placed(x, gain, index, table, rot, interleaved, eps) for x, gain in ((q, q_gain), (k, k_gain)))
    page, slot = kv.table[index[:, 1], index[:, 2] // PAGE_SLOTS], index[:, 2] % PAGE_SLOTS
    kv.k[page, :, slot], kv.v[page, :, slot] = kv.stored(k.astype(np.float32)), kv.stored(v)
    out = rows.astype(np.float64)
    out[:, : heads * head_dim] = q.reshape(len(rows), -1)
    return out


def placed(
    x: np.ndarray, gain: np.ndarray | None, index: np.ndarray, table: np.ndarray, rot: int, interleaved: int, eps: float
) -> np.ndarray:
    """x (tokens, heads, head_dim), normed per head and rotated, float64."""
    normed = x if gain is None else rms_norm.reference(x, gain, eps=eps)
    return rope.reference(normed, index, table, rot=rot, interleaved=interleaved) if rot else normed.astype(np.float64)


def error(x: np.ndarray, p: Mapping[str, Any]) -> np.ndarray:
    """Of queries or keys (…, head_dim): rope's, ten times that if they are normed too. What is neither is exact."""
    out = rope.bound({}, x, p) if p["rot"] else np.zeros_like(x)
    return out if not p["gain_size"] else 10 * out + 1e-5 * np.abs(x)


def bound(_operands: Mapping[str, Any], expected: np.ndarray, p: Mapping[str, Any]) -> np.ndarray:
    """Of the queries; keys and values stay in qkv as they are."""
    rows = expected.astype(np.float64).reshape(p["tokens"], -1, p["head_dim"])
    out = error(rows, p)
    out[:, p["heads"] :] = 0
    return out.reshape(expected.shape)


def key_bound(operands: Mapping[str, Any], expected: np.ndarray, p: Mapping[str, Any]) -> np.ndarray:
    """A key that is off by as much as a query may be, and may therefore be rounded to the next number of its type."""
    keys = expected.astype(np.float64)
    off = error(keys, p)
    if not p["rot"] and not p["gain_size"]:
        return off
    dtype = operands["kv"].dtype
    if dtype == "f16":
        return off + 2.0**-10 * np.abs(keys) + 2.0**-24
    if dtype == "q8_0":  # one code, and one step of the scale
        highest = np.abs(keys).reshape(*keys.shape[:-1], -1, 32).max(axis=-1)
        return off + 1.2 / 127 * np.repeat(highest, 32, axis=-1)
    return off


def make_case(
    dtype: str,
    tokens: int,
    heads: int,
    kv_heads: int,
    head_dim: int,
    rot: int,
    interleaved: int,
    bias: bool = False,
    norm: bool = False,
) -> Case:
    rng = np.random.default_rng(head_dim)
    angles = rng.uniform(-50, 50, (192, rot // 2))
    table = np.stack([np.cos(angles), np.sin(angles)], -1).astype(np.float32)
    pages = np.array([[3, 1, 0], [2, 4, 5]], np.uint32)
    stride = (heads + 2 * kv_heads) * head_dim
    sizes = {"stride": stride, "bias_size": stride * bias, "gain_size": 2 * head_dim * norm}
    style = ("interleaved" if interleaved else "half") + "-bias" * bias + "-norm" * norm
    return Case(
        f"{dtype}-{tokens}x{heads}/{kv_heads}x{head_dim}-{rot}-{style}",
        {
            "qkv": activations(tokens, stride, seed=1),
            "index": index_array([0] * tokens, [1, 0, 1, 0, 0, 1][:tokens], [0, 63, 64, 65, 190, 7][:tokens]),
            "table": table,
            "bias": activations(sizes["bias_size"], seed=2) if bias else np.empty(0, np.float32),
            "gains": activations(sizes["gain_size"], seed=3) if norm else np.empty(0, np.float32),
            "kv": HostKV.zeros(6, kv_heads, head_dim, pages, dtype),
        },
        {
            "tokens": tokens,
            "heads": heads,
            "kv_heads": kv_heads,
            "head_dim": head_dim,
            "table_width": 3,
            "rot": rot,
            "interleaved": interleaved,
            "positions": 192,
            "half": rot // 2,
            "eps": 1e-5,
            **sizes,
        },
    )


def plain_case(operands: Mapping[str, Any]) -> Case:
    """A case of qkv (tokens, heads + 2 · kv_heads, head_dim), index and kv only: keys and values as they come."""
    tokens, units, head_dim = operands["qkv"].shape
    kv_heads, nothing = operands["kv"].k.shape[1], np.empty(0, np.float32)
    sizes = {"tokens": tokens, "heads": units - 2 * kv_heads, "kv_heads": kv_heads, "head_dim": head_dim}
    sizes |= {"table_width": operands["kv"].table.shape[1], "stride": units * head_dim}
    absent = dict.fromkeys(("rot", "interleaved", "positions", "half", "bias_size", "gain_size", "eps"), 0)
    order = {name: operands.get(name, nothing) for name in ("qkv", "index", "table", "bias", "gains", "kv")}
    return Case("plain", order, sizes | absent)


def cases() -> Iterator[Case]:
    for dtype in KV_DTYPES:
        yield make_case(dtype, 1, 4, 4, 32, 32, 1)
        yield make_case(dtype, 6, 6, 2, 64, 64, 0, norm=True)
        yield make_case(dtype, 5, 4, 2, 96, 32, 0, bias=True)
        yield make_case(dtype, 6, 2, 1, 128, 128, 1, bias=True, norm=True)
        yield make_case(dtype, 5, 3, 3, 64, 0, 0)
    yield make_case("f32", 5, 4, 2, 20, 10, 1, norm=True)
    yield make_case("f16", 3, 3, 1, 8, 8, 0)
    yield make_case("f16", 6, 2, 2, 256, 256, 0, norm=True)


OP = Op(
    name="rope_kv_write",
    operands=(
        dense("qkv", "tokens", "stride", access="rw"),
        index(),
        dense("table", "positions", "half", 2),
        dense("bias", "bias_size"),
        dense("gains", "gain_size"),
        kv("rw"),
    ),
    params=params(
        tokens="u4",
        heads="u4",
        kv_heads="u4",
        head_dim="u4",
        table_width="u4",
        rot="u4",
        interleaved="u4",
        positions="u4",
        half="u4",
        stride="u4",
        bias_size="u4",
        gain_size="u4",
        eps="f4",
    ),
    reference=reference,
    bound=bound,
    key_bound=key_bound,
    groups=lambda p: grid(p["tokens"] * (p["heads"] + 2 * p["kv_heads"])),
    cases=cases,
    constants={"WG": 32},
)
