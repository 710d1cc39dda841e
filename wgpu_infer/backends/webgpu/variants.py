"""Which shader runs a call, and with what constants: pure functions of op, format, parameters and capabilities.

`candidates` lists the variants worth trying, the default first. They may change how much one workgroup does and how
many there are. Where the order in which an output's terms are added depends on the shader or a constant (matvec's WG),
that follows from op, format and weight shape, never from the number of tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from wgpu_infer.backends.webgpu.caps import Caps
from wgpu_infer.backends.webgpu.vendors import LARGE, MANY_ROWS, SMALL, VENDORS
from wgpu_infer.contracts import attention, matmul, matvec
from wgpu_infer.contracts.contract import Op

T = TypeVar("T")
Params = Mapping[str, Any]
Constants = dict[str, int]
Candidates = Callable[[str | None, Params, Caps], list[tuple[str, Constants]]]  # shaders and their constants


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


def distinct(values: Sequence[T]) -> list[T]:
    """In order, each once."""
    return list(dict.fromkeys(values))


def columns(params: Params) -> Constants:
    """How activations are read: by fours where their number allows it, whole blocks where it is one of those."""
    return {"ODD": int(params["cols"] % 4 > 0), "WHOLE": int(params["cols"] % 32 == 0)}


def registers(shader: str, rows: int, params: Params) -> tuple[str, Constants]:
    """An invocation sums `rows` rows for up to 8 tokens by itself: on software adapters, whose lanes are those of the
    CPU's vectors, loads cost much and workgroup memory as much as any other."""
    tokens = power_of_two(params["tokens"], 8)
    return shader, {"WG": 8, "LANES": 1, "ROWS": 8 * rows, "TOKENS": tokens}


def shared_rows(shader: str, lanes: int, rows: int, params: Params) -> tuple[str, Constants]:
    """A workgroup of `lanes` shares `rows` rows. Its size follows the weight's shape only: it orders the sum."""
    tokens = power_of_two(params["tokens"], matvec.TOKENS_PER_GROUP)
    return shader, {"WG": lanes, "LANES": lanes, "ROWS": rows, "TOKENS": tokens}


def registers_act8(params: Params) -> tuple[str, Constants]:
    """`registers`, where all of a row's blocks are super-blocks eight at a time."""
    shader, constants = registers("matvec_act8", 8, params)
    return shader, constants | {"SUPER": int(params["cols"] % 256 == 0)}


def lane_choices(params: Params, caps: Caps) -> list[int]:
    """Sizes of workgroups that share rows, the default first. No subgroup is left partly empty, and only the default
    may have more invocations than a row has blocks."""
    default = VENDORS[caps.vendor].lanes[params["cols"] > 1024]
    least = power_of_two(caps.subgroup_max, 128)
    blocks = params["cols"] // 32
    return distinct([max(default, least), *(n for n in (32, 64, 128) if least <= n <= blocks)])


def matvec_candidates(_fmt: str | None, params: Params, caps: Caps) -> list[tuple[str, Constants]]:
    if caps.kind == "software":
        found = [registers("matvec", 4, params)]
    else:
        found = [shared_rows("matvec", lanes, 4, params) for lanes in lane_choices(params, caps)]
    return [(shader, constants | columns(params)) for shader, constants in found]


def matmul_candidates(fmt: str | None, params: Params, caps: Caps) -> list[tuple[str, Constants]]:
    """An invocation of WG unpacks one of the tile's ROWS rows."""
    if caps.kind == "software":
        return matvec_candidates(fmt, params, caps)
    tokens = max(8, power_of_two(params["tokens"], matmul.TOKENS))
    rows = distinct([VENDORS[caps.vendor].float_rows, 64, 32])
    return [("matmul", {"WG": n, "ROWS": n, "TOKENS": tokens, **columns(params)}) for n in rows]


def matvec_act8_candidates(_fmt: str | None, params: Params, caps: Caps) -> list[tuple[str, Constants]]:
    if caps.kind == "software":
        return [registers_act8(params)]
    rows = distinct([VENDORS[caps.vendor].rows[params["rows"] > MANY_ROWS], 4, 8])
    return [shared_rows("matvec_act8", lanes, n, params) for lanes in lane_choices(params, caps) for n in rows]


def matmul_act8_candidates(_fmt: str | None, params: Params, caps: Caps) -> list[tuple[str, Constants]]:
    if caps.kind == "software":
        return [registers_act8(params)]
    vendor = VENDORS[caps.vendor]
    tiles = distinct([vendor.long if params["tokens"] > 32 else vendor.short, LARGE, SMALL, (64, 32, 2)])
    return [
        ("matmul_act8", {"WG": rows * tokens // 16, "ROWS": rows, "TOKENS": tokens, "STEP": step})
        for rows, tokens, step in tiles
    ]


def group_of(params: Params) -> int:
    """Query heads that attention takes together."""
    return min(params["heads"] // params["kv_heads"], attention.MAX_GROUP)


def units_of(params: Params) -> int:
    """Groups of four elements of a head, of which no shader takes more than 64."""
    return max(1, min(params["head_dim"] // 4, 64))


def attention_candidates(_fmt: str | None, params: Params, _caps: Caps) -> list[tuple[str, Constants]]:
    return [("attention", {"GROUP": group_of(params), "UNITS": units_of(params)})]


def split_candidates(_fmt: str | None, params: Params, caps: Caps) -> list[tuple[str, Constants]]:
    """An invocation a key on GPUs; on CPUs fewer, so that what is read of a query serves several keys."""
    sizes = {"GROUP": group_of(params), "UNITS": units_of(params)}
    choices = [8, 16] if caps.kind == "software" else distinct([VENDORS[caps.vendor].keys, 64, 32])
    return [("attention_split", {"WG": wg, **sizes}) for wg in choices]


def reduce_candidates(name: str) -> Candidates:
    """No more invocations than there is work for where they cost time."""

    def candidates(_fmt: str | None, params: Params, caps: Caps) -> list[tuple[str, Constants]]:
        return [(name, {"WG": max(8, power_of_two(units_of(params), 64)) if caps.kind == "software" else 64})]

    return candidates


SPECIAL: dict[str, Candidates] = {
    "attention": attention_candidates,
    "attention_split": split_candidates,
    "attention_reduce": reduce_candidates("attention_reduce"),
    "attention_reduce_act8": reduce_candidates("attention_reduce_act8"),
    "matvec": matvec_candidates,
    "matmul": matmul_candidates,
    "matvec_act8": matvec_act8_candidates,
    "matmul_act8": matmul_act8_candidates,
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
