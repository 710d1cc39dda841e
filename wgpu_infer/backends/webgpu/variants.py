"""Constants of a shader that depend on the call: pure functions of op, format, parameters and capabilities.

`candidates` lists the sets worth trying, the default first. They may change how much one workgroup does and how many
there are. Where the order in which an output's terms are added depends on a constant (matvec's WG), that constant
follows from op, format and weight shape, never from the number of tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from wgpu_infer.backends.webgpu.caps import Caps
from wgpu_infer.contracts import matmul, matvec
from wgpu_infer.contracts.contract import Op

Params = Mapping[str, Any]
Constants = dict[str, int]


def power_of_two(n: int, highest: int) -> int:
    """The smallest power of two that is at least n, but at most `highest`."""
    return min(1 << max(n - 1, 0).bit_length(), highest)


def matvec_candidates(_fmt: str | None, params: Params, _caps: Caps) -> list[Constants]:
    """Fewer token slots for fewer tokens. The workgroup's size follows the weight's shape only: it orders the sum."""
    narrow = params["cols"] <= 1024  # 32 invocations already take a block each
    return [{"WG": 32 if narrow else 64, "TOKENS": power_of_two(params["tokens"], matvec.TOKENS_PER_GROUP)}]


def matmul_candidates(_fmt: str | None, params: Params, _caps: Caps) -> list[Constants]:
    return [{"TILE_TOKENS": max(8, power_of_two(params["tokens"], matmul.TILE_TOKENS))}]


SPECIAL: dict[str, Callable[[str | None, Params, Caps], list[Constants]]] = {
    "matvec": matvec_candidates,
    "matmul": matmul_candidates,
}


def candidates(op: Op, fmt: str | None, params: Params, caps: Caps) -> list[Constants]:
    """The op's constants to choose from, the default first."""
    special = SPECIAL.get(op.name)
    return [{**op.constants, **c} for c in special(fmt, params, caps)] if special else [dict(op.constants)]


def constants(op: Op, fmt: str | None, params: Params, caps: Caps) -> Constants:
    return candidates(op, fmt, params, caps)[0]


def groups(op: Op, params: Params, constants: Constants) -> tuple[int, int, int]:
    """Workgroups (x, y, z): they depend on the parameters and, by its name, on how much a workgroup does."""
    return op.groups({**params, **constants})
