"""Which shader runs a call, and with what constants: pure functions of op, format, parameters and capabilities.

`candidates` lists the variants worth trying, the default first. They may change how much one workgroup does and how
many there are. Where the order in which an output's terms are added depends on the shader or a constant (matvec's WG),
that follows from op, format and weight shape, never from the number of tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from wgpu_infer.backends.webgpu.caps import Caps
from wgpu_infer.contracts import matmul, matvec
from wgpu_infer.contracts.contract import Op

Params = Mapping[str, Any]
Constants = dict[str, int]


@dataclass(frozen=True)
class Variant:
    """A shader, whose bindings and Params are the op's, and the constants appended to it."""

    shader: str
    constants: tuple[tuple[str, int], ...]


def variant(shader: str, constants: Mapping[str, int]) -> Variant:
    return Variant(shader, tuple(constants.items()))


def power_of_two(n: int, highest: int) -> int:
    """The smallest power of two that is at least n, but at most `highest`."""
    return min(1 << max(n - 1, 0).bit_length(), highest)


def matvec_candidates(_fmt: str | None, params: Params, _caps: Caps) -> list[tuple[str, Constants]]:
    """Fewer token slots for fewer tokens. The workgroup's size follows the weight's shape only: it orders the sum."""
    narrow = params["cols"] <= 1024  # 32 invocations already take a block each
    tokens = power_of_two(params["tokens"], matvec.TOKENS_PER_GROUP)
    return [("matvec", {"WG": 32 if narrow else 64, "TOKENS": tokens})]


def matmul_candidates(_fmt: str | None, params: Params, _caps: Caps) -> list[tuple[str, Constants]]:
    return [("matmul", {"TILE_TOKENS": max(8, power_of_two(params["tokens"], matmul.TILE_TOKENS))})]


SPECIAL: dict[str, Callable[[str | None, Params, Caps], list[tuple[str, Constants]]]] = {
    "matvec": matvec_candidates,
    "matmul": matmul_candidates,
}


def candidates(op: Op, fmt: str | None, params: Params, caps: Caps) -> list[Variant]:
    """The op's variants to choose from, the default first."""
    special = SPECIAL.get(op.name)
    found = special(fmt, params, caps) if special else [(op.name, {})]
    return [variant(shader, {**op.constants, **constants}) for shader, constants in found]


def choose(op: Op, fmt: str | None, params: Params, caps: Caps) -> Variant:
    return candidates(op, fmt, params, caps)[0]


def groups(op: Op, params: Params, chosen: Variant) -> tuple[int, int, int]:
    """Workgroups (x, y, z): they depend on the parameters and, by its name, on how much a workgroup does."""
    return op.groups({**params, **dict(chosen.constants)})
