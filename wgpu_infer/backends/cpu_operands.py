"""What the CPU backend's handles hold, and how they become the arguments of a numba twin."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from wgpu_infer.backends.base import Act8, Array, Handle, Weight
from wgpu_infer.contracts.contract import Op
from wgpu_infer.contracts.host import ACT8_BLOCK
from wgpu_infer.errors import DeviceError, OutOfMemoryError, ParameterError

ALIGNMENT = 64
MAX_VIEWS = 64  # shapes kept per array; prompts of ever new lengths start over
DTYPES = {"f32": np.dtype(np.float32), "u32": np.dtype(np.uint32)}


@dataclass(eq=False)
class Buffer:
    """A flat array and the shaped views of its beginning that ops have asked for."""

    flat: np.ndarray
    views: dict[tuple[int, ...], np.ndarray] = field(default_factory=dict)

    def view(self, shape: tuple[int, ...]) -> np.ndarray:
        found = self.views.get(shape)
        return self._new_view(shape) if found is None else found

    def _new_view(self, shape: tuple[int, ...]) -> np.ndarray:
        size = math.prod(shape)
        if size > self.flat.size or min(shape, default=0) < 0:
            raise TypeError(f"an operand of shape {shape} was asked of an array of {self.flat.size} elements")
        if len(self.views) >= MAX_VIEWS:
            self.views.clear()
        self.views[shape] = self.flat[:size].reshape(shape)
        return self.views[shape]


@dataclass(eq=False)
class Blocks:
    """A weight: its raw GGUF blocks, read-only uint8 (bytes,), as they lie in the file (None where they are not one
    run of bytes), their ggml type id, and where it is a factor, the tiles that products read (cpu_fallback/layout.py),
    uint8."""

    raw: np.ndarray | None
    kind: int
    packed: np.ndarray | None = None


@dataclass(eq=False)
class Pages:
    """K and V pages as the twins read them, see cpu_fallback/kv.py."""

    k: np.ndarray
    v: np.ndarray


@dataclass(eq=False)
class Int8Blocks:
    """int8 codes (rows, cols), float32 scales (rows, cols / 32), int16 sums of half blocks (rows, cols / 32, 2)."""

    codes: Buffer
    scales: Buffer
    sums: Buffer

    def views(self, rows: int, cols: int) -> list[np.ndarray]:
        blocks = cols // ACT8_BLOCK
        return [self.codes.view((rows, cols)), self.scales.view((rows, blocks)), self.sums.view((rows, blocks, 2))]


def zeros(shape: tuple[int, ...], dtype: Any, what: str) -> np.ndarray:
    """Zeros that begin at a cache line: a vector of 64 bytes then never lies on two."""
    need = math.prod(shape) * np.dtype(dtype).itemsize
    try:
        flat = np.zeros(need + ALIGNMENT, np.uint8)
        start = -flat.ctypes.data % ALIGNMENT
        return flat[start : start + need].view(dtype).reshape(shape)
    except MemoryError as error:
        raise OutOfMemoryError(f"{what or 'an array'} takes {need >> 20} MiB, more than there is") from error


def raw_blocks(data: np.ndarray) -> np.ndarray:
    """data of any shape and item type as flat read-only bytes, where they lie (moved if floats would be misaligned)."""
    flat = np.asarray(np.ascontiguousarray(data)).reshape(-1).view(np.uint8).view(np.ndarray)
    blocks = flat.copy() if flat.ctypes.data % 4 else flat.view()
    blocks.flags.writeable = False
    return blocks


@dataclass
class Lowered:
    """A call as its twin takes it: arguments up to the parameters, ids of the memory it reads and writes, the
    weight's or cache's kind, the bytes of the weight, and which columns it writes where it leaves others."""

    arguments: list[Any] = field(default_factory=list)
    reads: set[int] = field(default_factory=set)
    writes: set[int] = field(default_factory=set)
    weight_bytes: int = 0
    columns: tuple[int, int, int] | None = None


def lower(
    op: Op, operands: tuple[Handle, ...], shapes: list[tuple[int, ...]], params: Mapping[str, Any], raw: bool
) -> Lowered:
    """The twin's arguments in the order of `lower_cpu(op)`. raw: the twin reads a weight's blocks as in the file."""
    out = Lowered()
    for spec, value, shape in zip(op.operands, operands, shapes, strict=True):
        if isinstance(value, Array):
            if value.dtype != DTYPES[spec.dtype]:
                raise TypeError(f"{op.name}: operand {spec.name} must be {spec.dtype}, not {value.dtype}")
            out.arguments.append(value.payload.view(shape))
        elif isinstance(value, Weight):
            agree(op, params, rows=value.rows, cols=value.cols)
            data = value.payload.raw if raw else value.payload.packed
            if data is None:
                why = "is of several parts, it is no table" if raw else "came as rows_only, it is no factor"
                raise TypeError(f"{op.name}: the weight {value.label} {why}")
            out.arguments.append(data)
            out.weight_bytes = data.size
        elif isinstance(value, Act8):
            if value.cols != shape[1]:
                raise TypeError(f"{op.name}: operand {spec.name} has {value.cols} columns, not {shape[1]}")
            out.arguments += value.payload.views(*shape)
        else:
            agree(op, params, kv_heads=value.kv_heads, head_dim=value.head_dim, table_width=value.table.shape[1])
            out.arguments += (value.payload.k, value.payload.v, value.table.payload.view(value.table.shape))
            out.reads.add(id(value.table.payload))
        if spec.access != "w":
            out.reads.add(id(value.payload))
        if spec.access != "r":
            out.writes.add(id(value.payload))
        if (columns := spec.columns(params)) != slice(None):
            out.columns = id(value.payload), columns.start, columns.stop
    return out


def agree(op: Op, params: Mapping[str, Any], **sizes: int) -> None:
    for name, size in sizes.items():
        if params[name] != size:
            raise TypeError(f"{op.name}: {name}={params[name]}, but the operand's is {size}")


def refusal(op: Op, status: int, operands: tuple[Handle, ...]) -> Exception:
    """The error for a twin's result that is not 0: see cpu_fallback/__init__.py."""
    if status == -1:
        return TypeError(f"{op.name}: its parameters contradict each other")
    if status < 0:
        return DeviceError(f"{op.name}: its kernel failed; an array was left, if bounds are checked")
    rows = next(value.payload.flat for spec, value in zip(op.operands, operands, strict=True) if spec.kind == "index")
    token, sequence, position, output = rows[4 * status - 4 : 4 * status]
    return ParameterError(
        f"{op.name}: index row {status - 1} points outside its operand: "
        f"id {token}, sequence {sequence}, position {position}, output row {output}"
    )
