"""How much a call of an op computes and moves, from its contract: what GB/s and GFLOP/s in a profile are made of.

Bytes count every operand once (twice, if it is read and written), weights as their file's blocks: what must at least
pass through memory. Products are two operations per weight and token, attention four per key and channel, all else
EACH per element that is written.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wgpu_infer.contracts.contract import PAGE_SLOTS, Op, Operand
from wgpu_infer.formats import quants

EACH = 8.0
ACT8_BYTES = 1 + 8 / 32  # a code, and its share of a scale and two half sums
KV_BYTES = {"f32": 4.0, "f16": 2.0, "q8_0": 34 / 32}


@dataclass(frozen=True)
class Work:
    operations: float
    nbytes: float


@dataclass(frozen=True)
class Keys:
    """What parameters do not say: how many keys a sequence's last token sees, and of how many sequences tokens are."""

    length: float
    sequences: int = 1


def work(op: Op, params: Mapping[str, Any], fmt: str | None = None, keys: Keys | None = None) -> Work:
    """Of one call. fmt: the weight's format, None for 4 bytes a value, or the cache's type. No keys: a full table."""
    if any(o.kind == "kv" for o in op.operands) and keys is None:
        keys = Keys(params["table_width"] * PAGE_SLOTS, params["tokens"])
    nbytes = sum(operand_bytes(op, o, params, fmt, keys) for o in op.operands)
    return Work(operations(op, params, keys), nbytes)


def operations(op: Op, params: Mapping[str, Any], keys: Keys | None) -> float:
    if reads_pages(op) and keys is not None:
        return 4.0 * params["tokens"] * params["heads"] * params["head_dim"] * mean_keys(params, keys)
    if op.weight is not None:
        return 0.0 if picks_rows(op) else 2.0 * params["tokens"] * params["rows"] * params["cols"]
    return EACH * sum(math.prod(shape_of(op, o, params)) for o in op.operands if o.access != "r" and o.kind != "kv")


def operand_bytes(op: Op, o: Operand, params: Mapping[str, Any], fmt: str | None, keys: Keys | None) -> float:
    if o.kind == "kv":
        assert keys is not None
        tokens = keys.sequences * mean_keys(params, keys) if reads_pages(op) else params["tokens"]
        return 2.0 * tokens * params["kv_heads"] * params["head_dim"] * KV_BYTES.get(fmt or "", 4.0)
    if o.kind == "weight":
        rows = params["tokens"] if picks_rows(op) else params["rows"]
        return rows * params["cols"] * value_bytes(fmt)
    values = math.prod(shape_of(op, o, params)) * (2 if o.access == "rw" else 1)
    return values * (ACT8_BYTES if o.kind == "act8" else 4.0)


def shape_of(op: Op, o: Operand, params: Mapping[str, Any]) -> tuple[int, ...]:
    """What a call touches: one row a token of a table of positions, and of rows that are shared its own part."""
    used = dict(params)
    if "positions" in used:
        used["positions"] = params["tokens"]
    if op.weight is not None and "rows" in used:
        used["stride"] = params["rows"]
    elif reads_pages(op) and "stride" in used:
        used["stride"] = params["heads"] * params["head_dim"]
    return tuple(int(used[d]) if isinstance(d, str) else d for d in o.dims)


def value_bytes(fmt: str | None) -> float:
    if fmt is None:
        return 4.0
    f = quants.get_format(fmt)
    return f.block_bytes / f.block_size


def mean_keys(params: Mapping[str, Any], keys: Keys) -> float:
    """Tokens of one sequence follow each other: the first sees fewest."""
    return max(1.0, keys.length - (params["tokens"] / max(keys.sequences, 1) - 1) / 2)


def reads_pages(op: Op) -> bool:
    return any(o.kind == "kv" and o.access == "r" for o in op.operands)


def picks_rows(op: Op) -> bool:
    """Whether the op reads single rows of its weight, as ids say, instead of multiplying by all."""
    return op.weight is not None and any(o.kind == "index" for o in op.operands)
