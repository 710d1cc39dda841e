"""Constants of a shader that depend on the call's shape: pure functions of op and parameters.

A variant may change how much one workgroup does, never the order in which an output's terms are added, and never the
op's number of workgroups.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from wgpu_infer.contracts import matmul, matvec
from wgpu_infer.contracts.contract import Op


def power_of_two(n: int, highest: int) -> int:
    """The smallest power of two that is at least n, but at most `highest`."""
    return min(1 << max(n - 1, 0).bit_length(), highest)


def matvec_constants(params: Mapping[str, Any]) -> dict[str, int]:
    """Fewer token slots for fewer tokens. The workgroup's size follows the weight's shape only: it orders the sum."""
    narrow = params["cols"] <= 1024  # 32 invocations already take a block each
    return {
        "WG": 32 if narrow else 64,
        "TOKENS": power_of_two(params["tokens"], matvec.TOKENS_PER_GROUP),
    }


def matmul_constants(params: Mapping[str, Any]) -> dict[str, int]:
    return {"TILE_TOKENS": max(8, power_of_two(params["tokens"], matmul.TILE_TOKENS))}


SPECIAL: dict[str, Callable[[Mapping[str, Any]], dict[str, int]]] = {
    "matvec": matvec_constants,
    "matmul": matmul_constants,
}


def constants(op: Op, params: Mapping[str, Any]) -> dict[str, int]:
    special = SPECIAL.get(op.name)
    return {**op.constants, **special(params)} if special else dict(op.constants)
