"""The op contract: written once, everything else is derived from it.

An `Op` names its operands in order, its parameters, how it is dispatched, its numpy reference and how far a backend may
be from that reference. From the name alone the rest is found: `shaders/<name>.wgsl`, `cpu_fallback/<name>.py`, the
tests and the row of docs/ops.md. The lowering tables below say, per operand kind, what a shader binds and what a numba
twin takes; a test holds shaders and twins to them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

Kind = Literal["dense", "weight", "kv", "index", "act8"]
Access = Literal["r", "w", "rw"]
KINDS: tuple[Kind, ...] = ("dense", "weight", "kv", "index", "act8")

PARAMS_BYTES = 64  # one immediate block, the same size for all ops (a different size would reset it to zero)
PAGE_SLOTS = 64  # tokens per KV page
MAX_GROUPS = 65535  # workgroups per dispatch dimension, on every adapter


@dataclass(frozen=True)
class Operand:
    """One operand. `dims` are parameter names or integers; `dtype` is that of a dense operand."""

    name: str
    kind: Kind
    access: Access
    dims: tuple[str | int, ...] = ()
    dtype: str = "f32"

    def shape(self, params: Mapping[str, Any]) -> tuple[int, ...]:
        return tuple(int(params[d]) if isinstance(d, str) else d for d in self.dims)

    def columns(self, params: Mapping[str, Any]) -> slice:
        """Those of the last axis that a call writes: a product's rows from row0 on, else all."""
        if self.dims[-1:] == ("stride",) and "row0" in params:
            return slice(int(params["row0"]), int(params["row0"] + params["rows"]))
        return slice(None)


def dense(name: str, *dims: str | int, access: Access = "r", dtype: str = "f32") -> Operand:
    return Operand(name, "dense", access, dims, dtype)


def weight(name: str = "w") -> Operand:
    """A (rows, cols) weight, used as y = x·Wᵀ, quantised as in its file."""
    return Operand(name, "weight", "r", ("rows", "cols"))


def act8(name: str, rows: str = "tokens", cols: str = "cols", access: Access = "r") -> Operand:
    """Activations (rows, cols) as int8 codes in blocks of 32: a float32 scale and two int16 half sums per block."""
    return Operand(name, "act8", access, (rows, cols))


def kv(access: Access) -> Operand:
    """A layer's K and V pages (page, kv head, 64 slots, head dim) and its u32 block table (sequence, page)."""
    return Operand("kv", "kv", access)


def index() -> Operand:
    """(tokens, 4) u32 per token: id, sequence, position, and in row i the token whose output is row i."""
    return Operand("index", "index", "r", ("tokens", 4), "u32")


def params(**fields: str) -> np.dtype:
    """A parameter struct of u32 and f32 fields: `params(rows="u4", eps="f4")`."""
    dtype = np.dtype([(name, "<" + kind) for name, kind in fields.items()])
    if dtype.itemsize > PARAMS_BYTES:
        raise ValueError(f"parameters take {dtype.itemsize} bytes, at most {PARAMS_BYTES} are allowed")
    return dtype


@dataclass(frozen=True)
class Case:
    """One concrete call of an op: operand values by name (weights as `HostWeight`, kv as `HostKV`,
    int8 activations as `HostAct8`), and parameters."""

    id: str
    operands: Mapping[str, Any]
    params: Mapping[str, int | float]


Bound = Callable[[Mapping[str, Any], np.ndarray, Mapping[str, Any]], np.ndarray | float]


@dataclass(frozen=True)
class Op:
    """An op's whole contract.

    reference: called with the operands that are read (exact shapes, in order) as positional arguments and the
        parameters by name, computes in float64, returns the written operands (an array, or a tuple in operand order).
        A `kv` operand is passed always and written in place.
    bound: (operands by name, expected output, params) -> largest allowed |y - r| per element.
    key_bound: that of the K pages of a `kv` operand that is written; None where they must be equal, as V always must.
    groups: parameters and constants by name -> workgroups (x, y, z) of the shader.
    constants: lines `const NAME = VALUE` appended to the shader, where the backend has no better ones for the call.
    """

    name: str
    operands: tuple[Operand, ...]
    params: np.dtype
    reference: Callable[..., Any]
    bound: Bound
    groups: Callable[[Mapping[str, Any]], tuple[int, int, int]]
    cases: Callable[[], Iterator[Case]]
    constants: Mapping[str, int] = field(default_factory=dict)
    key_bound: Bound | None = None

    @property
    def reads(self) -> tuple[Operand, ...]:
        return tuple(o for o in self.operands if o.access != "w" or o.kind == "kv")

    @property
    def writes(self) -> tuple[Operand, ...]:
        return tuple(o for o in self.operands if o.access != "r" and o.kind != "kv")

    @property
    def weight(self) -> Operand | None:
        return next((o for o in self.operands if o.kind == "weight"), None)

    def param_names(self) -> tuple[str, ...]:
        return tuple(self.params.names or ())


def lower_webgpu(op: Op) -> list[tuple[str, str, str]]:
    """The shader's bindings in order: (name, access, WGSL element type, or that of which it may bind vec4s)."""
    out: list[tuple[str, str, str]] = []
    for o in op.operands:
        access = "read" if o.access == "r" else "read_write"
        if o.kind == "weight":
            out += [(f"{o.name}_codes", "read", "vec4<u32>"), (f"{o.name}_scales", "read", "u32")]
        elif o.kind == "kv":
            out += [("kv_k", access, "u32"), ("kv_v", access, "u32"), ("kv_table", "read", "u32")]
        elif o.kind == "act8":
            out += [
                (f"{o.name}_codes", access, "vec4<u32>"),
                (f"{o.name}_scales", access, "f32"),
                (f"{o.name}_sums", access, "u32"),
            ]
        elif o.kind == "index":
            out.append((o.name, "read", "vec4<u32>"))
        else:
            out.append((o.name, access, o.dtype))
    return out


def lower_cpu(op: Op) -> list[str]:
    """The numba twin's arguments in order: operands, then every parameter."""
    out: list[str] = []
    for o in op.operands:
        if o.kind == "weight":
            out.append(o.name)
        elif o.kind == "kv":
            out += ["kv_k", "kv_v", "kv_table"]
        elif o.kind == "act8":
            out += [f"{o.name}_codes", f"{o.name}_scales", f"{o.name}_sums"]
        else:
            out.append(o.name)
    return out + list(op.param_names())


def grid(groups: int) -> tuple[int, int, int]:
    """`groups` workgroups as (x, y, 1), x within the limit; the shader takes y·num_x + x and stops past the end."""
    x = min(max(groups, 1), MAX_GROUPS)
    return x, -(-groups // x) or 1, 1


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def as_outputs(result: Any) -> Sequence[Any]:
    """A reference's result as the sequence of its written operands."""
    if result is None:
        return ()
    return result if isinstance(result, tuple) else (result,)
